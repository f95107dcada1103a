/** A file that has no name and is in memory: what a program is given to read without anybody having to write while it does. */
import { closeSync, writeSync } from 'node:fs';
import { rewind } from './files.ts';
import { late, libc } from './libc.ts';

// linux/memfd.h, linux/fcntl.h
const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const F_ADD_SEALS = 1033;
/** F_SEAL_SEAL, _SHRINK, _GROW, _WRITE */
const ALL_SEALS = 0x0001 | 0x0002 | 0x0004 | 0x0008;

const memfdCreate = late('int memfd_create(const char *, unsigned int)');
const fcntl = late('int fcntl(int, int, int)');

/** Empty, and the caller's to close. It can be swapped: nothing secret. */
export function emptyMemoryFile(): number {
  return libc().made('memfd_create', memfdCreate('secretsfs', MFD_CLOEXEC));
}

/** Read from its beginning, and writable by nobody any more. The caller closes it. It can be swapped: nothing secret. */
export function memoryFile(bytes: Uint8Array): number {
  const base = libc();
  const fd = base.made('memfd_create', memfdCreate('secretsfs', MFD_CLOEXEC | MFD_ALLOW_SEALING));
  try {
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
    rewind(fd);
    base.made('fcntl(F_ADD_SEALS)', fcntl(fd, F_ADD_SEALS, ALL_SEALS));
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}
