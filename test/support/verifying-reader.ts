/**
 * A reader for tests, in a process of its own, of files that tell what they hold: `NAME VERSION` and then that many bytes of it.
 * It opens one after the other as fast as it can.
 *
 *   verifying-reader.js DIRECTORY NAME…
 *
 * A line on stdin is answered by one of JSON (Seen), of what was seen since the last.
 */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

export interface Seen {
  readonly reads: number;
  readonly longestMs: number;
  /** The first few, in words. */
  readonly failures: readonly string[];
  /** The newest version, and whether an older one came after a newer. */
  readonly newest: number;
  readonly wentBack: boolean;
}

/** What a file of this name and version must be: with each version of another size. */
export function verifiable(name: string, version: number): string {
  return `${name} ${version}\n${`${name}:${version};`.repeat(500 + (version % 5))}`;
}

function difference(text: string, wanted: string): string {
  const at = [...wanted].findIndex((byte, i) => text[i] !== byte);
  const shown = JSON.stringify(text.slice(Math.max(0, at), at + 40));
  return `other bytes: ${JSON.stringify(text.slice(0, 20))}, ${text.length} of ${wanted.length}, at ${at} ${shown}`;
}

const FAILURES_KEPT = 5;
const TURN_MS = 10;

function main([directory = '', ...names]: string[]): void {
  const fresh = () => ({ reads: 0, longestMs: 0, failures: [] as string[], wentBack: false });
  let seen = fresh();
  const newest = new Map<string, number>();
  const readOnce = (name: string) => {
    const started = performance.now();
    try {
      const text = readFileSync(`${directory}/${name}`, 'latin1');
      const version = Number(/^\S+ (\d+)\n/.exec(text)?.[1]);
      const wanted = verifiable(name, version);
      if (text !== wanted) throw new Error(difference(text, wanted));
      if (version < (newest.get(name) ?? 0)) seen.wentBack = true;
      newest.set(name, version);
    } catch (error) {
      if (seen.failures.length < FAILURES_KEPT) seen.failures.push(`${name}: ${(error as Error).message}`);
    }
    seen.reads += 1;
    seen.longestMs = Math.max(seen.longestMs, performance.now() - started);
  };
  let i = 0;
  const turn = () => {
    const end = performance.now() + TURN_MS;
    while (performance.now() < end) readOnce(names[i++ % names.length] ?? '');
    setImmediate(turn);
  };
  createInterface({ input: process.stdin })
    .on('line', () => {
      process.stdout.write(`${JSON.stringify({ ...seen, newest: Math.max(0, ...newest.values()) })}\n`);
      seen = fresh();
    })
    .on('close', () => process.exit());
  turn();
}

if (process.argv.length > 2 && import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  main(process.argv.slice(2));
}
