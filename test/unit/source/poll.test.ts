import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startPolling } from '../../../src/source/poll.ts';

function fakeTimers() {
  const pending: { callback: () => void; delayMs: number }[] = [];
  return {
    pending,
    set(callback: () => void, delayMs: number) {
      const timer = { callback, delayMs };
      pending.push(timer);
      return timer;
    },
    clear(timer: unknown) {
      const at = pending.findIndex(
        ({ callback }) => callback === (timer as { callback: () => void } | undefined)?.callback,
      );
      if (at !== -1) pending.splice(at, 1);
    },
  };
}

test('startPolling() keeps within a fifth of its interval and leaves no timer', async () => {
  const timers = fakeTimers();
  const randoms = [0, 0.5, 0.999999];
  let hints = 0;
  const watch = startPolling(
    () => {
      hints++;
    },
    30_000,
    timers,
    () => randoms.shift() ?? 0,
  );
  const delays: number[] = [];
  for (let i = 0; i < 3; i++) {
    const timer = timers.pending.shift();
    delays.push(timer?.delayMs ?? 0);
    timer?.callback();
  }
  assert.deepEqual(delays, [24_000, 30_000, 36_000]);
  assert.equal(hints, 3);
  await watch.close();
  assert.equal(timers.pending.length, 0);
});

test('a poll that was already under way when it was closed gives no hint', async () => {
  const timers = fakeTimers();
  const watch = startPolling(
    () => assert.fail('hinted'),
    1000,
    timers,
    () => 0,
  );
  const late = timers.pending[0];
  await watch.close();
  late?.callback();
  assert.equal(timers.pending.length, 0);
});
