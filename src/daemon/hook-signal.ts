/**
 * A signal to the process that a pidfile names, and to no other. A pidfile that others than root could have written would let
 * them signal anything; one that was left behind names whoever has the number now. So its way is walked as a program's is, and
 * the process must have begun before the file was written.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { quote } from '../errors.ts';
import { closeQuietly } from '../system/files.ts';
import { SystemCallError } from '../system/libc.ts';
import { openProcess, processStartMs, signalProcess } from '../system/pidfd.ts';
import { walk } from '../system/trusted.ts';
import { HookFailure } from './hook-failure.ts';

const PID_BYTES_MAX = 32;
/** The kernel tells starts in hundredths of a second, the time of boot in whole seconds. */
const CLOCK_SLACK_MS = 2_000;

/** Throws HookFailure. `avoid`: the mountpoint, whose server must never be waited for here. */
export function signalPidfile(pidfile: string, signal: NodeJS.Signals, avoid: string): void {
  const { pid, writtenMs } = readPidfile(pidfile, avoid);
  const about = `process ${pid} of ${quote(pidfile)}`;
  let pidfd: number | undefined;
  try {
    pidfd = openProcess(pid);
    // Of the process that the descriptor means: it can't be reaped and replaced before signalProcess() without that failing.
    if (processStartMs(pid) > writtenMs + CLOCK_SLACK_MS) {
      throw new HookFailure(`${about} began after the file was written: it is another one`);
    }
    signalProcess(pidfd, signal);
  } catch (error) {
    if (error instanceof HookFailure) throw error;
    const code = error instanceof SystemCallError ? error.code : (error as NodeJS.ErrnoException).code;
    throw new HookFailure(
      code === 'ESRCH' || code === 'ENOENT' ? `${about} does not run` : `${about}: ${code}`,
    );
  } finally {
    closeQuietly(pidfd);
  }
}

function readPidfile(pidfile: string, avoid: string): { pid: number; writtenMs: number } {
  let walked: ReturnType<typeof walk> | undefined;
  let fd: number | undefined;
  try {
    walked = walk(pidfile, { avoid });
    const { untrusted, stat } = walked;
    if (untrusted !== undefined) throw new HookFailure(`${untrusted.problem}: ${untrusted.hint}`);
    if (!stat.isFile()) throw new HookFailure(`${quote(pidfile)} is not a file`);
    fd = openSync(`/proc/self/fd/${walked.fd}`, constants.O_RDONLY | constants.O_NONBLOCK);
    const bytes = Buffer.alloc(PID_BYTES_MAX);
    const text = bytes.toString('latin1', 0, readSync(fd, bytes, 0, bytes.length, 0));
    const pid = Number(/^\s*(\d{1,7})\s*$/.exec(text)?.[1]);
    // Not a process group, not init, not ourselves.
    if (!(pid > 1) || pid === process.pid) throw new HookFailure(`${quote(pidfile)} names no process`);
    return { pid, writtenMs: fstatSync(fd).mtimeMs };
  } catch (error) {
    if (error instanceof HookFailure) throw error;
    throw new HookFailure(`${quote(pidfile)}: ${(error as NodeJS.ErrnoException).code ?? 'it failed'}`);
  } finally {
    if (walked !== undefined) closeSync(walked.fd);
    closeQuietly(fd);
  }
}
