/**
 * Brings the newest bundle live and keeps account of it. One refresh runs at a time. Whatever goes wrong, what is live
 * stays live; the failure is logged when it begins, changes or ends, and can be seen in state() all the while.
 *
 * A bundle that was refused for what it is (its bytes will not get better) is not opened again until its revision
 * changes or somebody asks by hand. What depends on the world (network, key permissions, clock) is tried again with each
 * hint, and without one after RETRY_MS_MIN, then twice as long, up to RETRY_MS_MAX.
 */
import { createHash } from 'node:crypto';
import type { Changes } from '../control/protocol.ts';
import { BundleError, ControlError, describeBug, type ErrorCode, SecretsfsError } from '../errors.ts';
import type { PollTimers } from '../source/poll.ts';
import type { FetchedBundle, Source } from '../source/source.ts';
import { errorFields, type Log } from './log.ts';

/** What a bundle was opened into. G is the generation; rotation needs only its serial. */
export interface Opened<G> {
  readonly generation: G;
  readonly serial: number;
  readonly created: string;
}

/** The lowest acceptable serial, and the ciphertext that may have exactly it. */
export interface Floor {
  readonly serial: number;
  readonly sha256: string;
}

export interface Live<G> extends Opened<G> {
  readonly revision: string;
  /** Of the ciphertext, hex. */
  readonly sha256: string;
  readonly activatedMs: number;
}

export interface Failure {
  readonly error: SecretsfsError;
  /** Of what was fetched, if it came so far. */
  readonly revision: string | undefined;
  readonly sinceMs: number;
  readonly attempts: number;
}

export interface RotationState<G> {
  readonly live: Live<G> | undefined;
  readonly lastCheck:
    | { readonly atMs: number; readonly outcome: 'activated' | 'unchanged' | 'failed' }
    | undefined;
  readonly failure: Failure | undefined;
}

export type Refreshed<G> =
  | { readonly outcome: 'unchanged'; readonly live: Live<G> }
  | { readonly outcome: 'activated'; readonly live: Live<G>; readonly changes: Changes | undefined };

export interface RotationPorts<G> {
  readonly source: Source;
  readonly bytesMax: number;
  readonly log: Log;
  readonly nowMs: () => number;
  readonly timers: PollTimers;
  /** From 0 up to 1. */
  readonly random: () => number;
  /** Checks, unwraps, authenticates, unpacks. Throws a SecretsfsError and leaves nothing behind. */
  open(fetched: FetchedBundle, sha256: string, floor: Floor | undefined): Promise<Opened<G>>;
  /** Makes it the one that is served, in one step. Returns what changed; undefined for the first. */
  activate(opened: Opened<G>): Changes | undefined;
}

/** Refusals that are no BundleError and still concern the bytes alone. */
const REFUSALS: readonly ErrorCode[] = ['key-not-accepted', 'data-key-refused'];
/** The first retry comes while whoever mends it is still looking; the last one spares a key or a bucket that is down. */
const RETRY_MS_MIN = 5_000;
const RETRY_MS_MAX = 60_000;
/** Of the delay: instances that failed together must not come back together. */
const RETRY_JITTER = 0.2;
/** Hashed at a time, so that readers of a process that also serves get their turn. */
const HASH_BYTES = 4 * 1024 * 1024;

/** A BundleError that time heals. */
const CLOCK: ErrorCode = 'bundle-serial-future';

export class Rotation<G> {
  readonly #ports: RotationPorts<G>;
  readonly #abort = new AbortController();
  #live: Live<G> | undefined;
  #lastCheck: RotationState<G>['lastCheck'];
  #failure: RotationState<G>['failure'];
  #refused: { readonly revision: string; readonly error: SecretsfsError } | undefined;
  #running: Promise<unknown> = Promise.resolve();
  #retry: unknown;
  #retryMs = RETRY_MS_MIN;
  /** A hint that came while a refresh ran; any number of hints is one. */
  #queuedHint: Promise<void> | undefined;

  constructor(ports: RotationPorts<G>) {
    this.#ports = ports;
  }

