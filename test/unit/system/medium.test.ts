import assert from 'node:assert/strict';
import { mkdir, open, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { remains } from '../../../src/cli/remains.ts';
import { type Disk, disksOf, mediumOf } from '../../../src/system/medium.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

/** A sysfs with a disk of a partition, and on that an encrypted device with a volume in it. */
async function sysfs(t: TestContext): Promise<string> {
  const root = await temporaryDirectory(t);
  const write = async (name: string, content: string) => {
    await mkdir(path.dirname(path.join(root, name)), { recursive: true });
    await writeFile(path.join(root, name), `${content}\n`);
  };
  const link = async (name: string, target: string) => {
    await mkdir(path.dirname(path.join(root, name)), { recursive: true });
    await symlink(path.join(root, target), path.join(root, name));
  };
  await write('devices/sda/queue/rotational', '0');
  await write('devices/sda/device/vendor', 'ATA');
  await write('devices/sda/device/model', 'SAMSUNG MZ7  ');
  await write('devices/sda/sda2/partition', '2');
  await write('devices/dm-0/dm/uuid', 'CRYPT-LUKS2-abc');
  await write('devices/dm-1/dm/uuid', 'LVM-xyz');
  await write('devices/dm-1/queue/rotational', '1');
  await link('devices/dm-0/slaves/sda2', 'devices/sda/sda2');
  await link('devices/dm-1/slaves/dm-0', 'devices/dm-0');
  for (const name of ['dm-0', 'dm-1', 'sda', 'sda/sda2'])
    await link(`class/block/${path.basename(name)}`, `devices/${name}`);
  await link('dev/block/253:1', 'devices/dm-1');
  return root;
}

test('disksOf() finds the disk below a partition, an encrypted device and a volume', async (t) => {
  const root = await sysfs(t);
  const expected: Disk[] = [
    { name: 'dm-1', rotational: true, model: '', mapping: 'LVM-xyz' },
    { name: 'dm-0', rotational: false, model: '', mapping: 'CRYPT-LUKS2-abc' },
    { name: 'sda', rotational: false, model: 'ATA SAMSUNG MZ7', mapping: undefined },
  ];
  assert.deepEqual(await disksOf({ device: '253:1', source: '/dev/mapper/x' }, root), expected);
  // As btrfs has it: no number of a device, but a source.
  assert.deepEqual(await disksOf({ device: '0:44', source: '/dev/sda2' }, root), expected.slice(2));
  assert.deepEqual(await disksOf({ device: '0:45', source: 'server:/export' }, root), []);
  assert.deepEqual(await disksOf({ device: '9:9', source: 'none' }, root), []);
});

const disk = (name: string, more: Partial<Disk> = {}): Disk => ({
  name,
  rotational: true,
  model: '',
  mapping: undefined,
  ...more,
});
const on = (
  fstype: string,
  disks: readonly Disk[],
  more: { options?: readonly string[]; swaps?: boolean } = {},
) => remains({ mountpoint: '/', fstype, options: [], disks, swaps: false, ...more });

test('a rotating disk below a file system that writes in place promises something, and nothing else does', () => {
  const hdd = disk('sda', { model: 'ATA ST4000' });
  for (const fstype of ['ext4', 'xfs', 'vfat']) assert.deepEqual(on(fstype, [hdd]), []);
  assert.deepEqual(on('ext4', [disk('dm-0', { mapping: 'CRYPT-LUKS2-x' }), hdd]), []);
  assert.deepEqual(on('ext4', [disk('md0'), hdd, disk('sdb')]), []);
  const doubtful: [string[], RegExp][] = [
    [on('ext4', [hdd], { options: ['rw', 'data=journal'] }), /journal/],
    [on('btrfs', [hdd]), /new place/],
    [on('zfs', []), /new place/],
    [on('overlay', []), /lower layers/],
    [on('nfs4', []), /another machine/],
    [on('fuse.sshfs', []), /program/],
    [on('newfs', [hdd]), /not known/],
    [on('ext4', []), /can not be seen/],
    [on('ext4', [disk('sda', { rotational: false })]), /flash/],
    [on('ext4', [disk('mmcblk0')]), /flash/],
    [
      on('ext4', [disk('nvme0n1', { rotational: false, model: 'Amazon Elastic Block Store' })]),
      /virtual disk/,
    ],
    [on('ext4', [disk('vda')]), /virtual disk/],
    [on('ext4', [disk('sda', { model: 'VMware Virtual disk' })]), /virtual disk/],
    [on('ext4', [disk('loop3')]), /file of another/],
    [on('ext4', [disk('dm-3', { mapping: 'LVM-x-tpool' }), hdd]), /thin/],
    [on('ext4', [disk('dm-3', { mapping: 'VDO-x' }), hdd]), /not known/],
    [on('ext4', [disk('xyz0')]), /not known/],
    [remains(undefined), /can not be seen/],
    [on('tmpfs', [], { swaps: true }), /swap/],
  ];
  for (const [reasons, expected] of doubtful) {
    assert.equal(reasons.length, 1, String(expected));
    assert.match(reasons[0] ?? '', expected);
  }
});

test('memory promises everything, unless it is swapped', () => {
  assert.deepEqual(on('ramfs', [], { swaps: true }), []);
  assert.deepEqual(on('tmpfs', []), []);
});

test('mediumOf() finds the file system of an open file', async (t) => {
  const handle = await open('/dev/shm', 'r');
  t.after(() => handle.close());
  const medium = await mediumOf(handle.fd);
  assert.equal(medium?.fstype, 'tmpfs');
  assert.equal(medium?.mountpoint, '/dev/shm');
});
