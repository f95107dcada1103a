/** What a mount counts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Tally } from '../../../src/daemon/tally.ts';

test('looks are counted by outcome and reason; a success is remembered, a failure leaves it', () => {
  let nowMs = 1000;
  const tally = new Tally(() => nowMs);
  tally.checked('activated');
  nowMs = 2000;
  tally.checked('unchanged');
  nowMs = 3000;
  tally.checked('failed', 'bundle-serial-low');
  tally.checked('failed', 'bundle-serial-low');
  tally.checked('failed', 'source-denied');
  const { refreshes, failures, lastSuccessMs, lastAnswerMs, served } = tally.totals(undefined);
  assert.deepEqual(refreshes, { activated: 1, unchanged: 1, failed: 3 });
  assert.deepEqual(failures, { 'bundle-serial-low': 2, 'source-denied': 1 });
  assert.deepEqual([lastSuccessMs, lastAnswerMs, served], [2000, null, null]);
  tally.answered();
  assert.equal(tally.totals(undefined).lastAnswerMs, 3000);
});
