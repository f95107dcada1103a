import assert from 'node:assert/strict';
import { truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { STORED_BYTES_MAX } from '../../../src/limits.ts';
import { DirectoryStore } from '../../../src/secrets/directory-store.ts';
import { parseStoreLocation } from '../../../src/secrets/location.ts';
import { refusal } from '../../support/bundles.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

const GIB = 2 ** 30;

async function storeWith(t: Parameters<typeof temporaryDirectory>[0], bytes: number) {
  const directory = await temporaryDirectory(t);
  const location = parseStoreLocation(directory);
  assert.ok(location.kind === 'directory');
  const store = new DirectoryStore(location);
  const { etag } = await store.write('small', Buffer.from('x'), 'absent');
  await writeFile(path.join(directory, 'big'), 'beginning');
  await truncate(path.join(directory, 'big'), bytes);
  return { store, etag };
}

test('a file that is larger than any secret is left out of a listing, which goes on', async (t) => {
  const { store, etag } = await storeWith(t, 3 * GIB);
  const skipped: string[] = [];
  const listed: unknown[] = [];
  for await (const { path, bytes, etag } of store.list('', { skipped: (name) => void skipped.push(name) }))
    listed.push({ path, bytes, etag });
  assert.deepEqual(listed, [{ path: 'small', bytes: 1, etag }]);
  assert.deepEqual(skipped, ['big']);
});

test('of a file that is too large, the beginning is read and not the whole; and it can be removed', async (t) => {
  const { store } = await storeWith(t, STORED_BYTES_MAX + 1);
  await assert.rejects(store.read('big'), refusal('source-too-large'));
  const before = process.resourceUsage().maxRSS;
  const head = await store.read('big', { headBytes: 9 });
  const grownBytes = (process.resourceUsage().maxRSS - before) * 1024;
  assert.ok(grownBytes < STORED_BYTES_MAX / 2, `it took ${grownBytes} bytes`);
  assert.deepEqual([head?.bytes.toString(), head?.size], ['beginning', STORED_BYTES_MAX + 1]);
  await store.remove('big', { etag: head?.etag ?? '' });
  assert.equal(await store.read('big', { headBytes: 1 }), undefined);
});
