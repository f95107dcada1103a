/** The native calls against a real kernel, as root. */
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { connect } from 'node:net';
import path from 'node:path';
import { test } from 'node:test';
import { openDirectoryPath } from '../../src/system/files.ts';
import { libc, SystemCallError } from '../../src/system/libc.ts';
import { createRamfs, MNT_DETACH, unmount } from '../../src/system/mounts.ts';
import { mapShared } from '../../src/system/shared.ts';
import { listenUnix } from '../../src/system/sockets.ts';
import { poll, schedYield } from '../../src/system/wait.ts';
import { mountTmpfs, unmapShared } from '../support/mappings.ts';
import { REPOSITORY } from '../support/paths.ts';
import { cleanups, exec, temporaryDirectory as unmountedDirectory } from '../support/server.ts';
import { temporaryDirectory } from '../support/temporary.ts';

test('poll() sees what a read would answer, and is cheap', async (t) => {
  const fifo = path.join(await temporaryDirectory(t), 'fifo');
  await exec('mkfifo', [fifo]);
  const fd = fs.openSync(fifo, 'r+');
  t.after(() => fs.closeSync(fd));
  assert.equal(poll(fd, 0), false);
  const started = process.hrtime.bigint();
  assert.equal(poll(fd, 50), false);
  assert.ok(process.hrtime.bigint() - started >= 45_000_000n);
  fs.writeSync(fd, 'x');
  assert.equal(poll(fd, 0), true);
  assert.equal(poll(fd, -1), true);
  schedYield();
  // A descriptor that is none is an error that the read would report.
  assert.equal(poll(9999, 0), true);
});

test('mapShared() shows writes of others, and shows its own to others', async (t) => {
  const file = path.join(await temporaryDirectory(t), 'file');
  fs.writeFileSync(file, Buffer.alloc(8192));
  const fd = fs.openSync(file, 'r+');
  t.after(() => fs.closeSync(fd));
  const writable = mapShared(fd, 8192, { write: true });
  const readable = mapShared(fd, 4096, { write: false });
  new Uint32Array(writable.memory)[3] = 0xfeedface;
  assert.equal(new Uint32Array(readable.memory)[3], 0xfeedface);
  const read = Buffer.alloc(4);
  fs.readSync(fd, read, 0, 4, 12);
  assert.equal(read.readUInt32LE(), 0xfeedface);
  fs.writeSync(fd, Buffer.from([1]), 0, 1, 5000);
  assert.equal(new Uint8Array(writable.memory)[5000], 1);
  const flags = vmFlags(writable.address);
  assert.ok(flags.includes('sh') && flags.includes('dd'), flags.join(' '));
  unmapShared(writable);
  unmapShared(readable);
  assert.throws(() => mapShared(9999, 4096, { write: false }), /mmap failed: EBADF/);
});

function vmFlags(address: bigint): string[] {
  const maps = fs.readFileSync('/proc/self/smaps', 'utf8');
  const at = maps.indexOf(`\n${address.toString(16)}-`);
  const line =
    maps
      .slice(at)
      .split('\n')
      .find((each) => each.startsWith('VmFlags:')) ?? '';
  return line.slice('VmFlags:'.length).trim().split(/\s+/);
}

test('createRamfs() is in no mount table, and its root has the mode', () => {
  const before = fs.readFileSync('/proc/self/mountinfo', 'utf8');
  const fd = createRamfs(0o750);
  try {
    const directory = `/proc/self/fd/${fd}`;
    fs.writeFileSync(`${directory}/x`, 'y');
    assert.deepEqual(fs.readdirSync(directory), ['x']);
    // linux/magic.h: RAMFS_MAGIC
    assert.equal(fs.statfsSync(directory).type, 0x858458f6);
    assert.equal(fs.fstatSync(fd).mode & 0o7777, 0o750);
    assert.equal(fs.readFileSync('/proc/self/mountinfo', 'utf8'), before);
  } finally {
    fs.closeSync(fd);
  }
});

test('a mount by descriptor is read-only where it is seen and writable through its clone', async (t) => {
  const after = cleanups(t);
  const directory = await unmountedDirectory(after);
  const at = openDirectoryPath(directory);
  const mounted = mountTmpfs(at);
  after(async () => {
    for (const fd of [at, mounted.mountFd, mounted.cloneFd]) fs.closeSync(fd);
  });
  fs.writeFileSync(`/proc/self/fd/${mounted.cloneFd}/x`, 'y');
  assert.equal(fs.readFileSync(path.join(directory, 'x'), 'utf8'), 'y');
  assert.throws(() => fs.writeFileSync(path.join(directory, 'z'), ''), { code: 'EROFS' });
  fs.renameSync(`/proc/self/fd/${mounted.cloneFd}/x`, `/proc/self/fd/${mounted.cloneFd}/w`);
  assert.deepEqual(fs.readdirSync(directory), ['w']);
  const line = fs
    .readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((each) => each.includes(directory));
  assert.match(line.join('|'), / ro,nosuid,nodev,noexec,relatime .*- tmpfs [^|]*$/);
  unmount(directory, MNT_DETACH);
  assert.deepEqual(fs.readdirSync(directory), []);
  assert.throws(() => unmount(directory, MNT_DETACH), /umount2 failed: EINVAL/);
});

