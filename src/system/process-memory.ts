/** How much memory is a process's own: https://man7.org/linux/man-pages/man5/proc_pid_status.5.html */
import { readFileSync } from 'node:fs';

/**
 * RssAnon: its heaps and stacks, neither the program's text nor what it maps of files and of the store. The kernel's counter,
 * which it reads without a look at the pages (smaps_rollup holds up the process meanwhile). undefined: there is no such process.
 */
export function anonymousBytes(pid: number): number | undefined {
  try {
    const kib = /^RssAnon:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
    return kib === undefined ? undefined : Number(kib) * 1024;
  } catch {
    return undefined;
  }
}
