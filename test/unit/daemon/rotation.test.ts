import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import type { SerialFloor } from '../../../src/bundle/policy.ts';
import type { Log } from '../../../src/daemon/log.ts';
import { Rotation } from '../../../src/daemon/rotation.ts';
import type { RotationPorts, Taken, TakeOptions } from '../../../src/daemon/rotation-ports.ts';
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
function setUp(
  ports: Partial<
    Pick<RotationPorts<number>, 'sources' | 'unsealsPerMinute' | 'floors' | 'checked' | 'isOptional'>
  > = {},
) {
  const world = {
    revision: 1,
    nowMs: 1_000_000,
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
    polled: true,
    async fetch({ knownRevision, signal }) {
      world.fetches++;
      await world.beforeFetch?.();
      signal?.throwIfAborted();
      if (world.outage !== undefined) throw world.outage;
      const revision = `r${world.revision}`;
      if (revision === knownRevision) return undefined;
      return { revision, bytes: Buffer.from(String(world.content)), uploadedMs: undefined };
    },
    check: async () => ({ outcome: 'changed', revision: undefined }),
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
    nowMs: () => world.nowMs,
    sources: [{ isLocal: false }],
    unsealsPerMinute: undefined,
    retries: { ownMs: 10_000, sharedMs: 120_000 },
    floors: floorsInMemory(),
    ...ports,
    timers: {
      set: (callback, delayMs) => {
        const retry = {
          callback: () => {
            world.retry = undefined;
            callback();
          },
          delayMs,
        };
        world.retry = retry;
        return retry;
      },
      clear: (timer) => {
        if (timer === world.retry) world.retry = undefined;
      },
    },
    random: () => 0.5,
    take: takeHere({
      sources: [source],
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

test('each look is told to who counts them, a failure with its reason each time', async () => {
  const told: string[] = [];
  const checked = (...words: (string | undefined)[]) => told.push(words.filter(Boolean).join(' '));
  const { world, rotation } = setUp({ checked });
  await rotation.refresh();
  await rotation.refresh();
  world.put(new BundleError('bundle-invalid', 'broken', { hint: 'x' }));
  for (let i = 0; i < 2; i++) await assert.rejects(rotation.refresh());
  assert.deepEqual(told, ['activated', 'unchanged', 'failed bundle-invalid', 'failed bundle-invalid']);
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

test('what is live is recorded again by whatever finds it unchanged: a refresh, a look', async () => {
  const recorded: string[] = [];
  const floors = {
    floor: undefined,
    floorOfRollback: undefined,
    record: async (serial: number, sha: string) => {
      recorded.push(`${serial} ${sha}`);
    },
  };
  const { rotation } = setUp({ floors });
  await rotation.refresh();
  const once = `1 ${sha256('1')}`;
  assert.deepEqual(recorded, [once]);
  await rotation.refresh();
  assert.deepEqual(recorded, [once, once]);
  rotation.noteLook([{ outcome: 'same', revision: 'r1' }]);
  assert.deepEqual(recorded, [once, once, once]);
  rotation.noteLook([{ outcome: 'unasked' }]);
  assert.equal(recorded.length, 3);
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
  // Once more: the bytes may have been altered on the way.
  assert.equal(world.retry?.delayMs, 60_000);
  world.retry?.callback();
  await rotation.hint();
  assert.equal(world.retry, undefined);
  await rotation.hint();
  await rotation.hint();
  assert.equal(world.opens, 3);
  assert.equal(rotation.state().failure?.error.code, 'bundle-corrupt');
  assert.equal(rotation.state().failure?.attempts, 4);
  await assert.rejects(rotation.refresh(), { code: 'bundle-corrupt' });
  assert.equal(world.opens, 4);
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
  await rotation.hint();
  world.outage = new SourceError('source-unreachable', 'cannot reach');
  await rotation.hint();
  world.outage = undefined;
  await rotation.hint();
  assert.equal(rotation.state().failure?.error.code, 'bundle-name');
  assert.equal(world.opens, 3);
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
  // What is refused is looked at once more before it is called so.
  const opens = { 'bundle-serial-future': 4, 'check-clock': 4, 'check-failed': 3 } as const;
  for (const [code, expected] of Object.entries(opens)) {
    const { world, rotation } = setUp();
    await rotation.refresh();
    world.put(new BundleError(code as keyof typeof opens, 'refused'));
    for (let i = 0; i < 3; i++) await rotation.hint();
    assert.equal(world.opens, expected, code);
  }
});

for (const [why, isLocal, failure, expected] of [
  // Whoever shares S3 or KMS with others is spread with them.
  ['in S3 or KMS', false, new KeyError('key-permissions', 'denied'), [60_000, ...Array(5).fill(120_000)]],
  [
    'by itself',
    false,
    new MountError('unsealer-failed', 'it died'),
    [5_000, 10_000, 20_000, 40_000, 80_000, 150_000],
  ],
  [
    'in its files',
    true,
    new KeyError('key-permissions', 'denied'),
    [5_000, 10_000, 20_000, 40_000, 80_000, 150_000],
  ],
] as const)
  test(`what a machine fails in ${why} is tried again without a hint too until it is right`, async () => {
    const { world, rotation } = setUp({ sources: [{ isLocal }] });
    await rotation.refresh();
    world.put(failure);
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
    assert.deepEqual(delays, expected);
    assert.deepEqual(world.active, [1, 2]);
    assert.equal(world.retry, undefined);
  });

test('a refusal for what the bytes are is not tried again by itself, nor is anything after stop()', async () => {
  const { world, rotation } = setUp();
  await rotation.refresh();
  world.put(new BundleError('bundle-corrupt', 'broken'));
  await rotation.hint();
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
function withPorts(ports: Partial<Pick<RotationPorts<string>, 'take' | 'activate' | 'sources'>>) {
  const taken: TakeOptions[] = [];
  const log: string[] = [];
  const note = (event: string) => void log.push(event);
  const rotation = new Rotation<string>({
    log: { info: note, warn: note, error: note },
    nowMs: () => 1_000_000,
    timers: { set: () => undefined, clear: () => undefined },
    random: () => 0.5,
    floors: floorsInMemory(),
    sources: [{ isLocal: false }],
    unsealsPerMinute: undefined,
    retries: { ownMs: 10_000, sharedMs: 120_000 },
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
  opened: { generation: revision, serial, created: '', uploadedMs: undefined },
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
  assert.equal(rotation.known()[0]?.revision, 'r1');
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
  assert.equal(rotation.known()[0]?.revision, 'r1');
  await rotation.hint();
  assert.equal(rotation.known()[0]?.revision, 'r2');
  await rotation.hint();
  assert.equal(taken.at(-1)?.knownRevision, 'r2');
  assert.equal(rotation.state().failure?.attempts, 3);
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
  assert.equal(rotation.known()[0]?.revision, 'r1');
});

test('a check that somebody else made ends an outage, and counts only for the known revision', async () => {
  let outage = false;
  const { rotation } = withPorts({
    async take() {
      if (outage) throw new SourceError('source-unreachable', 'away');
      return opened('r1', 1);
    },
  });
  rotation.noteLook([{ outcome: 'same', revision: 'r1' }]);
  assert.equal(rotation.state().lastCheck, undefined);
  await rotation.refresh();
  outage = true;
  await rotation.hint();
  rotation.noteLook([{ outcome: 'same', revision: 'r0' }]);
  assert.equal(rotation.state().failure?.error.code, 'source-unreachable');
  rotation.noteLook([{ outcome: 'same', revision: 'r1' }]);
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
  rotation.noteLook([{ outcome: 'same', revision: 'r1' }]);
  assert.equal(rotation.state().lastCheck?.outcome, 'activated');
  await running;
  await rotation.hint();
  rotation.noteLook([{ outcome: 'same', revision: 'r2' }]);
  assert.equal(rotation.state().failure?.error.code, 'bundle-corrupt');
  assert.equal(rotation.state().failure?.attempts, 3);
});

/** Sources by what they have: a serial, or what they fail with; a rotation over them. */
function overSources(initial: readonly (number | SecretsfsError)[]) {
  const has = [...initial];
  const asked: number[] = [];
  const { rotation, taken } = withPorts({
    sources: has.map(() => ({ isLocal: false })),
    async take({ source, knownRevision, liveSha256, floor }) {
      asked.push(source);
      const there = has[source];
      if (there === undefined || there instanceof SecretsfsError) throw there;
      const revision = `${source}:${there}`;
      if (revision === knownRevision) return { outcome: 'unchanged', revision };
      if (liveSha256 === `${there}`) return { outcome: 'unchanged', revision };
      if (floor !== undefined && there < floor.serial) {
        const error = new BundleError('bundle-serial-low', 'too low');
        error.revision = revision;
        throw error;
      }
      return {
        ...(opened(revision, there) as Extract<Taken<string>, { outcome: 'opened' }>),
        sha256: `${there}`,
      };
    },
  });
  return { has, asked, rotation, taken, states: () => rotation.state().sources.map(({ state }) => state) };
}

test('sources are asked in order, until one has what is live or newer', async () => {
  const { asked, has, rotation, states } = overSources([1, 1]);
  await rotation.refresh();
  assert.deepEqual([asked, states()], [[0], ['live', 'unasked']]);
  has[0] = new SourceError('source-unreachable', 'away');
  await rotation.hint();
  assert.deepEqual(
    [asked, states()],
    [
      [0, 0, 1],
      ['failed', 'live'],
    ],
  );
  assert.equal(rotation.state().failure, undefined);
  assert.equal(rotation.state().sources[0]?.error?.code, 'source-unreachable');
  has[1] = 2;
  await rotation.hint();
  assert.equal(rotation.state().live?.serial, 2);
  // The first one is back, with what it had: neither a failure nor live.
  has[0] = 1;
  await rotation.hint();
  assert.deepEqual(states(), ['behind', 'live']);
  assert.deepEqual([rotation.state().live?.serial, rotation.state().failure], [2, undefined]);
  has[0] = 2;
  await rotation.hint();
  assert.deepEqual(states(), ['live', 'live']);
});

test('a replica that lags never goes live, and does not hide the one behind it', async () => {
  const { has, rotation, states, taken } = overSources([5, 5]);
  await rotation.refresh();
  rotation.noteLook([
    { outcome: 'failed', error: new SourceError('source-denied', 'no') },
    { outcome: 'changed', revision: '1:5' },
  ]);
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(states(), ['failed', 'live']);
  has.splice(0, 2, 4, 6);
  await rotation.hint({ source: 0, revision: '0:4' });
  assert.deepEqual(states(), ['behind', 'live']);
  assert.equal(rotation.state().failure, undefined);
  await rotation.hint({ source: 1, revision: '1:6' });
  assert.equal(rotation.state().live?.serial, 6);
  const before = taken.length;
  await rotation.hint({ source: 0, revision: '0:4' });
  assert.equal(taken.length, before);
});

test('when every source has only something older, that is the failure', async () => {
  const { has, rotation, states } = overSources([5, 5]);
  await rotation.refresh();
  has.splice(0, 2, 4, 3);
  await rotation.hint();
  assert.deepEqual(states(), ['behind', 'behind']);
  assert.equal(rotation.state().failure?.error.code, 'bundle-serial-low');
});

test('what was live elsewhere is behind once something newer is live, without being fetched again', async () => {
  const { has, rotation, states, taken } = overSources([1, 1]);
  await rotation.refresh();
  has[0] = new SourceError('source-unreachable', 'away');
  await rotation.hint();
  has[0] = 2;
  await rotation.hint();
  assert.deepEqual(states(), ['live', 'behind']);
  const before = taken.length;
  has[0] = new SourceError('source-unreachable', 'away');
  await rotation.hint();
  assert.deepEqual(states(), ['failed', 'behind']);
  assert.equal(rotation.state().failure?.error.code, 'source-unreachable');
  assert.equal(taken.length, before + 2);
});

test('a source that has something unacceptable is a failure, and the next one is asked', async () => {
  const bad = new BundleError('bundle-corrupt', 'broken');
  bad.revision = '0:bad';
  const { rotation, states } = overSources([bad, 1]);
  assert.equal((await rotation.refresh()).outcome, 'activated');
  assert.deepEqual(states(), ['refused', 'live']);
  rotation.noteLook([
    { outcome: 'same', revision: '0:bad' },
    { outcome: 'same', revision: '1:1' },
  ]);
  assert.equal(rotation.state().failure?.error.code, 'bundle-corrupt');
});

test('a key that is denied is not asked for once for each source', async () => {
  const denied = new KeyError('key-denied', 'no');
  denied.revision = '0:1';
  const { asked, rotation } = overSources([denied, 1]);
  await assert.rejects(rotation.refresh(), { code: 'key-denied' });
  assert.deepEqual(asked, [0]);
});

test('what a look found counts as a check: an outage begins and ends with it, and nothing is taken', async () => {
  const { rotation, taken } = overSources([1]);
  await rotation.refresh();
  rotation.noteLook([{ outcome: 'failed', error: new SourceError('source-denied', 'no') }]);
  assert.equal(rotation.state().failure?.error.code, 'source-denied');
  assert.equal(rotation.state().nextAttempt, undefined);
  rotation.noteLook([{ outcome: 'same', revision: '0:1' }]);
  assert.equal(rotation.state().failure, undefined);
  assert.equal(taken.length, 1);
});

test('what was noticed is what is taken; if it is gone, what is there now', async () => {
  let gone = false;
  const { rotation, taken } = withPorts({
    async take({ revision, liveSha256 }) {
      if (liveSha256 === undefined) return opened('r1', 1);
      if (gone && revision !== undefined) throw new SourceError('source-changed', 'gone');
      return opened(revision ?? 'r4', Number((revision ?? 'r4').slice(1)));
    },
  });
  await rotation.refresh();
  await rotation.hint({ source: 0, revision: 'r2' });
  assert.deepEqual([taken[1]?.revision, rotation.state().live?.serial], ['r2', 2]);
  gone = true;
  await rotation.hint({ source: 0, revision: 'r3' });
  assert.deepEqual(
    taken.slice(2).map(({ revision }) => revision),
    ['r3', undefined],
  );
  assert.equal(rotation.state().live?.serial, 4);
  assert.equal(rotation.state().failure, undefined);
});

test('what failed is not tried again when it is noticed again, only when its time has come; another revision is', async () => {
  const { world, rotation } = setUp();
  await rotation.refresh();
  const denied = new KeyError('key-denied', 'no');
  world.put(denied);
  await rotation.hint({ source: 0, revision: 'r2' });
  await rotation.hint({ source: 0, revision: 'r2' });
  assert.equal(world.opens, 2);
  assert.deepEqual(rotation.state().nextAttempt, { atMs: 1_060_000, limited: false });
  world.put(denied);
  await rotation.hint({ source: 0, revision: 'r3' });
  assert.equal(world.opens, 3);
});

test('attempts are limited for everybody but an operator, and the state says until when', async () => {
  const { world, rotation } = setUp({ unsealsPerMinute: 10 });
  await rotation.refresh();
  let serial = 1;
  const upload = async () => {
    world.put(String(++serial));
    await rotation.hint({ source: 0, revision: `r${world.revision}` });
  };
  for (let i = 0; i < 10; i++) await upload();
  // Five at once: the start took one.
  assert.equal(world.opens, 5);
  assert.deepEqual(rotation.state().nextAttempt, { atMs: 1_006_000, limited: true });
  await rotation.refresh();
  assert.equal(world.opens, 6);
  assert.equal(rotation.state().nextAttempt, undefined);
  await upload();
  assert.equal(world.opens, 6);
  world.nowMs += 6_000;
  world.retry?.callback();
  await new Promise((resolve) => setImmediate(resolve));
  await rotation.hint();
  assert.equal(rotation.state().live?.serial, serial);
});

test('those who ask for a refresh before it has begun share one', async () => {
  const { world, rotation } = setUp();
  await rotation.refresh();
  const asked = Array.from({ length: 50 }, () => rotation.refresh());
  await new Promise((resolve) => setImmediate(resolve));
  world.put('2');
  asked.push(rotation.refresh());
  await Promise.all(asked);
  assert.equal(world.fetches, 3);
  assert.equal(rotation.state().live?.serial, 2);
});

test('whoever asks in a circle waits for a turn after very many, and holds up no hint and no end', async () => {
  const { world, rotation } = setUp({ unsealsPerMinute: 10 });
  for (let i = 0; i < 20; i++) await rotation.refresh();
  const last = rotation.refresh();
  let isDone = false;
  void last.then(() => {
    isDone = true;
  });
  const turn = world.retry;
  assert.equal(turn?.delayMs, 6_000);
  world.put('2');
  await rotation.hint();
  assert.equal(isDone, false);
  world.nowMs += 6_000;
  turn?.callback();
  await last;
  assert.equal(rotation.state().live?.serial, 2);
  const stopped = assert.rejects(rotation.refresh(), { code: 'control-not-running' });
  await rotation.stop();
  await stopped;
});

test('looking without opening costs nothing of the limit', async () => {
  const { world, rotation } = setUp({ unsealsPerMinute: 10 });
  await rotation.refresh();
  world.outage = new SourceError('source-unreachable', 'away');
  for (let i = 0; i < 20; i++) await rotation.hint();
  world.outage = undefined;
  for (let i = 0; i < 20; i++) await rotation.hint();
  world.put('2');
  await rotation.hint();
  assert.equal(world.opens, 2);
});

test('a file that is refused gets a moment before it is called so', async () => {
  const { world, rotation } = setUp({ sources: [{ isLocal: true }] });
  await rotation.refresh();
  world.put(new BundleError('bundle-truncated', 'half of it'));
  await rotation.hint();
  assert.equal(rotation.state().failure, undefined);
  assert.equal(world.retry?.delayMs, 1_000);
  world.put('2');
  world.retry?.callback();
  await rotation.hint();
  assert.equal(rotation.state().live?.serial, 2);
  assert.deepEqual(world.log, ['activated 1', 'activated 2']);
  world.put(new BundleError('bundle-truncated', 'half of it'));
  await rotation.hint();
  world.retry?.callback();
  await rotation.hint();
  assert.equal(rotation.state().failure?.error.code, 'bundle-truncated');
  // An operator is told at once.
  world.put(new BundleError('bundle-truncated', 'half of that'));
  await assert.rejects(rotation.refresh(), { code: 'bundle-truncated' });
});

test('what is live is opened again when that is asked for, until it was opened or refused', async () => {
  const { world, rotation } = setUp();
  await rotation.refresh();
  await rotation.refresh({ anew: true });
  assert.deepEqual([world.opens, world.active], [2, [1, 1]]);
  world.outage = new SourceError('source-unreachable', 'cannot reach it');
  await assert.rejects(rotation.refresh({ anew: true }));
  world.outage = undefined;
  // A look that finds it as it was brings it about.
  rotation.noteLook([{ outcome: 'same', revision: 'r1' }]);
  await rotation.between(async () => undefined);
  assert.equal(world.opens, 3);
  rotation.noteLook([{ outcome: 'same', revision: 'r1' }]);
  await rotation.between(async () => undefined);
  assert.equal((await rotation.refresh()).outcome, 'unchanged');
  assert.equal(world.opens, 3);
  world.content = new BundleError('bundle-name', 'cannot use it');
  for (let i = 0; i < 2; i++) await assert.rejects(rotation.refresh({ anew: true }));
  const opens = world.opens;
  rotation.noteLook([{ outcome: 'same', revision: 'r1' }]);
  await rotation.between(async () => undefined);
  assert.equal(world.opens, opens);
});

test('nothing is known of other sources, and nothing is taken while they are put in place', async () => {
  const { world, rotation } = setUp();
  await rotation.refresh();
  let isOver = false;
  const between = rotation.between(async () => {
    const fetches = world.fetches;
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(world.fetches, fetches);
    const sources = [{ isLocal: false }, { isLocal: true }];
    rotation.configure({
      sources,
      unsealsPerMinute: 5,
      retries: { ownMs: 1, sharedMs: 1 },
      otherSources: true,
    });
    isOver = true;
  });
  const refresh = rotation.refresh().then(() => assert.ok(isOver));
  await Promise.all([between, refresh]);
  assert.deepEqual(
    rotation.state().sources.map(({ state }) => state),
    ['live', 'unasked'],
  );
  assert.equal(world.opens, 1, 'it has what is live');
  await rotation.stop();
  await assert.rejects(
    rotation.between(async () => assert.fail()),
    /stopping/,
  );
});

for (const isLocal of [false, true]) {
  const what = isLocal ? 'a file' : 'a bundle';
  test(`${what} that is optional and was never live is looked at twice before it is called refused`, async () => {
    const { world, rotation } = setUp({ isOptional: true, sources: [{ isLocal }] });
    world.put(new BundleError('bundle-corrupt', 'broken on the way'));
    await assert.rejects(rotation.refresh(), { code: 'bundle-corrupt' });
    assert.deepEqual([world.opens, rotation.state().failure?.error.code], [1, 'bundle-corrupt']);
    // The same revision.
    world.content = '1';
    assert.ok(world.retry);
    world.retry.callback();
    await rotation.between(async () => undefined);
    assert.deepEqual([world.opens, world.active], [2, [1]]);
    assert.equal(rotation.state().failure, undefined);
    await rotation.stop();
  });
}

test('what was refused before anything was live, and is found the same again, is the failure still, and no bug', async () => {
  const { world, rotation } = setUp({ isOptional: true });
  world.put(new BundleError('bundle-serial-low', 'too old'));
  for (let i = 0; i < 2; i++) await assert.rejects(rotation.refresh(), { code: 'bundle-serial-low' });
  const { opens } = world;
  await rotation.hint();
  assert.equal(world.opens, opens, 'nor is it opened again');
  assert.equal(rotation.state().failure?.error.code, 'bundle-serial-low');
  assert.ok(!world.log.includes('bug'), world.log.join());
  await rotation.stop();
});

/** What was kept of an earlier start: `content`, or an error. */
const keptBundle =
  (content: string | Error, asked: TakeOptions[] = []): RotationPorts<number>['take'] =>
  async (options) => {
    asked.push(options);
    if (content instanceof Error) throw content;
    const opened = {
      generation: Number(content),
      serial: Number(content),
      created: '',
      uploadedMs: undefined,
    };
    const sha256 = createHash('sha256').update(content).digest('hex');
    return { outcome: 'opened', revision: 'kept', sha256, opened };
  };

test('what begins without a source goes by the floor, stays failing, and gives way to what a source has', async () => {
  const floors = floorsInMemory();
  await floors.record(4, 'f'.repeat(64));
  const { world, rotation } = setUp({ floors });
  world.outage = new SourceError('source-unreachable', 'cannot fetch it');
  await assert.rejects(rotation.refresh(), { code: 'source-unreachable' });
  const asked: TakeOptions[] = [];
  await rotation.begin(keptBundle('5', asked));
  assert.equal(asked[0]?.floor?.serial, 4);
  assert.equal(floors.floor?.serial, 5);
  const { live, failure, sources } = rotation.state();
  assert.deepEqual([live?.serial, failure?.error.code], [5, 'source-unreachable']);
  assert.equal(sources[0]?.state, 'failed');
  // By itself it is asked again.
  world.outage = undefined;
  world.put('6');
  assert.ok(world.retry !== undefined);
  world.retry.callback();
  await rotation.hint();
  assert.deepEqual(world.active, [5, 6]);
});

test('what began without a source is live as any other once a source has the same', async () => {
  const { world, rotation } = setUp();
  world.outage = new SourceError('source-unreachable', 'cannot fetch it');
  await assert.rejects(rotation.refresh());
  await rotation.begin(keptBundle('1'));
  world.outage = undefined;
  assert.equal((await rotation.refresh()).outcome, 'unchanged');
  const { live, failure, sources } = rotation.state();
  assert.deepEqual([world.active, world.opens, live?.revision, failure], [[1], 0, 'r1', undefined]);
  assert.equal(sources[0]?.state, 'live');
});

test('nothing begins without a source once something is live, nor with what is refused', async () => {
  const { world, rotation } = setUp();
  await assert.rejects(rotation.begin(keptBundle(new BundleError('bundle-serial-low', 'cannot accept it'))), {
    code: 'bundle-serial-low',
  });
  assert.equal(rotation.state().live, undefined);
  await rotation.refresh();
  await rotation.begin(keptBundle('9'));
  assert.deepEqual(world.active, [1]);
  await rotation.stop();
  await rotation.begin(keptBundle('9'));
});
