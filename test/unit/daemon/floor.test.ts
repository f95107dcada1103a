import assert from 'node:assert/strict';
import { chmod, mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { FloorFile, stateDirectory } from '../../../src/daemon/floor.ts';
import type { Log } from '../../../src/daemon/log.ts';
import { refusal } from '../../support/bundles.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

const SHA = 'a'.repeat(64);
const OTHER_SHA = 'b'.repeat(64);

async function setUp(t: TestContext, directoryName = 'state') {
  const directory = path.join(await temporaryDirectory(t), directoryName);
  const events: string[] = [];
  const note = (event: string, fields: Record<string, unknown> = {}) => {
    const words = [event, fields['problem'], fields['from'], fields['to']];
    events.push(words.filter((word) => word !== undefined).join(' '));
  };
  const log: Log = { info: note, warn: note, error: note };
  const start = async (minSerial?: number): Promise<FloorFile> => {
    const floor = new FloorFile({
      directory,
      instance: 'web-2',
      name: 'web',
      minSerial,
      uid: process.getuid?.() ?? 0,
      log,
      clockMs: () => 1_800_000_000_000,
    });
    await floor.load();
    return floor;
  };
  return { directory, file: path.join(directory, 'web-2.floor.json'), events, start };
}

test('a floor outlives whoever recorded it, and says so where there is none yet', async (t) => {
  const { events, start, file } = await setUp(t);
  const first = await start();
  assert.deepEqual(events, ['floor-missing']);
  assert.equal(first.floor, undefined);
  await first.record(5, SHA);
  assert.deepEqual(first.floor, { serial: 5, sha256: SHA, from: 'live' });
  const second = await start();
  assert.deepEqual(second.floor, { serial: 5, sha256: SHA, from: { file } });
  await second.record(5, SHA);
  assert.deepEqual(second.floor, { serial: 5, sha256: SHA, from: 'live' });
  assert.deepEqual(events, ['floor-missing']);
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  assert.deepEqual(JSON.parse(await readFile(file, 'utf8')), {
    ...{ version: 1, name: 'web', serial: 5, sha256: SHA },
    recorded: '2027-01-15T08:00:00.000Z',
  });
});

test('a floor is lowered by what was allowed to go live, and that is logged', async (t) => {
  const { events, start, directory, file } = await setUp(t);
  const floor = await start();
  await floor.record(5, SHA);
  await floor.record(3, OTHER_SHA);
  assert.deepEqual(events, ['floor-missing', 'floor-lowered 5 3']);
  assert.deepEqual((await start()).floor, { serial: 3, sha256: OTHER_SHA, from: { file } });
  assert.deepEqual(await readdir(directory), ['web-2.floor.json']);
});

test('minSerial stands where nothing higher is recorded, and in a rollback too', async (t) => {
  const { start } = await setUp(t);
  const floor = await start(10);
  assert.deepEqual(floor.floor, { serial: 10, from: 'setting' });
  await floor.record(10, SHA);
  assert.deepEqual(floor.floor, { serial: 10, sha256: SHA, from: 'live' });
  await floor.record(12, SHA);
  assert.deepEqual(floor.floor, { serial: 12, sha256: SHA, from: 'live' });
  assert.deepEqual(floor.floorOfRollback, { serial: 10, from: 'setting' });
  assert.equal((await start()).floorOfRollback, undefined);
});

test('a directory that others may write to is refused: what they put there would be believed', async (t) => {
  const { start, directory } = await setUp(t);
  await mkdir(directory);
  await chmod(directory, 0o777);
  await assert.rejects(start(), refusal('config-invalid', /keep serials/));
  await rm(directory, { recursive: true });
  await symlink('/tmp', directory);
  await assert.rejects(start(), refusal('config-invalid', /keep serials/));
  await rm(directory);
  await writeFile(directory, 'a file in its place');
  await assert.rejects(start(), refusal('config-invalid', /keep serials/));
});

test('what is no record is said, costs nothing else, and is replaced by the next bundle', async (t) => {
  for (const text of [
    '',
    '{',
    '[]',
    '{"version":2}',
    JSON.stringify({ version: 1, name: 'other', serial: 9, sha256: SHA, recorded: '' }),
  ]) {
    const { events, start, directory, file } = await setUp(t);
    await mkdir(directory, { mode: 0o700 });
    await writeFile(file, text);
    const floor = await start();
    assert.deepEqual(events, ['floor-not-kept it holds no record of this name']);
    assert.match(floor.describe().problem ?? '', /no record/);
    assert.equal(floor.floor, undefined);
    await floor.record(4, SHA);
    assert.equal(floor.describe().problem, null);
    assert.deepEqual((await start()).floor, { serial: 4, sha256: SHA, from: { file } });
  }
});

test('a link in place of the file is not followed', async (t) => {
  const { events, start, directory, file } = await setUp(t);
  const elsewhere = path.join(directory, '..', 'elsewhere');
  await mkdir(directory, { mode: 0o700 });
  await writeFile(
    elsewhere,
    JSON.stringify({ version: 1, name: 'web', serial: 9, sha256: SHA, recorded: '' }),
  );
  await symlink(elsewhere, file);
  const floor = await start();
  assert.deepEqual(events, ['floor-not-kept cannot read it: ELOOP']);
  await floor.record(4, SHA);
  assert.match(await readFile(elsewhere, 'utf8'), /"serial":9/);
  assert.equal((await start()).floor?.serial, 4);
});

test('a record that can not be written is said once, and what went live still counts', async (t) => {
  const { events, start, directory } = await setUp(t);
  const floor = await start();
  await rm(directory, { recursive: true });
  await floor.record(4, SHA);
  await floor.record(5, SHA);
  assert.deepEqual(events, ['floor-missing', 'floor-not-kept cannot write it: no such file or directory']);
  assert.deepEqual(floor.floor, { serial: 5, sha256: SHA, from: 'live' });
  // The same bundle again is another attempt.
  await mkdir(directory, { mode: 0o700 });
  await floor.record(5, SHA);
  assert.equal(floor.describe().problem, null);
  assert.equal((await start()).floor?.serial, 5);
});

test('where nothing can be made, a mount starts all the same', async (t) => {
  const { events, start, directory } = await setUp(t, 'file/state');
  await writeFile(path.dirname(directory), '');
  const floor = await start();
  assert.match(floor.describe().problem ?? '', /not a directory/);
  assert.deepEqual(events, [
    'floor-not-kept cannot make its directory: a part of its path is not a directory',
  ]);
  // When that was mended, what is live is recorded.
  await rm(path.dirname(directory));
  await floor.record(4, SHA);
  assert.equal(floor.describe().problem, null);
  assert.equal((await start()).floor?.serial, 4);
});

test("records are root's in /var/lib, and anybody else's at home", () => {
  assert.equal(stateDirectory({ chosen: undefined, uid: 0, env: {} }), '/var/lib/secretsfs');
  assert.equal(
    stateDirectory({ chosen: undefined, uid: 1, env: { HOME: '/h' } }),
    '/h/.local/state/secretsfs',
  );
  const env = { HOME: '/h', XDG_STATE_HOME: '/s' };
  assert.equal(stateDirectory({ chosen: undefined, uid: 1, env }), '/s/secretsfs');
  assert.equal(stateDirectory({ chosen: '/c', uid: 1, env }), '/c');
  assert.throws(() => stateDirectory({ chosen: undefined, uid: 1, env: {} }), refusal('config-invalid'));
});

test('a floor is of a name: what is live under one says nothing of another, and is not forgotten', async (t) => {
  const { start, file } = await setUp(t);
  const floor = await start();
  await floor.record(5, SHA);
  floor.configure({ name: 'api', minSerial: undefined });
  assert.deepEqual([floor.floor], [undefined]);
  // It is live still, and not of this name.
  await floor.record(5, SHA);
  assert.deepEqual([floor.floor], [undefined]);
  await floor.record(3, OTHER_SHA);
  assert.equal(floor.floor?.serial, 3);
  assert.equal(JSON.parse(await readFile(file, 'utf8')).name, 'api');
  floor.configure({ name: 'web', minSerial: undefined });
  assert.equal(floor.floor?.serial, 5);
  floor.configure({ name: 'web', minSerial: 9 });
  assert.deepEqual(floor.floor, { serial: 9, from: 'setting' });
});
