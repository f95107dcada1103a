/**
 * How often a bundle may be opened: whoever can write to the bucket chooses what is opened, and each opening may cost a
 * request to KMS, whose quota the whole account shares. A bucket of tokens bounds all attempts; what failed waits (retries.ts).
 */
import { notAtOnce, type RetryTimes, sharedWaitMs } from './retries.ts';

export interface UnsealLimitOptions {
  /** undefined: no key costs anything. */
  readonly perMinute: number | undefined;
  readonly retries: RetryTimes;
  readonly nowMs: () => number;
  /** From 0 up to 1. */
  readonly random: () => number;
}

const MINUTE_MS = 60_000;
/** Of a minute's tokens: what may be spent at once. */
const BURST = 0.5;
/** Of a token: what sums of fractions come short by. Who waited as told is not to wait again. */
const ROUNDING = 1e-9;
/** More than a person asks for in a row; whoever else may speak on the control socket asks in a circle. */
const ASKED_BURST = 20;
/** Of a failure of this machine. */
const OWN_MS_MAX = 5 * 60_000;

export class UnsealLimits {
  readonly #options: UnsealLimitOptions;
  readonly #ordinary: Bucket;
  readonly #asked: Bucket;
  #ceilingMs: number;
  #failing: { readonly revision: string | undefined } | undefined;

  constructor(options: UnsealLimitOptions) {
    this.#options = options;
    const burst = Math.max(1, Math.floor((options.perMinute ?? 1) * BURST));
    this.#ordinary = full(burst, options.nowMs());
    this.#asked = full(Math.max(ASKED_BURST, burst), options.nowMs());
    this.#ceilingMs = options.retries.ownMs;
  }

  /** 0, and a token is taken; or how long to wait for one, in milliseconds. */
  take(): number {
    return this.#take(this.#ordinary);
  }

  /** As take(), for who asked by hand: has tokens of its own, and leaves less to the others. */
  force(): number {
    const waitMs = this.#take(this.#asked);
    if (waitMs === 0) this.take();
    return waitMs;
  }

  /** What was taken was not used. */
  giveBack(): void {
    const { burst, tokens } = this.#ordinary;
    this.#ordinary.tokens = Math.min(burst, tokens + 1);
  }

  /**
   * How long to wait after a failure with `revision`, from the start for another one. `isShared`: all instances may have failed
   * so, and are spread; else up to twice as long each time.
   */
  failed(revision: string | undefined, isShared: boolean): number {
    const { retries, random } = this.#options;
    if (revision !== this.#failing?.revision) this.#start();
    const isFirst = this.#failing === undefined;
    this.#failing = { revision };
    if (isShared) return sharedWaitMs(retries.sharedMs, isFirst, random);
    const delayMs = notAtOnce(this.#ceilingMs * random());
    this.#ceilingMs = Math.min(2 * this.#ceilingMs, OWN_MS_MAX);
    return delayMs;
  }

  recovered(): void {
    this.#start();
  }

  #start(): void {
    this.#failing = undefined;
    this.#ceilingMs = this.#options.retries.ownMs;
  }

  #take(bucket: Bucket): number {
    const { perMinute, nowMs } = this.#options;
    if (perMinute === undefined) return 0;
    const passedMs = Math.max(0, nowMs() - bucket.filledMs);
    bucket.tokens = Math.min(bucket.burst, bucket.tokens + (passedMs * perMinute) / MINUTE_MS);
    bucket.filledMs = nowMs();
    if (bucket.tokens > 1 - ROUNDING) {
      bucket.tokens = Math.max(0, bucket.tokens - 1);
      return 0;
    }
    return Math.ceil(((1 - bucket.tokens) * MINUTE_MS) / perMinute);
  }
}

interface Bucket {
  readonly burst: number;
  tokens: number;
  filledMs: number;
}

function full(burst: number, nowMs: number): Bucket {
  return { burst, tokens: burst, filledMs: nowMs };
}
