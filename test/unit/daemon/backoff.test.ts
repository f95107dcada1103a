import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Backoff } from '../../../src/daemon/backoff.ts';
import { FakeTimers } from '../../support/fake-timers.ts';

function setUp(firstMs = 100) {
  const timers = new FakeTimers();
  let starts = 0;
  const backoff = new Backoff(() => starts++, { firstMs, minMs: 100, maxMs: 1000 }, timers);
  return { timers, backoff, starts: () => starts };
}

test('each start comes twice as late as the one before, up to the limit', () => {
  const { timers, backoff } = setUp();
  const waits = [];
  for (let i = 0; i < 6; i++) {
    backoff.later();
    waits.push(...timers.waits);
  }
  assert.deepEqual(waits, [100, 200, 400, 800, 1000, 1000]);
});

test('the first start may come at once, and comes so again after reset()', () => {
  const { timers, backoff } = setUp(0);
  backoff.later();
  assert.deepEqual(timers.waits, [0]);
  backoff.later();
  assert.deepEqual(timers.waits, [200]);
  backoff.reset();
  backoff.later();
  assert.deepEqual(timers.waits, [0]);
});

test('one start is pending at the most, and none after cancel()', () => {
  const { timers, backoff, starts } = setUp();
  backoff.later();
  backoff.now();
  assert.deepEqual(timers.waits, [0]);
  timers.pass(5000);
  assert.equal(starts(), 1);
  backoff.later();
  backoff.cancel();
  timers.pass(5000);
  assert.equal(starts(), 1);
});
