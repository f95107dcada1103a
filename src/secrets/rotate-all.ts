/** Rotates everything that is selected, many at a time, until all is done or nothing can be. */
import type { SecretsfsError } from '../errors.ts';
import { ByteBudget } from './byte-budget.ts';
import { type Outcome, type RotationOptions, rotateOne } from './rotation.ts';
import type { RotationTarget } from './rotation-pair.ts';

/** What is being opened and sealed at any time: thrice that, at the most, is in memory. */
const BYTES_AT_ONCE = 128 * 1024 * 1024;
/** Without one success in between: the reason is none of theirs. */
const FAILURES_IN_A_ROW_MAX = 25;

export interface RotationSummary {
  readonly rotated: number;
  /** Done before, by the rotation that this one continues. */
  readonly already: number;
  /** Not under the keys that were to be replaced. */
  readonly otherKeys: number;
  /** Removed since they were listed. */
  readonly gone: number;
  readonly failed: readonly { readonly path: string; readonly error: SecretsfsError }[];
  /** Not begun, since it was interrupted, or since it would have failed as others did. */
  readonly left: number;
  readonly interrupted: boolean;
  /** Older versions that were removed, and whether there may be others that still open under the keys of before. */
  readonly purgedVersions: number;
  readonly keptVersions: boolean;
}

export interface RotateAllOptions extends RotationOptions {
  readonly concurrency: number;
  readonly signal: AbortSignal;
  /** Called after each. */
  onDone?(done: number, total: number): void;
}

/** Never throws but for bugs. What `signal` interrupts ends what it has begun. */
export async function rotateAll(
  targets: readonly RotationTarget[],
  options: RotateAllOptions,
): Promise<RotationSummary> {
  const { concurrency, signal } = options;
  const budget = new ByteBudget(BYTES_AT_ONCE);
  const outcomes: Outcome[] = [];
  const waiting = targets[Symbol.iterator]();
  let failedInARow = 0;
  let isHopeless = false;
  const work = async () => {
    for (let next = waiting.next(); next.done !== true; next = waiting.next()) {
      await budget.take(next.value.bytes);
      try {
        if (signal.aborted || isHopeless) return;
        const outcome = await rotateOne(next.value, options);
        outcomes.push(outcome);
        const failed = outcome.outcome === 'failed';
        failedInARow = failed ? failedInARow + 1 : 0;
        isHopeless ||= (failed && outcome.fatal) || failedInARow >= FAILURES_IN_A_ROW_MAX;
        options.onDone?.(outcomes.length, targets.length);
      } finally {
        budget.give(next.value.bytes);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, targets.length) }, work));
  return summarize(outcomes, targets.length, signal.aborted);
}

function summarize(outcomes: readonly Outcome[], total: number, interrupted: boolean): RotationSummary {
  const count = (what: Outcome['outcome']) => outcomes.filter(({ outcome }) => outcome === what).length;
  const versions = outcomes.map((each) => ('versions' in each ? each.versions : 'none'));
  return {
    rotated: count('rotated'),
    already: count('already'),
    otherKeys: count('other-keys'),
    gone: count('gone'),
    failed: outcomes
      .flatMap((each) => (each.outcome === 'failed' ? [{ path: each.path, error: each.error }] : []))
      .sort((a, b) => (a.path < b.path ? -1 : 1)),
    left: total - outcomes.length,
    interrupted: interrupted && outcomes.length < total,
    purgedVersions: versions.reduce<number>((sum, each) => sum + (typeof each === 'number' ? each : 0), 0),
    keptVersions: versions.includes('kept'),
  };
}
