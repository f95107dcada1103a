/** Signals to exactly one process: a descriptor of a process never means another one, as a pid does once it is reused. */
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { late, libc } from './libc.ts';

// asm-generic/unistd.h; pidfd_open(2) is of Linux 5.3, pidfd_send_signal(2) of 5.1
const SYS_PIDFD_SEND_SIGNAL = 424;
const SYS_PIDFD_OPEN = 434;
/** USER_HZ of proc(5): 100 on every architecture that Node runs on. */
const TICKS_PER_SECOND = 100;

const pidfdOpen = late('long syscall(long, int, unsigned int)');
const pidfdSendSignal = late('long syscall(long, int, int, void *, unsigned int)');

/** The caller closes it. Throws SystemCallError ESRCH where there is no such process. */
export function openProcess(pid: number): number {
  return libc().made('pidfd_open', pidfdOpen(SYS_PIDFD_OPEN, pid, 0));
}

/** Throws SystemCallError ESRCH where the process has ended. */
export function signalProcess(pidfd: number, signal: NodeJS.Signals): void {
  const number = constants.signals[signal];
  libc().made('pidfd_send_signal', pidfdSendSignal(SYS_PIDFD_SEND_SIGNAL, pidfd, number, null, 0));
}

/** When the process began, by the clock of the wall as it is set now. Throws ENOENT where there is none. */
export function processStartMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ').at(-1)?.split(' ') ?? [];
  // Field 22; the two before the last parenthesis are gone.
  const ticks = Number(fields[19]);
  const bootSeconds = Number(/^btime (\d+)$/m.exec(readFileSync('/proc/stat', 'latin1'))?.[1]);
  return bootSeconds * 1000 + (ticks * 1000) / TICKS_PER_SECOND;
}
