import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { UnsealLimits } from '../../../src/daemon/unseal-limits.ts';

test('in any minute there are never more attempts than a burst and the limit, and waiting as told is enough', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 600 }),
      fc.array(fc.integer({ min: 0, max: 20_000 }), { maxLength: 200 }),
      (perMinute, pauses) => {
        let nowMs = 0;
        const limits = new UnsealLimits({ perMinute, retryMs: 1, nowMs: () => nowMs, random: () => 0 });
        const taken: number[] = [];
        for (const pauseMs of pauses) {
          nowMs += pauseMs;
          const waitMs = limits.take();
          if (waitMs === 0) taken.push(nowMs);
          else {
            nowMs += waitMs;
            assert.equal(limits.take(), 0);
            taken.push(nowMs);
          }
        }
        const most = perMinute + Math.max(1, Math.floor(perMinute / 2)) + 1;
        taken.forEach((atMs) => {
          const within = taken.filter((other) => other >= atMs && other < atMs + 60_000).length;
          assert.ok(within <= most, `${within} in a minute`);
        });
      },
    ),
  );
});

test('a failure waits up to twice as long each time, and from the start for another revision or after success', () => {
  const limits = new UnsealLimits({
    perMinute: 10,
    retryMs: 10_000,
    nowMs: () => 0,
    random: () => 0.999_999,
  });
  const waits = (revision: string, times: number) =>
    Array.from({ length: times }, () => Math.round(limits.failed(revision) / 1000));
  assert.deepEqual(waits('r1', 8), [10, 20, 40, 80, 160, 300, 300, 300]);
  assert.deepEqual(waits('r2', 2), [10, 20]);
  limits.recovered();
  assert.deepEqual(waits('r2', 1), [10]);
  assert.equal(Math.round(limits.failed('r3', true) / 1000), 60);
});
