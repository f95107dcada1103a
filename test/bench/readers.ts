/** reader.c, compiled for the run, and its answers. Nobody reads a mount from the process that measures. */
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { REPOSITORY } from '../support/paths.ts';
import { must } from '../support/program.ts';
import { type Placement, placed } from './processes.ts';

const SOURCE = path.join(REPOSITORY, 'test', 'bench', 'reader.c');
const BUILT = path.join(REPOSITORY, 'build', 'bench');
let compiled: Promise<string> | undefined;

/** The path of the compiled reader. */
export function readerProgram(): Promise<string> {
  compiled ??= compile('reader', SOURCE, []);
  return compiled;
}

/** passthrough_ll, of the examples that Debian ships with libfuse 3's headers; scripts/bench puts them there. */
export function passthroughProgram(): Promise<string> {
  const name = 'passthrough_ll.c';
  const places = ['/usr/share/doc/libfuse3-dev/examples', path.join(BUILT, 'libfuse3-dev', 'examples')];
  const source = places.map((place) => path.join(place, name)).find((file) => existsSync(file));
  if (source === undefined) throw new Error(`${name} is in none of ${places.join(', ')}: run scripts/bench`);
  return must('pkg-config', ['--cflags', '--libs', 'fuse3']).then((flags) =>
    compile('passthrough_ll', source, ['-D_FILE_OFFSET_BITS=64', ...flags.trim().split(/\s+/)]),
  );
}

async function compile(name: string, source: string, flags: readonly string[]): Promise<string> {
  await mkdir(BUILT, { recursive: true });
  const target = path.join(BUILT, name);
  await must('gcc', ['-O2', '-o', target, source, ...flags]);
  return target;
}

async function reader(placement: Placement, args: readonly string[]): Promise<unknown> {
  return JSON.parse(await must(...placed(placement, await readerProgram(), args)));
}

/** What so many measurements came to: the median, and what the middle 90 % of them lie between. */
export interface Quantiles {
  readonly median: number;
  readonly spread: readonly [number, number];
}

/** µs of open, fstat, read 4 KiB and close, of each file. */
export async function readLatency(
  placement: Placement,
  rounds: number,
  files: readonly string[],
): Promise<Quantiles[]> {
  return quantiles(await reader(placement, ['latency', String(rounds), ...files]), files.length);
}

/** Median µs of the same, each file read once. */
export async function readCold(placement: Placement, files: readonly string[]): Promise<number> {
  return Number(await reader(placement, ['cold', ...files]));
}

/** MB/s of reading each file whole. */
export async function readSequential(
  placement: Placement,
  rounds: number,
  files: readonly string[],
): Promise<Quantiles[]> {
  return quantiles(await reader(placement, ['sequential', String(rounds), ...files]), files.length);
}

/** Milliseconds of finding and reading all files; refuses where it found other than it should. */
export async function readTree(
  placement: Placement,
  directory: string,
  want: { readonly files: number; readonly bytes: number },
): Promise<number> {
  const { ms, files, bytes } = (await reader(placement, ['walk', directory])) as Record<string, number>;
  if (ms === undefined || files !== want.files || bytes !== want.bytes) {
    throw new Error(`${directory} has ${files} files of ${bytes} bytes, want ${want.files} of ${want.bytes}`);
  }
  return ms;
}

function quantiles(answer: unknown, count: number): Quantiles[] {
  if (!Array.isArray(answer) || answer.length !== count)
    throw new Error('the reader did not answer for each');
  return answer.map(([low, median, high]: [number, number, number]) => ({ median, spread: [low, high] }));
}
