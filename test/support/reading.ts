/**
 * A reader for tests, in a process of its own: opens the files of a churning mount as fast as it can and verifies every
 * byte of each. What a file must hold follows from its first line (churnFile() in serve-kernel.ts), so a torn, a short
 * and a mixed read all show; that path, descriptor and bytes agree shows with them.
 *
 *   reading.js MOUNTPOINT FILES BYTES MODE      MODE: read, mmap (through Python's is another test), old
 *
 * Prints one line of JSON when stdin ends: { reads, failures: [...], longestMs, versions }.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { churnFile } from './serve-kernel.ts';

export interface ReadingResult {
  readonly reads: number;
  /** The first few, in words. */
  readonly failures: readonly string[];
  readonly failed: number;
  /** The longest time that one file took, from open to close. */
  readonly longestMs: number;
  /** Newest version that was seen. */
  readonly newest: number;
  /** Times that a version older than one seen before of the same file came: a stale read. */
  readonly stale: number;
}

const FAILURES_KEPT = 10;

function main([mountpoint = '', files = '1', bytes = '4096']: string[]): void {
  const size = Number(bytes);
  const count = Number(files);
  const buffer = Buffer.alloc(size + 1);
  const seen = new Array<number>(count).fill(-1);
  const expected = new Map<string, Buffer>();
  const failures: string[] = [];
  let failed = 0;
  let reads = 0;
  let longestMs = 0;
  let stale = 0;
  let over = false;
  process.stdin
    .on('data', () => undefined)
    .on('end', () => {
      over = true;
    });

  function fail(what: string): void {
    failed += 1;
    if (failures.length < FAILURES_KEPT) failures.push(what);
  }

  function readOnce(i: number): void {
    const path = `${mountpoint}/churn/${i % 7}/file-${i}`;
    const fd = openSync(path, 'r');
    try {
      const stat = fstatSync(fd);
      let got = 0;
      for (let n = -1; n !== 0 && got < buffer.length; got += n)
        n = readSync(fd, buffer, got, buffer.length - got, got);
      if (got !== stat.size || got !== size)
        throw new Error(`${got} bytes, fstat says ${stat.size}, want ${size}`);
      const [file = '', version = ''] = buffer.toString('latin1', 0, 40).split(/[ \n]/);
      if (Number(file) !== i) throw new Error(`it says it is ${file}`);
      const key = `${file} ${version}`;
      let want = expected.get(key);
      if (want === undefined) {
        if (expected.size > 20_000) expected.clear();
        want = churnFile(i, Number(version), size);
        expected.set(key, want);
      }
      if (want.compare(buffer, 0, got) !== 0) throw new Error(`version ${version} has other bytes`);
      const before = seen[i] ?? -1;
      if (Number(version) < before) stale += 1;
      else seen[i] = Number(version);
    } finally {
      closeSync(fd);
    }
  }

  let i = process.pid % count;
  function turn(): void {
    const until = performance.now() + 20;
    while (performance.now() < until) {
      i = (i + 1) % count;
      const started = performance.now();
      try {
        readOnce(i);
      } catch (error) {
        fail(`file ${i}: ${(error as Error).message}`);
      }
      reads += 1;
      longestMs = Math.max(longestMs, performance.now() - started);
    }
    if (!over) return void setImmediate(turn);
    const result: ReadingResult = { reads, failures, failed, longestMs, newest: Math.max(...seen), stale };
    process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit());
  }
  turn();
}

if (process.argv.length > 2 && import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  main(process.argv.slice(2));
}
