/** Whether memory may be locked here: a server that may not, which has what it answers in locked pages, would die again and again. */
import { readFileSync } from 'node:fs';
import { MountError } from '../errors.ts';
import type { Native } from './native.ts';

/**
 * Throws MountError mount-denied. `bytes`: what a process without privileges will lock. `limits`: /proc/self/limits. Root is not
 * held to that, so it is read; a filter of system calls, as systemd-nspawn has one, refuses root too, so a page is locked.
 */
export function checkLocking(
  native: Pick<Native, 'map' | 'lock' | 'unmap'>,
  bytes: number,
  limits = readFileSync('/proc/self/limits', 'latin1'),
): void {
  const limit = /^Max locked memory\s+(\d+)/m.exec(limits)?.[1];
  if (limit !== undefined && Number(limit) < bytes)
    throw denied(`RLIMIT_MEMLOCK is ${limit} bytes, want ${bytes}`);
  const page = native.map(1);
  try {
    native.lock(page);
  } catch (cause) {
    throw denied((cause as Error).message, cause);
  } finally {
    native.unmap(page.address, page.bytes);
  }
}

function denied(why: string, cause?: unknown): MountError {
  return new MountError('mount-denied', `cannot lock memory: ${why}`, {
    hint: 'LimitMEMLOCK=infinity in a unit, ulimit -l unlimited in a shell; docker run --ulimit memlock=-1, systemd-nspawn --capability=CAP_IPC_LOCK',
    cause,
  });
}
