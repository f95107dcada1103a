/**
 * A reader for tests, in a process of its own: opens certificate and key, and one file with both twice, as servers do, and
 * looks whether they are of one version. What a file must be follows from its version: pairFile().
 *
 *   pairs.js MOUNTPOINT MODE      MODE: loop (this process), threads (several of it), new (a process for each pair)
 *
 * Lines in: COUNT VERSION: so many pairs, none of which may be older. Lines out: JSON of PairsResult.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { REPEAT_MS } from '../../src/vfs/consistency.ts';

export interface PairsResult {
  readonly pairs: number;
  /** Pairs of two versions. */
  readonly mixed: number;
  /** What these were, and how long each took, which says whether it was one pass at all. The first few, in words. */
  readonly how: readonly string[];
  /** One file that was opened twice with a pause in between after which that is no pair. Of two versions, and not in `mixed`. */
  readonly late: number;
  /**
   * Pairs that are older than they may be. A process that has paused so begins its passes with another file from then on
   * (docs/semantics.md): what it opens first of a round may be of a pass from before, and is in `late`.
   */
  readonly old: number;
  /** Whatever else was wrong: errors; fstat, inode and bytes that do not agree. The first few, in words. */
  readonly hasPaused: boolean;
  readonly failures: readonly string[];
}

export type PairsMode = 'loop' | 'threads' | 'new';

/** Each pair is of two files that are opened one after the other, from one load to the next in the same order. */
export const PAIRS: readonly (readonly [string, string])[] = [
  ['tls/cert.pem', 'tls/key.pem'],
  ['tls/both.pem', 'tls/both.pem'],
];
const THREADS = 3;

/** The length tells versions apart, too. */
export function pairFile(version: number): string {
  return `${version} `.padEnd(100 + (version % 97), 'x');
}

interface Loaded {
  readonly version: number;
  readonly problem: string | undefined;
}

const buffer = Buffer.alloc(4096);
/** This process has paused between its two opens of one file, at some time. */
let hasPaused = false;
/** An inode number is of one version. */
const versions = new Map<number, number>();

function load(path: string): Loaded {
  const fd = openSync(path, 'r');
  try {
    const { ino, size } = fstatSync(fd);
    const got = readSync(fd, buffer, 0, buffer.length, 0);
    const text = buffer.toString('latin1', 0, got);
    const version = Number.parseInt(text, 10);
    const known = versions.get(ino) ?? version;
    versions.set(ino, version);
    if (text !== pairFile(version)) return { version, problem: `${path} is not of one version` };
    if (size !== got) return { version, problem: `${path} has ${got} bytes, fstat says ${size}` };
    return {
      version,
      problem: known === version ? undefined : `${path}: inode ${ino} is ${known} and ${version}`,
    };
  } finally {
    closeSync(fd);
  }
}

function loadInNew(paths: readonly string[]): Loaded[] {
  const { stdout, status } = spawnSync('cat', paths, { encoding: 'latin1' });
  if (status !== 0) throw new Error(`cat ended with ${status}`);
  return [...stdout.matchAll(/(\d+) x*/g)].map(([text, digits]) => {
    const version = Number(digits);
    return {
      version,
      problem: text === pairFile(version) ? undefined : 'what cat read is not of one version',
    };
  });
}

function run(mountpoint: string, mode: string, count: number, oldest: number): PairsResult {
  const failures: string[] = [];
  const how: string[] = [];
  const fail = (what: string) => failures.length < 5 && failures.push(what);
  let [pairs, mixed, late, old] = [0, 0, 0, 0];
  while (pairs < count) {
    for (const pair of PAIRS) {
      const paths = pair.map((name) => `${mountpoint}/${name}`);
      try {
        const startedMs = performance.now();
        const loaded = mode === 'new' ? loadInNew(paths) : paths.map(load);
        // The server counts whole milliseconds.
        const tookMs = performance.now() - startedMs;
        const isLate = pair[0] === pair[1] && tookMs >= REPEAT_MS - 1;
        if (isLate) hasPaused = true;
        const [first, second] = loaded.map(({ version }) => version);
        if (first !== second && isLate) late += 1;
        else if (first !== second) {
          mixed += 1;
          if (how.length < 5)
            how.push(`${mode}: ${pair.join(', ')} of ${first} and ${second}, in ${Math.round(tookMs)} ms`);
        }
        if (!((first ?? -1) >= oldest)) old += 1;
        for (const { problem } of loaded) if (problem !== undefined) fail(problem);
      } catch (error) {
        fail((error as Error).message);
      }
      pairs += 1;
    }
  }
  return { pairs, mixed, how, late, old, hasPaused, failures };
}

function sum(results: readonly PairsResult[]): PairsResult {
  const total = (of: (result: PairsResult) => number) => results.reduce((all, each) => all + of(each), 0);
  return {
    pairs: total(({ pairs }) => pairs),
    mixed: total(({ mixed }) => mixed),
    how: results.flatMap(({ how }) => how),
    late: total(({ late }) => late),
    old: total(({ old }) => old),
    hasPaused: results.some(({ hasPaused }) => hasPaused),
    failures: results.flatMap(({ failures }) => failures),
  };
}

async function main([mountpoint = '', mode = '']: string[]): Promise<void> {
  const workers =
    mode === 'threads'
      ? Array.from(
          { length: THREADS },
          () => new Worker(fileURLToPath(import.meta.url), { workerData: mountpoint }),
        )
      : [];
  for await (const line of createInterface({ input: process.stdin })) {
    const [count = 0, oldest = 0] = line.split(' ').map(Number);
    const results = workers.map(async (worker) => {
      const answer = new Promise<PairsResult>((resolve) => worker.once('message', resolve));
      worker.postMessage([count / workers.length, oldest]);
      return await answer;
    });
    const result =
      workers.length === 0 ? run(mountpoint, mode, count, oldest) : sum(await Promise.all(results));
    process.stdout.write(`${JSON.stringify(result)}\n`);
  }
  process.exit();
}

if (!isMainThread) {
  parentPort?.on('message', ([count, oldest]: [number, number]) => {
    parentPort?.postMessage(run(workerData as string, 'threads', count, oldest));
  });
} else if (process.argv.length > 2 && import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  void main(process.argv.slice(2));
}
