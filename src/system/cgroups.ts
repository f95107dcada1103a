/**
 * The control groups of this process: how much memory they leave it, and whether they keep it out of swap. cgroups(7),
 * and cgroup-v2.rst and cgroup-v1/memory.rst of the kernel's documentation. Pages of the store are charged to them and
 * can't be reclaimed: at the limit the kernel ends processes, so it is asked first.
 */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { swapAreas } from './swap.ts';

/** What files are read, for tests: the mountpoints in `mountinfo` may be directories of theirs. */
export interface CgroupSources {
  readonly cgroup: string;
  readonly mountinfo: string;
  readonly swaps: string;
}

export const CGROUP_SOURCES: CgroupSources = {
  cgroup: '/proc/self/cgroup',
  mountinfo: '/proc/self/mountinfo',
  swaps: '/proc/swaps',
};

export interface Hierarchy {
  readonly version: 1 | 2;
  /** Of this process, then of each ancestor up to the root that can be seen. */
  readonly directories: readonly string[];
}

/**
 * Where the groups of this process that account for memory are. Both at once is usual: systemd's hybrid has an empty
 * v2 beside v1. Text of /proc/PID/cgroup and /proc/PID/mountinfo; pure.
 */
export function memoryHierarchies(cgroup: string, mountinfo: string): Hierarchy[] {
  const found: Hierarchy[] = [];
  for (const line of cgroup.split('\n')) {
    const [, controllers, group] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    if (controllers === undefined || group === undefined) continue;
    const version = controllers === '' ? 2 : 1;
    if (version === 1 && !controllers.split(',').includes('memory')) continue;
    const directories = ancestors(group, mountOf(version, mountinfo));
    if (directories.length > 0) found.push({ version, directories });
  }
  return found;
}

interface CgroupMount {
  /** Which group is seen at the mountpoint: / unless a container shows only its own. */
  readonly root: string;
  readonly mountpoint: string;
}

function mountOf(version: 1 | 2, mountinfo: string): CgroupMount | undefined {
  for (const line of mountinfo.split('\n')) {
    const [before = '', after = ''] = line.split(' - ');
    const [, , , root, mountpoint] = before.split(' ');
    const [fstype, , superOptions = ''] = after.split(' ');
    const fits = version === 2 ? fstype === 'cgroup2' : fstype === 'cgroup';
    if (!fits || root === undefined || mountpoint === undefined) continue;
    if (version === 1 && !superOptions.split(',').includes('memory')) continue;
    return { root, mountpoint };
  }
  return undefined;
}

function ancestors(group: string, mount: CgroupMount | undefined): string[] {
  if (mount === undefined) return [];
  // Outside of what the namespace or the mount shows: a process that was moved out.
  if (group.split('/').includes('..')) return [];
  const relative = path.posix.relative(mount.root, group);
  if (relative.startsWith('..')) return [];
  const names = relative === '' ? [] : relative.split('/');
  const directories: string[] = [];
  for (let depth = names.length; depth >= 0; depth -= 1) {
    directories.push(path.join(mount.mountpoint, ...names.slice(0, depth)));
  }
  return directories;
}

async function hierarchiesOf(sources: CgroupSources): Promise<Hierarchy[]> {
  const [cgroup, mountinfo] = await Promise.all([
    readFile(sources.cgroup, 'utf8').catch(() => ''),
    readFile(sources.mountinfo, 'utf8').catch(() => ''),
  ]);
  return memoryHierarchies(cgroup, mountinfo);
}

/**
 * The fewest bytes that any of our control groups can still give; undefined where none has a limit. Pages of files that
 * nobody used lately (inactive_file) count as free: the kernel takes them back before it fails. memory.high counts as
 * a limit too: above it, what can't be reclaimed stalls everything in the group.
 */
export async function memoryHeadroom(sources = CGROUP_SOURCES): Promise<number | undefined> {
  let least: number | undefined;
  for (const { version, directories } of await hierarchiesOf(sources)) {
    for (const directory of directories) {
      const left = await headroomOf(version, directory);
      if (left !== undefined && (least === undefined || left < least)) least = left;
    }
  }
  return least;
}

/** Above it v1 says "no limit": it is LONG_MAX rounded down to pages. */
const V1_UNLIMITED = 2 ** 62;

async function headroomOf(version: 1 | 2, directory: string): Promise<number | undefined> {
  const names =
    version === 2
      ? { limits: ['memory.max', 'memory.high'], usage: 'memory.current', inactive: 'inactive_file' }
      : {
          limits: ['memory.limit_in_bytes'],
          usage: 'memory.usage_in_bytes',
          inactive: 'total_inactive_file',
        };
  const read = (name: string) => readFile(path.join(directory, name), 'utf8').catch(() => '');
  const limits = (await Promise.all(names.limits.map(read))).map(parseLimit);
  const limit = Math.min(...limits.map((each) => each ?? Number.POSITIVE_INFINITY));
  const usage = parseLimit(await read(names.usage));
  if (usage === undefined || limit >= V1_UNLIMITED) return undefined;
  const reclaimable = parseStat(await read('memory.stat'), names.inactive);
  return Math.max(0, limit - Math.max(0, usage - reclaimable));
}

/** "max" and an absent file are undefined: no limit. */
export function parseLimit(text: string): number | undefined {
  return /^\d+\s*$/.test(text) ? Number(text) : undefined;
}

function parseStat(text: string, key: string): number {
  const line = text.split('\n').find((each) => each.startsWith(`${key} `));
  return Number(line?.slice(key.length + 1) ?? 0);
}

/**
 * Whether no page of this process and of its children can reach a disk: the machine has no swap area, or one of our
 * control groups may not use any. v1's swappiness=0 is no such promise.
 */
export async function swapExcluded(sources = CGROUP_SOURCES): Promise<boolean> {
  if ((await swapAreas(sources.swaps)).length === 0) return true;
  for (const { version, directories } of await hierarchiesOf(sources)) {
    if (version !== 2) continue;
    for (const directory of directories) {
      const text = await readFile(path.join(directory, 'memory.swap.max'), 'utf8').catch(() => '');
      if (parseLimit(text) === 0) return true;
    }
  }
  return false;
}
