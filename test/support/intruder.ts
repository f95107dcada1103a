/**
 * Becomes another user, then tries everything by which one process gets at what another has. Prints what succeeded, as
 * JSON: names of ways, none of what was found.
 *
 *   intruder.js UID PATH PID...
 */
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { late } from '../../src/system/libc.ts';

// linux/ptrace.h
const PTRACE_SEIZE = 0x4206;
const PTRACE_DETACH = 17;

function main(uid: number, file: string, pids: readonly number[]): void {
  const ptrace = late('long ptrace(long, int, void *, void *)');
  // Bound before: what it loads may not be readable to that user.
  ptrace(-1, 0, null, null);
  if (uid !== 0) {
    process.setgroups?.([]);
    process.setgid?.(uid);
    process.setuid?.(uid);
  }
  const done: string[] = [];
  const attempt = (what: string, act: () => void) => {
    try {
      act();
      done.push(what);
    } catch {
      // As it should be.
    }
  };
  attempt('file', () => void fs.readFileSync(file));
  for (const pid of pids) {
    const at = (name: string) => `/proc/${pid}/${name}`;
    for (const name of ['environ', 'maps', 'auxv', 'stack']) {
      attempt(`${pid} ${name}`, () => void fs.readFileSync(at(name)));
    }
    attempt(`${pid} mem`, () => void fs.closeSync(fs.openSync(at('mem'), 'r')));
    for (const name of ['root', 'cwd', 'fd', 'map_files']) {
      attempt(`${pid} ${name}`, () => void fs.readdirSync(at(name)));
    }
    for (let fd = 0; fd < 40; fd++) {
      attempt(`${pid} fd/${fd}`, () => void fs.readlinkSync(at(`fd/${fd}`)));
      attempt(`${pid} fd/${fd} open`, () => {
        const opened = fs.openSync(at(`fd/${fd}`), fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
        if (fs.fstatSync(opened).isDirectory()) fs.readdirSync(at(`fd/${fd}`));
        fs.closeSync(opened);
      });
      for (const name of ['gen-1', 'control', 'request', path.basename(file)]) {
        attempt(`${pid} fd/${fd}/${name}`, () => void fs.readFileSync(at(`fd/${fd}/${name}`)));
      }
    }
    attempt(`${pid} ptrace`, () => {
      if (ptrace(PTRACE_SEIZE, pid, null, null) !== 0) throw new Error('refused');
      ptrace(PTRACE_DETACH, pid, null, null);
    });
  }
  process.stdout.write(JSON.stringify(done));
}

// With an argument only: the test runner starts every file below test/ by itself.
if (process.argv.length > 2 && import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  main(Number(process.argv[2]), process.argv[3] ?? '', process.argv.slice(4).map(Number));
}
