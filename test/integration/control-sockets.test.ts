/** Two mounts of one name: who comes second is told so, whatever the first one is doing. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import path from 'node:path';
import { test } from 'node:test';
import { openControlSockets } from '../../src/daemon/control-sockets.ts';
import { ControlError } from '../../src/errors.ts';
import { lockFile } from '../../src/system/locks.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const BUILD = new URL('../../src/', import.meta.url).href;
const isBusy = (error: unknown) => error instanceof ControlError && error.code === 'control-busy';

test('a place that is taken is refused, also by one that does not listen yet, and is free after its end', async (t) => {
  const directory = path.join(await temporaryDirectory(t), 'web');
  fs.mkdirSync(directory);
  const early = lockFile(path.join(directory, 'lock'));
  assert.throws(() => openControlSockets(directory, undefined), isBusy);
  early?.release();
  const first = openControlSockets(directory, undefined);
  assert.throws(() => openControlSockets(directory, undefined), isBusy);
  assert.ok(fs.existsSync(path.join(directory, 'control.sock')), 'the first one keeps its socket');
  first.hide();
  assert.equal(fs.existsSync(directory), false);
  fs.mkdirSync(directory);
  const second = openControlSockets(directory, undefined);
  first.close();
  assert.ok(
    fs.existsSync(path.join(directory, 'control.sock')),
    'the end of the first is nothing to the second',
  );
  second.close();
});

test('a place where nothing can be made is refused with the reason', async (t) => {
  const directory = await temporaryDirectory(t);
  fs.writeFileSync(path.join(directory, 'file'), '');
  for (const [place, why] of [
    ['gone', 'no such file or directory'],
    ['file', 'a part of its path is not a directory'],
  ] as const)
    assert.throws(() => openControlSockets(path.join(directory, place), undefined), {
      code: 'control-directory',
      message: new RegExp(`^cannot listen on ".*/${place}": ${why}$`),
    });
});

test('an end goes on where the lock is gone, or is another’s by now', async (t) => {
  const directory = path.join(await temporaryDirectory(t), 'web');
  const lockPath = path.join(directory, 'lock');
  fs.mkdirSync(directory);
  const first = openControlSockets(directory, undefined);
  fs.unlinkSync(lockPath);
  first.hide();
  assert.equal(fs.existsSync(directory), false);
  fs.mkdirSync(directory);
  const second = openControlSockets(directory, undefined);
  fs.rmSync(directory, { recursive: true });
  second.hide();
  fs.mkdirSync(directory);
  const third = openControlSockets(directory, undefined);
  fs.renameSync(lockPath, `${lockPath}.old`);
  fs.writeFileSync(lockPath, 'another');
  third.hide();
  assert.equal(fs.readFileSync(lockPath, 'utf8'), 'another');
  for (const each of [first, second, third]) each.close();
});

test('sockets are hidden without a word where nothing can be removed', async (t) => {
  const directory = path.join(await temporaryDirectory(t), 'web');
  fs.mkdirSync(directory);
  const sockets = openControlSockets(directory, undefined);
  // What unlink(2) fails with for root, too.
  const unlink = t.mock.method(fs, 'unlinkSync', () => {
    throw Object.assign(new Error('read-only'), { code: 'EROFS' });
  });
  syncBuiltinESMExports();
  try {
    sockets.hide();
    assert.ok(unlink.mock.callCount() > 0);
  } finally {
    unlink.mock.restore();
    syncBuiltinESMExports();
  }
  sockets.close();
});

test('a lock ends with its holder, and a lock file that was left is no lock', async (t) => {
  const file = path.join(await temporaryDirectory(t), 'lock');
  const script = `const { lockFile } = await import('${BUILD}system/locks.js');
    if (lockFile(process.argv[1]) === undefined) process.exit(1);
    process.stdout.write('locked'); setInterval(() => {}, 1000);`;
  const holder = spawn(process.execPath, ['--input-type=module', '-e', script, file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => holder.kill('SIGKILL'));
  await new Promise((resolve) => holder.stdout.once('data', resolve));
  assert.equal(lockFile(file), undefined);
  const gone = new Promise((resolve) => holder.once('exit', resolve));
  holder.kill('SIGKILL');
  await gone;
  assert.ok(fs.existsSync(file));
  const lock = lockFile(file);
  assert.notEqual(lock, undefined);
  lock?.release();
  assert.equal(fs.existsSync(file), false);
});
