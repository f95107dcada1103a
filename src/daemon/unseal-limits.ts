/**
 * How often a bundle may be opened: whoever can write to the bucket chooses what is opened, and each opening may cost a
 * request to KMS, whose quota the whole account shares. A bucket of tokens bounds all attempts; what failed waits longer each
 * time, at random, so that instances that failed together do not come back together.
 */
export interface UnsealLimitOptions {
  /** undefined: no key costs anything. */
  readonly perMinute: number | undefined;
  /** The longest that the first attempt after a failure waits. */
  readonly retryMs: number;
  readonly nowMs: () => number;
  /** From 0 up to 1. */
  readonly random: () => number;
}

const MINUTE_MS = 60_000;
/** Of a minute's tokens: what may be spent at once. */
const BURST = 0.5;
/** An outage of KMS is over for everybody within this. */
const RETRY_MS_MAX = 5 * 60_000;
/** Where KMS says that it is asked too often, all instances ask too often: the first attempt waits this much longer. */
const THROTTLED_FACTOR = 6;
/** Nothing is tried again at once. */
const RETRY_MS_MIN = 100;

export class UnsealLimits {
  readonly #options: UnsealLimitOptions;
  readonly #burst: number;
  #tokens: number;
  #filledMs: number;
  #ceilingMs: number;
  #failing: string | undefined;

  constructor(options: UnsealLimitOptions) {
    this.#options = options;
    this.#burst = Math.max(1, Math.floor((options.perMinute ?? 1) * BURST));
    this.#tokens = this.#burst;
    this.#filledMs = options.nowMs();
    this.#ceilingMs = options.retryMs;
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

  /** How long to wait after a failure with `revision`: up to twice as long each time, from the start for another one. */
  failed(revision: string | undefined, isThrottled = false): number {
    const { retryMs, random } = this.#options;
    if (revision !== this.#failing) this.#ceilingMs = retryMs;
    if (isThrottled) this.#ceilingMs = Math.max(this.#ceilingMs, THROTTLED_FACTOR * retryMs);
    this.#failing = revision;
    const delayMs = Math.max(RETRY_MS_MIN, Math.round(this.#ceilingMs * random()));
    this.#ceilingMs = Math.min(2 * this.#ceilingMs, RETRY_MS_MAX);
    return delayMs;
  }

  recovered(): void {
    this.#failing = undefined;
    this.#ceilingMs = this.#options.retryMs;
  }

  #fill(perMinute: number): void {
    const nowMs = this.#options.nowMs();
    const passedMs = Math.max(0, nowMs - this.#filledMs);
    this.#tokens = Math.min(this.#burst, this.#tokens + (passedMs * perMinute) / MINUTE_MS);
    this.#filledMs = nowMs;
  }
}
