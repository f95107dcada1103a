/** Which filesystem a descriptor leads into, without asking that filesystem: its server may be who asks, or gone. */
import { late, libc } from './libc.ts';

// linux/fcntl.h
const AT_EMPTY_PATH = 0x1000;
const AT_STATX_DONT_SYNC = 0x4000;
/** struct statx, and where stx_ino, stx_dev_major and stx_dev_minor are in it: linux/stat.h. */
const STATX_BYTES = 256;
const INO_AT = 32;
const DEVICE_AT = 136;

const statx = late('int statx(int, const char *, int, unsigned int, void *)');

/** major:minor, as the mount table has it. Throws SystemCallError. */
export function deviceOf(fd: number): string {
  const found = knownOf(fd);
  return `${found.readUInt32LE(DEVICE_AT)}:${found.readUInt32LE(DEVICE_AT + 4)}`;
}

/** The number of what it leads to. Throws SystemCallError. */
export function inodeOf(fd: number): bigint {
  return knownOf(fd).readBigUInt64LE(INO_AT);
}

function knownOf(fd: number): Buffer {
  const found = Buffer.alloc(STATX_BYTES);
  libc().check('statx', statx(fd, '', AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, found));
  return found;
}
