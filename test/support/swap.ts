/**
 * A swap area of the test's own, pushing the memory of another process out into it, and looking at what arrived: past
 * the page cache, as whoever gets the disk would. Needs root. One test at a time on a machine.
 */
import { closeSync, constants, openSync, readFileSync, readSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { late, libc } from '../../src/system/libc.ts';
import { loadNative } from '../../src/system/native.ts';
import { must, run } from './program.ts';

// asm-generic/unistd.h and asm-generic/mman-common.h: the same on every architecture.
const SYS_PIDFD_OPEN = 434;
const SYS_PROCESS_MADVISE = 440;
const MADV_PAGEOUT = 21;
/** Before all others that there may be. */
const PRIORITY = '32767';
const CHUNK_BYTES = 4 * 1024 * 1024;
/** struct iovec */
const IOVEC_BYTES = 16;

const syscall = late('int64_t syscall(int64_t, int64_t, void *, int64_t, int64_t, int64_t)');

export interface SwapArea {
  /** How often `needle` stands on the device. */
  count(needle: Buffer): Promise<number>;
}

/** Switched off and removed by `after`. */
export async function swapOn(
  path: string,
  mebibytes: number,
  after: (cleanup: () => Promise<unknown>) => void,
): Promise<SwapArea> {
  after(async () => {
    await run('swapoff', [path]);
    await rm(path, { force: true });
    if (readFileSync('/proc/swaps', 'utf8').includes(path)) throw new Error('the swap area is still on');
  });
  // Written, not fallocate(1): reading back blocks that the filesystem takes for unwritten answers zeros.
  await must('dd', ['if=/dev/zero', `of=${path}`, 'bs=1M', `count=${mebibytes}`, 'conv=fsync']);
  await must('chmod', ['600', path]);
  await must('mkswap', [path]);
  await must('swapon', ['--priority', PRIORITY, path]);
  return { count: (needle) => countOnDevice(path, needle) };
}

async function countOnDevice(path: string, needle: Buffer): Promise<number> {
  // Direct I/O wants a buffer that begins with a page.
  const mapping = (await loadNative()).map(CHUNK_BYTES);
  const chunk = Buffer.from(mapping.memory);
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECT);
  let found = 0;
  try {
    for (let position = 0; ; position += CHUNK_BYTES) {
      const got = readSync(fd, chunk, 0, CHUNK_BYTES, position);
      if (got === 0) return found;
      const text = chunk.subarray(0, got);
      for (let at = text.indexOf(needle); at >= 0; at = text.indexOf(needle, at + 1)) found += 1;
    }
  } finally {
    closeSync(fd);
    (await loadNative()).unmap(mapping.address, mapping.bytes);
  }
}

/** Every page of every mapping that the kernel lets go. Returns how many bytes of the process are in swap now. */
export function pushOut(pid: number): number {
  const base = libc();
  const pidfd = base.made('pidfd_open', syscall(SYS_PIDFD_OPEN, pid, null, 0, 0, 0));
  try {
    for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')) {
      const range = /^([0-9a-f]+)-([0-9a-f]+) /.exec(line);
      if (range === null || line.includes('[v')) continue;
      const [start, end] = [BigInt(`0x${range[1]}`), BigInt(`0x${range[2]}`)];
      const iovec = Buffer.alloc(IOVEC_BYTES);
      iovec.writeBigUInt64LE(start, 0);
      iovec.writeBigUInt64LE(end - start, 8);
      // Refused for locked mappings, and for files that are not ours: these are not swapped anyway.
      syscall(SYS_PROCESS_MADVISE, pidfd, iovec, 1, MADV_PAGEOUT, 0);
    }
  } finally {
    closeSync(pidfd);
  }
  const swapped = /^VmSwap:\s*(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(swapped ?? 0) * 1024;
}
