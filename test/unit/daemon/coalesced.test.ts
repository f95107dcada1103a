import assert from 'node:assert/strict';
import { test } from 'node:test';
import { coalesced } from '../../../src/daemon/coalesced.ts';

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('what is asked for while it runs runs once more after, however often it was asked for', async () => {
  const ends: (() => void)[] = [];
  const ask = coalesced(() => new Promise<number>((resolve) => ends.push(() => resolve(ends.length))));
  const first = [ask(), ask()];
  await turn();
  assert.equal(ends.length, 1, 'asked for twice before it began');
  const second = [ask(), ask(), ask()];
  await turn();
  assert.equal(ends.length, 1, 'one at a time');
  ends[0]?.();
  assert.deepEqual(await Promise.all(first), [1, 1]);
  await turn();
  assert.equal(ends.length, 2);
  ends[1]?.();
  assert.deepEqual(await Promise.all(second), [2, 2, 2]);
});

test('one that fails is told to who asked for it, and the next one runs', async () => {
  let runs = 0;
  const ask = coalesced(async () => {
    runs += 1;
    if (runs === 1) throw new Error('once');
    return runs;
  });
  await assert.rejects(ask(), /once/);
  assert.equal(await ask(), 2);
});
