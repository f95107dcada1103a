import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  checkMemory,
  ciphertextBytesMax,
  largerThanMemory,
  type MemoryLimits,
} from '../../../src/daemon/memory-ceiling.ts';
import { refusal } from '../../support/bundles.ts';

const NONE: MemoryLimits = { availableBytes: null, heldBytes: 0, maxBytes: null };

test('without a limit everything fits', () => {
  checkMemory(2 ** 40, NONE);
  assert.ok(ciphertextBytesMax(NONE) > 2 ** 50);
});

test('ciphertext, tar and generation count against what is available', () => {
  checkMemory(100, { ...NONE, availableBytes: 300 });
  assert.throws(
    () => checkMemory(101, { ...NONE, availableBytes: 300 }),
    refusal('memory-exceeded', /its 101 bytes take 303 to open, 300 are available/),
  );
});

test('a ciphertext that is handed on counts once more', () => {
  const limits = { ...NONE, availableBytes: 300, isKept: true };
  checkMemory(75, limits);
  assert.throws(
    () => checkMemory(76, limits),
    refusal('memory-exceeded', /its 76 bytes take 304 to open, 300 are available/),
  );
  assert.match(largerThanMemory(limits).message, /more than 75 bytes and takes 4 times as many/);
});

test('what is held counts against the ceiling of the mount, and not against what is available', () => {
  checkMemory(100, { availableBytes: 300, heldBytes: 700, maxBytes: 1000 });
  assert.throws(
    () => checkMemory(100, { availableBytes: 10_000, heldBytes: 701, maxBytes: 1000 }),
    refusal(
      'memory-exceeded',
      /its 100 bytes take 300 to open, 701 are held, want at most 1000 together \(--memory-max\)/,
    ),
  );
});

test('where there is no room at all, that is what is said', () => {
  const { message, hint } = largerThanMemory({ availableBytes: 10_000, heldBytes: 24_576, maxBytes: 20_480 });
  assert.match(
    message,
    /: what is held takes 24576 bytes already, want at most 20480 with it \(--memory-max\)$/,
  );
  assert.match(hint ?? '', /secretsfs status/);
});

test('ciphertextBytesMax() is the most that is not refused', () => {
  const limits: MemoryLimits[] = [
    { availableBytes: 300, heldBytes: 0, maxBytes: null },
    { availableBytes: 1000, heldBytes: 700, maxBytes: 1000 },
    { availableBytes: null, heldBytes: 1, maxBytes: 101 },
    { availableBytes: 0, heldBytes: 0, maxBytes: null },
  ];
  for (const each of limits) {
    const most = ciphertextBytesMax(each);
    if (most > 0) checkMemory(most, each);
    assert.throws(() => checkMemory(most + 1, each), refusal('memory-exceeded'));
    assert.match(largerThanMemory(each).message, new RegExp(`more than ${most} bytes`));
  }
});
