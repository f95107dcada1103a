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
/** Of a failure of this machine. */
const OWN_MS_MAX = 5 * 60_000;

export class UnsealLimits {
  readonly #options: UnsealLimitOptions;
  readonly #burst: number;
  #tokens: number;
  #filledMs: number;
  #ceilingMs: number;
  #failing: { readonly revision: string | undefined } | undefined;

  constructor(options: UnsealLimitOptions) {
    this.#options = options;
    this.#burst = Math.max(1, Math.floor((options.perMinute ?? 1) * BURST));
    this.#tokens = this.#burst;
    this.#filledMs = options.nowMs();
    this.#ceilingMs = options.retries.ownMs;
  }

  /** 0, and a token is taken; or how long to wait for one, in milliseconds. */
  take(): number {
    const { perMinute } = this.#options;
    if (perMinute === undefined) return 0;
    this.#fill(perMinute);
    if (this.#tokens >= 1) {
      this.#tokens -= 1;
      return 0;
    }
    return Math.ceil(((1 - this.#tokens) * MINUTE_MS) / perMinute);
  }

  /** Somebody asked by hand: never waits, and leaves less to the others. */
  force(): void {
    this.take();
  }

  /** What was taken was not used. */
  giveBack(): void {
    this.#tokens = Math.min(this.#burst, this.#tokens + 1);
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

  #fill(perMinute: number): void {
    const nowMs = this.#options.nowMs();
    const passedMs = Math.max(0, nowMs - this.#filledMs);
    this.#tokens = Math.min(this.#burst, this.#tokens + (passedMs * perMinute) / MINUTE_MS);
    this.#filledMs = nowMs;
  }
}
