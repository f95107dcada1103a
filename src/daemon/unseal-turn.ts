/**
 * Whose turn it is to open a bundle, where a mount has several: what opening takes is held against what memory there is when
 * it begins, and two that begin at once would both count on the same.
 *
 * Invariants: turns are taken in the order they were asked for; one that takes too long, as with a source that does not answer,
 * goes on and holds up nobody any more: what it holds by then is part of what the next one finds.
 */
import { deferred } from './deferred.ts';

/** Most bundles are fetched and opened in less. */
const HOLD_MS_MAX = 15_000;

export class UnsealTurn {
  /** Resolves when the next one may begin. */
  #free: Promise<void> = Promise.resolve();

  /** Runs `act` when it is its turn. Throws the signal's reason where that comes first, and what `act` throws. */
  async run<T>(signal: AbortSignal, act: () => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    const before = this.#free;
    const [over, aborted] = [deferred(), deferred()];
    this.#free = before.then(() => over.promise);
    const abort = () => aborted.reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    let timer: NodeJS.Timeout | undefined;
    try {
      await Promise.race([before, aborted.promise]);
      timer = setTimeout(over.resolve, HOLD_MS_MAX);
      return await act();
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
      over.resolve();
    }
  }
}
