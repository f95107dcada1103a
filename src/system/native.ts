/**
 * The few system calls that Node has no function for, through koffi. Loaded when first needed, so that commands which
 * only pack and unpack also run where koffi can't be loaded. Numbers are Linux's, from the headers named beside them.
 */
import { constants } from 'node:os';
import { MountError } from '../errors.ts';

type Koffi = typeof import('koffi');

// asm-generic/mman-common.h
const PROT_READ_WRITE = 0x1 | 0x2;
const MAP_PRIVATE_ANONYMOUS = 0x02 | 0x20;
const MADV_DONTNEED = 4;
const MADV_DONTDUMP = 16;
const MADV_WIPEONFORK = 18;
// linux/prctl.h, asm-generic/resource.h
const PR_SET_DUMPABLE = 4;
const RLIMIT_CORE = 4;
// malloc.h
const M_PERTURB = -6;
// sys/socket.h
const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0x80000;
const MSG_NOSIGNAL = 0x4000;

/** A call that the kernel refused. */
export class SystemCallError extends Error {
  readonly call: string;
  readonly errno: number;
  constructor(call: string, errno: number) {
    super(`${call} failed: ${errnoName(errno)}`);
    this.name = 'SystemCallError';
    this.call = call;
    this.errno = errno;
  }
}

export interface Mapping {
  readonly address: bigint;
  readonly bytes: number;
  /** The memory itself. Dangling after unmap(): see store/memory.ts for when that is safe. */
  readonly memory: ArrayBuffer;
}

export class Native {
  readonly #koffi: Koffi;
  readonly #libc: ReturnType<typeof bind>;

  constructor(koffi: Koffi) {
    this.#koffi = koffi;
    this.#libc = bind(koffi);
  }

  /** Fresh zeroed pages that are neither in core dumps nor in children. `bytes` is rounded up to pages by the kernel. */
  map(bytes: number): Mapping {
    const address: bigint = this.#libc.mmap(null, bytes, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
    if (BigInt.asIntN(64, address) === -1n) throw this.#failure('mmap');
    const mapping = { address, bytes, memory: this.#koffi.view(address, bytes) };
    this.#check('madvise(MADV_DONTDUMP)', this.#libc.madvise(address, bytes, MADV_DONTDUMP));
    this.#check('madvise(MADV_WIPEONFORK)', this.#libc.madvise(address, bytes, MADV_WIPEONFORK));
    return mapping;
  }

  lock(mapping: Mapping): void {
    this.#check('mlock', this.#libc.mlock(mapping.address, mapping.bytes));
  }

  unlock(mapping: Mapping): void {
    this.#check('munlock', this.#libc.munlock(mapping.address, mapping.bytes));
  }

  /** Gives the pages back and keeps the addresses: reads find zeros from now on. */
  discard(mapping: Mapping): void {
    this.#check('madvise(MADV_DONTNEED)', this.#libc.madvise(mapping.address, mapping.bytes, MADV_DONTNEED));
  }

  /** By address: for memory whose ArrayBuffer nobody has any more. */
  wipe(address: bigint, bytes: number): void {
    this.#libc.memset(address, 0, bytes);
  }

  unmap(address: bigint, bytes: number): void {
    this.#check('munmap', this.#libc.munmap(address, bytes));
  }

  /** No core dump, no debugger, no reading of /proc/PID/mem by others of the same user. */
  forbidDumps(): void {
    this.#check('prctl(PR_SET_DUMPABLE)', this.#libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
    const none = Buffer.alloc(16);
    this.#check('setrlimit(RLIMIT_CORE)', this.#libc.setrlimit(RLIMIT_CORE, none));
  }

  /**
   * From now on glibc overwrites what is freed. libfuse copies every answer into memory that it frees without wiping.
   * False where malloc is not glibc's. Chunks up to 1,032 bytes are not covered, unless the process was started with
   * GLIBC_TUNABLES=glibc.malloc.tcache_count=0.
   */
  overwriteFreedMemory(): boolean {
    return this.#libc.mallopt?.(M_PERTURB, 0xa5) === 1;
  }

  /** One datagram to a unix socket. `address` is a path, or @name for an abstract socket. */
  sendDatagram(address: string, message: string): void {
    const name = Buffer.from(address.startsWith('@') ? `\0${address.slice(1)}` : address);
    const sockaddr = Buffer.alloc(2 + name.length + (address.startsWith('@') ? 0 : 1));
    sockaddr.writeUInt16LE(AF_UNIX);
    name.copy(sockaddr, 2);
    const fd: number = this.#libc.socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0);
    if (fd < 0) throw this.#failure('socket');
    try {
      const bytes = Buffer.from(message);
      const sent = this.#libc.sendto(fd, bytes, bytes.length, MSG_NOSIGNAL, sockaddr, sockaddr.length);
      if (Number(sent) !== bytes.length) throw this.#failure('sendto');
    } finally {
      this.#libc.close(fd);
    }
  }

  #check(call: string, result: number): void {
    if (result !== 0) throw this.#failure(call);
  }

  #failure(call: string): SystemCallError {
    return new SystemCallError(call, this.#koffi.errno());
  }
}

function bind(koffi: Koffi) {
  const libc = koffi.load(null);
  return {
    mmap: libc.func('void *mmap(void *, size_t, int, int, int, int64_t)'),
    munmap: libc.func('int munmap(void *, size_t)'),
    mlock: libc.func('int mlock(void *, size_t)'),
    munlock: libc.func('int munlock(void *, size_t)'),
    madvise: libc.func('int madvise(void *, size_t, int)'),
    memset: libc.func('void *memset(void *, int, size_t)'),
    prctl: libc.func('int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)'),
    setrlimit: libc.func('int setrlimit(int, const void *)'),
    socket: libc.func('int socket(int, int, int)'),
    sendto: libc.func('int64_t sendto(int, const void *, size_t, int, const void *, uint32_t)'),
    close: libc.func('int close(int)'),
    mallopt: optional(() => libc.func('int mallopt(int, int)')),
  };
}

function optional<T>(load: () => T): T | undefined {
  try {
    return load();
  } catch {
    return undefined;
  }
}

function errnoName(errno: number): string {
  const known = Object.entries(constants.errno).find(([, value]) => value === errno);
  return known?.[0] ?? `errno ${errno}`;
}

let loaded: Promise<Native> | undefined;

/** Throws MountError driver-missing where koffi has no build for this machine, or libc lacks what we need. */
export function loadNative(): Promise<Native> {
  loaded ??= load();
  return loaded;
}

async function load(): Promise<Native> {
  try {
    return new Native((await import('koffi')).default as unknown as Koffi);
  } catch (cause) {
    throw new MountError('driver-missing', `cannot load koffi for ${process.platform} ${process.arch}`, {
      hint: 'mounting needs Linux and the npm package koffi: reinstall with npm install',
      cause,
    });
  }
}
