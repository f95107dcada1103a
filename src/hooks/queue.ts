/**
 * When a hook runs. The first change that waits makes it run at once; what comes within `debounceMs` of the start of a run
 * waits until that is over; so does what comes while it runs. So there is never more than one run at a time, and every
 * change is told by a run that starts after it. What a failed run was told is told again by the next.
 *
 * Pure but for its ports. Whoever makes it calls stop() when nothing may run any more.
 */
import type { Timers } from '../system/timers.ts';
import { type FileChange, Pending } from './changes.ts';

/** Runs that are asked for come no faster: who asks is the agent, and may be subverted. */
const ASKED_EVERY_MS = 1_000;

/** What a run is told. */
export interface Batch {
  /** Of the newest generation. */
  readonly generation: number;
  readonly serial: number;
  readonly changed: readonly FileChange[];
  /** Whether a newer generation waits for the run to end: what it only waits for is not worth waiting for. */
  isSuperseded(): boolean;
}

export interface QueuePorts {
  readonly nowMs: () => number;
  readonly timers: Timers;
  /** Rejects where it failed, with words for people. The queue never calls it before the last one is settled. */
  run(batch: Batch): Promise<void>;
}

export class HookQueue {
  readonly #ports: QueuePorts;
  readonly #debounceMs: number;
  readonly #pending = new Pending();
  #generation = 0;
  #serial = 0;
  /** Noticed since the last run began. */
  #waits = false;
  #running = false;
  #stopped = false;
  #startedMs = Number.NEGATIVE_INFINITY;
  #timer: unknown;
  #asked: { resolve(): void; reject(error: unknown): void }[] = [];

  constructor(debounceMs: number, ports: QueuePorts) {
    this.#debounceMs = debounceMs;
    this.#ports = ports;
  }

  get state(): 'idle' | 'waiting' | 'running' {
    if (this.#running) return 'running';
    return this.#waits ? 'waiting' : 'idle';
  }

  /** Nothing waits or runs, and no run failed since the last that did not. */
  get isSettled(): boolean {
    return this.state === 'idle' && this.#pending.size === 0;
  }

  /** A generation went live. `changed`: what of it concerns this hook; it runs for nothing too, where that is asked for. */
  notice(generation: number, serial: number, changed: readonly FileChange[]): void {
    this.#generation = generation;
    this.#serial = serial;
    this.#pending.add(changed);
    this.#waits = true;
    this.#schedule();
  }

  /**
   * Runs as soon as no run is under way, whatever waits or not, but once a second at the most; any number of those who ask
   * meanwhile share one run.
   * Rejects as the run does, and where stop() comes first.
   */
  ask(generation: number, serial: number): Promise<void> {
    if (this.#stopped) return Promise.reject(new Error('stopped'));
    this.#generation = generation;
    this.#serial = serial;
    const done = new Promise<void>((resolve, reject) => this.#asked.push({ resolve, reject }));
    this.#schedule();
    return done;
  }

  /** Nothing starts any more. A run that is under way is its owner's to end. */
  stop(): void {
    this.#stopped = true;
    this.#ports.timers.clear(this.#timer);
    for (const { reject } of this.#asked.splice(0)) reject(new Error('stopped'));
  }

  /** What waits, or was told to a run that failed. Whoever asks tells it. */
  untold(): readonly FileChange[] {
    return this.#pending.take();
  }

  #schedule(): void {
    const { nowMs, timers } = this.#ports;
    timers.clear(this.#timer);
    if (this.#stopped || this.#running) return;
    const restsMs = [
      ...(this.#waits ? [this.#debounceMs] : []),
      ...(this.#asked.length > 0 ? [ASKED_EVERY_MS] : []),
    ];
    const waitMs = this.#startedMs + Math.min(...restsMs) - nowMs();
    if (waitMs <= 0) void this.#run();
    else this.#timer = timers.set(() => void this.#run(), Math.ceil(waitMs));
  }

  async #run(): Promise<void> {
    const asked = this.#asked.splice(0);
    const changed = this.#pending.take();
    this.#waits = false;
    this.#running = true;
    this.#startedMs = this.#ports.nowMs();
    try {
      await this.#ports.run({
        generation: this.#generation,
        serial: this.#serial,
        changed,
        isSuperseded: () => this.#waits || this.#stopped,
      });
      for (const { resolve } of asked) resolve();
    } catch (error) {
      this.#pending.restore(changed);
      for (const { reject } of asked) reject(error);
    } finally {
      this.#running = false;
    }
    if (this.#waits || this.#asked.length > 0) this.#schedule();
  }
}
