/**
 * Runs the program of a hook: by its argv and never by a shell, as the user that is named, in a session and a process group of
 * its own, with descriptors 0 to 2 and no other, an environment that is built and not inherited, and nothing of our privileges
 * but being root, where it is. What it is told stands on its standard input: an unnamed file in memory, so that one that does
 * not read it makes nobody wait.
 */
import { spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { OutputLines } from '../hooks/output.ts';
import { closeQuietly } from '../system/files.ts';
import { memoryFile } from '../system/memory-file.ts';
import type { Account } from '../system/users.ts';

/** Nothing of ours: what is found must not depend on how the mount was started. */
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** As the unit has it: what a hook writes is for its user alone. */
const UMASK = 0o077;
/** What a program's children may still have to say when it has ended itself. */
const DRAIN_MS = 200;

export interface ProgramOptions {
  readonly argv: readonly [string, ...string[]];
  readonly user: Account;
  /** Beside PATH, LANG, HOME, USER and LOGNAME. */
  readonly environment: Readonly<Record<string, string>>;
  readonly stdin: Uint8Array;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** What it is to write to; the descriptor is closed here. Else a socket, which nobody can open by name (/dev/stderr). */
  openOutput?(): { readonly writeFd: number; readonly stream: Readable };
  onLine(stream: 'stdout' | 'stderr', line: string): void;
}

export interface ProgramEnd {
  readonly code: number | undefined;
  readonly signal: NodeJS.Signals | undefined;
  readonly isLate: boolean;
  /** Lines that onLine() was not told of. */
  readonly dropped: number;
}

/** Never rejects. On a time limit or the signal's word the whole process group is killed, at once. */
export function runProgram(options: ProgramOptions): Promise<ProgramEnd> {
  const { user, environment, timeoutMs, signal, onLine } = options;
  const stdin = memoryFile(options.stdin);
  const [command = '', ...args] = privileges(user, options.argv);
  const [out, err] = [options.openOutput?.(), options.openOutput?.()];
  // Node has no option for it; what it starts has the mask of this very moment.
  const umask = process.umask(UMASK);
  let child: ReturnType<typeof spawn>;
  try {
    child = spawn(command, args, {
      stdio: [stdin, out?.writeFd ?? 'pipe', err?.writeFd ?? 'pipe'],
      cwd: '/',
      detached: true,
      env: { PATH, LANG: 'C', HOME: user.home, USER: user.name, LOGNAME: user.name, ...environment },
    });
  } finally {
    process.umask(umask);
    closeQuietly(stdin, out?.writeFd, err?.writeFd);
  }
  const streams = { stdout: out?.stream ?? child.stdout, stderr: err?.stream ?? child.stderr };
  const lines = (['stdout', 'stderr'] as const).map((name) => {
    const output = new OutputLines((line) => onLine(name, line));
    streams[name]?.on('data', (chunk: Buffer) => output.push(chunk));
    return output;
  });
  return new Promise((resolve) => {
    let isLate = false;
    const kill = () => killGroup(child.pid);
    const timer = setTimeout(() => {
      isLate = true;
      kill();
    }, timeoutMs);
    signal.addEventListener('abort', kill, { once: true });
    if (signal.aborted) kill();
    const ended = async (code: number | null, by: NodeJS.Signals | null) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', kill);
      // The group may have members that outlived their leader.
      if (isLate || signal.aborted) kill();
      await drained([streams.stdout, streams.stderr]);
      for (const output of lines) output.end();
      const dropped = lines.reduce((sum, each) => sum + each.dropped, 0);
      resolve({ code: code ?? undefined, signal: by ?? undefined, isLate, dropped });
    };
    child.once('exit', (code, by) => void ended(code, by));
    // It could not be started: there will be no exit.
    child.once('error', () => {
      if (child.pid === undefined) void ended(null, null);
    });
  });
}

/** Whoever else holds the other ends may live on: what it says is not waited for. */
async function drained(streams: readonly (Readable | null)[]): Promise<void> {
  const open = streams.filter((stream) => stream !== null && !stream.readableEnded && !stream.destroyed);
  const closed = open.map((stream) => new Promise((resolve) => stream?.once('close', resolve)));
  const timer = new Promise((resolve) => setTimeout(resolve, DRAIN_MS));
  await Promise.race([Promise.all(closed), timer]);
  for (const stream of streams) stream?.destroy();
}

function killGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch {
    // All of it has ended.
  }
}

/** util-linux does it before the program runs: groups of the user, no capability that would outlive an exec. */
function privileges({ uid, gid }: Account, argv: readonly string[]): string[] {
  return [
    'setpriv',
    ...['--reuid', `${uid}`, '--regid', `${gid}`, '--init-groups'],
    ...['--inh-caps=-all', '--ambient-caps=-all', '--no-new-privs'],
    // root needs what the unit leaves it, to reload others; nobody else has any use of it.
    ...(uid === 0 ? [] : ['--bounding-set=-all']),
    '--',
    ...argv,
  ];
}
