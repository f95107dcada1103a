import assert from 'node:assert/strict';
import { chmod, chown, mkdir, readdir, symlink } from 'node:fs/promises';
import { test } from 'node:test';
import { keptDirectory } from '../../../src/daemon/kept-directory.ts';
import type { SecretsfsError } from '../../../src/errors.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

const of = { uid: process.getuid?.() ?? 0, what: 'bundles', flag: '--cache-dir' };
const refused = (directory: string, message: RegExp) =>
  assert.rejects(keptDirectory(directory, of), (error: SecretsfsError) => {
    assert.equal(error.code, 'config-invalid');
    assert.match(error.message, message);
    return true;
  });

test('a directory is made where it is missing, below one that is sticky', async (t) => {
  const place = await temporaryDirectory(t);
  await keptDirectory(`${place}/a/b`, of);
  assert.deepEqual(await readdir(place), ['a']);
  await keptDirectory(`${place}/a/b`, of);
});

test('nothing on the way may be exchanged by others: directories, and where symlinks stand and lead', async (t) => {
  const place = await temporaryDirectory(t);
  await mkdir(`${place}/a/kept`, { recursive: true });
  await mkdir(`${place}/safe`);
  await symlink('../a/kept', `${place}/safe/link`);
  await symlink('../a', `${place}/safe/above`);
  await keptDirectory(`${place}/safe/above/kept`, of);
  await refused(`${place}/safe/link`, /it must be a directory of uid/);

  await chmod(`${place}/a`, 0o777);
  for (const way of ['a/kept', 'safe/above/kept', 'safe/../a/kept'])
    await refused(`${place}/${way}`, /kept": others may write to ".*\/a"$/);
  await chmod(`${place}/a`, 0o775);
  await refused(`${place}/a/kept`, /others may write to/);
  await chmod(`${place}/a`, 0o1777);
  await keptDirectory(`${place}/a/kept`, of);
  await chmod(`${place}/a/kept`, 0o1777);
  await refused(`${place}/a/kept`, /it must be a directory/);
  await chmod(`${place}/a/kept`, 0o700);

  await chown(`${place}/a`, 12_345, 0);
  await refused(`${place}/safe/above/kept`, /"\/.*\/a" belongs to uid 12345$/);
});
