/**
 * Brings the newest bundle live and keeps account of it. One refresh runs at a time. Whatever goes wrong, what is live
 * stays live; the failure is logged when it begins, changes or ends, and can be seen in state() all the while.
 * Where a bundle is fetched and opened is behind the port take(): a supervisor that loads this loads nothing of a
 * source, a key or an archive.
 *
 * A bundle that was refused for what it is (its bytes will not get better) is not opened again until its revision
 * changes or somebody asks by hand. What depends on the world (network, key permissions, clock) is tried again with each
 * hint, and without one after RETRY_MS_MIN, then twice as long, up to RETRY_MS_MAX.
 */
import type { SerialFloor } from '../bundle/policy.ts';
import type { Changes } from '../control/protocol.ts';
import { ControlError, classOf, describeBug, type ErrorCode, SecretsfsError } from '../errors.ts';
import type { Timers } from '../system/timers.ts';
import type { FloorFile } from './floor.ts';
import { errorFields, type Log } from './log.ts';

/** What a bundle was opened into. G is the generation; rotation needs only its serial. */
export interface Opened<G> {
  readonly generation: G;
  readonly serial: number;
  readonly created: string;
}

export interface TakeOptions {
  /** What need not be taken again: of what is live, or of what was refused. undefined: take it whatever it is. */
  readonly knownRevision: string | undefined;
  /** The ciphertext that is live, hex: found again, it is not opened again. */
  readonly liveSha256: string | undefined;
  /** What the serial is measured by. */
  readonly floor: SerialFloor | undefined;
  readonly signal: AbortSignal;
}

export type Taken<G> =
  /** What is there is `knownRevision`, or, under another revision, the very ciphertext that is live. */
  | { readonly outcome: 'unchanged'; readonly revision: string }
  | {
      readonly outcome: 'opened';
      readonly revision: string;
      /** Of the ciphertext, hex. */
      readonly sha256: string;
      readonly opened: Opened<G>;
    };

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

export interface RefreshOptions {
  /** Takes a bundle older than what was live before. */
  readonly allowRollback?: boolean | undefined;
}

export interface RotationPorts<G> {
  readonly log: Log;
  readonly nowMs: () => number;
  readonly timers: Timers;
  readonly floors: Pick<FloorFile, 'floor' | 'floorOfRollback' | 'record'>;
  /** From 0 up to 1. */
  readonly random: () => number;
  /**
   * Fetches, checks, unwraps, authenticates, unpacks. Throws a SecretsfsError, with the revision that it is about where
   * it came so far, and leaves nothing behind.
   */
  take(options: TakeOptions): Promise<Taken<G>>;
  /** Makes it the one that is served, in one step. Returns what changed; undefined for the first. */
  activate(opened: Opened<G>): Promise<Changes | undefined> | Changes | undefined;
}

/** Refusals that are not of the class of bundles and still concern the bytes alone. */
const REFUSALS: readonly ErrorCode[] = ['key-not-accepted', 'data-key-refused'];
/** The first retry comes while whoever mends it is still looking; the last one spares a key or a bucket that is down. */
const RETRY_MS_MIN = 5_000;
const RETRY_MS_MAX = 60_000;
/** Of the delay: instances that failed together must not come back together. */
const RETRY_JITTER = 0.2;
/** Those of a bundle that time heals. */
const CLOCK: readonly ErrorCode[] = ['bundle-serial-future', 'check-clock'];

export class Rotation<G> {
  readonly #ports: RotationPorts<G>;
  readonly #abort = new AbortController();
  #live: Live<G> | undefined;
  #lastCheck: RotationState<G>['lastCheck'];
  #failure: RotationState<G>['failure'];
  #refused: { readonly revision: string; readonly error: SecretsfsError } | undefined;
  #running: Promise<unknown> = Promise.resolve();
  /** Refreshes that run or wait to. */
  #pending = 0;
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

  /** The revision that a check at the source is to be made against: nothing new while it is there. */
  get knownRevision(): string | undefined {
    return this.#refused?.revision ?? this.#live?.revision;
  }

  /** Fetches anew whatever is known, and returns when the newest bundle is live. Throws the reason when it is not. */
  refresh(options: RefreshOptions = {}): Promise<Refreshed<G>> {
    return this.#enqueue(() => this.#refresh(undefined, options));
  }

