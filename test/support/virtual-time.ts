/**
 * Time that passes when a test says so: timers fire in their order, and what they set in motion (promises, further timers)
 * happens at their moment. Ties fire in the order in which they were set.
 */
import type { Timers } from '../../src/system/timers.ts';

interface Timer {
  readonly atMs: number;
  readonly order: number;
  readonly callback: () => void;
}

export class VirtualTime implements Timers {
  nowMs: number;
  #order = 0;
  /** A binary heap, the earliest first. */
  readonly #heap: Timer[] = [];
  readonly #cleared = new Set<Timer>();

  constructor(startMs = 1_000_000) {
    this.nowMs = startMs;
  }

  set(callback: () => void, delayMs: number): unknown {
    const timer = { atMs: this.nowMs + Math.max(0, delayMs), order: this.#order++, callback };
    this.#push(timer);
    return timer;
  }

  clear(timer: unknown): void {
    if (timer !== undefined) this.#cleared.add(timer as Timer);
  }

  /** Resolves after so long. */
  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.set(resolve, delayMs);
    });
  }

  /** Timers that are to fire. */
  get pending(): number {
    return this.#heap.filter((timer) => !this.#cleared.has(timer)).length;
  }

  /** Lets all that happens until then happen. */
  async until(endMs: number): Promise<void> {
    await settle();
    for (;;) {
      const next = this.#heap[0];
      if (next === undefined || next.atMs > endMs) break;
      this.#pop();
      if (this.#cleared.delete(next)) continue;
      this.nowMs = next.atMs;
      next.callback();
      await settle();
    }
    this.nowMs = endMs;
  }

  pass(ms: number): Promise<void> {
    return this.until(this.nowMs + ms);
  }

  #push(timer: Timer): void {
    const heap = this.#heap;
    let at = heap.push(timer) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(timer, heap[parent] as Timer)) break;
      heap[at] = heap[parent] as Timer;
      at = parent;
    }
    heap[at] = timer;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1] as Timer, heap[child] as Timer)) child++;
      if (before(last, heap[child] as Timer)) break;
      heap[at] = heap[child] as Timer;
      at = child;
    }
    heap[at] = last;
  }
}

const before = (a: Timer, b: Timer) => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);

/** Promises that are settled have had their say. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Numbers from 0 up to 1, the same for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
