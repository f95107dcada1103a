/**
 * The first thing that a process of a mount does, before it reads anything: nobody may look into it, it ends with its
 * supervisor, and it holds exactly the descriptors that it should. Whatever is not so ends it.
 */
import { readdirSync, readlinkSync, writeSync } from 'node:fs';
import { describeBug } from '../errors.ts';
import { setNonBlocking } from '../system/device.ts';
import { native } from '../system/native.ts';
import { setDeathSignal } from '../system/privileges.ts';
import { FIRST_FD, PARENT_VARIABLE, type Role } from './roles.ts';

/** Exit code of a child that was started wrongly: starting it again would not help. */
export const CHILD_EXIT_WRONG = 78;

export interface Entering {
  readonly role: Role;
  /** What the links of /proc/self/fd must say, from descriptor 3 on. */
  readonly fds: readonly RegExp[];
}

const STDERR = 2;
/** What Node opens for itself: epoll, eventfds, io_uring; its own pipes; /dev/null in place of closed ones. */
const NODES_OWN = /^(anon_inode:|pipe:\[|\/dev\/null$|\/dev\/u?random$)/;

export function enterChild({ role, fds }: Entering): void {
  // Node opens its debugger on this signal unless somebody listens; a synchronous loop never runs the listener.
  process.on('SIGUSR1', () => undefined);
  process.on('uncaughtException', (error) => exitWith(role, `internal error: ${describeBug(error)}`, 1));
  const why = whatIsWrong(fds);
  if (why !== undefined) exitWith(role, `cannot start: ${why}`, CHILD_EXIT_WRONG);
}

/**
 * On standard error, a pipe to the supervisor (child-log.ts). What does not fit in there is lost: a supervisor that stands still
 * must not stop the serving, nor one that is gone. Whether it fitted.
 */
export function writeToLog(line: string): boolean {
  try {
    writeSync(STDERR, line);
    return true;
  } catch {
    // There is nowhere left to say it.
    return false;
  }
}

/** One line in the log. */
export function exitWith(role: Role, why: string, code: number): never {
  writeToLog(`secretsfs ${role}: ${why}\n`);
  process.exit(code);
}

function whatIsWrong(fds: readonly RegExp[]): string | undefined {
  try {
    native().forbidDumps();
    setDeathSignal();
    setNonBlocking(STDERR);
  } catch (error) {
    return (error as Error).message;
  }
  // After the death signal: a supervisor that ended before it would not have sent one.
  if (`${process.ppid}` !== process.env[PARENT_VARIABLE]) return 'its supervisor is gone';
  return wrongDescriptor(fds, descriptors());
}

function descriptors(): Map<number, string> {
  const found = new Map<number, string>();
  for (const name of readdirSync('/proc/self/fd')) {
    try {
      found.set(Number(name), readlinkSync(`/proc/self/fd/${name}`));
    } catch {
      // The one that the directory was read through.
    }
  }
  return found;
}

/** Pure, for tests. Says which descriptor, and never where it leads: that may be anything. */
export function wrongDescriptor(
  fds: readonly RegExp[],
  found: ReadonlyMap<number, string>,
): string | undefined {
  for (const [i, expected] of fds.entries()) {
    const target = found.get(FIRST_FD + i);
    if (target === undefined) return `descriptor ${FIRST_FD + i} is missing`;
    if (!expected.test(target)) return `descriptor ${FIRST_FD + i} is not what it should be`;
  }
  for (const [fd, target] of found) {
    if (fd < FIRST_FD + fds.length && (fd >= FIRST_FD || fd === 2)) continue;
    if (fd < 2 ? target !== '/dev/null' : !NODES_OWN.test(target)) return `descriptor ${fd} is not ours`;
  }
  return undefined;
}
