/** What a mount counts for its metrics, from its start on: numbers by kinds that this program knows, so it can't grow. */
import type { ErrorCode } from '../errors.ts';
import { CallCounts, type CallTotal } from '../metrics/calls.ts';
import type { RefreshOutcome, Served, Totals } from '../metrics/snapshot.ts';

export class Tally {
  readonly #nowMs: () => number;
  readonly #refreshes: Record<RefreshOutcome, number> = { activated: 0, unchanged: 0, failed: 0 };
  readonly #failures = new Map<ErrorCode, number>();
  readonly #calls = new CallCounts();
  #lastSuccessMs: number | null = null;
  #lastAnswerMs: number | null = null;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** A look for a bundle came to its end; `code`: of one that failed. */
  checked(outcome: RefreshOutcome, code?: ErrorCode): void {
    this.#refreshes[outcome] += 1;
    if (outcome !== 'failed') this.#lastSuccessMs = this.#nowMs();
    if (code !== undefined) this.#failures.set(code, (this.#failures.get(code) ?? 0) + 1);
  }

  /** The mount answered its supervisor. */
  answered(): void {
    this.#lastAnswerMs = this.#nowMs();
  }

  called(calls: readonly CallTotal[]): void {
    for (const call of calls) this.#calls.add(call);
  }

  totals(served: Served | undefined): Totals {
    return {
      refreshes: { ...this.#refreshes },
      failures: Object.fromEntries(this.#failures),
      lastSuccessMs: this.#lastSuccessMs,
      lastAnswerMs: this.#lastAnswerMs,
      calls: this.#calls.totals(),
      served: served ?? null,
    };
  }
}
