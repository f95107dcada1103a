import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { deferred } from '../../../src/daemon/deferred.ts';
import { startWaits } from '../../../src/daemon/failure-kinds.ts';
import { type Awaited, StartWait } from '../../../src/daemon/start-wait.ts';
import { ConfigError, type ErrorCode, SecretsfsError } from '../../../src/errors.ts';
import { FakeLog } from '../../support/fake-log.ts';
import { FakeTimers } from '../../support/fake-timers.ts';

const settle = async () => {
  for (let i = 0; i < 20; i++) await turn();
};

/** What is begun fails with `failing`, until that is nothing. */
function setUp({ timeoutMs = Number.POSITIVE_INFINITY, asksOthers = true } = {}) {
  const timers = new FakeTimers();
  const log = new FakeLog();
  const world: { failing: ErrorCode | undefined; begun: number[]; said: string[] } = {
    failing: 'source-unreachable',
    begun: [],
    said: [],
  };
  const failure = () =>
    world.failing === undefined ? undefined : new SecretsfsError(world.failing, 'cannot do it');
  const wait = new StartWait({
    ...{ timeoutMs, log, timers, nowMs: () => timers.nowMs, random: () => 1 },
    waiting: (what) => world.said.push(what),
  });
  const awaited: Awaited = {
    async begin() {
      world.begun.push(timers.nowMs);
      const error = failure();
      if (error !== undefined) throw error;
    },
    isThere: () => world.failing === undefined,
    failure,
    asksOthers,
    spreadMs: () => Number.POSITIVE_INFINITY,
  };
  return { timers, log, world, wait, awaited };
}

test('what costs nobody anything is asked for again, later each time up to half a minute, until it is there', async () => {
  const { timers, log, world, wait, awaited } = setUp();
  const done = wait.until(awaited);
  for (let second = 0; second < 100; second++) {
    await settle();
    timers.pass(1_000);
  }
  assert.deepEqual(world.begun, [0, 1_000, 3_000, 7_000, 15_000, 31_000, 61_000, 91_000]);
  world.failing = undefined;
  timers.pass(30_000);
  await done;
  assert.deepEqual(log.events, ['start-waits']);
  assert.equal(world.said[0], 'cannot do it (source-unreachable)');
});

test('where only this machine is asked, it is asked every five seconds', async () => {
  const { timers, world, wait, awaited } = setUp({ asksOthers: false });
  world.failing = 'bundle-corrupt';
  const done = wait.until(awaited);
  for (let i = 0; i < 100; i++) {
    await settle();
    timers.pass(1_000);
  }
  const [last = 0, before = 0] = world.begun.slice().reverse();
  assert.equal(last - before, 5_000);
  world.failing = undefined;
  timers.pass(5_000);
  await done;
});

test('what may cost a use of a key is left to who tries it at the rate of all; the start goes on when that worked', async () => {
  const { timers, world, wait, awaited } = setUp();
  world.failing = 'key-denied';
  const done = wait.until(awaited);
  await settle();
  timers.pass(3_600_000);
  await settle();
  assert.equal(world.begun.length, 1);
  // Another failure is said, and is still no reason to end.
  world.failing = 'bundle-corrupt';
  wait.wake();
  await settle();
  assert.deepEqual(world.said, ['cannot do it (key-denied)', 'cannot do it (bundle-corrupt)']);
  world.failing = undefined;
  wait.wake();
  await done;
  assert.equal(world.begun.length, 1);
});

test('a mistake ends the start at once, also one that is found later', async () => {
  const { world, wait, awaited } = setUp();
  world.failing = 'config-invalid';
  await assert.rejects(wait.until(awaited), { code: 'config-invalid' });
  world.failing = 'key-denied';
  const done = assert.rejects(wait.until(awaited), { code: 'config-invalid' });
  await settle();
  world.failing = 'config-invalid';
  wait.wake();
  await done;
});

test('without patience the first failure is the end, and what is no failure of ours always is', async () => {
  const { world, wait, awaited } = setUp({ timeoutMs: 0 });
  await assert.rejects(wait.until(awaited), { code: 'source-unreachable' });
  assert.equal(wait.isPatient, false);
  assert.deepEqual(world.said, []);
  const bug = { ...awaited, begin: () => Promise.reject(new TypeError('a bug')) };
  await assert.rejects(setUp().wait.until({ ...bug, isThere: () => false }), TypeError);
});

test('when the time is over, one last attempt decides, and the failure is named with another code', async () => {
  const { timers, world, wait, awaited } = setUp({ timeoutMs: 2_000 });
  const done = assert.rejects(wait.until(awaited), (error: SecretsfsError) => {
    assert.equal(error.code, 'wait-timeout');
    assert.match(error.message, /after 2 s: cannot do it$/);
    return true;
  });
  for (let i = 0; i < 4; i++) {
    await settle();
    timers.pass(1_000);
  }
  await done;
  assert.deepEqual(world.begun, [0, 1_000, 2_000]);
});

test('a start that is stopped while it waits ends with what it waited for', async () => {
  const { timers, wait, awaited } = setUp();
  const done = assert.rejects(wait.until(awaited), { code: 'source-unreachable' });
  await settle();
  wait.stop();
  await done;
  assert.deepEqual(timers.waits, []);
});

test('two that are waited for are woken each', async () => {
  const { world, wait, awaited } = setUp();
  world.failing = 'key-denied';
  const both = Promise.all([wait.until(awaited), wait.until(awaited)]);
  await settle();
  world.failing = undefined;
  wait.wake();
  await both;
});

test('who began it need not be who got it', async () => {
  const { world, wait, awaited } = setUp();
  const begun = deferred();
  const done = wait.until({ ...awaited, begin: () => begun.promise });
  world.failing = undefined;
  begun.reject(new ConfigError('config-invalid', 'cannot do it'));
  await done;
});

test('what others can mend is waited for; a mistake in the settings or of the machine is not', () => {
  const of = (...codes: ErrorCode[]) => codes.map(startWaits);
  assert.deepEqual(
    of('source-unreachable', 'source-not-found', 'source-denied', 'source-throttled', 'credentials-missing'),
    ['soon', 'soon', 'soon', 'soon', 'soon'],
  );
  assert.deepEqual(of('region-missing', 'clock-skewed', 'unsealer-failed'), ['soon', 'soon', 'soon']);
  assert.deepEqual(
    of(
      'key-denied',
      'key-throttled',
      'key-unreachable',
      'bundle-corrupt',
      'bundle-serial-low',
      'check-failed',
    ),
    ['spread', 'spread', 'spread', 'spread', 'spread', 'spread'],
  );
  assert.deepEqual(of('memory-exceeded', 'check-exec'), ['spread', 'spread']);
  assert.deepEqual(
    of(
      'usage',
      'config-invalid',
      'config-untrusted',
      'source-invalid',
      'mountpoint-missing',
      'memory-swappable',
    ),
    ['never', 'never', 'never', 'never', 'never', 'never'],
  );
  assert.deepEqual(of('mount-failed', 'control-not-running'), ['never', 'never']);
});
