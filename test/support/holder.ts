/** Starts holding.ts: a process that holds a canary without any care. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const HOLDING = fileURLToPath(new URL('./holding.js', import.meta.url));

export interface Holder {
  readonly pid: number;
  readonly child: ChildProcess;
}

/** Without a needle nothing is sent to it. Its cwd is `directory`. It is gone after the test. `before` are words before the command, for example a tracer's. */
export async function startHolder(
  after: (cleanup: () => Promise<unknown>) => void,
  needle: Buffer | undefined,
  options: {
    readonly directory: string;
    readonly args?: readonly string[];
    readonly before?: readonly string[];
    readonly uid?: number;
  },
): Promise<Holder> {
  const { directory, args = ['memory'], before = [], uid } = options;
  const [command = '', ...rest] = [...before, process.execPath, HOLDING, ...args];
  const child = spawn(command, rest, {
    cwd: directory,
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { PATH: process.env['PATH'] },
    ...(uid === undefined ? {} : { uid, gid: uid }),
  });
  after(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    // It ends with its stdin; a tracer that is killed would leave it behind.
    const closed = once(child, 'close');
    child.stdin.destroy();
    const timer = setTimeout(() => child.kill('SIGKILL'), 2_000);
    await closed;
    clearTimeout(timer);
  });
  child.stdin.on('error', () => undefined);
  if (needle !== undefined) child.stdin.write(needle);
  const [line] = await Promise.race([
    once(createInterface({ input: child.stdout }), 'line'),
    once(child, 'close').then(() => ['it ended']),
  ]);
  if (line !== 'holding') throw new Error(`the holder does not hold: ${line}`);
  return { pid: child.pid as number, child };
}
