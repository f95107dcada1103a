import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import type { SerialFloor } from '../../../src/bundle/policy.ts';
import type { Log } from '../../../src/daemon/log.ts';
import { Rotation, type RotationPorts, type Taken, type TakeOptions } from '../../../src/daemon/rotation.ts';
import { takeHere } from '../../../src/daemon/take.ts';
import { BundleError, KeyError, MountError, SecretsfsError, SourceError } from '../../../src/errors.ts';
import type { FetchedBundle, Source } from '../../../src/source/source.ts';

/** A FloorFile without a file. */
function floorsInMemory(): RotationPorts<unknown>['floors'] {
  let floor: SerialFloor | undefined;
  return {
    get floor() {
      return floor;
    },
    floorOfRollback: { serial: 1 },
    async record(serial, sha256) {
      floor = { serial, sha256 };
    },
  };
}

/** A bundle is "SERIAL", or an error to be thrown when it is opened. */
function setUp() {
  const world = {
    revision: 1,
    content: '1' as string | Error,
    outage: undefined as Error | undefined,
    fetches: 0,
    opens: 0,
    floors: [] as (SerialFloor | undefined)[],
    active: [] as number[],
    log: [] as string[],
    beforeFetch: undefined as (() => Promise<void>) | undefined,
    retry: undefined as { callback: () => void; delayMs: number } | undefined,
    put(content: string | Error) {
      world.content = content;
      world.revision++;
    },
  };
  const source: Source = {
    location: 'test',
    async fetch({ knownRevision, signal }) {
      world.fetches++;
      await world.beforeFetch?.();
      signal?.throwIfAborted();
      if (world.outage !== undefined) throw world.outage;
      const revision = `r${world.revision}`;
      if (revision === knownRevision) return undefined;
      return { revision, bytes: Buffer.from(String(world.content)) };
    },
    check: async () => 'maybe-changed',
    watch: () => ({ close: async () => undefined }),
  };
  const note = (event: string, fields: Record<string, unknown> = {}) => {
    world.log.push(
      [event, fields['code'] ?? fields['serial']].filter((word) => word !== undefined).join(' '),
    );
  };
  const log: Log = { info: note, warn: note, error: note };
  const rotation = new Rotation<number>({
    log,
    nowMs: () => 1_000_000,
    timers: {
      set: (callback, delayMs) => {
        world.retry = { callback, delayMs };
        return world.retry;
      },
      clear: (timer) => {
        if (timer === world.retry) world.retry = undefined;
      },
    },
    random: () => 0.5,
    floors: floorsInMemory(),
    take: takeHere({
      source,
      bytesMax: 100,
      async open(_fetched: FetchedBundle, _sha256: string, floor: SerialFloor | undefined) {
        world.opens++;
        world.floors.push(floor);
        if (world.content instanceof Error) throw world.content;
        return { generation: Number(world.content), serial: Number(world.content), created: '' };
      },
    }),
    activate(opened) {
      world.active.push(opened.generation);
      return world.active.length === 1 ? undefined : { added: 0, changed: 1, removed: 0, unchanged: 0 };
    },
  });
  return { world, rotation };
}

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

test('the first refresh activates, the next finds nothing new, a new bundle activates against the floor of the old', async () => {
  const { world, rotation } = setUp();
  assert.equal((await rotation.refresh()).outcome, 'activated');
  assert.equal((await rotation.refresh()).outcome, 'unchanged');
  world.put('2');
  assert.equal((await rotation.refresh()).outcome, 'activated');
  assert.deepEqual(world.active, [1, 2]);
  assert.deepEqual(world.floors, [undefined, { serial: 1, sha256: sha256('1') }]);
  assert.equal(rotation.state().live?.revision, 'r2');
});

test('a rollback is measured by what the settings demand, and what went live is the floor from then on', async () => {
  const { world, rotation } = setUp();
  world.put('5');
  await rotation.refresh();
  world.put('3');
  await rotation.refresh({ allowRollback: true });
  world.put('4');
  await rotation.refresh();
  const [, rollback, after] = world.floors;
  assert.deepEqual([rollback, after], [{ serial: 1 }, { serial: 3, sha256: sha256('3') }]);
});

