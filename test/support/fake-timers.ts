/** Timers that a test moves. */
import type { Timers } from '../../src/system/timers.ts';

interface Timer {
  readonly callback: () => void;
  readonly atMs: number;
}

export class FakeTimers implements Timers {
  nowMs = 0;
  readonly #pending = new Set<Timer>();

  set(callback: () => void, delayMs: number): Timer {
    const timer = { callback, atMs: this.nowMs + delayMs };
    this.#pending.add(timer);
    return timer;
  }

  clear(timer: unknown): void {
    this.#pending.delete(timer as Timer);
  }

  /** How long each waits still. */
  get waits(): number[] {
    return [...this.#pending].map(({ atMs }) => atMs - this.nowMs);
  }

  /** Lets time pass, and what is due happen in its order. */
  pass(ms: number): void {
    const end = this.nowMs + ms;
    for (;;) {
      const due = [...this.#pending].filter(({ atMs }) => atMs <= end).sort((a, b) => a.atMs - b.atMs)[0];
      if (due === undefined) break;
      this.#pending.delete(due);
      this.nowMs = due.atMs;
      due.callback();
    }
    this.nowMs = end;
  }
}
