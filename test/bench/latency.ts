/**
 * open, fstat, read 4 KiB, close of one file, over and over: ours with each set of options, and what else serves files.
 * Where the processes run decides what a round trip costs, so both are measured: reader and all servers on one CPU,
 * and wherever the scheduler puts them.
 */
import path from 'node:path';
import { Bench, must } from '../support/program.ts';
import {
  bindfs,
  directoryName,
  ext4,
  type Filesystem,
  fileName,
  gocryptfs,
  makeFiles,
  ours,
  pack,
  passthrough,
  ramfs,
  stockFuseNative,
  tmpfs,
  VARIANTS,
  type Variant,
} from './filesystems.ts';
import { aheadOf, atMost, type Benchmark, type Result, type Target } from './measure.ts';
import { PLACEMENTS, type Placement, place } from './processes.ts';
import { readLatency } from './readers.ts';

const FILE_BYTES = 4096;
const ROUNDS = 15;
/** 20 reads are timed together, 10 times a round. */
const STATISTIC = `median of ${10 * ROUNDS} × 20 (middle 90 %)`;
const EXT4_BYTES = 16 * 1024 * 1024;

/** At most so many times ramfs's time. */
const RATIO_MAX: Readonly<Record<Variant, Partial<Record<Placement, number>>>> = {
  default: { pinned: 6, unpinned: 9 },
  '--cache none': {},
  '--fast-open': { pinned: 1.8, unpinned: 1.8 },
};

export const latency: Benchmark = {
  name: 'latency',
  async run(scope) {
    const bench = await Bench.create(scope);
    const base = await ramfs(bench, 'source');
    const source = base.directory;
    await makeFiles(source, { directories: 1, filesEach: 10, fileBytes: FILE_BYTES });
    const bundle = await pack(bench, source, 'web');

    const variants = Object.keys(VARIANTS) as Variant[];
    const mounted = new Map<Variant, Filesystem>();
    for (const [i, variant] of variants.entries()) {
      mounted.set(variant, await ours(bench, bundle, `web-${i}`, variant));
    }
    const plain = [await tmpfs(bench, 'tmpfs'), await ext4(bench, 'ext4', EXT4_BYTES)];
    for (const { directory } of plain) await must('cp', ['-r', `${source}/.`, directory]);
    const others = [
      await stockFuseNative(bench, source),
      await passthrough(bench, source),
      await gocryptfs(bench, source),
      await bindfs(bench, source),
    ];
    const all = [base, ...plain, ...mounted.values(), ...others];
    const files = all.map(({ directory }) => path.join(directory, directoryName(0), fileName(0)));

    const results: Result[] = [];
    for (const placement of PLACEMENTS) {
      for (const filesystem of all) await place(await filesystem.pids(), placement);
      const times = await readLatency(placement, ROUNDS, files);
      const us = (filesystem: Filesystem) => times[all.indexOf(filesystem)]?.median ?? Number.NaN;
      const ramfsUs = us(base);
      const othersUs = Object.fromEntries(others.map((other) => [other.name, us(other)]));
      for (const [i, filesystem] of all.entries()) {
        const value = us(filesystem);
        const { spread } = times[i] ?? {};
        const variant = variants.find((name) => mounted.get(name) === filesystem);
        const ratio = value / ramfsUs;
        results.push({
          name: `open, read 4 KiB: ${filesystem.name}`,
          value,
          unit: 'µs',
          statistic: STATISTIC,
          placement,
          ...(spread === undefined ? {} : { spread }),
          ...(filesystem === base ? {} : { ratio: { value: ratio, to: 'ramfs' } }),
          ...(variant === undefined ? {} : { targets: targets(variant, placement, ratio, value, othersUs) }),
        });
      }
    }
    return results;
  },
};

function targets(
  variant: Variant,
  placement: Placement,
  ratio: number,
  us: number,
  others: Readonly<Record<string, number>>,
): Target[] {
  const bound = RATIO_MAX[variant][placement];
  return bound === undefined ? [] : [atMost(ratio, bound, '×'), aheadOf(us, others)];
}
