/**
 * System calls of a process about itself that Node has no function for: private memory, dumps.
 * Numbers are Linux's, from the headers named beside them.
 */
import { type Libc, libc, SystemCallError } from './libc.ts';

export { SystemCallError };

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

export interface Mapping {
  readonly address: bigint;
  readonly bytes: number;
  /** The memory itself. Dangling after unmap(): see store/memory.ts for when that is safe. */
  readonly memory: ArrayBuffer;
}

export class Native {
  readonly #base: Libc;
  readonly #libc: ReturnType<typeof bind>;

  constructor(base: Libc) {
    this.#base = base;
    this.#libc = bind(base);
  }

  /** Fresh zeroed pages that are neither in core dumps nor in children. `bytes` is rounded up to pages by the kernel. */
  map(bytes: number): Mapping {
    const address: bigint = this.#libc.mmap(null, bytes, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
    if (BigInt.asIntN(64, address) === -1n) throw this.#failure('mmap');
    const mapping = { address, bytes, memory: this.#base.koffi.view(address, bytes) };
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

  #check(call: string, result: number): void {
    this.#base.check(call, result);
  }

  #failure(call: string): SystemCallError {
    return this.#base.failure(call);
  }
}

function bind(base: Libc) {
  return {
    mmap: base.bind('void *mmap(void *, size_t, int, int, int, int64_t)'),
    munmap: base.bind('int munmap(void *, size_t)'),
    mlock: base.bind('int mlock(void *, size_t)'),
    munlock: base.bind('int munlock(void *, size_t)'),
    madvise: base.bind('int madvise(void *, size_t, int)'),
    memset: base.bind('void *memset(void *, int, size_t)'),
    prctl: base.bind('int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)'),
    setrlimit: base.bind('int setrlimit(int, const void *)'),
    mallopt: optional(() => base.bind('int mallopt(int, int)')),
  };
}

function optional<T>(load: () => T): T | undefined {
  try {
    return load();
  } catch {
    return undefined;
  }
}

let loaded: Native | undefined;

/** Throws MountError driver-missing where koffi has no build for this machine, or libc lacks what we need. */
export function native(): Native {
  loaded ??= new Native(libc());
  return loaded;
}

/** For those who wait anyway. Rejects as native() throws. */
export async function loadNative(): Promise<Native> {
  return native();
}