  state(): RotationState<G> {
    return { live: this.#live, lastCheck: this.#lastCheck, failure: this.#failure };
  }

  /** Fetches anew whatever is known, and returns when the newest bundle is live. Throws the reason when it is not. */
  refresh(): Promise<Refreshed<G>> {
    return this.#enqueue(() => this.#refresh(undefined));
  }

  /** There may be something new. Never throws: a failure is in the log and in state(). */
  hint(): Promise<void> {
    this.#queuedHint ??= this.#enqueue(async () => {
      this.#queuedHint = undefined;
      if (this.#abort.signal.aborted) return;
      await this.#refresh(this.#refused?.revision ?? this.#live?.revision).catch((error: unknown) => {
        if (error instanceof SecretsfsError || this.#abort.signal.aborted) return;
        this.#ports.log.error('bug', { error: describeBug(error) });
      });
    });
    return this.#queuedHint;
  }

  /** Ends a fetch that is under way and lets nothing start again; resolves when nothing runs. */
  async stop(): Promise<void> {
    this.#abort.abort();
    this.#ports.timers.clear(this.#retry);
    await this.#running.catch(() => undefined);
  }

  #enqueue<T>(run: () => Promise<T>): Promise<T> {
    const result = this.#running.then(run, run);
    this.#running = result;
    return result;
  }

  async #refresh(knownRevision: string | undefined): Promise<Refreshed<G>> {
    const { source, bytesMax, nowMs } = this.#ports;
    if (this.#abort.signal.aborted)
      throw new ControlError('control-not-running', 'cannot refresh: the mount is stopping');
    let revision: string | undefined;
    try {
      const fetched = await source.fetch({ bytesMax, knownRevision, signal: this.#abort.signal });
      if (fetched === undefined) return this.#unchanged();
      revision = fetched.revision;
      const result = await this.#take(fetched);
      this.#refused = undefined;
      this.#lastCheck = { atMs: nowMs(), outcome: result.outcome };
      this.#recover();
      return result;
    } catch (error) {
      if (error instanceof SecretsfsError && !this.#abort.signal.aborted) {
        const refused = isRefusal(error);
        if (revision !== undefined) this.#refused = refused ? { revision, error } : undefined;
        this.#fail(error, revision);
        if (!refused && this.#live !== undefined) this.#retryLater();
      }
      throw error;
    }
  }

  /** Nothing new at the source: what was refused still is, what was live still is; only an outage has ended. */
  #unchanged(): Refreshed<G> {
    if (this.#live === undefined) throw new Error('a source knew a revision that was never fetched');
    if (this.#refused !== undefined) {
      this.#fail(this.#refused.error, this.#refused.revision);
    } else {
      this.#lastCheck = { atMs: this.#ports.nowMs(), outcome: 'unchanged' };
      this.#recover();
    }
    return { outcome: 'unchanged', live: this.#live };
  }

  async #take(fetched: FetchedBundle): Promise<Refreshed<G>> {
    const { open, activate, nowMs, log } = this.#ports;
    const sha256 = await digest(fetched.bytes);
    const live = this.#live;
    if (live !== undefined && live.sha256 === sha256) {
      this.#live = { ...live, revision: fetched.revision };
      return { outcome: 'unchanged', live: this.#live };
    }
    const opened = await open(
      fetched,
      sha256,
      live === undefined ? undefined : { serial: live.serial, sha256: live.sha256 },
    );
    const changes = activate(opened);
    this.#live = { ...opened, revision: fetched.revision, sha256, activatedMs: nowMs() };
    log.info('activated', { serial: opened.serial, revision: fetched.revision, ...(changes ?? {}) });
    return { outcome: 'activated', live: this.#live, changes };
  }

  #recover(): void {
    if (this.#failure !== undefined)
      this.#ports.log.info('refresh-recovered', { code: this.#failure.error.code });
    this.#failure = undefined;
    this.#ports.timers.clear(this.#retry);
    this.#retryMs = RETRY_MS_MIN;
  }

  #retryLater(): void {
    const { timers, random } = this.#ports;
    timers.clear(this.#retry);
    const delayMs = this.#retryMs * (1 - RETRY_JITTER + 2 * RETRY_JITTER * random());
    this.#retry = timers.set(() => void this.hint(), Math.round(delayMs));
    this.#retryMs = Math.min(2 * this.#retryMs, RETRY_MS_MAX);
  }

  /** One state is one code of one revision: a message may hold numbers that change with each attempt. */
  #fail(error: SecretsfsError, revision: string | undefined): void {
    const { nowMs, log } = this.#ports;
    this.#lastCheck = { atMs: nowMs(), outcome: 'failed' };
    const before = this.#failure;
    if (before !== undefined && before.error.code === error.code && before.revision === revision) {
      this.#failure = { ...before, error, attempts: before.attempts + 1 };
      return;
    }
    this.#failure = { error, revision, sinceMs: nowMs(), attempts: 1 };
    // The first failure ends the start, whose caller tells it.
    if (this.#live !== undefined) log.error('refresh-failed', errorFields(error));
  }
}

/** Whether the same bytes would be refused again whatever happens in the world. */
function isRefusal(error: SecretsfsError): boolean {
  return (error instanceof BundleError && error.code !== CLOCK) || REFUSALS.includes(error.code);
}

async function digest(bytes: Buffer): Promise<string> {
  const hash = createHash('sha256');
  for (let at = 0; at < bytes.length; at += HASH_BYTES) {
    hash.update(bytes.subarray(at, at + HASH_BYTES));
    await new Promise((resolve) => setImmediate(resolve));
  }
  return hash.digest('hex');
}
