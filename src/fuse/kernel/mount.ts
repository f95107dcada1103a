/**
 * Mounting with the kernel's own FUSE interface, by descriptors from beginning to end: what was looked at is what is
 * mounted on, and what was mounted is what is unmounted, whatever happens to the path. INIT is answered here, before
 * any server exists, so that it can't be lost with one.
 *
 * Nothing here asks the mounted filesystem anything: this process holds its device, and would wait for itself.
 */
import { closeSync, readlinkSync, readSync, writeSync } from 'node:fs';
import { MountError, quote } from '../../errors.ts';
import { closeQuietly, openDirectoryPath } from '../../system/files.ts';
import { SystemCallError } from '../../system/libc.ts';
import { type MountEntry, mountIdOf, readMounts } from '../../system/mountinfo.ts';
import { type AttachedMount, MNT_DETACH, MNT_FORCE, mountFuse, unmount } from '../../system/mounts.ts';
import { poll } from '../../system/wait.ts';

/** The kernel sends INIT before the mount call returns. */
const INIT_TIMEOUT_MS = 5_000;
/** A kernel of a later major version asks again with ours, once. */
const INIT_ATTEMPTS = 3;
/** The kernel refuses to be read with less than 8 KiB. */
const INIT_BYTES = 64 * 1024;

/** What to say to an INIT: init.ts decides. */
export type InitAnswer<P> =
  | { readonly kind: 'accepted'; readonly reply: Uint8Array; readonly params: P }
  | { readonly kind: 'again'; readonly reply: Uint8Array }
  | { readonly kind: 'refused'; readonly reply: Uint8Array | undefined; readonly reason: string };

export interface KernelMountOptions<P> {
  /** As prepareMountpoint() returned it: absolute, without symlinks. */
  readonly path: string;
  /** What the mount table shows as the source. */
  readonly source: string;
  /** SELinux context of everything in it; a kernel without SELinux refuses the mount. */
  readonly selinuxContext?: string | undefined;
  /** From openDevice(). The caller's to close, after the mount. */
  readonly fuseFd: number;
  readonly negotiate: (request: Uint8Array) => InitAnswer<P>;
  readonly initTimeoutMs?: number;
}

/**
 * Throws MountError fuse-missing, mount-denied, mountpoint-missing, -invalid, -busy or mount-failed. Nothing is mounted
 * then.
 */
export async function mountKernel<P>(
  options: KernelMountOptions<P>,
): Promise<{ readonly mount: KernelMount; readonly params: P }> {
  const { path, fuseFd } = options;
  let directoryFd: number | undefined;
  let attached: AttachedMount | undefined;
  try {
    directoryFd = openChecked(path);
    attached = attach(fuseFd, directoryFd, options);
    const { mountFd } = attached;
    const id = mountIdOf(mountFd);
    const here = (await readMounts()).filter(({ mountpoint }) => mountpoint === path);
    // Mounting on a place goes to the top of what is mounted there already.
    const [entry] = here;
    if (here.length !== 1 || entry?.id !== id || entry.parentId !== mountIdOf(directoryFd)) {
      throw new MountError('mountpoint-busy', `cannot mount on ${quote(path)}: another was faster`, {
        hint: 'secretsfs status shows who is there',
      });
    }
    const params = answerInit(fuseFd, options);
    return { mount: new KernelMount(path, { id, device: entry.device, cloneFd: attached.cloneFd }), params };
  } catch (error) {
    if (attached !== undefined) detach(attached.mountFd);
    closeQuietly(attached?.cloneFd);
    throw error;
  } finally {
    // The mount stays without it. With it, nobody's plain umount would do: the mount were in use.
    closeQuietly(attached?.mountFd, directoryFd);
  }
}

export class KernelMount {
  readonly mountpoint: string;
  /** A writable view, attached nowhere. For prober and teller. */
  readonly cloneFd: number;
  readonly #id: number;
  /** The id alone is given to another as soon as this one is gone; the filesystem lives as long as the clone. */
  readonly #device: string;

  /** Also for one that an earlier supervisor mounted: by its id in the mount table, and what was kept of it. */
  constructor(
    mountpoint: string,
    kept: { readonly id: number; readonly device: string; readonly cloneFd: number },
  ) {
    this.mountpoint = mountpoint;
    this.cloneFd = kept.cloneFd;
    this.#id = kept.id;
    this.#device = kept.device;
  }

