/** What a process that lives long and does little takes. Measured in docs/decisions.md. */
import { setFlagsFromString } from 'node:v8';
import { late } from './libc.ts';

const mallocTrim = late('int malloc_trim(size_t)');

/**
 * From now on the heap grows by 2 MiB between collections instead of 8, and nothing is compiled twice: the compiler's threads
 * keep what they once needed. For who is never in a hurry.
 */
export function staySmall(): void {
  setFlagsFromString('--optimize-for-size');
  setFlagsFromString('--max-optimized-bytecode-size=0');
}

/** What was freed goes back to the system, where malloc is glibc's. A few milliseconds. */
export function trimMemory(): void {
  try {
    mallocTrim(0);
  } catch {
    // Another malloc keeps what it keeps.
  }
}
