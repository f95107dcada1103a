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
        const retries = { ownMs: 1, sharedMs: 1 };
        const limits = new UnsealLimits({ perMinute, retries, nowMs: () => nowMs, random: () => 0 });
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
    { examples: [[4, [0, 3_605, 1_000]]] },
  );
});

const OPTIONS = { perMinute: 10, retries: { ownMs: 10_000, sharedMs: 120_000 }, nowMs: () => 0 };

test('a failure of this machine waits up to twice as long each time, from the start for another revision or after success', () => {
  const limits = new UnsealLimits({ ...OPTIONS, random: () => 0.999_999 });
  const waits = (revision: string, times: number) =>
    Array.from({ length: times }, () => Math.round(limits.failed(revision, false) / 1000));
  assert.deepEqual(waits('r1', 8), [10, 20, 40, 80, 160, 300, 300, 300]);
  assert.deepEqual(waits('r2', 2), [10, 20]);
  limits.recovered();
  assert.deepEqual(waits('r2', 1), [10]);
});

test('one that all instances may have met waits anywhere in the span, then the span give or take a fifth', () => {
  for (const [chance, first, next] of [
    [0, 100, 96_000],
    [0.5, 60_000, 120_000],
    [0.999_999, 120_000, 144_000],
  ] as const) {
    const limits = new UnsealLimits({ ...OPTIONS, random: () => chance });
    assert.deepEqual([limits.failed('r1', true), limits.failed('r1', true)], [first, next]);
    assert.equal(limits.failed('r2', true), first);
    limits.recovered();
    assert.equal(limits.failed(undefined, true), first);
    assert.equal(limits.failed(undefined, true), next);
  }
});
