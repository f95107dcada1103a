/**
 * The listening control sockets of a mount. They are made here, by root, and answered by the agent, which inherits them:
 * their place and modes don't depend on it, and who connects while it is being replaced waits instead of failing.
 *
 * Invariant: two mounts never have one place: a lock is held as long as the sockets are, and ends with its holder.
 */
import { rmdirSync, unlinkSync } from 'node:fs';
import path from 'node:path';
import { CONTROL_SOCKET, METRICS_SOCKET, STATUS_SOCKET } from '../control/directory.ts';
import { ControlError, errnoWords, quote } from '../errors.ts';
import { closeQuietly } from '../system/files.ts';
import { type Lock, lockFile } from '../system/locks.ts';
import { isListening, listenUnix } from '../system/sockets.ts';

/** Beside the sockets. */
const LOCK = 'lock';

export interface ControlSockets {
  readonly controlFd: number;
  /** For the group that may look and no more. */
  readonly statusFd: number | undefined;
  /** For HTTP, with the mode and group of the status socket, or of the control socket. */
  readonly metricsFd: number;
  /** Nobody finds them any more; who is connected still gets an answer. Never throws: an unmount goes on. */
  hide(): void;
  /** The end of them, hidden or not. */
  close(): void;
}

/** In a directory of makeSocketDirectory(). Takes over from a mount that is dead. Throws ControlError. */
export function openControlSockets(directory: string, statusGid: number | undefined): ControlSockets {
  const controlPath = path.join(directory, CONTROL_SOCKET);
  const statusPath = path.join(directory, STATUS_SOCKET);
  const lock = lockPlace(directory);
  const made: string[] = [];
  const fds: number[] = [];
  const hide = () => {
    for (const each of made.splice(0)) unlinkQuietly(each);
    try {
      lock.release();
      rmdirSync(directory);
    } catch {
      // Somebody put something else there, or it is gone, or can't be written to any more.
    }
  };
  const close = () => {
    hide();
    closeQuietly(...fds.splice(0));
  };
  const open = (place: string, mode: number, gid: number): number => {
    const fd = listen(place, mode, gid);
    made.push(place);
    fds.push(fd);
    return fd;
  };
  try {
    const controlFd = open(controlPath, 0o600, 0);
    if (statusGid === undefined) unlinkQuietly(statusPath);
    const statusFd = statusGid === undefined ? undefined : open(statusPath, 0o660, statusGid);
    const metricsPath = path.join(directory, METRICS_SOCKET);
    const metricsFd = open(metricsPath, statusGid === undefined ? 0o600 : 0o660, statusGid ?? 0);
    return { controlFd, statusFd, metricsFd, hide, close };
  } catch (error) {
    if (made.length > 0) close();
    else lock.release();
    throw error;
  }
}

/** Before anything there is looked at or taken away. */
function lockPlace(directory: string): Lock {
  let lock: Lock | undefined;
  try {
    lock = lockFile(path.join(directory, LOCK));
  } catch (cause) {
    throw unusable(directory, cause);
  }
  if (lock === undefined) throw busy(directory);
  let held = true;
  return {
    release() {
      if (!held) return;
      held = false;
      lock.release();
    },
  };
}

function listen(place: string, mode: number, gid: number): number {
  if (isListening(place)) {
    throw busy(place);
  }
  unlinkQuietly(place);
  try {
    return listenUnix(place, mode, 0, gid);
  } catch (cause) {
    throw unusable(place, cause);
  }
}

function unusable(place: string, cause: unknown): ControlError {
  return new ControlError('control-directory', `cannot listen on ${quote(place)}: ${errnoWords(cause)}`, {
    hint: 'give --runtime-dir DIR, a directory that you may write to',
    cause,
  });
}

function busy(place: string): ControlError {
  return new ControlError('control-busy', `cannot start: a mount of this name answers on ${quote(place)}`, {
    hint: 'secretsfs status shows it; give another --instance, or unmount it first',
  });
}

function unlinkQuietly(place: string): void {
  try {
    unlinkSync(place);
  } catch {
    // It was not there; what else is wrong shows when it is made.
  }
}
