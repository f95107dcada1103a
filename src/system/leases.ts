/** Who else has a file open, as the kernel knows it: fcntl(2), "Leases". */
import { closeSync, openSync } from 'node:fs';
import { late, libc } from './libc.ts';

// asm-generic/fcntl.h, linux/fcntl.h
const F_SETLEASE = 1024;
const F_RDLCK = 0;
const F_UNLCK = 2;

const fcntl = late('int fcntl(int, int, int)');

/**
 * Whether no descriptor anywhere can write to the file: a lease for reading is refused while one can. For the file's owner,
 * or with CAP_LEASE. Throws SystemCallError for what is no answer.
 */
export function isWrittenByNobody(path: string): boolean {
  const base = libc();
  const fd = openSync(path, 'r');
  try {
    if (fcntl(fd, F_SETLEASE, F_RDLCK) === 0) {
      base.check('fcntl(F_SETLEASE)', fcntl(fd, F_SETLEASE, F_UNLCK));
      return true;
    }
    const failure = base.failure('fcntl(F_SETLEASE)');
    if (failure.code === 'EAGAIN') return false;
    throw failure;
  } finally {
    closeSync(fd);
  }
}
