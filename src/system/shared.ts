/** Files mapped into memory, shared with every other process that maps them. */
import { late, libc } from './libc.ts';
import type { Mapping } from './native.ts';

// asm-generic/mman-common.h, asm-generic/mman.h
const PROT_READ = 0x1;
const PROT_WRITE = 0x2;
const MAP_SHARED = 0x01;
const MAP_POPULATE = 0x8000;
const MADV_DONTDUMP = 16;

const mmap = late('void *mmap(void *, size_t, int, int, int, int64_t)');
const mincore = late('int mincore(void *, size_t, void *)');
const munmap = late('int munmap(void *, size_t)');
const madvise = late('int madvise(void *, size_t, int)');

/**
 * The first `bytes` of the file, all pages present, left out of core dumps. Without `write` a store into the memory
 * kills the process with SIGSEGV, as does touching what lies beyond the file's end with SIGBUS: the caller knows both.
 * Throws SystemCallError.
 */
export function mapShared(fd: number, bytes: number, options: { readonly write: boolean }): Mapping {
  const base = libc();
  const protection = options.write ? PROT_READ | PROT_WRITE : PROT_READ;
  const address: bigint = mmap(null, bytes, protection, MAP_SHARED | MAP_POPULATE, fd, 0);
  if (BigInt.asIntN(64, address) === -1n) throw base.failure('mmap');
  base.check('madvise(MADV_DONTDUMP)', madvise(address, bytes, MADV_DONTDUMP));
  return { address, bytes, memory: base.koffi.view(address, bytes) };
}

const PAGE_BYTES = 4096;
/** What mincore(2) is asked for at a time. */
const WINDOW_BYTES = 256 * 1024 * 1024;

/**
 * Which parts of a file in memory are there, in order, in whole pages of 4 KiB but for the end. Nothing is touched: a page
 * that nobody wrote would come into being. Throws SystemCallError.
 */
export function* residentRanges(
  fd: number,
  bytes: number,
): Generator<{ readonly start: number; readonly end: number }> {
  const base = libc();
  for (let from = 0; from < bytes; from += WINDOW_BYTES) {
    const length = Math.min(WINDOW_BYTES, bytes - from);
    const pages = Math.ceil(length / PAGE_BYTES);
    const present = Buffer.alloc(pages);
    const address: bigint = mmap(null, length, PROT_READ, MAP_SHARED, fd, from);
    if (BigInt.asIntN(64, address) === -1n) throw base.failure('mmap');
    try {
      base.check('mincore', mincore(address, length, present));
    } finally {
      base.check('munmap', munmap(address, length));
    }
    for (let page = 0; page < pages; page++) {
      if (((present[page] ?? 0) & 1) === 0) continue;
      let next = page + 1;
      while (next < pages && ((present[next] ?? 0) & 1) === 1) next++;
      yield { start: from + page * PAGE_BYTES, end: Math.min(from + next * PAGE_BYTES, bytes) };
      page = next;
    }
  }
}
