import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { mapConcurrently } from '../../../src/secrets/concurrent.ts';

test('as many as the limit run at a time, and results are in the order of the items', async () => {
  let running = 0;
  let most = 0;
  const results = await mapConcurrently(
    Array.from({ length: 50 }, (_, i) => i),
    7,
    async (i) => {
      most = Math.max(most, ++running);
      for (let turns = 50 - i; turns > 0; turns--) await setImmediate();
      running--;
      return i * 2;
    },
  );
  assert.equal(most, 7);
  assert.deepEqual(
    results,
    Array.from({ length: 50 }, (_, i) => i * 2),
  );
});

test('no more is taken from the items than can be begun', async () => {
  let taken = 0;
  let begun = 0;
  async function* items() {
    for (; taken < 20; taken++) {
      assert.ok(taken - begun <= 1, `${taken} were taken when ${begun} had begun`);
      yield taken;
    }
  }
  await mapConcurrently(items(), 3, async () => {
    begun++;
    await setImmediate();
  });
  assert.equal(begun, 20);
});

test('after a failure nothing is begun, what runs is waited for, and the first failure is thrown', async () => {
  let begun = 0;
  let ended = 0;
  const work = mapConcurrently(
    Array.from({ length: 20 }, (_, i) => i),
    4,
    async (i) => {
      begun++;
      if (i === 2) throw new Error('the first');
      for (let turns = 0; turns < 10; turns++) await setImmediate();
      ended++;
      if (i === 3) throw new Error('a later one');
    },
  );
  await assert.rejects(work, /the first/);
  assert.equal(ended, begun - 1);
  assert.ok(begun <= 5, `${begun} were begun`);
});

test('a failure of the items is thrown, after what runs has ended', async () => {
  let ended = false;
  async function* items() {
    yield 1;
    throw new Error('of the items');
  }
  const work = mapConcurrently(items(), 4, async () => {
    for (let turns = 0; turns < 10; turns++) await setImmediate();
    ended = true;
  });
  await assert.rejects(work, /of the items/);
  assert.ok(ended);
});
