/**
 * The driver for the unprivileged: npm's fuse-native over libfuse 2. It serves one PathVfs, with direct I/O and
 * nothing cached in the kernel, because libfuse 2's path interface can't tell the kernel of a change
 * (docs/semantics.md has what follows from that). This is the only file that loads fuse-native, mounts and unmounts with
 * it; native-handlers.ts answers its requests.
 */
import { MountError, quote } from '../errors.ts';
import { type MountEntry, readMounts, topMount } from '../system/mountinfo.ts';
import { loadNative } from '../system/native.ts';
import type { PathVfs } from '../vfs/paths.ts';
import { checkDevice } from './device.ts';
import { detach, FSTYPE } from './mountpoint.ts';
import { driverFor, type NativeCounts, READ_BYTES_MAX } from './native-handlers.ts';

type FuseClass = typeof import('fuse-native').default;

/** fuse-native copies the options into a fixed array. */
const OPTIONS_BYTES_MAX = 1023;

export interface NativeMountOptions {
  /** What the mount table shows as the source. */
  readonly source: string;
  /** Others than the mounting user may pass; permissions are checked all the same. Default: when root. */
  readonly allowOther?: boolean | undefined;
  /** A handler threw what is no VfsError: a bug, answered with EIO, to be logged. */
  readonly onBug?: ((operation: string, error: unknown) => void) | undefined;
}

export interface NativeMount {
  readonly mountpoint: string;
  readonly counts: Readonly<NativeCounts>;
  /** False once somebody else has unmounted it. */
  isMounted(): Promise<boolean>;
  /** Out of the mount table. What is still open answers until this process ends. Throws MountError. */
  unmount(): Promise<void>;
}

/**
 * Mounts on a directory that prepareMountpoint() has passed.
 * Throws MountError fuse-missing, driver-missing, mount-denied or mount-failed.
 */
export async function mountNative(
  mountpoint: string,
  vfs: PathVfs,
  options: NativeMountOptions,
): Promise<NativeMount> {
  await checkDevice();
  const Fuse = await loadDriver();
  // libfuse frees its copies of what was read without wiping them.
  (await loadNative()).overwriteFreedMemory();
  const before = await readMounts();
  const optionString = mountOptions(options.source, options.allowOther ?? process.geteuid?.() === 0);
  const counts = { opens: 0, reads: 0 };
  const fuse = new (driverFor(Fuse))(mountpoint, vfs, optionString, options.onBug ?? (() => {}), counts);
  try {
    await new Promise<void>((resolve, reject) => {
      fuse.mount((error) => (error === null || error === undefined ? resolve() : reject(error)));
    });
  } catch (cause) {
    // A failure after mount(2) leaves the mount behind. What is there may also be another's, who was faster.
    const top = topMount(await readMounts(), mountpoint);
    if (top?.fstype === FSTYPE && top.source === options.source) await detach(mountpoint).catch(() => {});
    else if (top !== undefined) {
      throw new MountError('mountpoint-busy', `cannot mount on ${quote(mountpoint)}: another was faster`, {
        hint: 'secretsfs status shows who is there',
        cause,
      });
    }
    throw new MountError('mount-failed', `cannot mount on ${quote(mountpoint)}: libfuse refused`, {
      hint: refusalHint(),
      cause,
    });
  }
  const device = await landedOn(mountpoint, options.source, before);
  if (device === undefined) {
    await new Promise<void>((resolve) => fuse.unmount(() => resolve()));
    throw new MountError('mount-failed', `cannot mount on ${quote(mountpoint)}: it was replaced meanwhile`, {
      hint: 'every directory above a mountpoint should belong to root, or to you',
    });
  }

  async function isMounted(): Promise<boolean> {
    const mounts = await readMounts();
    return mounts.some((mount) => mount.mountpoint === mountpoint && mount.device === device);
  }
  return {
    mountpoint,
    counts,
    isMounted,
    async unmount() {
      // Where the table can't be read, the attempt tells.
      if (await isMounted().catch(() => true)) {
        const top = topMount(await readMounts().catch(() => []), mountpoint);
        if (top !== undefined && top.device !== device) {
          throw new MountError(
            'mount-failed',
            `cannot unmount ${quote(mountpoint)}: ${top.fstype} is mounted over it`,
            {
              hint: 'unmount that first',
            },
          );
        }
        await detach(mountpoint);
      }
      // Also after somebody else's umount: it lets go of the event loop.
      await new Promise<void>((resolve) => fuse.unmount(() => resolve()));
    },
  };
}

