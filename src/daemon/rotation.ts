/**
 * Brings the newest bundle live and keeps account of it. One refresh runs at a time. Whatever goes wrong, what is live
 * stays live; the failure is logged when it begins, changes or ends, and can be seen in state() all the while.
 * Where a bundle is fetched and opened is behind the port take(): a supervisor that loads this loads nothing of a
 * source, a key or an archive.
 *
 * Sources are asked in order (source-ledger.ts). A bundle that was refused twice for what it is (its bytes will not get
 * better) is not opened again until its revision changes or somebody asks by hand. What depends on the world (network, key
 * permissions, clock) is tried again, later each time, and not more often than unseal-limits.ts lets.
 */
import { ControlError, classOf, describeBug, SecretsfsError } from '../errors.ts';
import { pause } from '../system/timers.ts';
import { type FailedAt, RefreshOutcomes } from './refresh-outcomes.ts';
import type {
  Live,
  Looked,
  Noticed,
  Refreshed,
  RefreshOptions,
  RotationPorts,
  RotationSettings,
  RotationState,
  Taken,
} from './rotation-ports.ts';
import { type Known, SourceLedger } from './source-ledger.ts';
import { Turns } from './turns.ts';

/** How what is known is looked at. */
interface Manner {
  /** What is known is taken again all the same. */
  readonly forced: boolean;
  readonly allowRollback: boolean;
}
const AS_USUAL: Manner = { forced: false, allowRollback: false };

export class Rotation<G> {
  #ports: RotationPorts<G>;
  #ledger: SourceLedger;
  readonly #abort = new AbortController();
  #live: Live<G> | undefined;
  readonly #turns = new Turns(() => this.#ports.onSettled?.());
  readonly #outcomes: RefreshOutcomes;
  /** A refresh that was asked for and has not begun. */
  #asked: Promise<Refreshed<G>> | undefined;
  /** A hint that came while a refresh ran; any number of hints is one. */
  #queued: { noticed: Noticed | undefined; readonly done: Promise<void> } | undefined;
  /** What is live is to be opened again: until that was done, or the bundle was refused. */
  #isStale = false;
  /** Whether this refresh may have cost a key. */
  #opened = false;