  /** What says in the mount table that it is this one. */
  get identity(): { readonly id: number; readonly device: string } {
    return { id: this.#id, device: this.#device };
  }

  /** False once somebody has unmounted it. That it was moved makes no difference. */
  async isMounted(): Promise<boolean> {
    return this.#find(await readMounts()) !== undefined;
  }

  /**
   * Out of the mount table, at once even if it is in use; what is open goes on being answered as long as the connection
   * lives. Does nothing where somebody else did it. Throws MountError mount-failed, also where something is mounted
   * over it, which would go too.
   */
  async unmount(): Promise<void> {
    const mounts = await readMounts();
    const ours = this.#find(mounts);
    if (ours === undefined) return;
    const over = mounts.find(({ parentId, mountpoint }) => {
      return parentId === this.#id && mountpoint === ours.mountpoint;
    });
    if (over !== undefined) {
      const at = quote(ours.mountpoint);
      throw new MountError('mount-failed', `cannot unmount ${at}: ${over.fstype} is mounted over it`, {
        hint: 'unmount that first',
      });
    }
    try {
      this.#unmountAt(ours.mountpoint);
    } catch (cause) {
      if (!(await this.isMounted())) return;
      throw new MountError('mount-failed', `cannot unmount ${quote(this.mountpoint)}: ${reason(cause)}`, {
        hint: `umount -l ${quote(this.mountpoint)}`,
        cause,
      });
    }
  }

  /**
   * The last resort, at once and without waiting for anybody: the connection is aborted, so that whoever waits for an answer
   * gets an error, and it leaves the mount table, unless something is mounted over it. Never throws.
   */
  abandon(): void {
    try {
      this.#unmountAt(this.mountpoint, MNT_FORCE | MNT_DETACH);
    } catch {
      // It is not there any more, or was moved.
    }
  }

  /** The connection stays: it ends with the last descriptor of its device. */
  close(): void {
    closeQuietly(this.cloneFd);
  }

  #find(mounts: readonly MountEntry[]): MountEntry | undefined {
    return mounts.find(({ id, device }) => id === this.#id && device === this.#device);
  }

  /** What a path leads to may change: it is opened, looked at, and unmounted as what was looked at. */
  #unmountAt(place: string, flags = MNT_DETACH): void {
    const fd = openDirectoryPath(place);
    try {
      if (mountIdOf(fd) !== this.#id) throw new Error('another is mounted there');
      detachFd(fd, flags);
    } finally {
      closeSync(fd);
    }
  }
}

/** The way by descriptor leads to exactly this mount, not to what is mounted over it. */
function detachFd(mountFd: number, flags = MNT_DETACH): void {
  unmount(`/proc/self/fd/${mountFd}`, flags);
}

function detach(mountFd: number): void {
  try {
    detachFd(mountFd);
  } catch {
    // Not attached.
  }
}

/** Whoever may write to a directory above the mountpoint can exchange it. */
function openChecked(path: string): number {
  let fd: number;
  try {
    fd = openDirectoryPath(path);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') {
      throw new MountError('mountpoint-missing', `cannot mount on ${quote(path)}: it does not exist`, {
        hint: `mkdir -p ${quote(path)}`,
        cause,
      });
    }
    const why = code === 'ENOTDIR' ? 'it is not a directory' : `${code}`;
    throw new MountError('mountpoint-invalid', `cannot mount on ${quote(path)}: ${why}`, {
      hint: 'mount on an empty directory',
      cause,
    });
  }
  if (readlinkSync(`/proc/self/fd/${fd}`) !== path) {
    closeSync(fd);
    throw new MountError('mountpoint-invalid', `cannot mount on ${quote(path)}: it was replaced meanwhile`, {
      hint: 'every directory above a mountpoint should belong to root, or to you',
    });
  }
  return fd;
}

function attach(
  fuseFd: number,
  directoryFd: number,
  options: Pick<KernelMountOptions<unknown>, 'path' | 'source' | 'selinuxContext'>,
): AttachedMount {
  try {
    const { source, selinuxContext } = options;
    return mountFuse({ fuseFd, directoryFd, source, selinuxContext });
  } catch (cause) {
    throw refused(options.path, cause);
  }
}

/** Exported for tests: a kernel that refuses is not at hand. */
export function refused(path: string, cause: unknown): MountError {
  const message = `cannot mount on ${quote(path)}: ${reason(cause)}`;
  const details = (hint: string) => ({ hint, cause });
  switch (cause instanceof SystemCallError ? cause.code : undefined) {
    case 'EPERM':
    case 'EACCES':
      return new MountError(
        'mount-denied',
        message,
        details(
          'run as root; a container needs CAP_SYS_ADMIN (docker run --cap-add SYS_ADMIN), and no AppArmor in its way',
        ),
      );
    case 'ENOSYS':
      return new MountError(
        'mount-failed',
        message,
        details('the kernel driver needs Linux 5.4 or later: uname -r; --driver fuse-native works before'),
      );
    case 'ENODEV':
      return new MountError('fuse-missing', message, details('load the kernel module: modprobe fuse'));
    default:
      return new MountError(
        'mount-failed',
        message,
        details('the kernel log may say more (dmesg); --driver fuse-native is the other way to mount'),
      );
  }
}

function reason(cause: unknown): string {
  return cause instanceof Error ? cause.message : 'unknown';
}

/** Reads INIT of a connection and says what `negotiate` decides. Throws MountError mount-failed. */
export function answerInit<P>(
  fuseFd: number,
  options: Pick<KernelMountOptions<P>, 'path' | 'negotiate' | 'initTimeoutMs'>,
): P {
  const failed = (why: string, cause?: unknown) => {
    return new MountError('mount-failed', `cannot mount on ${quote(options.path)}: ${why}`, {
      hint: 'the kernel driver needs Linux 5.4 or later: uname -r',
      cause,
    });
  };
  const buffer = Buffer.alloc(INIT_BYTES);
  const deadline = performance.now() + (options.initTimeoutMs ?? INIT_TIMEOUT_MS);
  for (let attempt = 0; attempt < INIT_ATTEMPTS; attempt += 1) {
    while (!poll(fuseFd, Math.max(0, Math.ceil(deadline - performance.now())))) {
      if (performance.now() >= deadline) throw failed('the kernel did not begin the conversation');
    }
    try {
      const answer = options.negotiate(buffer.subarray(0, readSync(fuseFd, buffer, 0, buffer.length, null)));
      if (answer.reply !== undefined) writeSync(fuseFd, answer.reply);
      if (answer.kind === 'accepted') return answer.params;
      if (answer.kind === 'refused') throw failed(answer.reason);
    } catch (cause) {
      if (cause instanceof MountError) throw cause;
      const { code } = cause as NodeJS.ErrnoException;
      if (code !== 'EINTR' && code !== 'EAGAIN' && code !== 'ENOENT') {
        throw failed(`its first request: ${code ?? 'unreadable'}`, cause);
      }
    }
  }
  throw failed('the kernel asks again and again');
}
