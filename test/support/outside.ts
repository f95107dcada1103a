/**
 * A process that holds on to a mount: an open file, a mapping that it has looked at and one that it has not. Says what it sees each way, a line of JSON for each line from stdin.
 */
import { closeSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { makePipe } from '../../src/system/files.ts';
import { late, libc } from '../../src/system/libc.ts';

const BYTES = 48;
const MAPPED_BYTES = 65_536;
// asm-generic/mman-common.h; shared mappings are refused where nothing is cached.
const PROT_READ = 1;
const MAP_PRIVATE = 2;
const mmap = late('void *mmap(void *, size_t, int, int, int, int64_t)');
const write = late('int64_t write(int, void *, size_t)');
const pipe = makePipe();

function main(mountpoint: string): void {
  const at = (name: string) => path.join(mountpoint, name);
  const opened = openSync(at('opened'), 'r');
  readFileSync(at('fresh'));
  const touched = map(at('mapped'));
  const untouched = map(at('untouched'));
  see(touched);
  createInterface({ input: process.stdin }).on('line', (order) => {
    const seen: Record<string, string> = {
      opened: attempt(() => readFd(opened)),
      reopened: attempt(() => readPath(`/proc/self/fd/${opened}`)),
      new: attempt(() => readPath(at('fresh'))),
      'mapped, touched': see(touched),
    };
    if (order === 'before') seen['stat'] = attempt(() => `${statSync(at('fresh')).size}`);
    else seen['mapped, untouched'] = see(untouched);
    process.stdout.write(`${JSON.stringify(seen)}\n`);
  });
}

function map(file: string): bigint {
  const fd = openSync(file, 'r');
  const address: bigint = mmap(null, MAPPED_BYTES, PROT_READ, MAP_PRIVATE, fd, 0);
  closeSync(fd);
  if (BigInt.asIntN(64, address) === -1n) throw libc().failure('mmap');
  return address;
}

/** The kernel looks for us, and answers EFAULT where we would have ended by SIGBUS. */
function see(address: bigint): string {
  return attempt(() => {
    libc().made('write', write(pipe.writeFd, address, BYTES));
    const buffer = Buffer.alloc(BYTES);
    return buffer.toString('latin1', 0, readSync(pipe.readFd, buffer));
  });
}

function attempt(act: () => string): string {
  try {
    return act();
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'unknown';
  }
}

function readFd(fd: number): string {
  const buffer = Buffer.alloc(BYTES);
  return buffer.toString('latin1', 0, readSync(fd, buffer, 0, BYTES, 0));
}

function readPath(file: string): string {
  const fd = openSync(file, 'r');
  try {
    return readFd(fd);
  } finally {
    closeSync(fd);
  }
}

// With an argument only: the test runner starts every file below test/ by itself.
if (process.argv.length > 2 && import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  main(process.argv[2] ?? '');
}
