import assert from 'node:assert/strict';
import * as fs from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { MountError } from '../../../src/errors.ts';
import { checkDevice } from '../../../src/fuse/device.ts';
import { prepareMountpoint } from '../../../src/fuse/mountpoint.ts';
import { mountOptions } from '../../../src/fuse/native.ts';
import { parseMountinfo, topMount } from '../../../src/system/mountinfo.ts';
import { cleanups, exec, serve, temporaryDirectory } from '../../support/server.ts';

async function refused(code: string, mountpoint: string, message?: RegExp): Promise<MountError> {
  let caught: unknown;
  await prepareMountpoint(mountpoint).catch((error: unknown) => {
    caught = error;
  });
  assert.ok(caught instanceof MountError, `${mountpoint} was not refused`);
  assert.equal(caught.code, code);
  assert.equal(caught.exitCode, 7);
  assert.ok(caught.hint);
  if (message !== undefined) assert.match(caught.message, message);
  return caught;
}

test('parseMountinfo() undoes octal escapes, skips optional fields and keeps bytes', () => {
  const table = [
    '36 35 98:0 /mnt1 /mnt\\040two\\011x\\134y\\012 rw,noatime master:1 shared:2 - ext3 /dev/root rw',
    '37 35 0:40 / /秘 ro - fuse.secretsfs na\\040me rw,user_id=0',
    '38 35 0:41 / /mnt2 rw - tmpfs tmpfs rw',
    '39 38 0:42 / /mnt2 rw - fuse.x y rw',
    'garbage',
    '',
  ].join('\n');
  const mounts = parseMountinfo(Buffer.from(table));
  assert.deepEqual(
    mounts.map((m) => [m.mountpoint, m.fstype, m.source]),
    [
      ['/mnt two\tx\\y\n', 'ext3', '/dev/root'],
      ['/秘', 'fuse.secretsfs', 'na me'],
      ['/mnt2', 'tmpfs', 'tmpfs'],
      ['/mnt2', 'fuse.x', 'y'],
    ],
  );
  assert.equal(topMount(mounts, '/mnt2')?.device, '0:42');
  assert.deepEqual([mounts[3]?.id, mounts[3]?.parentId], [39, 38]);
  assert.equal(topMount(mounts, '/mnt3'), undefined);
});

test('mountOptions() has every zero, default_permissions with allow_other, and no option smuggled by the source', () => {
  const text = mountOptions('a,allow_root\\,b c', false);
  for (const option of [
    'entry_timeout=0',
    'attr_timeout=0',
    'negative_timeout=0',
    'ac_attr_timeout=0',
    'ro',
    'direct_io',
    'use_ino',
  ]) {
    assert.ok(text.slice(2).split(',').includes(option), option);
  }
  assert.ok(!text.includes('allow_other') && !text.split(',').includes('allow_root'));
  const shared = mountOptions('s3://bucket/key', true).slice(2).split(',');
  assert.ok(shared.includes('allow_other') && shared.includes('default_permissions'));
  assert.ok(shared.includes('fsname=s3://bucket/key'));
  assert.ok(Buffer.byteLength(mountOptions('x'.repeat(5000), true)) < 1024);
});

test('prepareMountpoint() passes an empty directory, and resolves symlinks on the way', async (t) => {
  const directory = await fs.realpath(await temporaryDirectory(cleanups(t)));
  await fs.mkdir(path.join(directory, 'real/mount'), { recursive: true });
  await fs.symlink('real', path.join(directory, 'link'));
  await fs.symlink('../real/./mount', path.join(directory, 'real/relative'));
  const want = path.join(directory, 'real/mount');
  for (const name of ['real/mount', 'link/mount', 'link/relative', 'real/mount/']) {
    assert.deepEqual(await prepareMountpoint(`${directory}/${name}`), { path: want, cleared: [] }, name);
  }
});

test('prepareMountpoint() refuses what is missing, no directory, not empty, too long or a loop', async (t) => {
  const directory = await temporaryDirectory(cleanups(t));
  await fs.writeFile(path.join(directory, 'file'), '');
  await fs.mkdir(path.join(directory, 'full'));
  await fs.writeFile(path.join(directory, 'full/x'), '');
  await fs.symlink('loop', path.join(directory, 'loop'));
  await refused('mountpoint-missing', path.join(directory, 'nothing/below'), /does not exist/);
  await refused('mountpoint-invalid', path.join(directory, 'file'), /not a directory/);
  await refused('mountpoint-invalid', path.join(directory, 'file/below'), /not a directory/);
  await refused('mountpoint-invalid', path.join(directory, 'full'), /not empty/);
  await refused('mountpoint-invalid', path.join(directory, 'loop'), /symlinks/);
  await refused('mountpoint-invalid', `/${'x'.repeat(200)}`.repeat(6), /too long/);
});

test('prepareMountpoint() names what is mounted there, and refuses a place inside a secretsfs', async (t) => {
  const after = cleanups(t);
  const directory = await temporaryDirectory(after);
  const odd = path.join(directory, 'a b\\c');
  await fs.mkdir(odd);
  await exec('mount', ['-t', 'tmpfs', 'mine', odd]);
  await refused('mountpoint-busy', odd, /tmpfs is mounted there/);
  await exec('umount', [odd]);
  const server = await serve({ entries: [{ path: 'd/e', text: '' }] }, after);
  await refused('mountpoint-busy', server.mountpoint, /another secretsfs/);
  await refused('mountpoint-invalid', server.path('d'), /inside a secretsfs/);
});

test('a mountpoint with a space, a backslash and a comma is mounted, found again and unmounted', async (t) => {
  const after = cleanups(t);
  const directory = path.join(await temporaryDirectory(after), 'a b\\c,ro,日本');
  await fs.mkdir(directory);
  const server = await serve({ entries: [{ path: 'f', text: 'x' }] }, after, { mountpoint: directory });
  assert.equal(await fs.readFile(path.join(directory, 'f'), 'utf8'), 'x');
  assert.equal((await server.state()).mounted, true);
  server.send('unmount');
  await server.next('unmounted');
  assert.equal((await server.state()).mounted, false);
});

test('checkDevice() tells a missing device from one that may not be used', async () => {
  await assert.rejects(checkDevice('/dev/nothing'), { code: 'fuse-missing' });
  await checkDevice();
});