test('the same bytes under another revision are unchanged and are not opened again', async () => {
  const { world, rotation } = setUp();
  await rotation.refresh();
  world.put('1');
  assert.equal((await rotation.refresh()).outcome, 'unchanged');
  assert.equal(world.opens, 1);
  assert.equal(rotation.state().live?.revision, 'r2');
});

test('a failure leaves the live generation alone, is logged when it begins, changes and ends, and is in the state', async () => {
  const { world, rotation } = setUp();
  await rotation.refresh();
  world.outage = new SourceError('source-unreachable', 'cannot reach');
  await rotation.hint();
  await rotation.hint();
  assert.equal(rotation.state().failure?.attempts, 2);
  assert.equal(rotation.state().lastCheck?.outcome, 'failed');
  world.outage = new SourceError('source-denied', 'denied');
  await rotation.hint();
  world.outage = undefined;
  await rotation.hint();
  assert.equal(rotation.state().failure, undefined);
  assert.deepEqual(world.log, [
    'activated 1',
    'refresh-failed source-unreachable',
    'refresh-failed source-denied',
    'refresh-recovered source-denied',
  ]);
  assert.deepEqual(world.active, [1]);
});

test('refresh() throws the reason and the live generation stays', async () => {
  const { world, rotation } = setUp();
  await rotation.refresh();
  world.put(new BundleError('bundle-corrupt', 'broken'));
  await assert.rejects(rotation.refresh(), { code: 'bundle-corrupt' });
  assert.equal(rotation.state().live?.serial, 1);
});

test('a refused revision is not opened again by hints, but by hand, and the refusal stays in the state', async () => {
  const { world, rotation } = setUp();
  await rotation.refresh();
  world.put(new BundleError('bundle-corrupt', 'broken'));
  await rotation.hint();
  await rotation.hint();
  assert.equal(world.opens, 2);
  assert.equal(rotation.state().failure?.error.code, 'bundle-corrupt');
  assert.equal(rotation.state().failure?.attempts, 2);
  await assert.rejects(rotation.refresh(), { code: 'bundle-corrupt' });
  assert.equal(world.opens, 3);
  world.put('2');
  await rotation.hint();
  assert.equal(rotation.state().failure, undefined);
  assert.deepEqual(world.active, [1, 2]);
});

test('after an outage a refused revision is still told as refused, without opening it again', async () => {
  const { world, rotation } = setUp();
  await rotation.refresh();
  world.put(new BundleError('bundle-name', 'other name'));
  await rotation.hint();
  world.outage = new SourceError('source-unreachable', 'cannot reach');
  await rotation.hint();
  world.outage = undefined;
  await rotation.hint();
  assert.equal(rotation.state().failure?.error.code, 'bundle-name');
  assert.equal(world.opens, 2);
});

test('what depends on the world is tried again at each hint', async () => {
  const { world, rotation } = setUp();
  await rotation.refresh();
  world.put(new KeyError('key-denied', 'denied'));
  await rotation.hint();
  await rotation.hint();
  assert.equal(world.opens, 3);
  world.content = '2';
  await rotation.hint();
  assert.deepEqual(world.active, [1, 2]);
});

test('what the clock alone refuses is tried again, because it moves; what else a check refuses is not', async () => {
  const opens = { 'bundle-serial-future': 3, 'check-clock': 3, 'check-failed': 2 } as const;
  for (const [code, expected] of Object.entries(opens)) {
    const { world, rotation } = setUp();
    await rotation.refresh();
    world.put(new BundleError(code as keyof typeof opens, 'refused'));
    await rotation.hint();
    await rotation.hint();
    assert.equal(world.opens, expected, code);
  }
});

test('what depends on the world is tried again without a hint too, later each time, until it is right', async () => {
  const { world, rotation } = setUp();
  await rotation.refresh();
  world.put(new KeyError('key-permissions', 'denied'));
  await rotation.hint();
  const delays: number[] = [];
  for (let i = 0; i < 6; i++) {
    const retry = world.retry;
    assert.ok(retry !== undefined);
    delays.push(retry.delayMs);
    if (i === 5) world.content = '2';
    retry.callback();
    await rotation.hint();
  }
  assert.deepEqual(delays, [5_000, 10_000, 20_000, 40_000, 60_000, 60_000]);
  assert.deepEqual(world.active, [1, 2]);
  assert.equal(world.retry, undefined);
});

