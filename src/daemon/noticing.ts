/**
 * When to look at the sources. Every interval, give or take a fifth, the first time anywhere within it, so that instances
 * that were started together do not ask together; soon after a hint (a message of a queue), at a random moment within the
 * spread; at once when a source itself tells of a change. A source that fails is asked an interval later, then less often, and as
 * ever once it answers. A look asks the sources in their order until one has what is live or something else; what it found is
 * reported, whoever opens bundles decides.
 *
 * Time, chance and sources are ports: the same code runs in the agent, in a mount of one process, and a thousand times in a
 * simulation (test/bench/fleet).
 */
import { describeBug, SecretsfsError } from '../errors.ts';
import type { Source, Watch } from '../source/source.ts';
import type { Timers } from '../system/timers.ts';
import { retryTimes, sharedWaitMs } from './retries.ts';
import type { Looked } from './rotation-ports.ts';
import type { Known } from './source-ledger.ts';

export interface NoticingOptions {
  readonly pollMs: number;
  readonly spreadMs: number;
}

export interface NoticingPorts {
  readonly sources: readonly Source[];
  readonly timers: Timers;
  /** From 0 up to 1. */
  readonly random: () => number;
  readonly nowMs: () => number;
  /** Of a source, what a look is made against. */
  known(source: number): Known | undefined;
  /** What a look found, of each source. */
  looked(looks: readonly Looked[]): void;
  /** When the next look will be; undefined: when a source tells of a change. */
  scheduled(atMs: number | undefined): void;
  bug(description: string): void;
}

/** Instances that were started together must not ask together. */
const JITTER = 0.2;

export class Noticing {
  readonly #options: NoticingOptions;
  readonly #ports: NoticingPorts;
  readonly #abort = new AbortController();
  /** Of each source that fails: how often in a row, and when it is asked again. */
  readonly #failures: { times: number; againMs: number }[];
  readonly #watches: Watch[];
  #timer: unknown;
  #eventTimer: unknown;
  #looking: Promise<void> = Promise.resolve();
  #queued = false;
  /** Whether the next look waits for a source that fails. */
  #isPutOff = false;
  /** A hint that no source has answered yet. */
  #heard = false;

  /** Begins to watch, and to poll where a source has to be asked. */
  constructor(options: NoticingOptions, ports: NoticingPorts) {
    this.#options = options;
    this.#ports = ports;
    this.#failures = ports.sources.map(() => ({ times: 0, againMs: 0 }));
    this.#watches = ports.sources.map((source) => source.watch(() => this.look()));
    this.#schedule(options.pollMs * ports.random());
  }

  /** Something was heard of: looks within the spread. Any number of hints until then are one look. */
  hint(): void {
    if (this.#abort.signal.aborted || this.#eventTimer !== undefined) return;
    const { timers, random } = this.#ports;
    this.#eventTimer = timers.set(
      () => {
        this.#eventTimer = undefined;
        this.#heard = true;
        this.look();
      },
      Math.round(this.#options.spreadMs * random()),
    );
  }

  /** Looks now, also at what failed; once more if a look is under way. */
  look(): void {
    this.#enqueue(true);
  }

  /** Resolves when nothing of it is left. */
  async close(): Promise<void> {
    this.#abort.abort();
    const { timers } = this.#ports;
    timers.clear(this.#timer);
    timers.clear(this.#eventTimer);
    await Promise.all([this.#looking, ...this.#watches.map((watch) => watch.close())]);
  }

  #enqueue(all: boolean): void {
    if (this.#queued || this.#abort.signal.aborted) return;
    this.#queued = true;
    this.#looking = this.#looking
      .then(() => {
        this.#queued = false;
        return this.#look(all);
      })
      .catch((error: unknown) => this.#ports.bug(describeBug(error)));
  }

  /** `all`: also those whose time has not come. */
  async #look(all: boolean): Promise<void> {
    const { sources, looked, nowMs } = this.#ports;
    const { signal } = this.#abort;
    const looks: Looked[] = sources.map(() => ({ outcome: 'unasked' }));
    for (const [i, source] of sources.entries()) {
      if (signal.aborted) return;
      if (!all && (this.#failures[i]?.againMs ?? 0) > nowMs()) continue;
      const known = this.#ports.known(i);
      const found = await this.#ask(source, known);
      if (signal.aborted) return;
      looks[i] = found;
      this.#account(i, found.outcome === 'failed');
      if (found.outcome === 'changed' || (found.outcome === 'same' && known?.is === 'live')) break;
    }
    if (looks.some(({ outcome }) => outcome === 'same' || outcome === 'changed')) this.#heard = false;
    else if (this.#heard) this.#schedule(this.#nextMs());
    looked(looks);
  }

  async #ask(source: Source, known: Known | undefined): Promise<Looked> {
    const { signal } = this.#abort;
    try {
      const found = await source.check({ knownRevision: known?.revision, signal });
      return found.outcome === 'same' ? { outcome: 'same', revision: known?.revision ?? '' } : found;
    } catch (error) {
      if (signal.aborted) return { outcome: 'unasked' };
      if (!(error instanceof SecretsfsError)) throw error;
      // Who watches a file need not be one who may see it: whoever opens it finds out.
      return source.polled ? { outcome: 'failed', error } : { outcome: 'changed', revision: undefined };
    }
  }

  #account(source: number, failed: boolean): void {
    const entry = this.#failures[source];
    if (entry === undefined) return;
    entry.times = failed ? entry.times + 1 : 0;
    entry.againMs = failed ? this.#ports.nowMs() + this.#backoffMs(entry.times) : 0;
    // It is asked as ever from now on, not when its time would have come.
    if (!failed && this.#isPutOff) this.#schedule(this.#nextMs());
  }

  /** The first failure costs an interval; then, and where a hint waits, instances are spread (retries.ts). */
  #backoffMs(times: number): number {
    const { pollMs } = this.#options;
    const { random } = this.#ports;
    const { sharedMs } = retryTimes(this.#options);
    // All instances heard of it, and failed, at once.
    if (this.#heard && times === 1) return sharedWaitMs(Math.min(sharedMs, 2 * pollMs), true, random);
    if (!this.#heard && (times === 1 || pollMs >= sharedMs)) return this.#intervalMs();
    if (!this.#heard && times === 2) return (1 - JITTER) * pollMs + sharedWaitMs(sharedMs, true, random);
    return sharedWaitMs(sharedMs, false, random);
  }

  #intervalMs(): number {
    return this.#options.pollMs * (1 - JITTER + 2 * JITTER * this.#ports.random());
  }

  /** From now to the next look: the interval while any source answers, else when the first is to be asked again. */
  #nextMs(): number {
    const { sources, nowMs } = this.#ports;
    const failures = this.#failures.filter((_, i) => sources[i]?.polled === true);
    this.#isPutOff = failures.every(({ times }) => times > 0);
    if (this.#isPutOff) return Math.min(...failures.map(({ againMs }) => againMs)) - nowMs();
    return this.#intervalMs();
  }

  #schedule(delayMs: number): void {
    const { sources, timers, nowMs, scheduled } = this.#ports;
    timers.clear(this.#timer);
    if (this.#abort.signal.aborted || !sources.some(({ polled }) => polled)) return;
    // Not before its time: that would be a look at nothing.
    const wholeMs = Math.max(0, Math.ceil(delayMs));
    scheduled(nowMs() + wholeMs);
    this.#timer = timers.set(() => {
      this.#enqueue(false);
      this.#looking = this.#looking.then(() => this.#schedule(this.#nextMs()));
    }, wholeMs);
  }
}