test('openDirectoryPath() refuses a symlink to a directory', async (t) => {
  const directory = await temporaryDirectory(t);
  fs.symlinkSync('/', path.join(directory, 'link'));
  assert.throws(() => openDirectoryPath(path.join(directory, 'link')), { code: 'ENOTDIR' });
});

test('listenUnix() has its owner and mode before anybody can connect', async (t) => {
  const directory = await temporaryDirectory(t);
  const file = path.join(directory, 'socket');
  const fd = listenUnix(file, 0o660, 4001, 4002);
  t.after(() => fs.closeSync(fd));
  const { uid, gid, mode } = fs.statSync(file);
  assert.deepEqual([uid, gid, mode & 0o777], [4001, 4002, 0o660]);
  await new Promise<void>((resolve, reject) => {
    const socket = connect(file, () => resolve(socket.destroy() && undefined));
    socket.on('error', reject);
  });
  assert.throws(() => listenUnix(file, 0o600, 0, 0), /bind failed: EADDRINUSE/);
  assert.ok(fs.existsSync(file));
  assert.throws(() => listenUnix(`/${'x'.repeat(120)}`, 0o600, 0, 0), RangeError);
});

/** Runs a module body in a process of its own, started by `argv`. */
async function inChild(argv: readonly string[], body: string): Promise<string> {
  const script = `const build = process.argv[1] + '/build/src/'; const fs = await import('node:fs');
    const p = await import(build + 'system/privileges.js'); const f = await import(build + 'system/files.js');
    const status = (key) => new RegExp(key + ':\\\\s+(\\\\S+)').exec(fs.readFileSync('/proc/thread-self/status', 'utf8'))[1];
    ${body}`;
  const command = [...argv, process.execPath, '--input-type=module', '-e', script, REPOSITORY];
  const { stdout } = await exec(command[0] ?? '', command.slice(1));
  return stdout.trim();
}

test('dropCapabilities() leaves exactly what is named, chroot() confines, setNofile() raises', async (t) => {
  const directory = await temporaryDirectory(t);
  fs.writeFileSync(path.join(directory, 'inside'), '');
  const status = fs.readFileSync('/proc/self/status', 'utf8');
  const effective = BigInt(`0x${/CapEff:\s+(\S+)/.exec(status)?.[1] ?? '0'}`);
  const out = await inChild(
    ['prlimit', '--nofile=1000:9000'],
    `const before = status('CapEff');
    const fd = f.openDirectoryPath(${JSON.stringify(directory)});
    const files = [p.setNofile(5000), p.setNofile(20500)];
    const proc = fs.openSync('/proc/thread-self/status', 'r');
    p.chroot(fd);
    p.dropCapabilities(['dac_override', 'dac_read_search', 'fowner']);
    const now = fs.readFileSync(proc, 'latin1');
    let again = 'chroot worked'; try { p.chroot(fd); } catch (error) { again = error.message; }
    console.log(JSON.stringify([before !== '0000000000000000', fs.readdirSync('/'), process.cwd(), again,
      ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'].map((k) => parseInt(new RegExp(k + ':\\\\s+(\\\\S+)').exec(now)[1], 16)),
      files]));`,
  );
  assert.deepEqual(JSON.parse(out), [
    true,
    ['inside'],
    '/',
    'chroot failed: EPERM',
    [0, 0b1110, 0b1110, 0b1110, 0],
    // CAP_SYS_RESOURCE may raise the hard limit.
    [9000, (effective >> 24n) & 1n ? 20500 : 9000],
  ]);
});

test('setNofile() stays below the hard limit where it may not raise it', async () => {
  const argv = [
    'prlimit',
    '--nofile=1000:9000',
    'setpriv',
    '--bounding-set=-sys_resource',
    '--inh-caps=-all',
    '--',
  ];
  assert.equal(await inChild(argv, 'console.log(p.setNofile(20500));'), '9000');
});

test('setDeathSignal() ends a process with its parent', async () => {
  const child = `p.setDeathSignal(); console.log(process.pid); setInterval(() => {}, 1000);`;
  const { stdout } = await exec(process.execPath, [
    '-e',
    `const { spawn } = require('node:child_process');
     const script = "const p = await import('${REPOSITORY}/build/src/system/privileges.js');" + ${JSON.stringify(child)};
     const c = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
     c.stdout.once('data', (pid) => { process.stdout.write(pid); process.exit(); });`,
  ]);
  const pid = Number(stdout);
  assert.ok(pid > 0);
  for (let i = 0; i < 50 && isRunning(pid); i += 1) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(isRunning(pid), false);
});

function isRunning(pid: number): boolean {
  try {
    return !/\) Z /.test(fs.readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

test('a refused call says which and why', () => {
  assert.throws(
    () => libc().made('nonsense', -1),
    (error) => error instanceof SystemCallError && error.call === 'nonsense',
  );
  assert.throws(() => libc().bind('int no_such_function_anywhere(int)'), /no_such_function_anywhere/);
});
