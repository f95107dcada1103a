/** What processes open for writing, as strace sees it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';

/** Whatever makes a file, or a name for one, or opens it. */
const CALLS =
  'open,openat,openat2,creat,memfd_create,mkdir,mkdirat,mknod,mknodat,link,linkat,symlink,symlinkat';
const WRITES = /\bO_(WRONLY|RDWR|CREAT|TRUNC|APPEND|TMPFILE)\b/;

export interface Opened {
  /** As it was given to the kernel. */
  readonly path: string;
  readonly call: string;
}

/** For the command line of strace: each thread into a file of its own, so that no call is cut in two. */
export function traceArgs(output: string): string[] {
  return ['--follow-forks', '--output-separately', '-o', output, '-s', '4096', '-e', `trace=${CALLS}`];
}

/** Traces processes that run, and all that they start, until stop(). */
export async function startTrace(
  after: (cleanup: () => Promise<unknown>) => void,
  pids: readonly number[],
  output: string,
): Promise<{ stop(): Promise<Opened[]> }> {
  const child = spawn('strace', [...traceArgs(output), ...pids.flatMap((pid) => ['-p', `${pid}`])], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  after(() => end(child, 'SIGKILL'));
  const attached = new Set<number>();
  const errors: string[] = [];
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', () => reject(new Error(`strace ended: ${errors.join(' ')}`)));
    createInterface({ input: child.stderr }).on('line', (line) => {
      errors.push(line);
      const pid = /Process (\d+) attached/.exec(line)?.[1];
      if (pid !== undefined) attached.add(Number(pid));
      if (pids.every((each) => attached.has(each))) resolve();
    });
  });
  return {
    async stop() {
      await end(child, 'SIGINT');
      return openedForWriting(output);
    },
  };
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'close');
  child.kill(signal);
  await ended;
}

/** Everything of `output.*` that was opened for writing, or made; refused calls left out. */
export function openedForWriting(output: string): Opened[] {
  const found: Opened[] = [];
  const directory = path.dirname(output);
  for (const name of readdirSync(directory)) {
    if (!name.startsWith(`${path.basename(output)}.`)) continue;
    for (const line of readFileSync(path.join(directory, name), 'utf8').split('\n')) {
      const call = /^(\w+)\(/.exec(line)?.[1];
      if (call === undefined || / = -1 /.test(line)) continue;
      if (call.startsWith('open') && !WRITES.test(line)) continue;
      found.push({ path: /"((?:[^"\\]|\\.)*)"/.exec(line)?.[1] ?? '', call });
    }
  }
  return found;
}
