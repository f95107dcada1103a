/**
 * 1,000 instances, simulated: how S3 and KMS are asked after one upload, by polling, by queue, and after outages. Writes
 * docs/fleet.svg, which with the same code is the same.
 */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { REPOSITORY } from '../../support/paths.ts';
import type { Benchmark, Result } from '../measure.ts';
import { type Chart, plot } from './plot.ts';
import { binsOf, type FleetCalls, type FleetOptions, simulateFleet, spreadOf } from './simulation.ts';

const INSTANCES = 1_000;
/** The worst of them is told; the plot is of the first. */
const SEEDS = [20261123, 20261124, 20261125];
const UPLOAD_MS = 120_000;
/** The issue that asked for this simulation. */
const BURST_MAX = 2;

interface Scenario {
  readonly name: string;
  readonly options: Partial<FleetOptions> & Pick<FleetOptions, 'pollMs' | 'durationMs'>;
  /** Calls that are looked at, and within what. */
  readonly calls: 'head' | 'kms';
  /** undefined: until the last instance has it live. */
  readonly within: readonly [number, number | undefined];
  readonly binMs: number;
  /** Where the mean is taken; as `within` by default. */
  readonly meanWithin?: readonly [number, number];
}

const POLLING = { pollMs: 30_000, durationMs: 300_000 };
const S3_OUTAGE: readonly [number, number] = [60_000, 660_000];
const KMS_OUTAGE: readonly [number, number] = [0, UPLOAD_MS + 300_000];
const WITH_QUEUE = { pollMs: 300_000, durationMs: 300_000, spreadMs: 1_000 };
const SCENARIOS: readonly Scenario[] = [
  {
    name: 'polling: HEAD requests, started at once',
    options: POLLING,
    calls: 'head',
    within: [0, 120_000],
    binMs: 2_000,
  },
  {
    name: 'polling: KMS calls after an upload',
    options: POLLING,
    calls: 'kms',
    within: [UPLOAD_MS, UPLOAD_MS + 30_000],
    binMs: 2_000,
  },
  {
    name: 'queue, spread 1 s: KMS calls after an upload',
    options: WITH_QUEUE,
    calls: 'kms',
    within: [UPLOAD_MS, UPLOAD_MS + 1_100],
    binMs: 100,
  },
  {
    name: 'queue, spread 30 s: KMS calls after an upload',
    options: { ...WITH_QUEUE, spreadMs: 30_000 },
    calls: 'kms',
    within: [UPLOAD_MS, UPLOAD_MS + 30_000],
    binMs: 2_000,
  },
  {
    name: 'polling: HEAD requests while S3 answers 503 for 10 min',
    options: { pollMs: 30_000, durationMs: 1_080_000, s3Outage: S3_OUTAGE },
    calls: 'head',
    within: [0, 1_080_000],
    meanWithin: [0, S3_OUTAGE[0]],
    binMs: 20_000,
  },
  {
    name: 'the same: KMS calls, uploaded meanwhile',
    options: { pollMs: 30_000, durationMs: 1_080_000, s3Outage: S3_OUTAGE },
    calls: 'kms',
    within: [S3_OUTAGE[1], undefined],
    binMs: 20_000,
  },
  {
    name: 'queue, spread 1 s: KMS calls while KMS fails for 5 min, the first apart',
    options: { ...WITH_QUEUE, durationMs: 900_000, kmsOutage: KMS_OUTAGE },
    calls: 'kms',
    within: [UPLOAD_MS + 2_000, undefined],
    binMs: 10_000,
  },
  {
    name: 'polling: KMS calls while KMS fails for 5 min',
    options: { ...POLLING, durationMs: 900_000, kmsOutage: KMS_OUTAGE },
    calls: 'kms',
    within: [UPLOAD_MS, undefined],
    meanWithin: [UPLOAD_MS, UPLOAD_MS + 30_000],
    binMs: 10_000,
  },
  {
    name: 'queue, spread 1 s: HEAD requests while S3 fails for 2 min, the first apart',
    options: { ...WITH_QUEUE, durationMs: 900_000, s3Outage: [UPLOAD_MS, UPLOAD_MS + 120_000] },
    calls: 'head',
    within: [UPLOAD_MS + 2_000, undefined],
    binMs: 10_000,
  },
];

export const fleet: Benchmark = {
  name: 'fleet',
  async run() {
    const results: Result[] = [];
    const charts: Chart[] = [];
    for (const scenario of SCENARIOS) {
      const { name, binMs } = scenario;
      const runs = [];
      for (const seed of SEEDS) runs.push(await measure(scenario, seed));
      const [first] = runs;
      const [worst] = [...runs].sort((a, b) => b.burst - a.burst);
      if (first === undefined || worst === undefined) throw new Error('there are no seeds');
      results.push({
        name,
        value: worst.burst,
        unit: '×',
        statistic: 'peak bin/mean',
        note: `${worst.calls} calls, ${worst.meanPerBin.toFixed(1)} in ${binMs / 1000} s, peak ${worst.peakPerBin}; ${worst.live}`,
        targets: [
          { text: `≤ ${BURST_MAX} × the mean`, met: runs.every(({ burst }) => burst <= BURST_MAX) },
          { text: 'live everywhere', met: runs.every(({ isLive }) => isLive) },
        ],
      });
      charts.push(first.chart);
    }
    await writeFile(path.join(REPOSITORY, 'docs', 'fleet.svg'), plot(charts));
    return results;
  },
};

async function measure({ name, options, calls, within, meanWithin, binMs }: Scenario, seed: number) {
  const found = await simulateFleet({ instances: INSTANCES, seed, uploadMs: UPLOAD_MS, ...options });
  const [from, to = Math.max(...found.live)] = within;
  const { calls: count, peakPerBin } = spreadOf(found[calls], from, to, binMs);
  const { meanPerBin } = spreadOf(found[calls], ...(meanWithin ?? ([from, to] as const)), binMs);
  const isLive = found.live.length === INSTANCES;
  const chart: Chart = {
    title: name,
    unit: `in ${binMs / 1000} s`,
    bins: binsOf(found[calls], from, to, binMs),
    mean: meanPerBin,
    from: `${(from - UPLOAD_MS) / 1000} s`,
    to: `${Math.round((to - UPLOAD_MS) / 1000)} s after the upload`,
  };
  const outage = options.s3Outage ?? options.kmsOutage;
  const live = isLive ? lastLive(found, outage?.[1] ?? UPLOAD_MS) : 'not all live';
  return { calls: count, meanPerBin, peakPerBin, burst: peakPerBin / meanPerBin, isLive, live, chart };
}

function lastLive({ live }: FleetCalls, sinceMs: number): string {
  const after = [...live].sort((a, b) => a - b).map((atMs) => (atMs - sinceMs) / 1000);
  const at = (part: number) => (after[Math.ceil(part * after.length) - 1] ?? 0).toFixed(1);
  return `live within ${at(0.5)} s (half), ${at(0.99)} s (99 %), ${at(1)} s (all)`;
}
