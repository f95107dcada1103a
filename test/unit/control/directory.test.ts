import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { makeSocketDirectory } from '../../../src/control/directory.ts';
import type { ControlError } from '../../../src/errors.ts';

const uid = process.getuid?.() ?? -1;

test('a directory of sockets is made; where it can not be, or is not to be trusted, the hint is what to do', async (t) => {
  const top = await mkdtemp(path.join(tmpdir(), 'secretsfs-sockets-'));
  t.after(() => rm(top, { recursive: true }));
  const at = (name: string) => path.join(top, name);
  assert.equal(await makeSocketDirectory(at('run'), 'web', uid), at('run/web'));
  await mkdir(at('open'));
  await chmod(at('open'), 0o777);
  await writeFile(at('file'), '');
  for (const [directory, message, hint] of [
    [
      'no/such/run',
      /^cannot make ".*": no such file or directory$/,
      /^make .*\/no\/such first, or give another/,
    ],
    ['file/run', /: a part of its path is not a directory$/, /^give --runtime-dir DIR/],
    [
      'file',
      /must be a directory of uid \d+ that nobody else may write to$/,
      /^mend it with chown, chmod go-w, or/,
    ],
    [
      'open',
      /must be a directory of uid \d+ that nobody else may write to$/,
      /^mend it with chown, chmod go-w, or/,
    ],
  ] as const) {
    await assert.rejects(makeSocketDirectory(at(directory), 'web', uid), (error: ControlError) => {
      assert.equal(error.code, 'control-directory');
      assert.match(error.message, message);
      assert.match(error.hint ?? '', hint);
      return true;
    });
  }
});
