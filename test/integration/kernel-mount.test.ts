/**
 * Mounting through the kernel's interface, as root. Nothing serves these mounts, so nothing here may ask them for
 * anything: the mount table and descriptors tell all that is looked at.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { MountError } from '../../src/errors.ts';
import { openDevice } from '../../src/fuse/device.ts';
import { type InitAnswer, type KernelMount, mountKernel, refused } from '../../src/fuse/kernel/mount.ts';
import { prepareMountpoint } from '../../src/fuse/mountpoint.ts';
import { SystemCallError } from '../../src/system/libc.ts';
import { readMounts, topMount } from '../../src/system/mountinfo.ts';
import { MNT_DETACH, unmount } from '../../src/system/mounts.ts';
import { cleanups, exec, temporaryDirectory } from '../support/server.ts';

/** The reply of linux/fuse.h's fuse_init_out: 7.31, nothing wanted. */
function accept(request: Uint8Array): InitAnswer<string> {
  const from = Buffer.from(request);
  assert.equal(from.readUInt32LE(4), 26, 'the first request is INIT');
  const reply = Buffer.alloc(80);
  reply.writeUInt32LE(80, 0);
  from.copy(reply, 8, 8, 16);
  reply.writeUInt32LE(7, 16);
  reply.writeUInt32LE(31, 20);
  reply.writeUInt32LE(4096, 36);
  return { kind: 'accepted', reply, params: `7.${from.readUInt32LE(44)}` };
}

type After = (cleanup: () => Promise<void>) => void;

async function directoryFor(after: After): Promise<string> {
  const directory = await temporaryDirectory(after);
  after(async () => {
    // Not detached only: who waits on it would wait for ever.
    for (let i = 0; i < 4; i += 1) spawnSync('umount', ['-f', '-i', directory]);
  });
  return directory;
}

async function mounted(after: After, directory: string): Promise<KernelMount> {
  const { mount } = await mountHere({ path: directory });
  after(async () => end(mount));
  return mount;
}

/** The device is this process's alone: closing it ends the connection. */
async function mountHere(options: {
  readonly path: string;
  readonly source?: string;
  readonly device?: string;
  readonly negotiate?: typeof accept;
  readonly initTimeoutMs?: number;
}): Promise<{ readonly mount: KernelMount; readonly params: string }> {
  const fuseFd = openDevice(options.device);
  try {
    const made = await mountKernel({ source: 'web', negotiate: accept, ...options, fuseFd });
    devices.set(made.mount, fuseFd);
    return made;
  } catch (error) {
    fs.closeSync(fuseFd);
    throw error;
  }
}

const devices = new Map<KernelMount, number>();

function close(mount: KernelMount): void {
  const fuseFd = devices.get(mount);
  devices.delete(mount);
  mount.close();
  if (fuseFd !== undefined) fs.closeSync(fuseFd);
}

function end(mount: KernelMount): void {
  close(mount);
  spawnSync('umount', ['-l', '-i', mount.mountpoint]);
}

const descriptors = () => fs.readdirSync('/proc/self/fd').length;

test('mountKernel() mounts read-only with default_permissions, and answers INIT', async (t) => {
  const after = cleanups(t);
  const directory = await directoryFor(after);
  const { mount, params } = await mountHere({ path: directory, source: 'a b' });
  after(async () => end(mount));
  assert.match(params, /^7\.\d+$/);
  const line = fs
    .readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .find((each) => each.includes(directory));
  assert.match(line ?? '', / ro,nosuid,nodev,noexec,\S+ .*- fuse\.secretsfs a\\040b /);
  assert.match(line ?? '', /default_permissions/);
  assert.match(line ?? '', /allow_other/);
  assert.equal(await mount.isMounted(), true);
  await mount.unmount();
  assert.equal(await mount.isMounted(), false);
  await mount.unmount();
});

test('isMounted() is of this mount: another at the same place is not it', async (t) => {
  const after = cleanups(t);
  const directory = await directoryFor(after);
  const first = await mounted(after, directory);
  unmount(directory, MNT_DETACH);
  const second = await mounted(after, directory);
  assert.equal(await first.isMounted(), false);
  assert.equal(await second.isMounted(), true);
  await first.unmount();
  assert.equal(await second.isMounted(), true);
});

test('abandon() ends who waits for an answer, and leaves nothing in the mount table', async (t) => {
  const after = cleanups(t);
  const directory = await directoryFor(after);
  const mount = await mounted(after, directory);
  // Nobody serves: it waits for ever.
  const waiting = exec('stat', [path.join(directory, 'x')]);
  const ended = waiting.then(
    () => 'found',
    () => 'failed',
  );
  assert.equal(await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 300))]), undefined);
  mount.abandon();
  assert.equal(await ended, 'failed');
  assert.equal(await mount.isMounted(), false);
  mount.abandon();
});

