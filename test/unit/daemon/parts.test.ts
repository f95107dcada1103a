import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { deferred } from '../../../src/daemon/deferred.ts';
import { FloorDisk } from '../../../src/daemon/floor-disk.ts';
import type { PartOptions } from '../../../src/daemon/mount-options.ts';
import { Parts } from '../../../src/daemon/parts.ts';
import type { PartsPorts } from '../../../src/daemon/parts-ports.ts';
import type { SupervisorOptions } from '../../../src/daemon/supervisor-options.ts';
import { MountError } from '../../../src/errors.ts';
import { FakeLog } from '../../support/fake-log.ts';

const part = (directory: string, bundle = '/a', required = true): PartOptions =>
  ({ directory, name: directory, sources: [{ bundle, aws: {} }], rules: [], required }) as never;
const optionsOf = (...parts: PartOptions[]) =>
  ({ parts, stateDir: '/nowhere', instance: 'web' }) as unknown as SupervisorOptions;

function setUp() {
  const world = { taken: 0 };
  const parts = new Parts(optionsOf(part('a'), part('b')), {
    log: new FakeLog(),
    ...{ nowMs: () => 0, clockMs: () => 0, onSettled: () => undefined },
    tally: { checked: () => undefined, called: () => undefined },
    engine: () => {
      world.taken += 1;
      throw new MountError('mount-failed', 'cannot take it', { hint: 'not here' });
    },
  } as unknown as PartsPorts);
  return { world, parts };
}

test('between refreshes none of any part begins', async () => {
  const { world, parts } = setUp();
  const [begun, held] = [deferred(), deferred()];
  const between = parts.between(() => {
    begun.resolve();
    return held.promise;
  });
  await begun.promise;
  const refreshed = assert.rejects(parts.refresh(), { code: 'mount-failed' });
  for (let i = 0; i < 100; i++) await turn();
  assert.equal(world.taken, 0);
  held.resolve();
  await between;
  await refreshed;
  assert.equal(world.taken, 2);
  await parts.stop();
  await assert.rejects(
    parts.between(async () => undefined),
    { code: 'control-not-running' },
  );
});

test('each part goes by what it is told anew, its serials and its sources, too', async () => {
  const { parts } = setUp();
  const [a, b] = parts.all;
  parts.configure(optionsOf({ ...part('a'), minSerial: 7 }, part('b', 's3://bucket/b')));
  assert.deepEqual([a?.floors.floor?.serial, b?.floors.floor], [7, undefined]);
  assert.equal(b?.options.sources[0]?.bundle, 's3://bucket/b');
});

test('bundles are opened one at a time, those first that are required', async () => {
  const held = [deferred(), deferred()];
  const taken: string[] = [];
  const error = new MountError('mount-failed', 'cannot take it', { hint: 'not here' });
  const parts = new Parts(optionsOf(part('a', '/a', false), part('b')), {
    log: new FakeLog(),
    ...{ nowMs: () => 0, clockMs: () => 0, onSettled: () => undefined },
    tally: { checked: () => undefined, called: () => undefined },
    engine: () => ({ storeBytes: 0 }),
    users: () => ({}),
    take: async ({ options }: { options: PartOptions }) => {
      await held[taken.push(options.name) - 1]?.promise;
      throw error;
    },
  } as unknown as PartsPorts);
  const started = assert.rejects(parts.start(), { code: 'mount-failed' });
  for (let i = 0; i < 100; i++) await turn();
  assert.deepEqual(taken, ['b']);
  held[0]?.resolve();
  await started;
  for (let i = 0; i < 100; i++) await turn();
  assert.deepEqual(taken, ['b', 'a']);
  held[1]?.resolve();
  await parts.stop();
});

test('the records of all parts are asked of one disk', async (t) => {
  const { parts } = setUp();
  const asked: FloorDisk[] = [];
  t.mock.method(FloorDisk.prototype, 'inTime', async function (this: FloorDisk) {
    asked.push(this);
    return true;
  });
  await parts.load();
  assert.deepEqual([asked.length, new Set(asked).size], [2, 1]);
});
