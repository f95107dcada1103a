import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { deferred } from '../../../src/daemon/deferred.ts';
import { UnsealTurn } from '../../../src/daemon/unseal-turn.ts';

function setUp() {
  const turns = new UnsealTurn();
  const begun: string[] = [];
  const { signal } = new AbortController();
  const run = (name: string, held = Promise.resolve(), by = signal) =>
    turns.run(by, async () => {
      begun.push(name);
      await held;
      return name;
    });
  return { begun, run };
}

async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await turn();
}

test('one at a time, in their order, whatever becomes of each', async () => {
  const { begun, run } = setUp();
  const held = deferred();
  const a = run('a', held.promise);
  const others = [run('b'), run('c')];
  await settle();
  assert.deepEqual(begun, ['a']);
  held.reject(new Error('broken'));
  await assert.rejects(a, /broken/);
  assert.deepEqual(await Promise.all(others), ['b', 'c']);
  assert.deepEqual(begun, ['a', 'b', 'c']);
});

test('one that hangs holds up the others for a time only', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { begun, run } = setUp();
  const held = deferred();
  const a = run('a', held.promise);
  const b = run('b');
  await settle();
  t.mock.timers.tick(14_999);
  await settle();
  assert.deepEqual(begun, ['a']);
  t.mock.timers.tick(1);
  assert.equal(await b, 'b');
  held.resolve();
  assert.equal(await a, 'a');
});

test('who is told to stop waits no more, and lets nobody begin before it would have', async () => {
  const { begun, run } = setUp();
  const held = deferred();
  const a = run('a', held.promise);
  const stop = new AbortController();
  const b = run('b', undefined, stop.signal);
  const c = run('c');
  stop.abort();
  await assert.rejects(b, { name: 'AbortError' });
  await settle();
  assert.deepEqual(begun, ['a']);
  held.resolve();
  await Promise.all([a, c]);
  assert.deepEqual(begun, ['a', 'c']);
});
