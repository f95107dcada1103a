/**
 * How long nothing can be read after `kill -9` of the server: the longest gap between two reads after each kill, with
 * the machine idle and with every CPU busy. A failed read fails the benchmark.
 */
import { spawn } from 'node:child_process';
import { cpus } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { Bench } from '../support/program.ts';
import {
  directoryName,
  fileName,
  KERNEL_DRIVER,
  makeFiles,
  type Ours,
  ours,
  pack,
  ramfs,
  statusOf,
} from './filesystems.ts';
import { atMost, type Benchmark, percentile, type Result } from './measure.ts';
import { readerProgram } from './readers.ts';

const KILLS = 20;
const FILES = { directories: 1, filesEach: 10, fileBytes: 4096 };
/** After each kill: a gap is over by then, and a new successor warm. */
const SETTLE_MS = { idle: 1_500, busy: 3_000 };
const P95_MS_MAX = { idle: 60, busy: 250 };
type Load = keyof typeof P95_MS_MAX;
const NS_PER_MS = 1_000_000n;
/** The reader mentions no shorter ones. */
const GAP_MS_MIN = 1;
/** What the stand-in, whose server is the whole mount, is stopped for instead. */
const STAND_IN_STOP_MS = 50;

interface Gap {
  readonly start: bigint;
  readonly end: bigint;
}

export const stall: Benchmark = {
  name: 'stall',
  async run(scope) {
    const bench = await Bench.create(scope);
    const source = await ramfs(bench, 'source');
    await makeFiles(source.directory, FILES);
    const mount = await ours(bench, await pack(bench, source.directory, 'web'), 'web', 'default');
    const reader = await GapReader.start(bench, mount);
    const results: Result[] = [];
    for (const load of ['idle', 'busy'] as const) {
      const program = await readerProgram();
      const spinning = load === 'idle' ? [] : cpus().map(() => bench.start(program, ['spin']));
      const stalls = await killRepeatedly(bench, mount, reader, load);
      for (const child of spinning) child.kill('SIGKILL');
      results.push(...summary(stalls, load));
    }
    await reader.stop();
    return results;
  },
};

function summary(stalls: readonly number[], load: Load): Result[] {
  const what = KERNEL_DRIVER ? 'kill -9 of the server' : `stand-in: stopped for ${STAND_IN_STOP_MS} ms`;
  const name = `longest gap between reads, ${what}, ${load === 'idle' ? 'CPUs idle' : 'CPUs busy'}`;
  const common = { unit: 'ms', placement: 'unpinned' } as const;
  const p95 = percentile(stalls, 0.95);
  return [
    { name, ...common, value: percentile(stalls, 0.5), statistic: `p50 of ${KILLS}`, samples: stalls },
    {
      name,
      ...common,
      value: p95,
      statistic: `p95 of ${KILLS}`,
      targets: [atMost(p95, P95_MS_MAX[load], 'ms')],
    },
    { name, ...common, value: percentile(stalls, 1), statistic: `maximum of ${KILLS}` },
  ];
}

async function killRepeatedly(bench: Bench, mount: Ours, reader: GapReader, load: Load): Promise<number[]> {
  const stalls: number[] = [];
  await wait(SETTLE_MS[load]);
  for (let n = 0; n < KILLS; n++) {
    const pid = await serverOf(bench, mount);
    const from = process.hrtime.bigint();
    await strike(pid);
    await wait(SETTLE_MS[load]);
    stalls.push(reader.longestMs(from, process.hrtime.bigint()));
  }
  return stalls;
}

async function serverOf(bench: Bench, mount: Ours): Promise<number> {
  if (!KERNEL_DRIVER) return mount.daemon.child.pid ?? 0;
  const { processes } = await statusOf(bench, mount.instance);
  const pid = processes?.find(({ role }) => role === 'server')?.pid;
  if (pid === undefined) throw new Error('status names no server');
  return pid;
}

async function strike(pid: number): Promise<void> {
  if (KERNEL_DRIVER) {
    process.kill(pid, 'SIGKILL');
    return;
  }
  process.kill(pid, 'SIGSTOP');
  await wait(STAND_IN_STOP_MS);
  process.kill(pid, 'SIGCONT');
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** A process that reads the mount without a pause and says where there was one. */
class GapReader {
  readonly #gaps: Gap[] = [];
  #failure = '';
  #end: (() => Promise<void>) | undefined;

  static async start(bench: Bench, mount: Ours): Promise<GapReader> {
    const reader = new GapReader();
    const files = Array.from({ length: FILES.filesEach }, (_, f) =>
      path.join(mount.directory, directoryName(0), fileName(f)),
    );
    const child = spawn(await readerProgram(), ['gaps', ...files], { stdio: ['ignore', 'pipe', 'pipe'] });
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    reader.#end = async () => {
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), 5_000);
      await ended;
      clearTimeout(timer);
    };
    bench.after(() => reader.#end?.() ?? Promise.resolve());
    void ended.then((code) => {
      if (code !== 0) reader.#failure = `the reader ended with ${code}: ${stderr}`;
    });
    await new Promise<void>((resolve) => {
      void ended.then(() => resolve());
      createInterface(child.stdout).on('line', (line) => {
        const [start = '', gap = '0'] = line.split(' ');
        if (start === 'reading') resolve();
        else reader.#gaps.push({ start: BigInt(start), end: BigInt(start) + BigInt(gap) });
      });
    });
    return reader;
  }

  /** The longest gap that any part of this time belongs to. */
  longestMs(from: bigint, to: bigint): number {
    if (this.#failure !== '') throw new Error(this.#failure);
    const touching = this.#gaps.filter(({ start, end }) => start < to && end > from);
    return touching.reduce((most, { start, end }) => {
      return Math.max(most, Number((end - start) / NS_PER_MS));
    }, GAP_MS_MIN);
  }

  async stop(): Promise<void> {
    await this.#end?.();
    if (this.#failure !== '') throw new Error(this.#failure);
  }
}
