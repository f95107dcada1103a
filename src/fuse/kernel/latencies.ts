/**
 * How long requests take, from having been read to having been answered: a histogram for each of a few operations, in
 * 64-bit cells where others can see them. To look at the clock twice is 2 to 5 % of an open, so one request in SAMPLE_EVERY
 * is timed; a prime, so that no regular sequence of requests hides one of its kind.
 */
import { OPCODE } from './protocol.ts';

export const SAMPLE_EVERY = 17;
export const TIMED_OPERATIONS = ['lookup', 'open', 'read', 'other'] as const;
export const LATENCY_BOUNDS_MS = [
  0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 100, 1000,
] as const;
const BUCKETS = LATENCY_BOUNDS_MS.length + 1;
/** Buckets, then the sum in milliseconds. */
const CELLS_EACH = BUCKETS + 1;
export const LATENCY_CELLS = TIMED_OPERATIONS.length * CELLS_EACH;

export class Latencies {
  readonly #cells: Float64Array;
  #left = SAMPLE_EVERY;

  /** `cells`: LATENCY_CELLS of them, which go on from what is in them. */
  constructor(cells: Float64Array) {
    this.#cells = cells;
  }

  /** Whether the request that comes now is to be timed. To be asked once for each. */
  isDue(): boolean {
    if (--this.#left > 0) return false;
    this.#left = SAMPLE_EVERY;
    return true;
  }

  record(opcode: number, ms: number): void {
    const first = operationIndex(opcode) * CELLS_EACH;
    let bucket = 0;
    while (bucket < LATENCY_BOUNDS_MS.length && ms > (LATENCY_BOUNDS_MS[bucket] as number)) bucket++;
    this.#add(first + bucket, 1);
    this.#add(first + BUCKETS, ms);
  }

  #add(cell: number, value: number): void {
    this.#cells[cell] = (this.#cells[cell] as number) + value;
  }
}

export interface Latency {
  readonly operation: (typeof TIMED_OPERATIONS)[number];
  /** Up to each bound, and above the last one. */
  readonly buckets: readonly number[];
  readonly sumMs: number;
}

/** What stands in the cells, which are as foreign as who writes them: what can't be a count is 0. */
export function readLatencies(cells: Float64Array): Latency[] {
  const counts = Array.from({ length: LATENCY_CELLS }, (_, i) => {
    const value = cells[i] ?? 0;
    return value >= 0 && value <= Number.MAX_SAFE_INTEGER ? value : 0;
  });
  return TIMED_OPERATIONS.map((operation, i) => {
    const own = counts.slice(i * CELLS_EACH, (i + 1) * CELLS_EACH);
    return { operation, buckets: own.slice(0, BUCKETS).map(Math.floor), sumMs: own[BUCKETS] ?? 0 };
  });
}

function operationIndex(opcode: number): number {
  if (opcode === OPCODE.LOOKUP) return 0;
  if (opcode === OPCODE.OPEN) return 1;
  return opcode === OPCODE.READ ? 2 : 3;
}
