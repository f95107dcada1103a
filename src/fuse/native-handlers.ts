/**
 * What fuse-native's requests are answered with: a driver class over a PathVfs, with everything replaced that the package does
 * wrong. It gets the package's class from native.ts, which alone loads it.
 */
import type { Signal } from 'fuse-native';
import { errnoOf, VfsError } from '../vfs/errno.ts';
import type { Attributes, PathVfs } from '../vfs/paths.ts';

type FuseClass = typeof import('fuse-native').default;

/** libfuse 2's own limit of a reply. */
export const READ_BYTES_MAX = 128 * 1024;
/** st_blksize: what `cp` and friends read at a time. */
const BLOCK_BYTES = READ_BYTES_MAX;
const UINT32 = 2 ** 32;

/** What is served. open and release stand in pairs, so do not leave one out. */
const OPERATIONS = ['getattr', 'fgetattr', 'readlink', 'readdir', 'open', 'read', 'release', 'statfs'];
/** The kernel refuses these on a read-only mount; `mount -o remount,rw` would let them through to us. */
const CHANGES = [
  'truncate',
  'ftruncate',
  'utimens',
  'chown',
  'chmod',
  'mknod',
  'create',
  'unlink',
  'rename',
  'link',
  'symlink',
  'mkdir',
  'rmdir',
];
// Not served at all, so that libfuse answers ENOSYS and the kernel stops asking: access (default_permissions), flush,
// opendir, and extended attributes, which the kernel turns into ENOTSUP.

/** What was answered, since the mount was made. */
export interface NativeCounts {
  opens: number;
  reads: number;
}

type Handler = (this: unknown, signal: Signal, ...args: never[]) => void;

/** A driver that serves `vfs`, with `options` for libfuse as they are. */
export function driverFor(Fuse: FuseClass) {
  // The original runs `fusermount -uz` through a shell. By the time it is called, detach() has done it.
  Fuse.unmount = (_mountpoint, callback) => callback(null);

  class Driver extends Fuse {
    readonly #options: string;

    constructor(
      mountpoint: string,
      vfs: PathVfs,
      options: string,
      onBug: (operation: string, error: unknown) => void,
      counts: NativeCounts,
    ) {
      const implemented = Object.fromEntries([...OPERATIONS, ...CHANGES].map((name) => [name, true]));
      // No time limit: it would answer ETIMEDOUT while we are busy, and a second time when we are done.
      super(mountpoint, implemented, { timeout: false });
      this.#options = options;
      const handlers = handlersFor(vfs, onBug, counts);
      for (const [name, handler] of Object.entries(handlers)) {
        Object.defineProperty(this, `_op_${name}`, { value: handler });
      }
    }

    protected override _fuseOptions(): string {
      return this.#options;
    }
  }
  return Driver;
}

/** A handler answers exactly once, whatever happens: a request without an answer hangs its caller for ever. */
function handlersFor(
  vfs: PathVfs,
  onBug: (operation: string, error: unknown) => void,
  counts: NativeCounts,
): Record<string, Handler> {
  function answer(operation: string, signal: Signal, act: () => unknown[]): void {
    let values: unknown[];
    try {
      values = act();
    } catch (error) {
      if (!(error instanceof VfsError)) onBug(operation, error);
      signal(-errnoOf(error));
      return;
    }
    signal(0, ...values);
  }

  const handlers: Record<string, Handler> = {
    getattr(signal, path: string) {
      answer('getattr', signal, () => [statArray(vfs.getattr(vfs.resolve(path)))]);
    },
    // libfuse 2 calls it for files that it creates only, so never here; but by the handle, not by the path.
    fgetattr(signal, _path: string, fh: number) {
      answer('fgetattr', signal, () => [statArray(vfs.fgetattr(fh))]);
    },
    readlink(signal, path: string) {
      answer('readlink', signal, () => [vfs.readlink(vfs.resolve(path))]);
    },
    // libfuse asks once a listing and keeps it until rewinddir, so it is of one generation.
    readdir(signal, path: string) {
      answer('readdir', signal, () => {
        const fh = vfs.opendir(vfs.resolve(path));
        try {
          const entries = vfs.readdir(fh, 0);
          return [entries.map((entry) => entry.name), entries.map((entry) => statArray(entry.attributes))];
        } finally {
          vfs.releasedir(fh);
        }
      });
    },
    open(signal, path: string, flags: number) {
      answer('open', signal, () => {
        const fh = vfs.open(vfs.resolve(path), flags);
        counts.opens += 1;
        return [fh];
      });
    },
    read(signal, _path: string, fh: number, reply: Buffer, length: number, low: number, high: number) {
      // The native side takes the buffer back and aborts the process if it does not get it.
      let result: number;
      counts.reads += 1;
      try {
        result = vfs.read(fh, high * UINT32 + low, length, reply);
      } catch (error) {
        if (!(error instanceof VfsError)) onBug('read', error);
        result = -errnoOf(error);
      }
      signal(result, 0, reply.buffer);
    },
    release(signal, _path: string, fh: number) {
      answer('release', signal, () => {
        vfs.release(fh);
        return [];
      });
    },
    statfs(signal) {
      answer('statfs', signal, () => [statfsArray(vfs)]);
    },
  };
  for (const name of CHANGES) handlers[name] = (signal) => signal(-errnoOf(new VfsError('EROFS')));
  return handlers;
}

/** The layout of fuse-native.c's populate_stat(): 32-bit words, 64-bit values as low and high. */
function statArray(attributes: Attributes): Uint32Array {
  const { mode, uid, gid, size, nlink, ino, blocks, mtimeSeconds } = attributes;
  const time = words(mtimeSeconds * 1000);
  return Uint32Array.of(
    ...[mode, uid, gid],
    ...words(size),
    // device: the kernel's own
    ...[0, nlink, ino % UINT32],
    // rdev
    ...[0, BLOCK_BYTES],
    ...words(blocks),
    // atime, mtime, ctime
    ...[...time, ...time, ...time],
  );
}

/** fuse-native.c's populate_statvfs(). */
function statfsArray(vfs: PathVfs): Uint32Array {
  const { blockBytes, blocks, files, nameBytesMax } = vfs.statfs();
  // bsize, frsize; blocks, bfree, bavail; files, ffree, favail; fsid, flag, namemax
  return Uint32Array.of(blockBytes, blockBytes, blocks, 0, 0, files, 0, 0, 0, 0, nameBytesMax);
}

function words(value: number): [number, number] {
  return [value % UINT32, Math.floor(value / UINT32)];
}
