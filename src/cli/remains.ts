/**
 * What overwriting a file does not reach, from what the file is kept on. Errs towards doubt: what is not known to write
 * in place is said to promise nothing. docs/shredding.md has the same in prose.
 */
import type { Disk, Medium } from '../system/medium.ts';

/** They write to the blocks that a file has. xfs shares blocks only between files that were copied as such. */
const IN_PLACE = [
  'ext2',
  'ext3',
  'ext4',
  'xfs',
  'jfs',
  'vfat',
  'msdos',
  'exfat',
  'ntfs',
  'ntfs3',
  'hfsplus',
  'ufs',
];
const COPY_ON_WRITE = ['btrfs', 'zfs', 'bcachefs', 'f2fs', 'nilfs2', 'ubifs', 'jffs2', 'logfs', 'apfs'];
const NETWORK = [
  'nfs',
  'nfs4',
  'cifs',
  'smb3',
  'smbfs',
  '9p',
  'ceph',
  'virtiofs',
  'afs',
  'gfs2',
  'ocfs2',
  'lustre',
  'vboxsf',
];

/** Why what was in the file may still be somewhere; nothing where it was overwritten where it stood. */
export function remains(medium: Medium | undefined): string[] {
  if (medium === undefined) return ['what it was kept on can not be seen from here'];
  const { fstype, options, disks, swaps } = medium;
  if (fstype === 'ramfs') return [];
  if (fstype === 'tmpfs') return swaps ? ['tmpfs is swapped: a swap area may have a copy'] : [];
  const reasons = fileSystemKeeps(fstype, options);
  // What is below a file system of another machine, or of a program, nobody here can say.
  if (reasons.length > 0 && disks.length === 0) return reasons;
  if (disks.length === 0) return [`the disk below ${fstype} can not be seen from here`];
  return [...reasons, ...disks.flatMap(diskKeeps)];
}

function fileSystemKeeps(fstype: string, options: readonly string[]): string[] {
  if (IN_PLACE.includes(fstype))
    return options.includes('data=journal') ? [`${fstype} with data=journal has copies in its journal`] : [];
  if (COPY_ON_WRITE.includes(fstype))
    return [`${fstype} writes what changes to a new place, and snapshots keep the old`];
  if (fstype === 'overlay') return ['overlay leaves what is in its lower layers'];
  if (NETWORK.includes(fstype)) return [`${fstype} is kept by another machine`];
  if (fstype.startsWith('fuse')) return [`${fstype} is kept by a program`];
  return [unknown(fstype)];
}

function diskKeeps({ name, rotational, model, mapping }: Disk): string[] {
  if (/^(zram|ram)\d/.test(name)) return [];
  if (name.startsWith('loop')) return [`${name} is a file of another file system`];
  if (name.startsWith('dm-')) return mappingKeeps(name, mapping ?? '');
  if (/^md\d/.test(name)) return [];
  if (isVirtual(name, model))
    return [`${name} is a virtual disk: its host, and snapshots of it, may keep what was there`];
  if (!rotational || name.startsWith('mmcblk'))
    return [`${name} is flash: it writes elsewhere and keeps what was there for a while`];
  return /^(sd|hd)/.test(name) ? [] : [unknown(name)];
}

/** Of the plain ones, the disks below say the rest. LVM ends the names of what snapshots and thin volumes are made of so. */
function mappingKeeps(name: string, mapping: string): string[] {
  if (/^LVM-.*-(tpool|cow|real|vdata|vpool)$/.test(mapping))
    return [`${name} has snapshots, or is thin: they keep what was there`];
  return /^(LVM|CRYPT|part\d+)-/.test(mapping) ? [] : [unknown(name)];
}

const unknown = (name: string) => `what ${name} does with what changes is not known`;

function isVirtual(name: string, model: string): boolean {
  return (
    /^(vd|xvd|nbd|rbd|drbd|pmem)/.test(name) ||
    /QEMU|VBOX|VMware|Virtual|Msft|Google|PersistentDisk|Elastic Block Store|iSCSI|LIO-ORG/i.test(model)
  );
}
