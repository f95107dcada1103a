/** Giving memory back that a start needed and a rest does not. Measured in docs/decisions.md. */
import { late } from './libc.ts';

const mallocTrim = late('int malloc_trim(size_t)');

/** What was freed goes back to the system, where malloc is glibc's. A few milliseconds. */
export function trimMemory(): void {
  try {
    mallocTrim(0);
  } catch {
    // Another malloc keeps what it keeps.
  }
}
