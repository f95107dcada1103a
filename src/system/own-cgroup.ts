/**
 * A control group (v2) for this process and its children alone, that may not use swap. It is a child of the one that
 * we are in, which must be ours: empty but for this process, or the root; and delegated where systemd rules, since it
 * undoes what it did not hand over. Either all of it worked or nothing of it is left.
 */
import { mkdir, readFile, rmdir, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { CGROUP_SOURCES, type CgroupSources, memoryHierarchies, parseLimit } from './cgroups.ts';
import { late } from './libc.ts';

/** The few things that are done to the cgroup filesystem, for tests. */
export interface CgroupFiles {
  read(file: string): Promise<string>;
  write(file: string, text: string): Promise<void>;
  mkdir(directory: string): Promise<void>;
  rmdir(directory: string): Promise<void>;
  /** Whether systemd handed this group over (systemd.exec(5), Delegate=), or does not rule here. */
  isDelegated(directory: string): Promise<boolean>;
}

export interface OwnCgroup {
  readonly directory: string;
  /** This process goes back to where it was. False while children are left in it: to be called again. */
  remove(): Promise<boolean>;
}

/** Undefined where it can't be had, for whatever reason. `name` must be unique among the mounts of this machine. */
export async function makeSwaplessCgroup(
  name: string,
  pid: number = process.pid,
  sources: CgroupSources = CGROUP_SOURCES,
  files: CgroupFiles = cgroupFiles,
): Promise<OwnCgroup | undefined> {
  const texts = [files.read(sources.cgroup), files.read(sources.mountinfo)] as const;
  const [cgroup, mountinfo] = await Promise.all(texts).catch(() => ['', ''] as const);
  const hierarchy = memoryHierarchies(cgroup, mountinfo).find(({ version }) => version === 2);
  const [parent, above] = hierarchy?.directories ?? [];
  if (parent === undefined) return undefined;
  // The root of the machine is nobody's to delegate; systemd keeps no process of users there.
  if (above !== undefined && !(await files.isDelegated(parent))) return undefined;

  const control = path.join(parent, 'cgroup.subtree_control');
  const directory = path.join(parent, `secretsfs-${name}`);
  const undo: (() => Promise<void>)[] = [];
  const undoAll = async () => {
    for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
  };
  try {
    const enabled = (await files.read(control)).split(/\s+/).includes('memory');
    // One that a killed mount of this name left is empty.
    await files.rmdir(directory).catch(() => undefined);
    await files.mkdir(directory);
    undo.push(() => files.rmdir(directory));
    // A group with controllers for its children may have no process of its own: first out, then enabled.
    await files.write(path.join(directory, 'cgroup.procs'), `${pid}`);
    undo.push(() => files.write(path.join(parent, 'cgroup.procs'), `${pid}`));
    if (!enabled) {
      await files.write(control, '+memory');
      undo.push(() => files.write(control, '-memory'));
    }
    const limit = path.join(directory, 'memory.swap.max');
    await files.write(limit, '0');
    if (parseLimit(await files.read(limit)) !== 0) throw new Error('the limit was not taken');
  } catch {
    await undoAll().catch(() => undefined);
    return undefined;
  }
  return {
    directory,
    async remove() {
      while (undo.length > 0) {
        const step = undo.at(-1);
        try {
          await step?.();
        } catch (error) {
          // Somebody else was faster.
          if ((error as NodeJS.ErrnoException).code !== 'ENOENT') return false;
        }
        undo.pop();
      }
      return true;
    },
  };
}

const getxattr = late('int64_t getxattr(const char *, const char *, void *, size_t)');

const cgroupFiles: CgroupFiles = {
  read: (file) => readFile(file, 'utf8'),
  // The files are there or the controller is not: never create one.
  write: (file, text) => writeFile(file, text, { flag: 'r+' }),
  mkdir: (directory) => mkdir(directory),
  rmdir: (directory) => rmdir(directory),
  async isDelegated(directory) {
    // sd_booted(3).
    const systemd = await stat('/run/systemd/system').catch(() => undefined);
    if (systemd === undefined) return true;
    const value = Buffer.alloc(1);
    const bytes = Number(getxattr(directory, 'trusted.delegate', value, value.length));
    return bytes === 1 && value.toString() === '1';
  },
};
