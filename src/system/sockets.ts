/** Listening sockets that are passed on to another process, which must not be the one that made them. */
import { chmodSync, chownSync, closeSync, unlinkSync } from 'node:fs';
import { late, libc } from './libc.ts';

// sys/socket.h, asm-generic/socket.h, linux/un.h
const AF_UNIX = 1;
const SOCK_STREAM_CLOEXEC = 1 | 0o2000000;
const SOCK_STREAM_CLOEXEC_NONBLOCK = SOCK_STREAM_CLOEXEC | 0o4000;
/** Of the field, with the NUL that ends it. */
const SUN_PATH_BYTES = 108;
const BACKLOG = 64;

const socket = late('int socket(int, int, int)');
const bind = late('int bind(int, const void *, uint32_t)');
const listen = late('int listen(int, int)');
const connect = late('int connect(int, const void *, uint32_t)');
const umask = late('unsigned int umask(unsigned int)');

/** struct sockaddr_un. Throws RangeError for a path that does not fit. */
function addressOf(path: string): Buffer {
  const name = Buffer.from(`${path}\0`);
  if (name.length > SUN_PATH_BYTES)
    throw new RangeError(`a socket's path has ${SUN_PATH_BYTES - 1} bytes at most`);
  const address = Buffer.alloc(2 + name.length);
  address.writeUInt16LE(AF_UNIX);
  name.copy(address, 2);
  return address;
}

/** Whether somebody answers there. Whatever is no refusal, a full queue for one, is somebody who lives. */
export function isListening(path: string): boolean {
  const base = libc();
  const address = addressOf(path);
  const fd = base.made('socket', socket(AF_UNIX, SOCK_STREAM_CLOEXEC_NONBLOCK, 0));
  try {
    if (connect(fd, address, address.length) === 0) return true;
    const { code } = base.failure('connect');
    return code !== 'ECONNREFUSED' && code !== 'ENOENT' && code !== 'ENOTDIR' && code !== 'ENOTSOCK';
  } finally {
    closeSync(fd);
  }
}

/**
 * A listening unix stream socket at `path`, which must not exist. Nobody can connect before owner and mode are what is
 * wanted. Throws SystemCallError, ENAMETOOLONG for what does not fit; nothing is left then.
 */
export function listenUnix(path: string, mode: number, uid: number, gid: number): number {
  const base = libc();
  const address = addressOf(path);
  const fd = base.made('socket', socket(AF_UNIX, SOCK_STREAM_CLOEXEC, 0));
  let bound = false;
  try {
    const before: number = umask(0o177);
    try {
      base.check('bind', bind(fd, address, address.length));
    } finally {
      umask(before);
    }
    bound = true;
    chownSync(path, uid, gid);
    chmodSync(path, mode);
    base.check('listen', listen(fd, BACKLOG));
    return fd;
  } catch (error) {
    if (bound) unlinkSync(path);
    closeSync(fd);
    throw error;
  }
}
