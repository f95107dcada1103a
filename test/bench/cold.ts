/** find and read of 10,000 files of which the kernel knows nothing: its caches are dropped before each, for all alike. */
import { writeFile } from 'node:fs/promises';
import { Bench } from '../support/program.ts';
import { gocryptfs, makeFiles, ours, pack, ramfs } from './filesystems.ts';
import { aheadOf, type Benchmark, interleaved, type Result } from './measure.ts';
import { PLACEMENTS, place } from './processes.ts';
import { readTree } from './readers.ts';

const LAYOUT = { directories: 100, filesEach: 100, fileBytes: 2048 };
const ROUNDS = 3;

/** Pages, names and inodes that nothing is using; a ramfs keeps its own. */
export function dropCaches(): Promise<void> {
  return writeFile('/proc/sys/vm/drop_caches', '3');
}

export const cold: Benchmark = {
  name: 'cold',
  async run(scope) {
    const bench = await Bench.create(scope);
    const base = await ramfs(bench, 'source');
    const total = await makeFiles(base.directory, LAYOUT);
    const mounted = await ours(bench, await pack(bench, base.directory, 'many'), 'many', 'default');
    const other = await gocryptfs(bench, base.directory);

    const results: Result[] = [];
    for (const placement of PLACEMENTS) {
      for (const { pids } of [mounted, other]) await place(await pids(), placement);
      const walk = async (directory: string) => {
        await dropCaches();
        return readTree(placement, directory, total);
      };
      const ms = await interleaved(ROUNDS, {
        ramfs: () => walk(base.directory),
        mounted: () => walk(mounted.directory),
        other: () => walk(other.directory),
      });
      const result = (name: string, value: number): Result => ({
        name: `find and read of ${total.files.toLocaleString('en')} files, cold, ${name}`,
        value,
        unit: 'ms',
        statistic: `median of ${ROUNDS}`,
        placement,
        ratio: { value: value / ms.ramfs, to: 'ramfs' },
      });
      results.push(
        result('ramfs', ms.ramfs),
        { ...result(mounted.name, ms.mounted), targets: [aheadOf(ms.mounted, { [other.name]: ms.other })] },
        result(other.name, ms.other),
      );
    }
    return results;
  },
};
