/** What a supervisor shows to the unit that wipes. */
import assert from 'node:assert/strict';
import { mkdir, readlink, symlink } from 'node:fs/promises';
import { test } from 'node:test';
import { showStore } from '../../src/daemon/wiper.ts';
import { must, run } from '../support/program.ts';
import { temporaryDirectory } from '../support/temporary.ts';

test('a store is shown by a link, and a line says so; where nobody looks, nothing is done', async (t) => {
  const directory = await temporaryDirectory(t);
  showStore('web', 0, directory);
  await mkdir(`${directory}/web`);
  await must('mkfifo', [`${directory}/web/alive`]);
  // Of one that was killed in the middle of it.
  await symlink('/nowhere', `${directory}/web/store.new`);
  for (const fd of [7, 0]) {
    showStore('web', fd, directory);
    assert.equal(await readlink(`${directory}/web/store`), `/proc/${process.pid}/fd/${fd}`);
  }
  // Its writer is this process, and lives: there is no end of it.
  const { stdout } = await run('dd', [`if=${directory}/web/alive`, 'iflag=nonblock', 'status=none']);
  assert.equal(stdout, '\n\n');
});
