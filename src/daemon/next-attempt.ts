/** When a refresh is tried next: one at the most. */
import type { Timers } from '../system/timers.ts';

export interface NextAttemptPorts {
  readonly timers: Timers;
  readonly nowMs: () => number;
  /** It is time. */
  begin(): void;
}

export class NextAttempt {
  readonly #ports: NextAttemptPorts;
  #next: { readonly timer: unknown; readonly atMs: number; readonly limited: boolean } | undefined;

  constructor(ports: NextAttemptPorts) {
    this.#ports = ports;
  }

  get isSet(): boolean {
    return this.#next !== undefined;
  }

  /** `limited`: it waits for a limit, and nothing failed. */
  get state(): { readonly atMs: number; readonly limited: boolean } | undefined {
    return this.#next === undefined ? undefined : { atMs: this.#next.atMs, limited: this.#next.limited };
  }

  /** Instead of what was set before. */
  set(delayMs: number, limited: boolean): void {
    const { timers, nowMs, begin } = this.#ports;
    this.clear();
    const timer = timers.set(() => {
      this.#next = undefined;
      begin();
    }, delayMs);
    this.#next = { timer, atMs: nowMs() + delayMs, limited };
  }

  clear(): void {
    if (this.#next !== undefined) this.#ports.timers.clear(this.#next.timer);
    this.#next = undefined;
  }
}
