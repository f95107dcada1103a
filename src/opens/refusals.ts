/**
 * Which refusals may be said. Anybody can be refused as often as they like, so all have their part of the lines: root one that
 * is kept for it, each other user at most one of the four that they share. Pure: whoever asks says what time it is.
 */
import { Budget, type Rate } from './budget.ts';

const PARTS = 5;
/** Users whose parts are remembered; another's is full, and what all share bounds it. */
const USERS_MAX = 1_024;

export class RefusalBudget {
  readonly #part: Rate;
  readonly #root: Budget;
  readonly #others: Budget;
  /** By uid; whoever was refused longest ago is the first. */
  readonly #users = new Map<number, Budget>();

  /** The rate is that of all together. `nowMs`: of a clock that may wrap at 2³². */
  constructor({ atOnce, perSecond }: Rate, nowMs: number) {
    this.#part = { atOnce: atOnce / PARTS, perSecond: perSecond / PARTS };
    this.#root = new Budget(this.#part, nowMs);
    const parts = PARTS - 1;
    this.#others = new Budget(
      { atOnce: this.#part.atOnce * parts, perSecond: this.#part.perSecond * parts },
      nowMs,
    );
  }

  /** One more of a user: whether it may be said. */
  take(uid: number, nowMs: number): boolean {
    if (uid === 0) return this.#root.take(nowMs);
    const own = this.#users.get(uid) ?? new Budget(this.#part, nowMs);
    this.#users.delete(uid);
    this.#users.set(uid, own);
    for (const [oldest] of this.#users) {
      if (this.#users.size <= USERS_MAX) break;
      this.#users.delete(oldest);
    }
    return own.take(nowMs) && this.#others.take(nowMs);
  }
}
