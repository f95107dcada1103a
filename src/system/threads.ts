/**
 * Whose a thread is, by /proc. What is read is below a descriptor of /proc, so that it goes on where this process's root
 * directory is another one later.
 */
import { constants, openSync, readSync } from 'node:fs';
import { closeQuietly } from './files.ts';
import { late, libc } from './libc.ts';

const getdents = late('long syscall(long, int, void *, size_t)');
const openat = late('int openat(int, const char *, int)');
const clockGettime = late('int clock_gettime(int, void *)');

// asm-generic/fcntl.h
const O_CLOEXEC = 0o2000000;
// getdents64(2), which no libc is sure to have: asm/unistd_64.h, and asm-generic/unistd.h for everybody else.
const SYS_GETDENTS64 = process.arch === 'x64' ? 217 : 61;
// struct linux_dirent64
const DIRENT_LENGTH = 16;
const DIRENT_NAME = 19;
/** Room for `.`, `..` and one or two more. */
const DIRENTS_BYTES = 104;
// linux/time.h
const CLOCK_MONOTONIC = 1;
const CLOCK_BOOTTIME = 7;
/** All of a status with some 9,000 supplementary groups. */
const READ_BYTES = 64 * 1024;
/** USER_HZ: what /proc counts in. */
const TICK_MS = 10;
/** proc_pid_stat(5), counted from the field behind the name, which is the third. */
const START_TIME = 22 - 3;

export class Threads {
  readonly #procFd = openSync('/proc', constants.O_DIRECTORY | constants.O_RDONLY);
  readonly #buffer = Buffer.alloc(READ_BYTES);
  /** What find() found last: the process, by the number of its first thread; and when it started, as monotonicMs(). */
  group = 0;
  startedMs = 0;

  /**
   * False for a thread that is gone, or that may not be seen. Costs the same whoever it is: of a process with 18,000 supplementary
   * groups, the kernel writes a status in 4 ms (measured).
   */
  find(thread: number): boolean {
    const group = this.#leader(thread);
    if (group === 0) return false;
    // The name in parentheses may have anything in it.
    const [, rest] = /^.*\) (.*)$/s.exec(this.read(group, 'stat')) ?? [];
    const ticks = Number(rest?.split(' ')[START_TIME]);
    if (!(ticks >= 0)) return false;
    this.group = group;
    // Counted from the start of the machine, sleep included; the other clock stands still then.
    const asleepMs = clockMs(CLOCK_BOOTTIME) - clockMs(CLOCK_MONOTONIC);
    this.startedMs = Math.max(0, ticks * TICK_MS - asleepMs) >>> 0;
    return true;
  }

  close(): void {
    closeQuietly(this.#procFd);
  }

  /** The first thread of a thread's process: of all that the kernel lists, it stands first. 0 where that is not to be seen. */
  #leader(thread: number): number {
    const flags = constants.O_RDONLY | constants.O_DIRECTORY | O_CLOEXEC;
    const fd = openat(this.#procFd, `${thread}/task`, flags) as number;
    if (fd < 0) return 0;
    try {
      const bytes = Number(getdents(SYS_GETDENTS64, fd, this.#buffer, DIRENTS_BYTES));
      for (let at = 0; at + DIRENT_NAME < bytes; at += this.#buffer.readUInt16LE(at + DIRENT_LENGTH)) {
        const name = this.#buffer.toString(
          'latin1',
          at + DIRENT_NAME,
          this.#buffer.indexOf(0, at + DIRENT_NAME),
        );
        if (name !== '.' && name !== '..') return Number(name);
      }
      return 0;
    } finally {
      closeQuietly(fd);
    }
  }

  /**
   * The whole lines of /proc/THREAD/NAME, as far as READ_BYTES go; '' where it can't be read. Of a line that is cut nothing is told: half
   * a number is another one.
   */
  read(thread: number, name: 'status' | 'stat' | 'cgroup'): string {
    const fd = openat(this.#procFd, `${thread}/${name}`, constants.O_RDONLY | O_CLOEXEC) as number;
    if (fd < 0) return '';
    try {
      const bytes = readSync(fd, this.#buffer, 0, this.#buffer.length, 0);
      return this.#buffer.toString('latin1', 0, this.#buffer.subarray(0, bytes).lastIndexOf('\n') + 1);
    } catch {
      return '';
    } finally {
      closeQuietly(fd);
    }
  }
}

/** Since the machine started, the same for every process; modulo 2^32. Cheap: for every request. */
export function monotonicClock(): () => number {
  const aheadMs = clockMs(CLOCK_MONOTONIC) - performance.now();
  return () => (performance.now() + aheadMs) >>> 0;
}

function clockMs(clock: number): number {
  const time = Buffer.alloc(16);
  libc().check('clock_gettime', clockGettime(clock, time));
  return Number(time.readBigInt64LE(0)) * 1000 + Number(time.readBigInt64LE(8)) / 1e6;
}
