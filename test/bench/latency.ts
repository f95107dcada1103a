/**
 * open, fstat, read 4 KiB, close on the mount against the same on ramfs. Where the processes run decides the cost of a
 * round trip, so both are measured: wherever the scheduler puts them, and all on one CPU.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Bench, must } from '../support/program.ts';
import type { Benchmark, Result } from './measure.ts';

const FILE_BYTES = 4096;
const ROUNDS = 60;
const READER = path.join(path.dirname(fileURLToPath(import.meta.url)), 'reader.js');
const CPU = '0';

export const latency: Benchmark = {
  name: 'latency',
  async run(scope) {
    const bench = await Bench.create(scope);
    for (const directory of ['dir', 'mnt', 'ramfs']) await mkdir(bench.path(directory));
    await must('mount', ['-t', 'ramfs', 'ramfs', bench.path('ramfs')]);
    bench.after(() => must('umount', [bench.path('ramfs')]));
    const content = randomBytes(FILE_BYTES);
    await writeFile(bench.path('dir', 'file'), content);
    await writeFile(bench.path('ramfs', 'file'), content);
    await bench.must(['keygen', 'key']);
    await bench.must(['pack', '--dir', 'dir', '--key', 'local:key', 'web.enc']);
    const daemon = await bench.mount(['web.enc', 'mnt', '--key', 'local:key']);

    const files = [bench.path('ramfs', 'file'), bench.path('mnt', 'file')];
    const read = async (command: string, ...args: string[]) => {
      const output = await must(command, [...args, READER, String(ROUNDS), ...files]);
      const [ramfs = Number.NaN, mount = Number.NaN] = JSON.parse(output) as number[];
      return { ramfs, mount };
    };
    const unpinned = await read(process.execPath);
    // All threads: libfuse's are not the main one.
    await must('taskset', ['-a', '-c', '-p', CPU, String(daemon.child.pid)]);
    const pinned = await read('taskset', '-c', CPU, process.execPath);

    return [...results('unpinned', unpinned), ...results(`reader and daemon on CPU ${CPU}`, pinned)];
  },
};

function results(placement: string, { ramfs, mount }: { ramfs: number; mount: number }): Result[] {
  const about = { unit: 'µs', runs: 50 * ROUNDS } as const;
  return [
    { name: `open+fstat+read+close, ramfs, ${placement}`, median: ramfs, ...about },
    {
      name: `open+fstat+read+close, fuse-native, ${placement}`,
      median: mount,
      ...about,
      ratio: { value: mount / ramfs, to: 'ramfs' },
    },
  ];
}