test('a refusal for what the bytes are is not tried again by itself, nor is anything after stop()', async () => {
  const { world, rotation } = setUp();
  await rotation.refresh();
  world.put(new BundleError('bundle-corrupt', 'broken'));
  await rotation.hint();
  assert.equal(world.retry, undefined);
  world.outage = new SourceError('source-unreachable', 'cannot reach');
  await rotation.hint();
  assert.ok(world.retry !== undefined);
  await rotation.stop();
  assert.equal(world.retry, undefined);
});

test('a message that changes with each attempt is one state and one line of the log', async () => {
  const { world, rotation } = setUp();
  await rotation.refresh();
  world.outage = new SourceError('source-unreachable', 'ended after 7 bytes');
  await rotation.hint();
  world.outage = new SourceError('source-unreachable', 'ended after 9 bytes');
  await rotation.hint();
  assert.deepEqual(world.log, ['activated 1', 'refresh-failed source-unreachable']);
  assert.equal(rotation.state().failure?.error.message, 'ended after 9 bytes');
});

test('the live bundle put back after a refused one ends the failure', async () => {
  const { world, rotation } = setUp();
  await rotation.refresh();
  world.put(new BundleError('bundle-corrupt', 'broken'));
  await rotation.hint();
  world.put('1');
  await rotation.hint();
  assert.equal(rotation.state().failure, undefined);
  assert.equal(rotation.state().lastCheck?.outcome, 'unchanged');
});

test('hints that come while a refresh runs are one refresh more, and refreshes never overlap', async () => {
  const { world, rotation } = setUp();
  await rotation.refresh();
  let running = 0;
  let most = 0;
  world.beforeFetch = async () => {
    most = Math.max(most, ++running);
    await new Promise((resolve) => setImmediate(resolve));
    running--;
  };
  world.put('2');
  await Promise.all([rotation.hint(), rotation.hint(), rotation.hint(), rotation.refresh()]);
  assert.equal(most, 1);
  assert.equal(world.fetches, 3);
});

test('after stop() nothing is fetched and refresh() says why', async () => {
  const { world, rotation } = setUp();
  await rotation.refresh();
  await rotation.stop();
  await rotation.hint();
  assert.equal(world.fetches, 1);
  await assert.rejects(
    rotation.refresh(),
    (error) => error instanceof SecretsfsError && /stopping/.test(error.message),
  );
});

/** A rotation over ports that do what each test says. */
function withPorts(ports: Partial<Pick<RotationPorts<string>, 'take' | 'activate'>>) {
  const taken: TakeOptions[] = [];
  const log: string[] = [];
  const note = (event: string) => void log.push(event);
  const rotation = new Rotation<string>({
    log: { info: note, warn: note, error: note },
    nowMs: () => 1_000_000,
    timers: { set: () => undefined, clear: () => undefined },
    random: () => 0.5,
    floors: floorsInMemory(),
    activate: () => undefined,
    ...ports,
    take: async (options) => {
      taken.push(options);
      if (ports.take === undefined) return opened(`r${taken.length}`, taken.length);
      return ports.take(options);
    },
  });
  return { rotation, taken, log };
}

const opened = (revision: string, serial: number): Taken<string> => ({
  outcome: 'opened',
  revision,
  sha256: revision,
  opened: { generation: revision, serial, created: '' },
});