test('unmount() refuses to take along what is mounted over it', async (t) => {
  const after = cleanups(t);
  const directory = await directoryFor(after);
  const mount = await mounted(after, directory);
  await exec('mount', ['-t', 'tmpfs', '-i', 'over', directory]);
  await assert.rejects(mount.unmount(), (error) => {
    return error instanceof MountError && error.code === 'mount-failed' && /tmpfs/.test(error.message);
  });
  assert.equal((await readMounts()).filter(({ mountpoint }) => mountpoint === directory).length, 2);
  await exec('umount', [directory]);
  await mount.unmount();
  assert.equal(topMount(await readMounts(), directory), undefined);
});

test('a refusal leaves nothing mounted and no descriptor', async (t) => {
  const after = cleanups(t);
  const directory = await directoryFor(after);
  await mountHere({ path: directory }).then(({ mount }) => end(mount));
  const before = descriptors();
  const attempt = (options: object) => {
    return mountHere({ path: directory, ...options });
  };
  const reasons: [object, string, RegExp][] = [
    [{ path: path.join(directory, 'none') }, 'mountpoint-missing', /does not exist/],
    [{ device: '/dev/nothing' }, 'fuse-missing', /cannot open "\/dev\/nothing": ENOENT/],
    [{ device: '/dev/null' }, 'mount-failed', /fsconfig\(fuse, create\) failed: EINVAL/],
    [
      { negotiate: () => ({ kind: 'refused', reply: undefined, reason: 'it speaks FUSE 7.8' }) },
      'mount-failed',
      /it speaks FUSE 7\.8/,
    ],
  ];
  for (const [options, code, message] of reasons) {
    await assert.rejects(attempt(options), (error) => {
      assert.ok(error instanceof MountError);
      assert.equal(error.code, code);
      assert.match(error.message, message);
      assert.ok(error.hint);
      return true;
    });
    assert.equal(topMount(await readMounts(), directory), undefined);
    assert.equal(descriptors(), before, code);
  }
});

test('a mountpoint that was exchanged for a symlink, or below one, is refused', async (t) => {
  const after = cleanups(t);
  const directory = await directoryFor(after);
  fs.mkdirSync(path.join(directory, 'real/mount'), { recursive: true });
  fs.symlinkSync('real', path.join(directory, 'above'));
  fs.symlinkSync('real/mount', path.join(directory, 'link'));
  for (const name of ['above/mount', 'link']) {
    await assert.rejects(
      mountHere({ path: path.join(directory, name) }),
      (error) => error instanceof MountError && error.code === 'mountpoint-invalid',
    );
  }
  assert.ok(!(await readMounts()).some(({ mountpoint }) => mountpoint.startsWith(directory)));
});

test('where another was faster nothing is mounted over it', async (t) => {
  const after = cleanups(t);
  const directory = await directoryFor(after);
  const first = await mounted(after, directory);
  await assert.rejects(mountHere({ path: directory }), {
    code: 'mountpoint-busy',
  });
  assert.equal((await readMounts()).filter(({ mountpoint }) => mountpoint === directory).length, 1);
  assert.equal(await first.isMounted(), true);
});

test('a kernel that refuses is told apart by what it says', () => {
  const codes = { EPERM: 1, ENOSYS: 38, ENODEV: 19, EBUSY: 16 };
  const mapped = Object.entries(codes).map(([name, errno]) => {
    const error = refused('/m', new SystemCallError('fsopen(fuse)', errno));
    assert.match(error.message, new RegExp(`^cannot mount on "/m": fsopen\\(fuse\\) failed: ${name}$`));
    return error.code;
  });
  assert.deepEqual(mapped, ['mount-denied', 'mount-failed', 'fuse-missing', 'mount-failed']);
});

test('without CAP_SYS_ADMIN mounting is denied, with a hint', async (t) => {
  const after = cleanups(t);
  const directory = await directoryFor(after);
  const module = new URL('../../src/fuse/kernel/mount.js', import.meta.url).href;
  const device = new URL('../../src/fuse/device.js', import.meta.url).href;
  const script = `const { mountKernel } = await import(${JSON.stringify(module)});
    const { openDevice } = await import(${JSON.stringify(device)});
    await mountKernel({ path: ${JSON.stringify(directory)}, source: 'x', fuseFd: openDevice(), negotiate: () => 0 })
      .catch((error) => console.log(error.code, error.hint));`;
  const drop = ['--bounding-set=-sys_admin', '--inh-caps=-all', '--'];
  const argv = [...drop, process.execPath, '--input-type=module', '-e', script];
  const { stdout } = await exec('setpriv', argv);
  assert.match(stdout, /^mount-denied .*CAP_SYS_ADMIN/);
});

test('prepareMountpoint() clears a mount of the kernel driver whose daemon died', async (t) => {
  const after = cleanups(t);
  const directory = await directoryFor(after);
  const { mount } = await mountHere({ path: directory });
  close(mount);
  assert.equal(await mountedAt(directory), 1);
  const { cleared } = await prepareMountpoint(directory);
  assert.deepEqual(
    cleared.map(({ fstype, source }) => [fstype, source]),
    [['fuse.secretsfs', 'web']],
  );
  assert.equal(await mountedAt(directory), 0);
});

async function mountedAt(directory: string): Promise<number> {
  return (await readMounts()).filter(({ mountpoint }) => mountpoint === directory).length;
}
