/** Reading a file of 64 MiB from end to end, out of the page cache: no request reaches a server but its open. */
import path from 'node:path';
import { Bench } from '../support/program.ts';
import { directoryName, fileName, makeFiles, ours, pack, ramfs } from './filesystems.ts';
import { atLeast, type Benchmark, type Result } from './measure.ts';
import { PLACEMENTS, place } from './processes.ts';
import { readSequential } from './readers.ts';

const FILE_BYTES = 64 * 1024 * 1024;
const ROUNDS = 21;
const RATIO_MIN = 0.9;

export const sequential: Benchmark = {
  name: 'sequential',
  async run(scope) {
    const bench = await Bench.create(scope);
    const base = await ramfs(bench, 'source');
    await makeFiles(base.directory, { directories: 1, filesEach: 1, fileBytes: FILE_BYTES });
    const bundle = await pack(bench, base.directory, 'large');
    const mounted = await ours(bench, bundle, 'large', 'default');
    const all = [base, mounted];
    const files = all.map(({ directory }) => path.join(directory, directoryName(0), fileName(0)));

    const results: Result[] = [];
    for (const placement of PLACEMENTS) {
      await place(await mounted.pids(), placement);
      const [ramfsSpeed = Number.NaN, ourSpeed = Number.NaN] = await readSequential(placement, ROUNDS, files);
      const common = {
        unit: 'MB/s',
        statistic: `median of ${ROUNDS}`,
        placement,
      } as const;
      const value = ourSpeed / ramfsSpeed;
      results.push(
        { name: 'read 64 MiB, cached, ramfs', value: ramfsSpeed, ...common },
        {
          name: `read 64 MiB, cached, ${mounted.name}`,
          value: ourSpeed,
          ...common,
          ratio: { value, to: 'ramfs' },
          targets: [atLeast(value, RATIO_MIN, '×')],
        },
      );
    }
    return results;
  },
};
