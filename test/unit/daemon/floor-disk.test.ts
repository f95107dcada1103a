import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { deferred } from '../../../src/daemon/deferred.ts';
import { FloorFile } from '../../../src/daemon/floor.ts';
import { FloorDisk } from '../../../src/daemon/floor-disk.ts';
import { FakeLog } from '../../support/fake-log.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await turn();
}

test('one thing at a time is asked of a disk, and what fails is told and over', async () => {
  const disk = new FloorDisk();
  const held = deferred();
  const begun: string[] = [];
  const act = (name: string, until?: Promise<void>) => async () => {
    begun.push(name);
    await until;
  };
  const a = disk.inTime(act('a', held.promise));
  const b = disk.inTime(act('b'));
  await settle();
  assert.deepEqual(begun, ['a']);
  held.reject(new Error('EIO'));
  await assert.rejects(a, /EIO/);
  assert.equal(await b, true);
  assert.equal(disk.hangs, false);
});

test('one call that hangs is all that hangs, and its end is the end of it', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const disk = new FloorDisk();
  const held = [deferred(), deferred()];
  let begun = 0;
  const results = [0, 1, 2].map((i) =>
    disk.inTime(async () => {
      begun += 1;
      await held[i]?.promise;
    }),
  );
  await settle();
  t.mock.timers.tick(5_000);
  assert.deepEqual(await Promise.all(results), [false, false, false]);
  assert.deepEqual([begun, disk.hangs], [1, true]);
  held[0]?.resolve();
  await settle();
  assert.deepEqual([begun, disk.hangs], [2, true]);
  held[1]?.resolve();
  await settle();
  assert.deepEqual([begun, disk.hangs], [3, false]);
});

test('a record on a disk that hangs for another one is not begun, said, and made when it is said again', async (t) => {
  const directory = await temporaryDirectory(t);
  const disk = new FloorDisk();
  const log = new FakeLog();
  const uid = process.getuid?.() ?? 0;
  const minSerial = undefined;
  const options = { directory, disk, instance: 'web,b', name: 'b', minSerial, uid, log, clockMs: () => 0 };
  const floor = new FloorFile(options);
  await floor.load();
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const held = deferred();
  const other = disk.inTime(() => held.promise);
  t.mock.timers.tick(5_000);
  assert.equal(await other, false);
  await floor.record(5, 'a'.repeat(64));
  assert.match(floor.describe().problem ?? '', /no answer/);
  assert.equal(floor.floor?.serial, 5);
  assert.deepEqual(log.events, ['floor-missing', 'floor-not-kept']);
  held.resolve();
  await settle();
  assert.deepEqual(await readdir(directory), []);
  await floor.record(5, 'a'.repeat(64));
  assert.equal(floor.describe().problem, null);
  assert.deepEqual(await readdir(directory), ['web,b.floor.json']);
});
