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
const SEED = 20261123;
const UPLOAD_MS = 120_000;
/** The issue that asked for this simulation. */
const BURST_MAX = 2;

interface Scenario {
  readonly name: string;
  readonly options: Partial<FleetOptions> & Pick<FleetOptions, 'pollMs' | 'durationMs'>;
  /** Calls that are looked at, and within what. */
  readonly calls: 'head' | 'kms';
  readonly within: readonly [number, number];
  readonly binMs: number;
  /** Where the mean is taken; as `within` by default. */
  readonly meanWithin?: readonly [number, number];
  /** Whether bursts above twice the mean are a miss. */
  readonly bounded: boolean;
}

const POLLING = { pollMs: 30_000, durationMs: 300_000 };
const OUTAGE: readonly [number, number] = [60_000, 660_000];
const SCENARIOS: readonly Scenario[] = [
  {
    name: 'polling: HEAD requests, started at once',
    options: POLLING,
    calls: 'head',
    within: [0, 120_000],
    binMs: 2_000,
    bounded: true,
  },
  {
    name: 'polling: KMS calls after an upload',
    options: POLLING,
    calls: 'kms',
    within: [UPLOAD_MS, UPLOAD_MS + 30_000],
    binMs: 2_000,
    bounded: true,
  },
  {
    name: 'queue, spread 1 s: KMS calls after an upload',
    options: { pollMs: 300_000, durationMs: 300_000, spreadMs: 1_000 },
    calls: 'kms',
    within: [UPLOAD_MS, UPLOAD_MS + 1_100],
    binMs: 100,
    bounded: true,
  },
  {
    name: 'queue, spread 30 s: KMS calls after an upload',
    options: { pollMs: 300_000, durationMs: 300_000, spreadMs: 30_000 },
    calls: 'kms',
    within: [UPLOAD_MS, UPLOAD_MS + 30_000],
    binMs: 2_000,
    bounded: true,
  },
  {
    name: 'polling: HEAD requests while S3 answers 503 for 10 min',
    options: { pollMs: 30_000, durationMs: 1_080_000, s3Outage: OUTAGE },
    calls: 'head',
    within: [0, 1_080_000],
    meanWithin: [0, OUTAGE[0]],
    binMs: 20_000,
    bounded: true,
  },
  {
    name: 'the same: KMS calls, uploaded meanwhile',
    options: { pollMs: 30_000, durationMs: 1_080_000, s3Outage: OUTAGE },
    calls: 'kms',
    within: [OUTAGE[1], OUTAGE[1] + 300_000],
    binMs: 20_000,
    bounded: false,
  },
  {
    name: 'queue, spread 1 s: KMS calls while KMS throttles for 5 min',
    options: { pollMs: 300_000, durationMs: 900_000, spreadMs: 1_000, kmsOutage: [0, UPLOAD_MS + 300_000] },
    calls: 'kms',
    within: [UPLOAD_MS + 10_000, UPLOAD_MS + 600_000],
    binMs: 10_000,
    bounded: false,
  },
];

export const fleet: Benchmark = {
  name: 'fleet',
  async run() {
    const results: Result[] = [];
    const charts: Chart[] = [];
    for (const { name, options, calls, within, meanWithin = within, binMs, bounded } of SCENARIOS) {
      const found = await simulateFleet({
        instances: INSTANCES,
        seed: SEED,
        uploadMs: UPLOAD_MS,
        ...options,
      });
      const [from, to] = within;
      const { calls: count, peakPerBin } = spreadOf(found[calls], from, to, binMs);
      const { meanPerBin } = spreadOf(found[calls], ...meanWithin, binMs);
      const burst = peakPerBin / meanPerBin;
      const all =
        found.live.length === INSTANCES
          ? lastLive(found, options.s3Outage?.[1] ?? UPLOAD_MS)
          : 'not all live';
      results.push({
        name,
        value: burst,
        unit: '×',
        statistic: 'peak bin/mean',
        note: `${count} calls, ${meanPerBin.toFixed(1)} in ${binMs / 1000} s, peak ${peakPerBin}; ${all}`,
        ...(bounded
          ? {
              targets: [
                {
                  text: `≤ ${BURST_MAX} × the mean`,
                  met: burst <= BURST_MAX && found.live.length === INSTANCES,
                },
              ],
            }
          : {}),
      });
      charts.push({
        title: name,
        unit: `in ${binMs / 1000} s`,
        bins: binsOf(found[calls], from, to, binMs),
        mean: meanPerBin,
        from: `${(from - UPLOAD_MS) / 1000} s`,
        to: `${(to - UPLOAD_MS) / 1000} s after the upload`,
      });
    }
    await writeFile(path.join(REPOSITORY, 'docs', 'fleet.svg'), plot(charts));
    return results;
  },
};

function lastLive({ live }: FleetCalls, sinceMs: number): string {
  const after = [...live].sort((a, b) => a - b).map((atMs) => (atMs - sinceMs) / 1000);
  const at = (part: number) => (after[Math.ceil(part * after.length) - 1] ?? 0).toFixed(1);
  return `live within ${at(0.5)} s (half), ${at(0.99)} s (99 %), ${at(1)} s (all)`;
}
