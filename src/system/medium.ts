/**
 * What a file is kept on: its file system, and the disks below it. From the mount table, proc_pid_mountinfo(5), and from
 * sysfs (Documentation/ABI/stable/sysfs-block of the kernel). Says what is there, not what it means.
 */
import { readdir, readFile, realpath } from 'node:fs/promises';
import path from 'node:path';
import { type MountEntry, mountIdOf, readMounts } from './mountinfo.ts';
import { swapAreas } from './swap.ts';

export interface Disk {
  /** As in /sys/class/block: "sda", "dm-0". */
  readonly name: string;
  readonly rotational: boolean;
  /** Vendor and model, as far as there are any. */
  readonly model: string;
  /** Of a device mapper's device: "CRYPT-LUKS2-…", "LVM-…". */
  readonly mapping: string | undefined;
}

export interface Medium {
  readonly mountpoint: string;
  readonly fstype: string;
  /** Of the file system: `data=journal`. */
  readonly options: readonly string[];
  /** From the one that is mounted to those that it is made of; empty where the file system has none that can be seen. */
  readonly disks: readonly Disk[];
  /** Whether this machine writes memory to a disk. */
  readonly swaps: boolean;
}

/** Devices on devices: more than any real set-up has. */
const DISKS_MAX = 64;

/** Of the file behind an open descriptor; undefined where its mount can't be seen from here. */
export async function mediumOf(fd: number): Promise<Medium | undefined> {
  try {
    const id = mountIdOf(fd);
    const mount = (await readMounts()).find((entry) => entry.id === id);
    if (mount === undefined) return undefined;
    const [disks, swaps] = await Promise.all([disksOf(mount), swapAreas()]);
    return {
      mountpoint: mount.mountpoint,
      fstype: mount.fstype,
      options: mount.superOptions.split(','),
      disks,
      swaps: swaps.length > 0,
    };
  } catch {
    // No /proc: this is not Linux.
    return undefined;
  }
}

/** `sysfs` is where /sys is. */
export async function disksOf(
  { device, source }: Pick<MountEntry, 'device' | 'source'>,
  sysfs = '/sys',
): Promise<Disk[]> {
  // btrfs and others have a number of their own, and name their disk as the source.
  const first = device.startsWith('0:')
    ? source.startsWith('/dev/') &&
      path.join(sysfs, 'class/block', path.basename(await realpath(source).catch(() => source)))
    : path.join(sysfs, 'dev/block', device);
  const disks: Disk[] = [];
  const waiting = first ? [first] : [];
  for (let next = waiting.shift(); next !== undefined && disks.length < DISKS_MAX; next = waiting.shift()) {
    const directory = await wholeDisk(next);
    if (directory === undefined || disks.some(({ name }) => name === path.basename(directory))) continue;
    disks.push(await describe(directory));
    const below = await readdir(path.join(directory, 'slaves')).catch(() => []);
    waiting.push(...below.map((name) => path.join(sysfs, 'class/block', name)));
  }
  return disks;
}

/** Its directory in sysfs; of a partition, that of the disk that it is a part of. */
async function wholeDisk(link: string): Promise<string | undefined> {
  const directory = await realpath(link).catch(() => undefined);
  if (directory === undefined) return undefined;
  return (await attribute(directory, 'partition')) === '' ? directory : path.dirname(directory);
}

async function describe(directory: string): Promise<Disk> {
  const [rotational, vendor, model, mapping] = await Promise.all(
    ['queue/rotational', 'device/vendor', 'device/model', 'dm/uuid'].map((name) =>
      attribute(directory, name),
    ),
  );
  return {
    name: path.basename(directory),
    rotational: rotational === '1',
    model: [vendor, model].filter(Boolean).join(' '),
    mapping: mapping || undefined,
  };
}

/** Empty where there is no such attribute. */
async function attribute(directory: string, name: string): Promise<string> {
  return (await readFile(path.join(directory, name), 'utf8').catch(() => '')).trim();
}
