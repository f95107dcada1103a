/**
 * A process that holds what it reads from stdin, as any program would: the positive control of tests that look for a
 * secret where none may be. Says "holding" when it has it.
 *
 *   holding.js memory       in 4 MiB of ordinary memory
 *   holding.js file PATH    the same, and writes PATH
 *   holding.js map PATH     maps the file, all of its pages present; at each byte from stdin says what it sees there
 */
import { closeSync, openSync, readSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { mapShared } from '../../src/system/shared.ts';

const HELD_BYTES = 4 * 1024 * 1024;
const PAGE_BYTES = 4096;

function main(what: string, path: string): void {
  if (what === 'map') {
    const fd = openSync(path, 'r');
    const mapped = Buffer.from(mapShared(fd, PAGE_BYTES, { write: false }).memory);
    closeSync(fd);
    process.stdout.write('holding\n');
    const order = Buffer.alloc(1);
    // Nothing else is read: a copy of what is mapped must not be mistaken for it.
    while (readSync(0, order) > 0) process.stdout.write(`${mapped.toString('latin1', 0, 48)}\n`);
    return;
  }
  const needle = Buffer.alloc(48);
  for (let got = 0; got < needle.length; ) got += readSync(0, needle, got, needle.length - got, null);
  const held = Buffer.alloc(HELD_BYTES, needle);
  if (what === 'file') writeFileSync(path, 'written\n');
  process.stdout.write('holding\n');
  // Until whoever started it is gone.
  process.stdin.resume().on('close', () => process.exit(held.length > 0 ? 0 : 1));
}

// With an argument only: the test runner starts every file below test/ by itself.
if (process.argv.length > 2 && import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  main(process.argv[2] ?? '', process.argv[3] ?? '');
}
