/** So many at once, and so many a second in the long run. Pure: whoever asks says what time it is. */

export interface Rate {
  readonly atOnce: number;
  readonly perSecond: number;
}

export class Budget {
  readonly #atOnce: number;
  readonly #perMs: number;
  #left: number;
  #lastMs: number;

  /** `nowMs`: of a clock that may wrap at 2³². */
  constructor({ atOnce, perSecond }: Rate, nowMs: number) {
    this.#atOnce = atOnce;
    this.#perMs = perSecond / 1000;
    this.#left = atOnce;
    this.#lastMs = nowMs;
  }

  /** One more: whether there was one left. */
  take(nowMs: number): boolean {
    this.#left = Math.min(this.#atOnce, this.#left + ((nowMs - this.#lastMs) >>> 0) * this.#perMs);
    this.#lastMs = nowMs;
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }
}
