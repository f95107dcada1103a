/** What is counted of how long requests take. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  LATENCY_BOUNDS_MS,
  LATENCY_CELLS,
  Latencies,
  readLatencies,
  SAMPLE_EVERY,
} from '../../../../src/fuse/kernel/latencies.ts';
import { OP } from '../../../support/fake-kernel.ts';

test('a duration is in the first bucket whose bound it does not pass, of its operation', () => {
  const cells = new Float64Array(LATENCY_CELLS);
  const latencies = new Latencies(cells);
  latencies.record(OP.LOOKUP, 0);
  latencies.record(OP.LOOKUP, 0.0025);
  latencies.record(OP.OPEN, 0.0026);
  latencies.record(OP.READ, 5000);
  latencies.record(OP.GETATTR, 1000);
  const [lookup, open, read, other] = readLatencies(cells);
  const last = LATENCY_BOUNDS_MS.length;
  assert.deepEqual([lookup?.operation, lookup?.buckets[0], lookup?.sumMs], ['lookup', 2, 0.0025]);
  assert.deepEqual([open?.operation, open?.buckets[1], open?.sumMs], ['open', 1, 0.0026]);
  assert.deepEqual([read?.operation, read?.buckets[last], read?.sumMs], ['read', 1, 5000]);
  assert.deepEqual([other?.operation, other?.buckets[last - 1], other?.sumMs], ['other', 1, 1000]);
});

test('no regular sequence of requests hides one of its kind', () => {
  for (const period of [1, 2, 3, 4, 5, 6, 8, 12, 16]) {
    const latencies = new Latencies(new Float64Array(LATENCY_CELLS));
    const timed = new Set<number>();
    for (let i = 0; i < SAMPLE_EVERY * period; i++) if (latencies.isDue()) timed.add(i % period);
    assert.equal(timed.size, period);
  }
});

test('who takes over goes on counting, and cells that hold no counts are 0', () => {
  const cells = new Float64Array(LATENCY_CELLS);
  new Latencies(cells).record(OP.OPEN, 1);
  new Latencies(cells).record(OP.OPEN, 1);
  assert.equal(readLatencies(cells)[1]?.sumMs, 2);
  cells.fill(Number.NaN);
  cells[0] = -1;
  cells[1] = Number.POSITIVE_INFINITY;
  cells[2] = 1.5;
  const [lookup] = readLatencies(cells);
  assert.deepEqual(lookup?.buckets.slice(0, 4), [0, 0, 1, 0]);
  assert.equal(readLatencies(new Float64Array(0))[3]?.sumMs, 0);
});
