import assert from 'node:assert/strict';
import { stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { makeDirectory } from '../../../src/system/make-directory.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

test('a directory is made with all that is missing above it, for its user alone; one that is there stays', async (t) => {
  const base = await temporaryDirectory(t);
  const directory = path.join(base, 'a/b/c');
  for (const time of ['first', 'second']) {
    await makeDirectory(directory);
    for (const made of ['a', 'a/b', 'a/b/c'])
      assert.equal((await stat(path.join(base, made))).mode & 0o777, 0o700, `${made}, the ${time} time`);
  }
});

test('what can not be made is an error at once: below a file, and where the kernel makes nothing', async (t) => {
  const base = await temporaryDirectory(t);
  await writeFile(path.join(base, 'file'), '');
  await assert.rejects(makeDirectory(path.join(base, 'file/a/b')), { code: 'ENOTDIR' });
  await assert.rejects(makeDirectory('/proc/nothing/a/b'), { code: 'ENOENT' });
});
