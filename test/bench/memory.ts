/**
 * What a mount holds: the proportional set size of all its processes together (Node's own text they share with each
 * other and with this process), and its store, as status has it, whose pages belong to no process. What the kernel
 * caches of the files is not counted: it gives that up when asked. With 100,000 files and 256 MiB, also whether a file
 * is found as quickly as among ten.
 */
import path from 'node:path';
import { Bench } from '../support/program.ts';
import { dropCaches } from './cold.ts';
import {
  directoryName,
  fileName,
  KERNEL_DRIVER,
  type Layout,
  makeFiles,
  type Ours,
  ours,
  pack,
  ramfs,
  type Status,
  statusOf,
} from './filesystems.ts';
import { atMost, type Benchmark, median, type Result } from './measure.ts';
import { place, pssBytes } from './processes.ts';
import { readCold, readLatency } from './readers.ts';

const FEW = { directories: 1, filesEach: 10, fileBytes: 4096 };
/** 256 MiB. */
const MANY = { directories: 100, filesEach: 1000, fileBytes: 2684 };
const SETTLE_MS = 8_000;
const IDLE_MB_MAX = 100;
const OVERHEAD_MB_MAX = 200;
/** What "as fast as" is held to: less is within what two runs of the same differ by. */
const LOOKUP_RATIO_MAX = 1.2;
const COLD_ROUNDS = 20;
const COLD_FILES = 10;
const HOT_ROUNDS = 10;

export const memory: Benchmark = {
  name: 'memory',
  async run(scope) {
    const bench = await Bench.create(scope);
    const few = await mounted(bench, 'few', FEW);
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    const idle = await held(bench, few);
    const many = await mounted(bench, 'many', MANY);
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    const full = await held(bench, many);

    const payloadMb = (MANY.directories * MANY.filesEach * MANY.fileBytes) / 1e6;
    const reading = { unit: 'MB', statistic: `after ${SETTLE_MS / 1000} s of rest` } as const;
    return [
      {
        name: `all processes, 10 files, ${few.name}`,
        value: idle.pssMb,
        ...reading,
        targets: [atMost(idle.pssMb, IDLE_MB_MAX, 'MB')],
        note: `${idle.processes} processes`,
      },
      {
        name: `processes and store, 100,000 files of ${payloadMb.toFixed(0)} MB, ${many.name}`,
        value: full.pssMb + full.storeMb,
        ...reading,
        targets: [atMost(full.pssMb + full.storeMb, Math.round(payloadMb + OVERHEAD_MB_MAX), 'MB')],
        note: `${full.pssMb.toFixed(0)} + ${full.storeMb.toFixed(0)}`,
      },
      ...(await lookups(few, many)),
    ];
  },
};

async function mounted(bench: Bench, name: string, layout: Layout): Promise<Ours> {
  const source = await ramfs(bench, `source-${name}`);
  await makeFiles(source.directory, layout);
  return ours(bench, await pack(bench, source.directory, name), name, 'default');
}

async function held(
  bench: Bench,
  mount: Ours,
): Promise<{ pssMb: number; storeMb: number; processes: number }> {
  const pids = await mount.pids();
  const pssMb = (await pssBytes(pids)) / 1e6;
  return { pssMb, storeMb: storeBytes(await statusOf(bench, mount.instance)) / 1e6, processes: pids.length };
}

/** Of fuse-native zero: there the contents are in the process's own memory, and its set size has them. */
function storeBytes(status: Status): number {
  const bytes = status.memory?.storeBytes;
  if (KERNEL_DRIVER && bytes === undefined) throw new Error('status says nothing of memory.storeBytes');
  return bytes ?? 0;
}

async function lookups(few: Ours, many: Ours): Promise<Result[]> {
  const placement = 'pinned';
  for (const { pids } of [few, many]) await place(await pids(), placement);
  const fileOf = (mount: Ours, d: number, f: number) =>
    path.join(mount.directory, directoryName(d), fileName(f));
  const random = (below: number) => Math.floor(Math.random() * below);

  const coldUs = { few: [] as number[], many: [] as number[] };
  for (let round = 0; round < COLD_ROUNDS; round++) {
    const d = random(MANY.directories);
    const files = Array.from({ length: COLD_FILES }, () => fileOf(many, d, random(MANY.filesEach)));
    await dropCaches();
    coldUs.many.push(await readCold(placement, [...new Set(files)]));
    await dropCaches();
    coldUs.few.push(
      await readCold(
        placement,
        Array.from({ length: COLD_FILES }, (_, f) => fileOf(few, 0, f)),
      ),
    );
  }
  const [hotFew, hotMany] = await readLatency(placement, HOT_ROUNDS, [
    fileOf(few, 0, 0),
    fileOf(many, MANY.directories - 1, MANY.filesEach - 1),
  ]);
  const results = (what: string, statistic: string, fewUs: number, manyUs: number): Result[] => {
    const common = { unit: 'µs', statistic, placement } as const;
    const value = manyUs / fewUs;
    return [
      { name: `${what}, one of 10`, value: fewUs, ...common },
      {
        name: `${what}, one of 100,000`,
        value: manyUs,
        ...common,
        ratio: { value, to: 'one of 10' },
        targets: [atMost(value, LOOKUP_RATIO_MAX, '×')],
      },
    ];
  };
  return [
    ...results(
      'first open and read of a file',
      `median of ${COLD_ROUNDS} × ${COLD_FILES}`,
      median(coldUs.few),
      median(coldUs.many),
    ),
    ...results(
      'the same again',
      `median of ${HOT_ROUNDS * 10} × 20`,
      hotFew?.median ?? Number.NaN,
      hotMany?.median ?? Number.NaN,
    ),
  ];
}