test('an activation may take its time: until it is done the old one is live, and nothing else is taken', async () => {
  let finish: () => void = () => undefined;
  const { rotation, taken } = withPorts({
    activate: ({ serial }) => {
      if (serial === 1) return undefined;
      return new Promise((resolve) => {
        finish = () => resolve({ added: 1, changed: 2, removed: 3, unchanged: 4 });
      });
    },
  });
  await rotation.refresh();
  const second = rotation.refresh();
  const third = rotation.hint();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(rotation.state().live?.serial, 1);
  assert.equal(taken.length, 2);
  finish();
  const result = await second;
  assert.deepEqual(result.outcome === 'activated' && result.changes, {
    added: 1,
    changed: 2,
    removed: 3,
    unchanged: 4,
  });
  await new Promise((resolve) => setImmediate(resolve));
  finish();
  await third;
  assert.equal(taken[2]?.knownRevision, 'r2');
  assert.deepEqual(taken[2]?.floor, { serial: 2, sha256: 'r2' });
  assert.equal(taken[2]?.liveSha256, 'r2');
});

test('an activation that fails leaves what is live, and is tried again', async () => {
  let fails = true;
  const { rotation } = withPorts({
    async activate({ serial }) {
      if (serial > 1 && fails) throw new MountError('mount-failed', 'the prober is gone');
      return undefined;
    },
  });
  await rotation.refresh();
  await rotation.hint();
  assert.equal(rotation.state().live?.serial, 1);
  assert.equal(rotation.state().failure?.error.code, 'mount-failed');
  assert.equal(rotation.state().failure?.revision, 'r2');
  assert.equal(rotation.knownRevision, 'r1');
  fails = false;
  await rotation.hint();
  assert.equal(rotation.state().live?.revision, 'r3');
  assert.equal(rotation.state().failure, undefined);
});

test('a refusal is remembered for the revision that the error names', async () => {
  let next: Taken<string> | SecretsfsError = opened('r1', 1);
  const { rotation, taken } = withPorts({
    async take({ knownRevision }) {
      if (next instanceof SecretsfsError) {
        if (next.revision === knownRevision) return { outcome: 'unchanged', revision: next.revision ?? '' };
        throw next;
      }
      return next;
    },
  });
  await rotation.refresh();
  next = new BundleError('bundle-name', 'another name');
  next.revision = 'r2';
  await rotation.hint();
  assert.equal(rotation.knownRevision, 'r2');
  await rotation.hint();
  assert.equal(taken.at(-1)?.knownRevision, 'r2');
  assert.equal(rotation.state().failure?.attempts, 2);
});

test('a bundle that the memory is too small for is no refusal', async () => {
  let fails = false;
  const { rotation } = withPorts({
    async take() {
      if (!fails) return opened('r1', 1);
      const error = new MountError('memory-exceeded', 'too large');
      error.revision = 'r2';
      throw error;
    },
  });
  await rotation.refresh();
  fails = true;
  await rotation.hint();
  assert.equal(rotation.state().failure?.error.code, 'memory-exceeded');
  assert.equal(rotation.knownRevision, 'r1');
});

test('a check that somebody else made ends an outage, and counts only for the known revision', async () => {
  let outage = false;
  const { rotation } = withPorts({
    async take() {
      if (outage) throw new SourceError('source-unreachable', 'away');
      return opened('r1', 1);
    },
  });
  rotation.noteUnchanged('r1');
  assert.equal(rotation.state().lastCheck, undefined);
  await rotation.refresh();
  outage = true;
  await rotation.hint();
  rotation.noteUnchanged('r0');
  assert.equal(rotation.state().failure?.error.code, 'source-unreachable');
  rotation.noteUnchanged('r1');
  assert.equal(rotation.state().failure, undefined);
  assert.equal(rotation.state().lastCheck?.outcome, 'unchanged');
});

test('a check that somebody else made leaves a refusal, and a refresh that is under way', async () => {
  const { rotation } = withPorts({
    async take({ liveSha256 }) {
      if (liveSha256 === undefined) return opened('r1', 1);
      const error = new BundleError('bundle-corrupt', 'broken');
      error.revision = 'r2';
      throw error;
    },
  });
  await rotation.refresh();
  const running = rotation.hint();
  rotation.noteUnchanged('r1');
  assert.equal(rotation.state().lastCheck?.outcome, 'activated');
  await running;
  rotation.noteUnchanged('r2');
  assert.equal(rotation.state().failure?.error.code, 'bundle-corrupt');
  assert.equal(rotation.state().failure?.attempts, 2);
});
