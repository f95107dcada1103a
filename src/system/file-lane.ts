/**
 * Calls on files that somebody else chose, at paths that may lead to a file system that does not answer any more (a dead
 * NFS or FUSE server). Such a call can't be ended; it holds one of libuv's four threads for as long as it hangs.
 *
 * Invariants: one lane holds one thread at the most; whoever waits is told in time; what comes late is let go of.
 */
import { close, constants, fstat, open } from 'node:fs';
import { promisify } from 'node:util';
import { O_PATH } from './files.ts';
import { late } from './libc.ts';

/** A disk that wakes up answers within seconds. */
export const FILE_MS_MAX = 10_000;

const openFd = promisify(open);
const statFd = promisify(fstat);
const closeFd = promisify(close);
const exitAtOnce = late('void _exit(int)');

/** What a call fails with that took too long: ETIMEDOUT, as where a file system says so itself. */
function timedOut(): NodeJS.ErrnoException {
  return Object.assign(new Error('a file system does not answer'), { code: 'ETIMEDOUT' });
}

/** In all lanes. process.exit() waits for libuv's threads: one that hangs would keep the process. */
let hanging = 0;
let watched = false;
function watchExit(): void {
  if (watched) return;
  watched = true;
  // First, so that the code is the one that was meant.
  process.prependOnceListener('exit', (code) => {
    if (hanging === 0) return;
    try {
      exitAtOnce(code);
    } catch {
      // Without koffi, as in a program that only packs: it ends when the call does.
    }
  });
}

/** Nobody waits for this call any more, nor does the end of the process. */
export function givenUp(call: Promise<unknown>): void {
  hanging += 1;
  watchExit();
  const over = () => {
    hanging -= 1;
  };
  call.then(over, over);
}

export class FileLane {
  #busy = false;
  /** That the one which runs takes too long. */
  #hangs = false;
  readonly #waiting: (() => void)[] = [];

  /**
   * Makes the call when those before it have ended. Rejects with ETIMEDOUT after `timeoutMs` (undefined: never), whether it
   * hangs itself or waits for one that does, and at once while one hangs that was given up; and with the signal's reason.
   * A call that was not begun by then never is. What one that was gives later goes to `onLate`.
   */
  run<T>(
    call: () => Promise<T>,
    options: {
      readonly timeoutMs?: number | undefined;
      readonly signal?: AbortSignal | undefined;
      readonly onLate?: (result: T) => void;
    } = {},
  ): Promise<T> {
    const { timeoutMs, signal, onLate } = options;
    return new Promise((resolve, reject) => {
      let isGivenUp = false;
      let made: Promise<T> | undefined;
      const begin = () => {
        this.#busy = true;
        made = call();
        made
          .then((result) => (isGivenUp ? onLate?.(result) : resolve(result)), reject)
          .finally(() => {
            clearUp();
            this.#busy = false;
            this.#hangs = false;
            this.#waiting.shift()?.();
          });
      };
      const giveUp = (reason: unknown) => {
        isGivenUp = true;
        if (made !== undefined) givenUp(made);
        const place = this.#waiting.indexOf(begin);
        if (place >= 0) this.#waiting.splice(place, 1);
        else this.#hangs = true;
        clearUp();
        reject(reason);
      };
      const timer = timeoutMs === undefined ? undefined : setTimeout(() => giveUp(timedOut()), timeoutMs);
      const abort = () => giveUp(signal?.reason);
      const clearUp = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
      };
      signal?.addEventListener('abort', abort, { once: true });
      this.#waiting.push(begin);
      if (signal?.aborted === true) abort();
      else if (this.#hangs && timeoutMs !== undefined) giveUp(timedOut());
      else if (!this.#busy) this.#waiting.shift()?.();
    });
  }

  /**
   * A regular file, to read from: the caller's to close, with close(). Rejects with an errno; ENXIO for what is no regular
   * file, which is not opened: opening a device or a fifo may do something.
   */
  openRegular(path: string, signal: AbortSignal): Promise<number> {
    const open = async () => {
      const looked = await openFd(path, O_PATH);
      try {
        if ((await statFd(looked)).isFile())
          return await openFd(`/proc/self/fd/${looked}`, constants.O_RDONLY);
      } finally {
        await closeFd(looked);
      }
      throw Object.assign(new Error('not a file'), { code: 'ENXIO' });
    };
    return this.run(open, { timeoutMs: FILE_MS_MAX, signal, onLate: (fd) => this.close(fd) });
  }

  /** Some time: a file system may be asked about that, too. */
  close(...fds: readonly number[]): void {
    for (const fd of fds) this.run(() => closeFd(fd)).catch(() => undefined);
  }
}
