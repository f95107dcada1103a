/** Overwrites what a file holds, where it holds it, once, with random bytes, and syncs it. */
import { randomFillSync } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { dataExtents } from '../system/files.ts';

const CHUNK_BYTES = 1024 * 1024;
/** Of a file that others write to: each round takes what the last one left. */
const ROUNDS_MAX = 8;
/** stat(2) counts in these, whatever the file system's blocks are. */
const STAT_BLOCK_BYTES = 512;

/**
 * Holes stay holes. What is appended meanwhile is overwritten too; false where that found no end. `handle`, open for
 * writing, stays the caller's to close.
 */
export async function overwrite(handle: FileHandle): Promise<boolean> {
  const noise = Buffer.allocUnsafeSlow(CHUNK_BYTES);
  let done = 0;
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const { size, blocks } = await handle.stat();
    if (round > 0 && size <= done) return true;
    const isSparse = blocks * STAT_BLOCK_BYTES < size;
    for (const [from, to] of isSparse ? dataExtents(handle.fd, size) : [[0, size] as const])
      await fill(handle, Math.max(from, done), to, noise);
    await handle.sync();
    done = size;
  }
  return false;
}

async function fill(handle: FileHandle, from: number, to: number, noise: Buffer): Promise<void> {
  for (let at = from; at < to; ) {
    const length = Math.min(to - at, noise.length);
    at += (await handle.write(randomFillSync(noise, 0, length), 0, length, at)).bytesWritten;
  }
}
