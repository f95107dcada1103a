/** Starts test/support/serve.ts and talks to it. Everything started or mounted here is gone after `stop()`. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Spec } from './serve.ts';

export const exec = promisify(execFile);
const SERVE = fileURLToPath(new URL('./serve.js', import.meta.url));
const ANSWER_TIMEOUT_MS = 20_000;

export interface State {
  live: number;
  lingering: number[];
  handles: number;
  bytes: number;
  mounted: boolean;
  locked: boolean;
}

export class Server {
  readonly mountpoint: string;
  readonly child: ChildProcess;
  readonly lines: string[] = [];
  #taken = 0;
  #wake: () => void = () => {};
  #ended = false;

  constructor(mountpoint: string, child: ChildProcess) {
    this.mountpoint = mountpoint;
    this.child = child;
    if (child.stdout === null) throw new Error('no stdout');
    createInterface({ input: child.stdout }).on('line', (line) => {
      this.lines.push(line);
      this.#wake();
    });
    child.once('close', () => {
      this.#ended = true;
      this.#wake();
    });
  }

  get pid(): number {
    if (this.child.pid === undefined) throw new Error('not started');
    return this.child.pid;
  }

  path(name: string): string {
    return path.join(this.mountpoint, name);
  }

  /** The next line that starts with `word`, without it. Lines before it are dropped. */
  async next(word: string): Promise<string> {
    const deadline = Date.now() + ANSWER_TIMEOUT_MS;
    for (;;) {
      while (this.#taken < this.lines.length) {
        const line = this.lines[this.#taken++] ?? '';
        if (line === word || line.startsWith(`${word} `)) return line.slice(word.length + 1);
        if (line.startsWith('error ')) throw new Error(line);
      }
      if (this.#ended) throw new Error(`server ended before ${word}: ${this.lines.join(' | ')}`);
      const left = deadline - Date.now();
      if (left <= 0) throw new Error(`no ${word} in time`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  send(line: string): void {
    this.child.stdin?.write(`${line}\n`);
  }

  async activate(spec: Spec): Promise<number> {
    this.send(`activate ${JSON.stringify(spec)}`);
    return Number(await this.next('activated'));
  }

  async state(): Promise<State> {
    this.send('state');
    return JSON.parse(await this.next('state'));
  }

  /** SIGKILL, and waits until the kernel has let go of the process. */
  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const closed = new Promise((resolve) => this.child.once('close', resolve));
    this.child.kill('SIGKILL');
    await closed;
  }
}

export interface StartOptions {
  readonly mountpoint?: string;
  /** Starts the server as this user. */
  readonly uid?: number;
  readonly env?: Readonly<Record<string, string>>;
}

/** Resolves when the mount is ready. `after` is called with what must run at the end of the test, in reverse order. */
export async function serve(
  spec: Spec,
  after: (cleanup: () => Promise<void>) => void,
  options: StartOptions = {},
): Promise<Server> {
  const mountpoint = options.mountpoint ?? (await temporaryDirectory(after, options.uid));
  const user =
    options.uid === undefined
      ? []
      : ['setpriv', '--reuid', `${options.uid}`, '--regid', `${options.uid}`, '--clear-groups'];
  const [command = '', ...args] = [...user, process.execPath, '--expose-gc', SERVE, mountpoint];
  const child = spawn(command, args, {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, ...options.env },
  });
  const server = new Server(mountpoint, child);
  after(async () => {
    await server.kill();
    await clearMounts(mountpoint);
  });
  server.child.stdin?.on('error', () => {});
  server.send(JSON.stringify(spec));
  await server.next('ready');
  return server;
}

export async function temporaryDirectory(
  after: (cleanup: () => Promise<void>) => void,
  uid?: number,
): Promise<string> {
  const directory = await mkdtemp(path.join(tmpdir(), 'secretsfs-test-'));
  await chmod(directory, 0o755);
  if (uid !== undefined) await exec('chown', [`${uid}`, directory]);
  after(async () => {
    await clearMounts(directory);
    await rm(directory, { recursive: true, force: true });
  });
  return directory;
}

async function clearMounts(directory: string): Promise<void> {
  for (const line of (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').reverse()) {
    const mountpoint = line.split(' ')[4] ?? '';
    if (mountpoint === directory || mountpoint.startsWith(`${directory}/`)) {
      await exec('umount', ['-l', mountpoint]).catch(() => {});
    }
  }
}

/** For tests: `const { after } = cleanups(t)`; runs everything in reverse order, even when one fails. */
export function cleanups(t: {
  after(fn: () => Promise<void>): void;
}): (cleanup: () => Promise<void>) => void {
  const list: (() => Promise<void>)[] = [];
  t.after(async () => {
    for (const cleanup of list.reverse()) await cleanup().catch((error: unknown) => console.error(error));
  });
  return (cleanup) => list.push(cleanup);
}
