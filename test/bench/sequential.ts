/**
 * Reading a file of 64 MiB from end to end, out of the page cache: no request reaches a server but its open.
 *
 * What is left is copying, and its speed is that of the place in memory: the same file, written to the same ramfs again,
 * differs by a third. So all are filled anew in each round, in another order each time. The kernel takes pages of a
 * ramfs from blocks that nothing movable fragments, those of FUSE and of tmpfs from the rest: tmpfs, without huge pages,
 * says what is left to differ between us and a filesystem that lives in the kernel.
 */
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { Bench, must } from '../support/program.ts';
import { dropCaches } from './cold.ts';
import { directoryName, ext4, fileName, makeFiles, ours, pack, ramfs, tmpfs } from './filesystems.ts';
import { atLeast, type Benchmark, median, type Result } from './measure.ts';
import { PLACEMENTS, type Placement, place } from './processes.ts';
import { readSequential } from './readers.ts';

const FILE_BYTES = 64 * 1024 * 1024;
const ROUNDS = 12;
const READS = 5;
const RATIO_MIN = 0.9;
/** Where they stand among the subjects. */
const RAMFS = 0;
const TMPFS = 1;
const EXT4_BYTES = 2 * FILE_BYTES;

interface Subject {
  readonly name: string;
  readonly ours: boolean;
  readonly file: string;
  fill(): Promise<unknown>;
  empty(): Promise<unknown>;
}

export const sequential: Benchmark = {
  name: 'sequential',
  async run(scope) {
    const bench = await Bench.create(scope);
    const source = await ramfs(bench, 'source');
    await makeFiles(source.directory, { directories: 1, filesEach: 1, fileBytes: FILE_BYTES });
    const inside = path.join(directoryName(0), fileName(0));
    const original = path.join(source.directory, inside);
    const mounted = await ours(bench, await pack(bench, source.directory, 'large'), 'large', 'default');
    const copied = (name: string, directory: string): Subject => {
      const file = path.join(directory, 'copy');
      // What is still to be written to a disk is written before anything is measured.
      const fill = async () => {
        await must('cp', [original, file]);
        await must('sync', ['-f', file]);
      };
      return { name, ours: false, file, fill, empty: () => rm(file, { force: true }) };
    };
    const file = path.join(mounted.directory, inside);
    const subjects = [
      copied('ramfs', (await ramfs(bench, 'ramfs')).directory),
      copied('tmpfs', (await tmpfs(bench, 'tmpfs')).directory),
      copied('ext4', (await ext4(bench, 'ext4', EXT4_BYTES)).directory),
      {
        name: mounted.name,
        ours: true,
        file,
        fill: () => readSequential('unpinned', 1, [file]),
        empty: dropCaches,
      },
    ];
    const results: Result[] = [];
    for (const placement of PLACEMENTS) {
      await place(await mounted.pids(), placement);
      results.push(...(await compare(subjects, placement)));
    }
    return results;
  },
};

async function compare(subjects: readonly Subject[], placement: Placement): Promise<Result[]> {
  const speeds = subjects.map((): number[] => []);
  for (let round = 0; round < ROUNDS; round++) {
    for (const { empty } of subjects) await empty();
    for (let i = 0; i < subjects.length; i++) await subjects[(round + i) % subjects.length]?.fill();
    const files = subjects.map(({ file }) => file);
    for (const [i, speed] of (await readSequential(placement, READS, files)).entries())
      speeds[i]?.push(speed.median);
  }
  const to = (i: number, base: number) =>
    median((speeds[i] ?? []).map((speed, round) => speed / (speeds[base]?.[round] ?? Number.NaN)));
  return subjects.map(({ name, ours }, i): Result => {
    const all = speeds[i] ?? [];
    const result = {
      name: `read 64 MiB, cached, ${name}`,
      value: median(all),
      unit: 'MB/s',
      statistic: `median of ${ROUNDS} (all)`,
      placement,
      spread: [Math.min(...all), Math.max(...all)],
    } as const;
    if (i === RAMFS) return result;
    const ratio = { value: to(i, RAMFS), to: 'ramfs' };
    if (!ours) return { ...result, ratio };
    const toTmpfs = to(i, TMPFS);
    const targets = [atLeast(ratio.value, RATIO_MIN, '× ramfs'), atLeast(toTmpfs, RATIO_MIN, '× tmpfs')];
    return { ...result, ratio, targets, note: `${toTmpfs.toFixed(2)} × tmpfs` };
  });
}
