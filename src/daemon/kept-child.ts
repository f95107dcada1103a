/**
 * A child that is started again when it ends, the sooner the longer it lived. What is said to it is its user's business:
 * onStart() has each new one.
 *
 * Invariants: one child runs at the most, and the one that is `pid` has not been seen to end; nothing is told of one that
 * was ended by restart(), rest() or stop().
 */

import type { Timers } from '../system/timers.ts';
import { Backoff } from './backoff.ts';
import type { Child, Exit } from './children.ts';

/** Without it a mount serves on, and lacks what only it does: it is not to be missed for long. */
const LIMITS = { firstMs: 100, minMs: 100, maxMs: 2_000 };
/** One that lived so long begins anew. */
const STEADY_MS = 30_000;

export interface KeptChildPorts {
  spawn(): Child;
  onStart(child: Child): void;
  /** The child is gone: whatever was asked of it is answered by nobody. */
  onGone(): void;
  /** It ended without being told to. Another one follows. */
  onDeath(how: Exit & { readonly pid: number }): void;
  /** It could not be started. Tried again. */
  onNotStarted(why: string): void;
  readonly timers?: Timers;
  readonly nowMs?: () => number;
}

/** For a status. */
export interface ChildState<R extends string> {
  readonly role: R;
  readonly pid: number;
  readonly startedMs: number;
  /** How often one ended and another took its place. */
  readonly restarts: number;
}

export class KeptChild {
  readonly #ports: KeptChildPorts;
  readonly #nowMs: () => number;
  readonly #backoff: Backoff;
  #child: Child | undefined;
  #startedMs = 0;
  #starts = 0;
  #restarts = 0;
  #expected = false;
  #stopped = false;

  constructor(ports: KeptChildPorts) {
    this.#ports = ports;
    this.#nowMs = ports.nowMs ?? Date.now;
    this.#backoff = new Backoff(() => this.start(), LIMITS, ports.timers);
  }

  get child(): Child | undefined {
    return this.#child;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** How often it was started; no two children have the same number. */
  get starts(): number {
    return this.#starts;
  }

  get isStopped(): boolean {
    return this.#stopped;
  }

  /** It ended, or was not started, twice in a row: it is not to be started before its time. */
  get mustWait(): boolean {
    return this.#backoff.isBinding;
  }

  /** Of the child that runs, if one does. */
  states<R extends string>(role: R): ChildState<R>[] {
    const { pid } = this;
    if (pid === undefined) return [];
    return [{ role, pid, startedMs: this.#startedMs, restarts: this.#restarts }];
  }

  /** Now, where none runs. */
  start(): void {
    if (this.#child !== undefined || this.#stopped) return;
    this.#backoff.cancel();
    let child: Child;
    try {
      child = this.#ports.spawn();
    } catch (error) {
      this.#ports.onNotStarted((error as Error).message);
      this.#backoff.later();
      return;
    }
    this.#child = child;
    this.#expected = false;
    this.#startedMs = this.#nowMs();
    this.#starts += 1;
    void child.exited.then((how) => this.#ended(child, how));
    this.#ports.onStart(child);
  }

  /** For one that hangs: its end is a death. */
  kill(): void {
    this.#child?.kill('SIGKILL');
  }

  /** Another takes its place, at once. `end` ends it in a way of its own, instead of SIGKILL. */
  restart(end = (child: Child) => child.kill('SIGKILL')): void {
    const child = this.#child;
    this.#backoff.reset();
    if (child === undefined) return;
    this.#expected = true;
    end(child);
  }

  /** None is there until the next start(). */
  rest(): void {
    const child = this.#child;
    this.#backoff.cancel();
    this.#child = undefined;
    if (child === undefined) return;
    child.kill('SIGKILL');
    this.#ports.onGone();
  }

  /** None is started any more. Does not wait: one in a call that nothing interrupts goes when that call does. */
  stop(end = (child: Child) => child.kill('SIGKILL')): void {
    this.#stopped = true;
    this.#backoff.cancel();
    if (this.#child !== undefined) end(this.#child);
  }

  #ended(child: Child, how: Exit): void {
    if (this.#child !== child) return;
    this.#child = undefined;
    this.#ports.onGone();
    if (this.#stopped) return;
    this.#restarts += 1;
    if (this.#expected) {
      this.#backoff.now();
      return;
    }
    this.#ports.onDeath({ pid: child.pid, ...how });
    if (this.#nowMs() - this.#startedMs > STEADY_MS) this.#backoff.reset();
    this.#backoff.later();
  }
}