/**
 * The device of our mount, if it is where it should be. mount(2) follows symlinks: whoever may write to a directory
 * above the mountpoint can have put another in its place. Where ours then went, it is taken away from.
 */
async function landedOn(
  mountpoint: string,
  source: string,
  before: readonly MountEntry[],
): Promise<string | undefined> {
  const known = new Set(before.map(({ device }) => device));
  const isOurs = (mount: MountEntry) => mount.fstype === FSTYPE && mount.source === source;
  const ours = (await readMounts()).filter((mount) => isOurs(mount) && !known.has(mount.device));
  const here = ours.find((mount) => mount.mountpoint === mountpoint);
  if (here === undefined) for (const mount of ours) await detach(mount.mountpoint);
  return here?.device;
}

/** What is usually wrong. libfuse tells at most standard error, and fusermount, which it runs, nobody. */
function refusalHint(): string {
  return process.geteuid?.() === 0
    ? 'a container needs CAP_SYS_ADMIN to mount; libfuse may say more above'
    : 'fusermount must be installed (apt install fuse3), the directory be yours, and your uid be in /etc/passwd';
}

/** Throws MountError driver-missing, saying what to install. */
export async function loadDriver(): Promise<FuseClass> {
  try {
    return (await import('fuse-native')).default;
  } catch (cause) {
    const { message } = cause as Error;
    if (process.platform !== 'linux' || process.arch !== 'x64') {
      const machine = `${process.platform} ${process.arch}`;
      throw new MountError('driver-missing', `cannot load fuse-native: it has no libfuse for ${machine}`, {
        hint: 'fuse-native ships libfuse for Linux on x64 only: mount on such a machine; everything else works here',
        cause,
      });
    }
    if (message.includes('libfuse.so.2')) {
      throw new MountError('driver-missing', 'cannot load fuse-native: libfuse.so.2 is not installed', {
        hint: 'apt install libfuse2 fuse3 (from Debian 13 and Ubuntu 24.04 on: libfuse2t64 fuse3)',
        cause,
      });
    }
    throw new MountError('driver-missing', `cannot load fuse-native: ${firstLine(message)}`, {
      hint: 'npm install fuse-native, and: apt install libfuse2 fuse3',
      cause,
    });
  }
}

/**
 * Ours, because fuse-native's leaves out every option whose value is 0, and knows neither direct_io nor ro. `ro` makes
 * the kernel refuse every change before it gets here.
 */
export function mountOptions(source: string, allowOther: boolean): string {
  const options = [
    'ro',
    'nosuid',
    'nodev',
    'noexec',
    'default_permissions',
    'direct_io',
    'use_ino',
    `max_read=${READ_BYTES_MAX}`,
    'entry_timeout=0',
    'negative_timeout=0',
    'attr_timeout=0',
    'ac_attr_timeout=0',
    'subtype=secretsfs',
    // Commas and backslashes would be options of their own.
    `fsname=${source.replace(/[^\w.:@/+=-]/g, '_') || 'secretsfs'}`,
  ];
  // Never without default_permissions: everybody would pass (libfuse/libfuse#15).
  if (allowOther) options.push('allow_other');
  const text = `-o${options.join(',')}`;
  if (Buffer.byteLength(text) > OPTIONS_BYTES_MAX) return mountOptions('secretsfs', allowOther);
  return text;
}

function firstLine(text: string): string {
  return text.split('\n')[0] ?? '';
}
