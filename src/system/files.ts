/** Opening what Node has no flags for. */
import { closeSync, constants, openSync, readdirSync } from 'node:fs';
import { late, libc } from './libc.ts';

/** asm-generic/fcntl.h */
export const O_PATH = 0o10000000;

/** Names the file without opening it: no permission on it is needed, and nothing asks its filesystem for an open. */
export function openPath(path: string, flags = 0): number {
  return openSync(path, O_PATH | constants.O_NOFOLLOW | flags);
}

/** A directory as what is mounted on, or looked up in. Throws ENOTDIR for a symlink. */
export function openDirectoryPath(path: string): number {
  return openPath(path, constants.O_DIRECTORY);
}

const lseek = late('int64_t lseek(int, int64_t, int)');

/** To the beginning: a descriptor that was passed on shares its position with whoever had it. */
export function rewind(fd: number): void {
  libc().made('lseek', lseek(fd, 0, 0));
}

// linux/fs.h
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/** Where a file of `size` bytes has data, as [from, to), in order: between them are holes, which take no place. */
export function dataExtents(fd: number, size: number): [from: number, to: number][] {
  const extents: [number, number][] = [];
  for (let at = 0; at < size; ) {
    const from = Number(lseek(fd, at, SEEK_DATA));
    // ENXIO: there is none up to the end.
    if (from < 0 || from >= size) break;
    at = libc().made('lseek', lseek(fd, from, SEEK_HOLE));
    extents.push([from, Math.min(at, size)]);
  }
  return extents;
}

/** Closing is cleaning up: a failure there must not hide what came before. */
export function closeQuietly(...fds: readonly (number | undefined)[]): void {
  for (const fd of fds) {
    try {
      if (fd !== undefined) closeSync(fd);
    } catch {
      // Said above.
    }
  }
}

// asm-generic/fcntl.h
const F_SETFD = 2;
const FD_CLOEXEC = 1;
const fcntl = late('int fcntl(int, int, int)');

/**
 * Whatever is open above standard error stays in this process: Node marks what it opens, but of what it inherited only
 * the first few. What a child is to have is passed to it by name.
 */
export function keepDescriptors(): void {
  for (const name of readdirSync('/proc/self/fd')) {
    const fd = Number(name);
    // The one that the directory is read through is gone by now.
    if (fd > 2) fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
}

const pipe2 = late('int pipe2(void *, int)');
// asm-generic/fcntl.h
const O_CLOEXEC = 0o2000000;

/** Both ends block, and go to no child by themselves. The caller closes them. */
export function makePipe(): { readonly readFd: number; readonly writeFd: number } {
  const fds = Buffer.alloc(8);
  libc().check('pipe2', pipe2(fds, O_CLOEXEC));
  return { readFd: fds.readInt32LE(0), writeFd: fds.readInt32LE(4) };
}
