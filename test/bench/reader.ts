/**
 * A process of its own that opens, fstats, reads and closes the files it is given, in turn, and prints the median of
 * each in µs: nobody may make synchronous calls on a mount that he serves himself.
 *
 *   node reader.js ROUNDS FILE...
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { median } from './measure.ts';

const BATCH = 50;
const READ_BYTES = 4096;

const [rounds = '0', ...files] = process.argv.slice(2);
const buffer = Buffer.alloc(READ_BYTES);
const times = files.map((): number[] => []);

function readOnce(file: string): void {
  const fd = openSync(file, 'r');
  fstatSync(fd);
  if (readSync(fd, buffer, 0, READ_BYTES, 0) !== READ_BYTES) throw new Error(`${file} is too short`);
  closeSync(fd);
}

for (let round = 0; round < Number(rounds); round++) {
  for (const [i, file] of files.entries()) {
    for (let n = 0; n < BATCH; n++) {
      const start = process.hrtime.bigint();
      readOnce(file);
      times[i]?.push(Number(process.hrtime.bigint() - start) / 1000);
    }
  }
}
console.log(JSON.stringify(times.map(median)));