  constructor(ports: RotationPorts<G>) {
    this.#ports = ports;
    this.#ledger = new SourceLedger(ports.sources.length, ports.nowMs);
    this.#outcomes = new RefreshOutcomes({
      ports: () => this.#ports,
      ledger: () => this.#ledger,
      isLive: () => this.#live !== undefined,
      signal: this.#abort.signal,
      begin: () => void this.hint(),
    });
  }

  /**
   * Before anything else: what another process brought live. `source`: where that is from, if it is still one of ours; `isStale`:
   * it is to be opened again, for it was judged by something else.
   */
  async resume(
    live: Live<G>,
    { source, isStale }: { source: number | undefined; isStale: boolean },
  ): Promise<void> {
    this.#live = live;
    this.#isStale = isStale;
    if (source !== undefined) this.#ledger.activated(source, live.revision);
    await this.#keepRecord();
  }

  state(): RotationState<G> {
    return {
      live: this.#live,
      lastCheck: this.#outcomes.record.lastCheck,
      failure: this.#outcomes.record.failure,
      sources: this.#ledger.states(),
      nextAttempt: this.#outcomes.next.state,
    };
  }

  /** Of each source, what a look is to be made against: nothing new while it is there. */
  known(): readonly (Known | undefined)[] {
    return this.#ledger.known();
  }

  /**
   * Fetches anew whatever is known, and returns when the newest bundle is live. Throws the reason when it is not. Those who ask
   * before it has begun share one, but for rollbacks; after very many it waits for its turn.
   */
  refresh({ allowRollback = false, anew = false }: RefreshOptions = {}): Promise<Refreshed<G>> {
    this.#isStale ||= anew;
    if (allowRollback) return this.#force(true, () => undefined);
    this.#asked ??= this.#force(false, () => {
      this.#asked = undefined;
    });
    return this.#asked;
  }

  /** Runs `act` when no refresh is under way, and lets none begin before it has settled. */
  between(act: () => Promise<void>): Promise<void> {
    return this.#turns.take(async () => {
      if (this.#abort.signal.aborted) throw stopping();
      await act();
    });
  }

  /** For between(): from the next refresh on. What is live stays what serials and contents are measured by. */
  configure({ otherSources, ...settings }: RotationSettings<G>): void {
    const before = this.#ports;
    this.#ports = { ...before, ...settings };
    if (otherSources) this.#ledger = new SourceLedger(settings.sources.length, before.nowMs);
    this.#outcomes.configured(before);
  }

  /**
   * Where nothing is live yet: brings live what `take` has, which no source does. What failed of the sources stays the failure, and
   * is tried again. Throws what it throws.
   */
  begin(take: RotationPorts<G>['take']): Promise<void> {
    return this.#turns.take(async () => {
      if (this.#live !== undefined) return;
      const { signal } = this.#abort;
      if (signal.aborted) throw stopping();
      const { floor } = this.#ports.floors;
      const none = { revision: undefined, knownRevision: undefined, liveSha256: undefined };
      const taken = await take({ source: 0, ...none, floor, signal });
      if (taken.outcome !== 'opened') throw new Error('nothing was known, and it was found unchanged');
      await this.#bringLive(taken, undefined);
      const { failure } = this.#outcomes.record;
      if (failure !== undefined) this.#outcomes.retryLater(failure.error, failure.revision);
    });
  }

  /** There may be something new. Never throws: a failure is in the log and in state(). */
  hint(noticed?: Noticed): Promise<void> {
    const queued = this.#queued;
    if (queued !== undefined) {
      // Of several sources, all are asked.
      if (queued.noticed?.source !== noticed?.source) queued.noticed = undefined;
      else queued.noticed = noticed;
      return queued.done;
    }
    const done = this.#turns.take(async () => {
      const latest = this.#queued?.noticed;
      this.#queued = undefined;
      if (!this.#abort.signal.aborted) await this.#hinted(latest);
    });
    this.#queued = { noticed, done };
    return done;
  }

  /**
   * Somebody looked at the sources, in their order. What was found to be the same counts only if that is still what is known,
   * and no refresh is under way, which finds out more.
   */
  noteLook(looks: readonly Looked[]): void {
    if (this.#abort.signal.aborted) return;
    const idle = this.#live !== undefined && this.#turns.isIdle;
    let changed: Noticed | undefined;
    looks.slice(0, this.#ports.sources.length).forEach((look, source) => {
      if (look.outcome === 'changed') changed ??= { source, revision: look.revision };
      else if (!idle) return;
      else if (look.outcome === 'failed') this.#ledger.failed(source, look.error);
      else if (look.outcome === 'same' && look.revision === this.#ledger.revision(source)) {
        if (this.#isStale && this.#ledger.known()[source]?.is === 'live')
          changed ??= { source, revision: look.revision };
        this.#ledger.same(source);
      }
    });
    if (changed !== undefined) void this.hint(changed);
    else if (idle && looks.some(({ outcome }) => outcome !== 'unasked')) {
      this.#outcomes.conclude(false);
      void this.#keepRecord();
    }
  }

  /** Ends a fetch that is under way and lets nothing start again; resolves when nothing runs. */
  async stop(): Promise<void> {
    this.#abort.abort();
    this.#outcomes.next.clear();
    await this.#turns.settled();
  }

  async #force(allowRollback: boolean, begins: () => void): Promise<Refreshed<G>> {
    const { signal } = this.#abort;
    const force = () => this.#outcomes.limits.force();
    for (let waitMs = force(); waitMs > 0 && !signal.aborted; waitMs = force()) {
      await pause(this.#ports.timers, waitMs, signal);
    }
    return this.#turns.take(() => {
      begins();
      return this.#refresh(undefined, { forced: true, allowRollback });
    });
  }

  async #hinted(noticed: Noticed | undefined): Promise<void> {
    const { revision } = noticed ?? {};
    const { limits, next, record } = this.#outcomes;
    if (noticed !== undefined && revision !== undefined) {
      if (revision === this.#ledger.revision(noticed.source) && !this.#isStale) return;
      // It failed, and its next attempt is set.
      if (next.isSet && revision === record.failure?.revision) return;
    }
    const waitMs = limits.take();
    if (waitMs > 0) return this.#outcomes.tryLater(waitMs, true);
    this.#opened = false;
    await this.#refresh(noticed, AS_USUAL).catch((error: unknown) => {
      if (error instanceof SecretsfsError || this.#abort.signal.aborted) return;
      this.#ports.log.error('bug', { error: describeBug(error) });
    });
    if (!this.#opened) limits.giveBack();
  }

  async #refresh(noticed: Noticed | undefined, manner: Manner): Promise<Refreshed<G>> {
    if (this.#abort.signal.aborted) throw stopping();
    this.#outcomes.next.clear();
    const sources = noticed === undefined ? [...this.#ports.sources.keys()] : [noticed.source];
    for (const source of sources) {
      const step = await this.#takeFrom(source, noticed?.revision, manner);
      if (typeof step === 'object') {
        this.#outcomes.recover('activated');
        return step;
      }
      if (step === 'settling') return { outcome: 'unchanged', live: this.#live as Live<G> };
      if (step === 'live') {
        await this.#keepRecord();
        break;
      }
    }
    const problem = this.#outcomes.conclude(true);
    if (problem !== undefined) throw problem;
    return { outcome: 'unchanged', live: this.#live as Live<G> };
  }

  /** `next`: it has nothing for us, so another one may. Throws what no other source would mend. */
  async #takeFrom(
    source: number,
    wanted: string | undefined,
    manner: Manner,
  ): Promise<Refreshed<G> | 'live' | 'next' | 'settling'> {
    const { signal } = this.#abort;
    const before = this.#live;
    const { forced, allowRollback } = manner;
    const { take, floors } = this.#ports;
    const floor = allowRollback ? floors.floorOfRollback : floors.floor;
    const liveSha256 = this.#isStale ? undefined : before?.sha256;
    const knownRevision = forced || this.#isStale ? undefined : this.#ledger.revision(source);
    let revision: string | undefined;
    try {
      const taken = await take({ source, revision: wanted, knownRevision, liveSha256, floor, signal });
      revision = taken.revision;
      if (taken.outcome === 'opened') {
        this.#opened = true;
        return await this.#bringLive(taken, source);
      }
      if (revision === knownRevision) {
        this.#ledger.same(source);
        return this.#ledger.known()[source]?.is === 'live' ? 'live' : 'next';
      }
      if (before === undefined) throw new Error('nothing is live, and a source found it unchanged');
      // The same ciphertext under another revision.
      this.#live = { ...before, revision };
      this.#ledger.found(source, { revision, is: 'live' });
      return 'live';
    } catch (error) {
      if (!(error instanceof SecretsfsError) || signal.aborted) throw error;
      if (error.code === 'source-changed' && wanted !== undefined)
        return this.#takeFrom(source, undefined, manner);
      return this.#failedAt(error, { source, revision: error.revision ?? revision, forced });
    }
  }

  #failedAt(error: SecretsfsError, at: FailedAt): 'next' | 'settling' {
    const { source, revision } = at;
    const kind = classOf(error.code);
    if (kind === 'source' || (kind === 'config' && revision === undefined)) {
      this.#ledger.failed(source, error);
      return 'next';
    }
    this.#opened = true;
    const came = this.#outcomes.refused(error, at);
    // What is live was to be opened again, and is refused.
    if (came === 'refused') this.#isStale = false;
    return came === 'settling' ? came : 'next';
  }

  /** `source`: none of them had it. */
  async #bringLive(
    taken: Extract<Taken<G>, { outcome: 'opened' }>,
    source: number | undefined,
  ): Promise<Refreshed<G>> {
    const { activate, nowMs, log, floors } = this.#ports;
    const { opened, sha256, revision } = taken;
    const changes = await activate(opened, { source, revision, sha256 });
    const live = { ...opened, revision, sha256, activatedMs: nowMs() };
    this.#live = live;
    this.#isStale = false;
    if (source !== undefined) this.#ledger.activated(source, revision);
    await floors.record(opened.serial, sha256);
    log.info('activated', { serial: opened.serial, revision, ...(changes ?? {}) });
    return { outcome: 'activated', live, changes };
  }

  /** That of what is live, again where it failed. */
  async #keepRecord(): Promise<void> {
    if (this.#live !== undefined) await this.#ports.floors.record(this.#live.serial, this.#live.sha256);
  }
}

function stopping(): ControlError {
  return new ControlError('control-not-running', 'cannot refresh: the mount is stopping', {
    hint: 'secretsfs mount starts it again',
  });
}