  /** There may be something new. Never throws: a failure is in the log and in state(). */
  hint(): Promise<void> {
    this.#queuedHint ??= this.#enqueue(async () => {
      this.#queuedHint = undefined;
      if (this.#abort.signal.aborted) return;
      await this.#refresh(this.knownRevision).catch((error: unknown) => {
        if (error instanceof SecretsfsError || this.#abort.signal.aborted) return;
        this.#ports.log.error('bug', { error: describeBug(error) });
      });
    });
    return this.#queuedHint;
  }

  /**
   * Somebody else found `revision` at the source. It counts only if that is still the known one, and no refresh is under
   * way, which finds out more.
   */
  noteUnchanged(revision: string): void {
    if (this.#live === undefined || this.#pending > 0 || this.#abort.signal.aborted) return;
    if (revision === this.knownRevision) this.#unchanged(this.#live);
  }

  /** Ends a fetch that is under way and lets nothing start again; resolves when nothing runs. */
  async stop(): Promise<void> {
    this.#abort.abort();
    this.#ports.timers.clear(this.#retry);
    await this.#running.catch(() => undefined);
  }

  #enqueue<T>(run: () => Promise<T>): Promise<T> {
    this.#pending++;
    const counted = () =>
      run().finally(() => {
        this.#pending--;
      });
    const result = this.#running.then(counted, counted);
    this.#running = result;
    return result;
  }

  async #refresh(
    knownRevision: string | undefined,
    { allowRollback = false }: RefreshOptions = {},
  ): Promise<Refreshed<G>> {
    const { take, nowMs, floors } = this.#ports;
    const { signal } = this.#abort;
    if (signal.aborted)
      throw new ControlError('control-not-running', 'cannot refresh: the mount is stopping', {
        hint: 'secretsfs mount starts it again',
      });
    const before = this.#live;
    const floor = allowRollback ? floors.floorOfRollback : floors.floor;
    let revision: string | undefined;
    try {
      const taken = await take({ knownRevision, liveSha256: before?.sha256, floor, signal });
      revision = taken.revision;
      if (taken.outcome === 'unchanged' && before === undefined) {
        throw new Error('nothing is live, and a source found it unchanged');
      }
      if (taken.outcome === 'unchanged' && revision === knownRevision)
        return this.#unchanged(before as Live<G>);
      const result = await this.#bringLive(taken, before);
      this.#refused = undefined;
      this.#lastCheck = { atMs: nowMs(), outcome: result.outcome };
      this.#recover();
      return result;
    } catch (error) {
      if (error instanceof SecretsfsError && !signal.aborted) {
        const refused = isRefusal(error);
        const about = error.revision ?? revision;
        if (about !== undefined) this.#refused = refused ? { revision: about, error } : undefined;
        this.#fail(error, about);
        if (!refused && this.#live !== undefined) this.#retryLater();
      }
      throw error;
    }
  }

  /** Nothing new at the source: what was refused still is, what was live still is; only an outage has ended. */
  #unchanged(live: Live<G>): Refreshed<G> {
    if (this.#refused !== undefined) {
      this.#fail(this.#refused.error, this.#refused.revision);
    } else {
      this.#lastCheck = { atMs: this.#ports.nowMs(), outcome: 'unchanged' };
      this.#recover();
    }
    return { outcome: 'unchanged', live };
  }

  async #bringLive(taken: Taken<G>, before: Live<G> | undefined): Promise<Refreshed<G>> {
    const { activate, nowMs, log, floors } = this.#ports;
    const { revision } = taken;
    if (taken.outcome === 'unchanged') {
      const live = { ...(before as Live<G>), revision };
      this.#live = live;
      return { outcome: 'unchanged', live };
    }
    const { opened, sha256 } = taken;
    const changes = await activate(opened);
    const live = { ...opened, revision, sha256, activatedMs: nowMs() };
    this.#live = live;
    await floors.record(opened.serial, sha256);
    log.info('activated', { serial: opened.serial, revision, ...(changes ?? {}) });
    return { outcome: 'activated', live, changes };
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
  return (classOf(error.code) === 'bundle' && !CLOCK.includes(error.code)) || REFUSALS.includes(error.code);
}
