/**
 * When what ended is started again: soon at first, and each time later while it does not live, up to a limit.
 *
 * Invariant: one start is pending at the most; a later call replaces it.
 */
import { realTimers, type Timers } from '../system/timers.ts';

export interface BackoffLimits {
  /** Before the first start after reset(); the second comes after twice `minMs`. */
  readonly firstMs: number;
  readonly minMs: number;
  readonly maxMs: number;
}

export class Backoff {
  readonly #start: () => void;
  readonly #limits: BackoffLimits;
  readonly #timers: Timers;
  #failures = 0;
  #timer: unknown;

  constructor(start: () => void, limits: BackoffLimits, timers: Timers = realTimers) {
    this.#start = start;
    this.#limits = limits;
    this.#timers = timers;
  }

  /** How long later() would wait. */
  get delayMs(): number {
    const { firstMs, minMs, maxMs } = this.#limits;
    return this.#failures === 0 ? firstMs : Math.min(minMs * 2 ** this.#failures, maxMs);
  }

  /** Whether somebody has to wait who wants it started: it ended more than once in a row. */
  get isBinding(): boolean {
    return this.#timer !== undefined && this.#failures > 1;
  }

  later(): void {
    const { delayMs } = this;
    this.#failures += 1;
    this.#set(delayMs);
  }

  /** At once, and no failure. */
  now(): void {
    this.#set(0);
  }

  /** It lived: what ends next is started soon. */
  reset(): void {
    this.#failures = 0;
  }

  cancel(): void {
    this.#timers.clear(this.#timer);
    this.#timer = undefined;
  }

  #set(delayMs: number): void {
    this.cancel();
    this.#timer = this.#timers.set(() => {
      this.#timer = undefined;
      this.#start();
    }, delayMs);
  }
}
