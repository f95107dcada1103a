import assert from 'node:assert/strict';
import { chown, lstat, mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { allowRollback, forgetRollback, useRollback } from '../../../src/control/consent.ts';
import { refusal } from '../../support/bundles.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

const uid = process.getuid?.() ?? 0;
const DENIED = refusal('control-denied', /no operator allowed it/);

test('a consent is a file of its own, and good for one time', async (t) => {
  const directory = await temporaryDirectory(t);
  await assert.rejects(useRollback(directory, uid), DENIED);
  await allowRollback(directory);
  const stat = await lstat(path.join(directory, 'allow-rollback'));
  assert.deepEqual([stat.isFile(), stat.mode & 0o777, stat.uid], [true, 0o600, uid]);
  await useRollback(directory, uid);
  assert.deepEqual(await readdir(directory), []);
  await assert.rejects(useRollback(directory, uid), DENIED);
});

test('a consent is taken back, forgotten, and replaces one that was left behind', async (t) => {
  const directory = await temporaryDirectory(t);
  const takeBack = await allowRollback(directory);
  await takeBack();
  await takeBack();
  await assert.rejects(useRollback(directory, uid), DENIED);
  await allowRollback(directory);
  await allowRollback(directory);
  await forgetRollback(directory);
  await forgetRollback(directory);
  await assert.rejects(useRollback(directory, uid), DENIED);
});

test('a consent is for one part: another one, or a path, is none of its', async (t) => {
  const directory = await temporaryDirectory(t);
  await allowRollback(directory, 'app');
  assert.deepEqual(await readdir(directory), ['allow-rollback,app']);
  await writeFile(path.join(directory, 'other'), '');
  for (const part of [undefined, 'tls', '', 'x/../other', 'x/../allow-rollback,app'])
    await assert.rejects(useRollback(directory, uid, part), DENIED, part);
  await useRollback(directory, uid, 'app');
  await assert.rejects(useRollback(directory, uid, 'app'), DENIED);
  await allowRollback(directory, 'app');
  await allowRollback(directory);
  await assert.rejects(useRollback(directory, uid, 'tls'), DENIED);
  await forgetRollback(directory);
  assert.deepEqual(await readdir(directory), ['other']);
});

test('what another user put there, a link or a directory is no consent', async (t) => {
  const directory = await temporaryDirectory(t);
  const file = path.join(directory, 'allow-rollback');
  await writeFile(file, '');
  // Only root can give a file away, and root is who the tests are.
  await chown(file, 12_345, 12_345);
  await assert.rejects(useRollback(directory, 0), DENIED);
  await assert.rejects(useRollback(directory, 12_346), DENIED);
  await useRollback(directory, 12_345);
  await writeFile(path.join(directory, 'other'), '');
  await symlink('other', file);
  await assert.rejects(useRollback(directory, uid), DENIED);
  await forgetRollback(directory);
  await mkdir(file);
  await assert.rejects(useRollback(directory, uid), DENIED);
});

test('who may not make a file there is told so', async (t) => {
  const directory = await temporaryDirectory(t);
  const missing = path.join(directory, 'missing');
  await assert.rejects(allowRollback(missing), refusal('control-denied', /cannot allow a rollback/));
});
