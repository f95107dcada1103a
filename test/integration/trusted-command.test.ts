/** Who could change what hooks and checks run, and whom they speak to. Real files, as root. */
import assert from 'node:assert/strict';
import { chmod, chown, lchown, mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { test } from 'node:test';
import { checkCommand, checkSocket } from '../../src/daemon/trusted-command.ts';
import { walk } from '../../src/system/trusted.ts';
import { type Account, account } from '../../src/system/users.ts';
import { rootDirectory, script } from '../support/root-directory.ts';

const NOWHERE = '/nowhere';
const ROOT: Account = { name: 'root', uid: 0, gid: 0, home: '/root' };

function refusal(check: () => unknown): string {
  try {
    const result = check();
    return result === undefined ? 'taken' : `${result}`;
  } catch (error) {
    const { code, message, hint } = error as { code: string; message: string; hint: string };
    return `${code}: ${message} / ${hint}`;
  }
}

test('a program is refused where anything on its way is not of root alone, and said to be', async (t) => {
  const directory = await rootDirectory(t);
  const program = await script(directory, 'program', '#!/bin/sh\n');
  const of = (file: string, avoid = NOWHERE) =>
    refusal(() => checkCommand({ argv: [file], user: ROOT }, avoid));
  assert.equal(of(program), 'taken');
  assert.equal(of('/bin/sh'), 'taken', 'by a symlink of root');
  await chmod(program, 0o775);
  assert.match(
    of(program),
    /^config-untrusted: .*program\\?" is writable by its group \(mode 0775\) \/ chmod go-w .*as root$/,
  );
  await chmod(program, 0o755);
  await chown(program, 1, 0);
  assert.match(of(program), /^config-untrusted: .*belongs to uid 1 \/ chown root /);
  await chown(program, 0, 0);
  await chmod(directory, 0o757);
  assert.match(of(program), /^config-untrusted: .*is writable by everybody \(mode 0757\)/);
  await chmod(directory, 0o755);

  await mkdir(path.join(directory, 'open'));
  await symlink(program, path.join(directory, 'open/link'));
  assert.equal(of(path.join(directory, 'open/link')), 'taken');
  assert.equal(of(path.join(directory, 'open/../program')), 'taken');
  await chmod(path.join(directory, 'open'), 0o777);
  assert.match(
    of(path.join(directory, 'open/link')),
    /^config-untrusted: .*open\\?" is writable by everybody/,
  );

  assert.match(of(program, directory), /inside the mount/);
  await symlink(directory, path.join(directory, 'round'));
  assert.match(of(path.join(directory, 'round/program'), directory), /inside the mount/);
  await symlink('loop', path.join(directory, 'loop'));
  assert.match(of(path.join(directory, 'loop')), /^config-invalid: .*too many symlinks/);
  assert.match(of(path.join(directory, 'missing')), /^config-invalid: .*ENOENT/);
  assert.match(of(directory), /^config-invalid: .*not a file/);
  await chmod(program, 0o644);
  assert.match(of(program), /^config-invalid: .*not executable/);
  assert.equal(walk('/').path, '/');
});

test('a file that is an argument is looked at as a program is, and so is one that is not there yet', async (t) => {
  const directory = await rootDirectory(t);
  const file = path.join(directory, 'script.py');
  await writeFile(file, '');
  const of = (arg: string, mountpoint = NOWHERE) =>
    refusal(() => checkCommand({ argv: ['/bin/true', '-x', arg], user: ROOT }, mountpoint));
  const forms = [file, file.slice(1), `--config=${file}`, `-c=${file}`, `-c${file}`, `config=${file}`];
  for (const form of forms) assert.equal(of(form), 'taken', form);
  await chown(file, 1, 1);
  for (const form of forms) {
    assert.match(
      of(form),
      /^config-untrusted: cannot use argument .*script\.py.*belongs to uid 1 .*chown root/,
    );
  }
  assert.equal(of(file, directory), 'taken', 'in the mount the bundle decides');
  await chown(file, 0, 0);

  const open = path.join(directory, 'open');
  await mkdir(open);
  await chmod(open, 0o777);
  const missing = path.join(open, 'missing');
  await symlink(missing, path.join(directory, 'dangling'));
  // Who may exchange it shows something else while it is looked at.
  const loop = path.join(open, 'loop');
  await symlink('loop', loop);
  const inside = path.join(open, 'inside');
  await mkdir(inside);
  const mountpoint = path.join(inside, 'mnt');
  await symlink(mountpoint, path.join(open, 'into'));
  assert.equal(
    of(path.join(mountpoint, 'a'), mountpoint),
    'taken',
    'what is named in the mount, wherever that is',
  );
  assert.match(
    of(path.join(open, 'into/a'), mountpoint),
    /^config-untrusted/,
    'and not what others lead there',
  );
  for (const form of [missing, `${missing}/deeper`, path.join(directory, 'dangling'), loop, inside]) {
    assert.match(of(form), /^config-untrusted: .*open\\?" is writable by everybody/, form);
  }
  assert.equal(of(path.join(directory, 'missing')), 'taken');

  // What is no file, and what is no path.
  await lchown(path.join(directory, 'dangling'), 1, 1);
  const words = [open, '/dev/null', 's/a/b/', 'https://a.test/x', '/tmp', 'a b', '', '-'];
  for (const word of words) assert.equal(of(word), 'taken', word);
});

test("what runs as another user may be that user's, and nobody else's", async (t) => {
  const directory = await rootDirectory(t);
  const program = await script(directory, 'program', '#!/bin/sh\n');
  const user = await account('nobody');
  const of = (who: Account) => refusal(() => checkCommand({ argv: [program, program], user: who }, NOWHERE));
  await chown(program, user.uid, user.gid);
  await chown(directory, user.uid, user.gid);
  await chmod(directory, 0o775);
  assert.equal(of(user), 'taken');
  assert.match(of(ROOT), /^config-untrusted: .*belongs to uid/);
  assert.match(of({ ...user, uid: 1, gid: 1 }), /^config-untrusted: .*belongs to uid/);
  await chmod(directory, 0o757);
  assert.match(of(user), /^config-untrusted: .*writable by everybody .*as its user$/);
  await chmod(directory, 0o775);
  await chown(directory, user.uid, 1);
  assert.match(of(user), /^config-untrusted: .*writable by its group/);
});

test('a socket is refused where others could put their own, whosever it is itself', async (t) => {
  const directory = await rootDirectory(t);
  const socket = path.join(directory, 'admin.sock');
  const of = (owner?: Account, avoid = NOWHERE) => refusal(() => checkSocket(socket, owner, avoid));
  assert.equal(of(), 'false');
  const server = createServer().listen(socket);
  t.after(() => server.close());
  await new Promise((resolve) => server.once('listening', resolve));
  await chmod(socket, 0o666);
  await chown(socket, 1, 1);
  assert.equal(of(), 'true');
  assert.equal(of(undefined, directory), 'false', 'nobody waits for the mount');

  // As Debian has /run/haproxy.
  const owner: Account = { name: 'haproxy', uid: 1, gid: 1, home: '/' };
  await chown(directory, 1, 1);
  await chmod(directory, 0o2775);
  assert.match(
    of(),
    /^config-untrusted: cannot use socket .*belongs to uid 1 \/ chown root .*, or name in socketOwner/,
  );
  assert.equal(of(owner), 'true');
  assert.match(of({ ...owner, uid: 2, gid: 2 }), /belongs to uid 1/);
  await chown(directory, 1, 2);
  assert.match(of(owner), /writable by its group \(mode 2775\)/);
  server.close();
  await rm(socket, { force: true });
  assert.match(of(), /^config-untrusted/, 'also while there is none');
});
