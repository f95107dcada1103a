/**
 * What follows from the end of a refresh: what is recorded of it, what is believed of its source, and when the next attempt is.
 *
 * Invariants: bytes are called refused when they were refused twice, for they may have been altered on the way; what depends on
 * the world is tried again, what a bundle is by itself is not; nothing is tried again once `signal` is aborted.
 */
import { isDeepStrictEqual } from 'node:util';
import type { SecretsfsError } from '../errors.ts';
import { isOwnFailure, isRefusal } from './failure-kinds.ts';
import { NextAttempt } from './next-attempt.ts';
import { RefreshRecord } from './refresh-record.ts';
import type { RotationPorts } from './rotation-ports.ts';
import type { SourceLedger } from './source-ledger.ts';
import { UnsealLimits } from './unseal-limits.ts';

/** A file that was refused is looked at again after this, before it is called so: it may still have been written. */
const SETTLE_MS = 1_000;

export interface OutcomePorts {
  /** Those of now. */
  ports(): RotationPorts<unknown>;
  ledger(): SourceLedger;
  isLive(): boolean;
  readonly signal: AbortSignal;
  /** It is time for the next attempt. */
  begin(): void;
}

export interface FailedAt {
  readonly source: number;
  /** undefined: it did not come so far. */
  readonly revision: string | undefined;
  /** Somebody waits for it. */
  readonly forced: boolean;
}

export class RefreshOutcomes {
  readonly #ports: OutcomePorts;
  readonly record: RefreshRecord;
  readonly next: NextAttempt;
  #limits: UnsealLimits;
  /** What was refused once. A second time confirms it: the bytes may have been altered on the way, or KMS been wrong. */
  #unconfirmed: string | undefined;

  constructor(ports: OutcomePorts) {
    this.#ports = ports;
    const { timers, nowMs } = ports.ports();
    this.record = new RefreshRecord(ports.ports());
    this.next = new NextAttempt({ timers, nowMs, begin: () => ports.begin() });
    this.#limits = limitsOf(ports.ports());
  }

  get limits(): Pick<UnsealLimits, 'take' | 'force' | 'giveBack'> {
    return this.#limits;
  }

  /** Other limits begin anew; the same go on. */
  configured(before: Pick<RotationPorts<unknown>, 'unsealsPerMinute' | 'retries'>): void {
    const now = this.#ports.ports();
    const isSame =
      now.unsealsPerMinute === before.unsealsPerMinute && isDeepStrictEqual(now.retries, before.retries);
    if (!isSame) this.#limits = limitsOf(now);
  }

  /**
   * It was fetched, and is not to go live. `refused`, `behind`: it is known, and another source may have something; `settling`: it is looked
   * at again in a moment. Throws the error where no other source would mend it.
   */
  refused(error: SecretsfsError, { source, revision, forced }: FailedAt): 'refused' | 'behind' | 'settling' {
    const isOfBundle = isRefusal(error);
    if (!isOfBundle || revision === undefined) {
      this.#fail(error, revision);
      if (!isOfBundle) this.retryLater(error, revision);
      throw error;
    }
    const { sources } = this.#ports.ports();
    const isBehind = error.code === 'bundle-serial-low' && sources.length > 1;
    const isFirst = this.#goesOn && this.#unconfirmed !== revision && !isBehind;
    this.#unconfirmed = revision;
    // Before anything was live the start is who forces it, and there is nothing to be called unchanged.
    const isFile = sources[source]?.isLocal === true && this.#ports.isLive();
    if (isFirst && !(isFile && forced)) {
      if (isFile) {
        this.tryLater(SETTLE_MS, false);
        return 'settling';
      }
      this.#fail(error, revision);
      this.retryLater(error, revision);
      throw error;
    }
    const is = isBehind ? 'behind' : 'refused';
    this.#ports.ledger().found(source, { revision, is }, error);
    return is;
  }

  /** What follows from all that is known of the sources; whoever looks at them looks again by itself, but for `retries`. */
  conclude(retries: boolean): SecretsfsError | undefined {
    const problem = this.#ports.ledger().problem();
    if (problem === undefined) {
      this.recover('unchanged');
      return undefined;
    }
    this.#fail(problem.error, problem.revision);
    if (retries && !problem.refused) this.retryLater(problem.error, problem.revision);
    return problem.error;
  }

  recover(outcome: 'activated' | 'unchanged'): void {
    this.record.succeeded(outcome);
    this.next.clear();
    this.#limits.recovered();
  }

  retryLater({ code }: SecretsfsError, revision: string | undefined): void {
    const { sources, unsealsPerMinute } = this.#ports.ports();
    const asksOthers = unsealsPerMinute !== undefined || sources.some(({ isLocal }) => !isLocal);
    const isShared = asksOthers && !isOwnFailure(code);
    if (this.#goesOn) this.tryLater(this.#limits.failed(revision, isShared), false);
  }

  /** `limited`: it waits for a limit, and nothing failed. */
  tryLater(delayMs: number, limited: boolean): void {
    if (!this.#ports.signal.aborted) this.next.set(delayMs, limited);
  }

  /** Whether a failure is not the end of the mount. */
  get #goesOn(): boolean {
    return this.#ports.isLive() || this.#ports.ports().isOptional === true;
  }

  /** The first failure ends the start, whose caller tells it. */
  #fail(error: SecretsfsError, revision: string | undefined): void {
    this.record.failed(error, revision, !this.#goesOn);
  }
}

function limitsOf(ports: RotationPorts<unknown>): UnsealLimits {
  const { nowMs, random, unsealsPerMinute: perMinute, retries } = ports;
  return new UnsealLimits({ perMinute, retries, nowMs, random });
}
