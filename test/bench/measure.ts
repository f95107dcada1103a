/** What a benchmark hands back, and the few sums it takes. */

import type { Placement } from './processes.ts';

export interface Result {
  readonly name: string;
  readonly value: number;
  readonly unit: 'ms' | 'µs' | 'MB/s' | 'MB' | '×';
  /** What the value is, of how many: "median of 9". */
  readonly statistic: string;
  /** Where reader and servers ran: absent where the scheduler decided. */
  readonly placement?: Placement;
  /** Against something measured in the same minutes on the same machine: ratios travel, times don't. */
  readonly ratio?: Ratio;
  /** What the figure is to reach. Shown as met or missed; nothing fails for it. */
  readonly targets?: readonly Target[];
  readonly note?: string;
  /** What lies between these, in the unit of the value, the statistic says. */
  readonly spread?: readonly [number, number];
  /** Each measurement, where they are few. */
  readonly samples?: readonly number[];
  /** What no sample is to exceed. */
  readonly bound?: number;
}

export interface Ratio {
  readonly value: number;
  readonly to: string;
  /** 95 % interval. */
  readonly interval?: readonly [number, number];
}

export interface Target {
  readonly text: string;
  readonly met: boolean;
}

export interface Benchmark {
  readonly name: string;
  run(scope: Scope): Promise<Result[]>;
}

export function atMost(value: number, bound: number, unit: string): Target {
  return { text: `≤ ${bound} ${unit}`, met: value <= bound };
}

export function atLeast(value: number, bound: number, unit: string): Target {
  return { text: `≥ ${bound} ${unit}`, met: value >= bound };
}

/** Less than each of the others: named is the best of them. */
export function aheadOf(value: number, others: Readonly<Record<string, number>>): Target {
  const [name, best] = Object.entries(others).reduce((a, b) => (b[1] < a[1] ? b : a));
  return { text: `ahead of ${name} (${best.toFixed(best < 10 ? 1 : 0)})`, met: value < best };
}

/** What a benchmark made and must not leave behind, whatever happens: as `after` of a TestContext. */
export class Scope {
  readonly #cleanups: (() => unknown)[] = [];
  #ending: Promise<void> | undefined;

  readonly after = (cleanup?: unknown): void => {
    if (typeof cleanup === 'function') this.#cleanups.push(() => cleanup());
  };

  /** The last first. One that fails does not keep the others from running. Called again, waits for the same. */
  end(): Promise<void> {
    this.#ending ??= this.#end();
    return this.#ending;
  }

  async #end(): Promise<void> {
    for (let cleanup = this.#cleanups.pop(); cleanup !== undefined; cleanup = this.#cleanups.pop()) {
      try {
        await cleanup();
      } catch (error) {
        process.exitCode = 1;
        console.error(`cannot clean up: ${error}`);
      }
    }
  }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const [low = Number.NaN, high = Number.NaN] = [
    sorted[Math.floor((sorted.length - 1) / 2)],
    sorted[Math.ceil((sorted.length - 1) / 2)],
  ];
  return (low + high) / 2;
}

/** The smallest value that at least this fraction of the values does not exceed. */
export function percentile(values: readonly number[], fraction: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(fraction * sorted.length) - 1)] ?? Number.NaN;
}

/** Student's t for a two-sided 95 % interval; for more than 30 degrees of freedom a little too wide. */
const STUDENT_T = [
  12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131,
  2.12, 2.11, 2.101, 2.093, 2.086, 2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/** The geometric mean of the ratios of pairs that were measured side by side, with its 95 % interval. */
export function pairedRatio(
  values: readonly number[],
  base: readonly number[],
): { readonly value: number; readonly interval: readonly [number, number] } {
  const logs = values.map((value, i) => Math.log(value / (base[i] ?? Number.NaN)));
  const n = logs.length;
  const mean = logs.reduce((sum, log) => sum + log, 0) / n;
  const variance = logs.reduce((sum, log) => sum + (log - mean) ** 2, 0) / (n - 1);
  const t = STUDENT_T[Math.min(n - 1, STUDENT_T.length) - 1] ?? Number.NaN;
  const half = t * Math.sqrt(variance / n);
  return { value: Math.exp(mean), interval: [Math.exp(mean - half), Math.exp(mean + half)] };
}

/** Milliseconds that `work` takes. */
export async function timed(work: () => unknown): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** Runs all of `subjects` in turn, `rounds` times, so that what else the machine does hits them alike. */
export async function series<Name extends string>(
  rounds: number,
  subjects: Readonly<Record<Name, () => Promise<number>>>,
): Promise<Record<Name, number[]>> {
  const names = Object.keys(subjects) as Name[];
  const values = Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<Name, number[]>;
  for (let round = 0; round < rounds; round++) {
    for (const name of names) values[name].push(await subjects[name]());
  }
  return values;
}

/** The same, and of each the median. */
export async function interleaved<Name extends string>(
  rounds: number,
  subjects: Readonly<Record<Name, () => Promise<number>>>,
): Promise<Record<Name, number>> {
  const values = await series(rounds, subjects);
  const names = Object.keys(values) as Name[];
  return Object.fromEntries(names.map((name) => [name, median(values[name])])) as Record<Name, number>;
}
