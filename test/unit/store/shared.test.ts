import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LATENCY_CELLS } from '../../../src/fuse/kernel/latencies.ts';
import {
  CONTROL,
  type Control,
  decodeControl,
  decodeStatus,
  encodeControl,
  LATENCIES_AT,
  refusalWord,
  SHARED_BYTES,
  STATUS,
  STATUS_MAGIC,
} from '../../../src/store/shared.ts';

const control: Control = {
  live: 7,
  candidate: 8,
  handOver: false,
  closed: false,
  preserve: true,
  lingering: [5, 6],
  fuseMinor: 45,
  flags: 0x80000001,
  flags2: 0x200,
  maxReadBytes: 1 << 20,
  cachePolicy: 'none',
  fastOpen: true,
  consistencyWindowMs: 2000,
  resend: true,
  token: Uint8Array.from({ length: 16 }, (_, i) => i + 200),
};

function page(words: Uint32Array): Uint32Array {
  const whole = new Uint32Array(SHARED_BYTES / 4);
  whole.set(words);
  return whole;
}

test('control comes back as it was written', () => {
  assert.deepEqual(decodeControl(page(encodeControl(control, 12))), { ...control, sequence: 12 });
  const lingering = Array.from({ length: 64 }, (_, i) => i + 1);
  assert.deepEqual(decodeControl(page(encodeControl({ ...control, lingering }, 1)))?.lingering, lingering);
});

test('control has the documented words', () => {
  const words = encodeControl(control, 12);
  assert.deepEqual([...words.subarray(0, 9)], [0x43534653, 1, 12, 7, 8, 0, 2, 5, 6]);
  assert.deepEqual([...words.subarray(80, 88)], [45, 0x80000001, 0x200, 1 << 20, 1, 1, 1, 12]);
  assert.deepEqual([...new Uint8Array(words.buffer).subarray(360, 376)], [...control.token]);
});

test('control that is being written, foreign or damaged is not taken', () => {
  for (const [index, value] of [
    [CONTROL.sequenceBegun, 13],
    [CONTROL.magic, 0],
    [CONTROL.version, 2],
    [CONTROL.lingeringCount, 65],
    [CONTROL.cachePolicy, 2],
  ] as const) {
    const words = page(encodeControl(control, 12));
    words[index] = value;
    assert.equal(decodeControl(words), undefined, `word ${index}`);
  }
  assert.equal(decodeControl(new Uint32Array(SHARED_BYTES / 4)), undefined);
});

test('encodeControl() refuses what has no place', () => {
  const lingering = Array.from({ length: 65 }, (_, i) => i);
  assert.throws(() => encodeControl({ ...control, lingering }, 1), RangeError);
  assert.throws(() => encodeControl({ ...control, token: new Uint8Array(15) }, 1), RangeError);
});

test('status is undefined before a server wrote it, and counts past 32 bits', () => {
  const words = new Uint32Array(SHARED_BYTES / 4);
  assert.equal(decodeStatus(new Uint8Array(words.buffer)), undefined);
  words[STATUS.magic] = STATUS_MAGIC;
  words[STATUS.version] = 1;
  words[STATUS.pid] = 4242;
  words[STATUS.refusedWhy] = refusalWord('unreadable');
  words[STATUS.requestsLow] = 5;
  words[STATUS.requestsHigh] = 1;
  for (const [low, high] of [
    [STATUS.opens, STATUS.opensHigh],
    [STATUS.reads, STATUS.readsHigh],
    [STATUS.lookups, STATUS.lookupsHigh],
  ] as const) {
    words[low] = low;
    words[high] = high;
  }
  new Float64Array(words.buffer, LATENCIES_AT)[1] = 7.5;
  const status = decodeStatus(new Uint8Array(words.buffer));
  assert.equal(status?.requests, 2 ** 32 + 5);
  assert.deepEqual([status?.pid, status?.refusedWhy], [4242, 'unreadable']);
  const counts = [status?.opens, status?.reads, status?.lookups];
  assert.deepEqual(counts, [15 * 2 ** 32 + 10, 16 * 2 ** 32 + 11, 17 * 2 ** 32 + 12]);
  assert.equal(status?.latencies[1], 7.5);
  assert.ok((status?.latencies.length ?? 0) >= LATENCY_CELLS);
});
