import assert from 'node:assert/strict';
import { test } from 'node:test';
import { remembering } from '../../../src/aws/credentials.ts';

const MINUTE = 60_000;

test('credentials are fetched once for all who ask, and again five minutes before they expire', async () => {
  let now = 0;
  let fetches = 0;
  const provider = remembering(
    async () => ({
      accessKeyId: `${++fetches}`,
      secretAccessKey: 's',
      expiration: new Date(now + 60 * MINUTE),
    }),
    () => now,
  );
  const [a, b] = await Promise.all([provider(), provider()]);
  assert.deepEqual([a.accessKeyId, b.accessKeyId], ['1', '1']);
  now = 54 * MINUTE;
  assert.equal((await provider()).accessKeyId, '1');
  now = 56 * MINUTE;
  assert.equal((await provider()).accessKeyId, '2');
});

test('keys that never expire are looked up again, so that a replaced file is noticed', async () => {
  let now = 0;
  let fetches = 0;
  const provider = remembering(
    async () => ({ accessKeyId: `${++fetches}`, secretAccessKey: 's' }),
    () => now,
  );
  assert.ok((await provider()).expiration);
  now = 9 * MINUTE;
  assert.equal((await provider()).accessKeyId, '1');
  now = 11 * MINUTE;
  assert.equal((await provider()).accessKeyId, '2');
});

test('a failure is not remembered', async () => {
  let fetches = 0;
  const provider = remembering(async () => {
    if (++fetches === 1) throw new Error('not yet');
    return { accessKeyId: 'a', secretAccessKey: 's' };
  });
  await assert.rejects(provider());
  assert.equal((await provider()).accessKeyId, 'a');
});
