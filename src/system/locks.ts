/**
 * A file that one process holds: flock(2), which ends with the process, however that ends. Node closes its descriptors on exec,
 * so no child holds it on.
 */
import { closeSync, constants, fstatSync, lstatSync, openSync, unlinkSync } from 'node:fs';
import { late, libc } from './libc.ts';

// sys/file.h
const LOCK_EX_NB = 2 | 4;
const flock = late('int flock(int, int)');
/** Each time, somebody who let go removed the file between our opening and our locking of it. */
const ATTEMPTS = 100;

export interface Lock {
  /** The file goes with it; one that somebody put in its place stays. */
  release(): void;
}

/** Undefined where another process, or an earlier call of this one, holds it. Throws what open(2) fails with. */
export function lockFile(path: string): Lock | undefined {
  const base = libc();
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
    if (flock(fd, LOCK_EX_NB) !== 0) {
      const failure = base.failure('flock');
      closeSync(fd);
      if (failure.code === 'EAGAIN') return undefined;
      throw failure;
    }
    if (isFileAt(path, fd)) {
      return {
        release() {
          // Removed while it is held: whoever waits for its end finds another file, or makes one.
          try {
            if (isFileAt(path, fd)) unlinkSync(path);
          } catch (error) {
            if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
          } finally {
            closeSync(fd);
          }
        },
      };
    }
    closeSync(fd);
  }
  return undefined;
}

function isFileAt(path: string, fd: number): boolean {
  const there = lstatSync(path, { throwIfNoEntry: false });
  const held = fstatSync(fd);
  return there?.ino === held.ino && there.dev === held.dev;
}
