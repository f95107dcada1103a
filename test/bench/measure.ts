/** What a benchmark hands back, and the few sums it takes. */

export interface Result {
  readonly name: string;
  readonly median: number;
  readonly unit: 'ms' | 'µs' | 'MB/s';
  readonly runs: number;
  /** Against something measured in the same minutes on the same machine: ratios travel, times don't. */
  readonly ratio?: { readonly value: number; readonly to: string; readonly atLeast?: number };
  readonly note?: string;
}

export interface Benchmark {
  readonly name: string;
  run(scope: Scope): Promise<Result[]>;
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

/** Milliseconds that `work` takes. */
export async function timed(work: () => unknown): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** Runs all of `subjects` in turn, `rounds` times, so that what else the machine does hits them alike. */
export async function interleaved<Name extends string>(
  rounds: number,
  subjects: Readonly<Record<Name, () => Promise<number>>>,
): Promise<Record<Name, number>> {
  const names = Object.keys(subjects) as Name[];
  const times = new Map<Name, number[]>(names.map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const name of names) times.get(name)?.push(await subjects[name]());
  }
  return Object.fromEntries(names.map((name) => [name, median(times.get(name) ?? [])])) as Record<
    Name,
    number
  >;
}
