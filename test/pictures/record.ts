/** docs/benchmarks.json: of each benchmark the figures that documents and plots state, and on what and when they were measured. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Result } from '../bench/measure.ts';
import { REPOSITORY } from '../support/paths.ts';

export interface Machine {
  readonly cpu: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  readonly node: string;
}

/** One run of one benchmark. */
export interface Measured {
  /** YYYY-MM-DD */
  readonly on: string;
  readonly machine: Machine;
  /** What fraction of the machine's time others used just before. */
  readonly busyBefore: number;
  readonly results: readonly Result[];
}

export type Measurements = Readonly<Record<string, Measured>>;

export const RECORD = path.join(REPOSITORY, 'docs', 'benchmarks.json');

export function readRecord(): Measurements {
  return JSON.parse(readFileSync(RECORD, 'utf8')) as Measurements;
}

/** Puts a run, of today, in place of what the record has of that benchmark. */
export function record(benchmark: string, run: Omit<Measured, 'on'>): void {
  const before = existsSync(RECORD) ? readRecord() : {};
  const after = { ...before, [benchmark]: { on: new Date().toISOString().slice(0, 10), ...run } };
  const sorted = Object.fromEntries(Object.entries(after).sort(([a], [b]) => (a < b ? -1 : 1)));
  writeFileSync(RECORD, `${JSON.stringify(sorted, null, 2)}\n`);
}

/** Throws where it was not measured. */
export function measured(record: Measurements, benchmark: string): Measured {
  const found = record[benchmark];
  if (found === undefined)
    throw new Error(`${benchmark} is not in ${RECORD}: scripts/bench --record ${benchmark}`);
  return found;
}

/** "2 × AMD EPYC, 23.5 GiB, Linux 6.18, Node 20.20.2" */
export function machineText({ cpu, cpus, memoryBytes, kernel, node }: Machine): string {
  const linux = kernel.split('.').slice(0, 2).join('.');
  return `${cpus} × ${cpu}, ${(memoryBytes / 2 ** 30).toFixed(1)} GiB, Linux ${linux}, Node ${node.replace('v', '')}`;
}
