/**
 * What a directory must be before we mount on it. A secretsfs whose daemon died is recognised and cleared. Nothing
 * here stats a path inside or at a secretsfs mount from this process: if its server hangs, so would we.
 */
import { access, constants, lstat, readdir, readlink } from 'node:fs/promises';
import path from 'node:path';
import { MountError, quote } from '../errors.ts';
import { type MountEntry, readMounts, topMount } from '../system/mountinfo.ts';
import { run } from '../system/run.ts';

export const FSTYPE = 'fuse.secretsfs';

/** fuse-native copies the path into a fixed array. */
const MOUNTPOINT_BYTES_MAX = 1023;
const SYMLINKS_MAX = 40;
const PROBE_TIMEOUT_MS = 5_000;
const UNMOUNT_TIMEOUT_MS = 10_000;

export interface Mountpoint {
  /** Absolute, without symlinks: as the mount table will show it. */
  readonly path: string;
  /** Dead mounts of ours that were in the way and are gone now: to be logged. */
  readonly cleared: readonly MountEntry[];
}

/** Throws MountError mountpoint-missing, -invalid, -busy or mount-denied. */
export async function prepareMountpoint(requested: string): Promise<Mountpoint> {
  const cleared: MountEntry[] = [];
  const resolved = await resolveMountpoint(requested, await readMounts());
  for (;;) {
    const mount = topMount(await readMounts(), resolved);
    if (mount === undefined) break;
    await refuseUnlessDead(mount);
    await clearDead(mount);
    cleared.push(mount);
  }
  await checkDirectory(resolved, requested);
  return { path: resolved, cleared };
}

/** Where a mount of ours is, without symlinks, whatever is mounted there: that is not asked. Throws as prepareMountpoint(). */
export async function placeOf(requested: string): Promise<string> {
  return resolveMountpoint(requested, await readMounts());
}

/**
 * By force first, which ends the connection, should the kernel not have done that yet: whoever waits for an answer would
 * keep a mount that is only detached alive for ever. It takes it out of the table too, unless it is in use.
 */
async function clearDead(mount: MountEntry): Promise<void> {
  if (process.geteuid?.() === 0) {
    await run('umount', ['-f', '-i', '--', mount.mountpoint], UNMOUNT_TIMEOUT_MS);
    if (!(await readMounts()).some(({ id, device }) => id === mount.id && device === mount.device)) return;
  }
  await detach(mount.mountpoint);
}

/**
 * Takes the mount out of the mount table, at once even if it is in use. Throws MountError mount-failed with what the
 * tool said.
 */
export async function detach(mountpoint: string): Promise<void> {
  const attempts =
    process.geteuid?.() === 0
      ? [['umount', '-l', '-i', '--', mountpoint]]
      : [
          ['fusermount3', '-uz', '--', mountpoint],
          ['fusermount', '-uz', '--', mountpoint],
        ];
  let reason = 'no tool to unmount with';
  for (const [command = '', ...args] of attempts) {
    const outcome = await run(command, args, UNMOUNT_TIMEOUT_MS);
    if (outcome.code === 0) return;
    if (outcome.found) {
      reason = outcome.timedOut ? `${command} did not end` : outcome.stderr;
      break;
    }
  }
  throw new MountError('mount-failed', `cannot unmount ${quote(mountpoint)}: ${reason}`, {
    hint: process.geteuid?.() === 0 ? undefined : 'fusermount is in the package fuse3: apt install fuse3',
  });
}

