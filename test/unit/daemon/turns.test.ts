import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Turns } from '../../../src/daemon/turns.ts';

test('what is asked for runs one after the other, also after one that failed, and each settles as it did', async () => {
  const said: string[] = [];
  const turns = new Turns(() => said.push('settled'));
  const run = (name: string) => async () => {
    said.push(`${name} begins`);
    await Promise.resolve();
    said.push(`${name} ends`);
    if (name === 'b') throw new Error('b failed');
    return name;
  };
  assert.equal(turns.isIdle, true);
  const [a, b, c] = [turns.take(run('a')), turns.take(run('b')), turns.take(run('c'))];
  assert.equal(turns.isIdle, false);
  await assert.rejects(b, /b failed/);
  assert.deepEqual([await a, await c], ['a', 'c']);
  await turns.settled();
  assert.equal(turns.isIdle, true);
  const one = (name: string) => [`${name} begins`, `${name} ends`, 'settled'];
  assert.deepEqual(said, [...one('a'), ...one('b'), ...one('c')]);
});

test('settled() does not throw what the last one threw', async () => {
  const turns = new Turns();
  const failed = turns.take(async () => {
    throw new Error('it failed');
  });
  await turns.settled();
  await assert.rejects(failed, /it failed/);
});
