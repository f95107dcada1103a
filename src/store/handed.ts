/**
 * Whether a descriptor that was handed over is a store of ours (ramfs.ts), as the supervisor before this one left it: which
 * can only be so where systemd, or root, gave it. Nothing in it is changed.
 */
import fs from 'node:fs';
import { mountIdOf, readMounts } from '../system/mountinfo.ts';
import type { RamfsStoreOptions } from './ramfs.ts';
import {
  CONTROL,
  CONTROL_MAGIC,
  CONTROL_VERSION,
  type Control,
  decodeControl,
  PASSES_BYTES,
  REQUEST_BYTES,
  SHARED_BYTES,
} from './shared.ts';

/** linux/magic.h */
const RAMFS_MAGIC = 0x858458f6;

/** Why it is none, in words; undefined: it is. */
export async function whyNoStore(
  directoryFd: number,
  options: RamfsStoreOptions,
): Promise<string | undefined> {
  const directory = `/proc/self/fd/${directoryFd}/.`;
  if (fs.statfsSync(directory).type !== RAMFS_MAGIC) return 'it is no ramfs';
  const id = mountIdOf(directoryFd);
  if ((await readMounts()).some((mount) => mount.id === id)) return 'it is in the mount table';
  const { serverUid, serverGid } = options;
  const root = fs.statSync(directory);
  if (root.uid !== 0 || root.gid !== serverGid || (root.mode & 0o7777) !== 0o750)
    return 'its directory has another owner or mode';
  const files = [
    ['control', SHARED_BYTES, 0, 0o640],
    ['status', SHARED_BYTES, serverUid, 0o600],
    ['request', REQUEST_BYTES, serverUid, 0o600],
    ['passes', PASSES_BYTES, serverUid, 0o600],
  ] as const;
  for (const [name, bytes, uid, mode] of files) {
    const stat = fs.lstatSync(`${directory}/${name}`, { throwIfNoEntry: false });
    if (stat === undefined) return `it has no ${name}`;
    const isOurs = stat.isFile() && stat.uid === uid && stat.gid === serverGid && stat.nlink === 1;
    if (!isOurs || (stat.mode & 0o7777) !== mode || stat.size !== bytes)
      return `its ${name} has another owner, mode or size`;
  }
  return undefined;
}

/**
 * What the control page said last; undefined where it is of another version. A supervisor that was killed while it wrote leaves
 * the last word undone: all before it is one write, so it is what was meant.
 */
export function lastControl(directoryFd: number): Control | undefined {
  const bytes = fs.readFileSync(`/proc/self/fd/${directoryFd}/control`);
  const words = new Uint32Array(new Uint8Array(bytes).buffer);
  if (words[CONTROL.magic] !== CONTROL_MAGIC || words[CONTROL.version] !== CONTROL_VERSION) return undefined;
  words[CONTROL.sequence] = words[CONTROL.sequenceBegun] ?? 0;
  return decodeControl(words);
}