/** Follows symlinks one by one, so that it stops before it would ask a secretsfs for anything. */
async function resolveMountpoint(requested: string, mounts: readonly MountEntry[]): Promise<string> {
  if (Buffer.byteLength(requested) > MOUNTPOINT_BYTES_MAX) throw invalid(requested, 'its path is too long');
  const rest = path.resolve(requested).split('/');
  let at = '/';
  let symlinks = 0;
  for (let name = rest.shift(); name !== undefined; name = rest.shift()) {
    if (name === '' || name === '.') continue;
    if (name === '..') {
      at = path.dirname(at);
      continue;
    }
    const next = path.join(at, name);
    if (topMount(mounts, next)?.fstype === FSTYPE) {
      if (rest.some((each) => each !== '')) throw invalid(requested, 'it is inside a secretsfs mount');
      return next;
    }
    const stat = await lstat(next).catch((cause: NodeJS.ErrnoException) => {
      throw unreachable(requested, cause);
    });
    if (!stat.isSymbolicLink()) {
      at = next;
      continue;
    }
    symlinks += 1;
    if (symlinks > SYMLINKS_MAX) throw invalid(requested, 'it has too many symlinks');
    const target = await readlink(next);
    if (target.startsWith('/')) at = '/';
    rest.unshift(...target.split('/'));
  }
  if (Buffer.byteLength(at) > MOUNTPOINT_BYTES_MAX) throw invalid(requested, 'its path is too long');
  return at;
}

async function checkDirectory(resolved: string, requested: string): Promise<void> {
  const stat = await lstat(resolved).catch((cause: NodeJS.ErrnoException) => {
    throw unreachable(requested, cause);
  });
  if (!stat.isDirectory()) throw invalid(requested, 'it is not a directory');
  const names = await readdir(resolved).catch((cause: NodeJS.ErrnoException) => {
    throw unreachable(requested, cause);
  });
  if (names.length > 0) {
    throw invalid(requested, 'the directory is not empty', 'a mount would hide what is in it: take another');
  }
  if (process.geteuid?.() !== 0) {
    await access(resolved, constants.W_OK).catch((cause: NodeJS.ErrnoException) => {
      throw unreachable(requested, cause);
    });
  }
}

async function refuseUnlessDead(mount: MountEntry): Promise<void> {
  const at = quote(mount.mountpoint);
  if (mount.fstype !== FSTYPE) {
    throw new MountError('mountpoint-busy', `cannot mount on ${at}: ${mount.fstype} is mounted there`, {
      hint: `umount ${at} first, or take another directory`,
    });
  }
  const answer = await probe(mount.mountpoint);
  if (answer === 'dead') return;
  if (answer === 'silent') {
    throw new MountError('mountpoint-busy', `cannot mount on ${at}: a secretsfs there does not answer`, {
      hint: `end its daemon, then: umount -f ${at}; umount -l ${at}`,
    });
  }
  throw new MountError('mountpoint-busy', `cannot mount on ${at}: another secretsfs serves there`, {
    hint: 'secretsfs unmount ends it, secretsfs remount makes it look for a new bundle',
  });
}

/**
 * Asks the filesystem, through a process that may hang. statfs, because stat is answered from caches even by a
 * stopped server.
 */
async function probe(mountpoint: string): Promise<'dead' | 'alive' | 'silent'> {
  const script = 'require("fs").statfs(process.argv[1],(e)=>process.stdout.write(e?e.code:"OK"))';
  const { stdout, timedOut } = await run(process.execPath, ['-e', script, mountpoint], PROBE_TIMEOUT_MS);
  if (timedOut) return 'silent';
  // A connection whose server is gone answers the first; a request caught in its death, the second.
  return stdout === 'ENOTCONN' || stdout === 'ECONNABORTED' ? 'dead' : 'alive';
}

function invalid(requested: string, why: string, hint = 'mount on an empty directory'): MountError {
  return new MountError('mountpoint-invalid', `cannot mount on ${quote(requested)}: ${why}`, { hint });
}

function unreachable(requested: string, cause: NodeJS.ErrnoException): MountError {
  const at = quote(requested);
  switch (cause.code) {
    case 'ENOENT':
      return new MountError('mountpoint-missing', `cannot mount on ${at}: it does not exist`, {
        hint: `mkdir -p ${at}`,
        cause,
      });
    case 'EACCES':
    case 'EPERM':
      return new MountError('mount-denied', `cannot mount on ${at}: permission denied`, {
        hint: 'mount on a directory that you own',
        cause,
      });
    case 'ENOTCONN':
      return new MountError(
        'mountpoint-invalid',
        `cannot mount on ${at}: a filesystem on the way there is dead`,
        {
          hint: 'unmount it: umount -l',
          cause,
        },
      );
    default:
      return invalid(requested, cause.code === 'ENOTDIR' ? 'it is not a directory' : `${cause.code}`);
  }
}
