/** Starts test/support/serve.ts and talks to it. Everything started or mounted here is gone after `stop()`. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Churn, Churned, Hung, KernelSpec } from './serve-kernel.ts';
import { patient } from './slowness.ts';

export const exec = promisify(execFile);
const SERVE = {
  'fuse-native': fileURLToPath(new URL('./serve.js', import.meta.url)),
  kernel: fileURLToPath(new URL('./serve-kernel.js', import.meta.url)),
};
const ANSWER_TIMEOUT_MS = patient(20_000);
/** One generation of a churn, with everything around it being killed. */
const GENERATION_MS_MAX = patient(60_000);

export interface State {
  live: number;
  lingering: number[];
  handles: number;
  /** Of locked memory that is not given back. */
  bytes: number;
  /** Of the live generation's image, and of the kernel driver's list of what it changed: as much must be left of `bytes` when nothing else is held. */
  imageBytes: number;
  mounted: boolean;
  locked: boolean;
  /** That reached the server. Only with the kernel driver, like the processes. */
  requests: number;
  /** Of these, how many asked whether it lives, and were answered. */
  probes: number;
  hung: readonly Hung[];
  processes: readonly { readonly role: string; readonly pid: number; readonly restarts: number }[];
}

export class Server {
  readonly mountpoint: string;
  readonly child: ChildProcess;
  readonly lines: string[] = [];
  #taken = 0;
  #wake: () => void = () => {};
  /** Of a churn: undefined for one more generation, then its end. */
  #churned: ((churned: Churned | undefined) => void) | undefined;
  #ended = false;

  constructor(mountpoint: string, child: ChildProcess) {
    this.mountpoint = mountpoint;
    this.child = child;
    if (child.stdout === null) throw new Error('no stdout');
    createInterface({ input: child.stdout }).on('line', (line) => {
      const [word, rest = ''] = line.split(/ (.*)/s);
      // Comes at any time: nobody who waits for something else may drop it.
      if (word === 'churning') return this.#churned?.(undefined);
      if (word === 'churned' && this.#churned !== undefined) return this.#churned(JSON.parse(rest));
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
  async next(word: string, timeoutMs = ANSWER_TIMEOUT_MS): Promise<string> {
    const deadline = Date.now() + timeoutMs;
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

  async activate(spec: KernelSpec): Promise<number> {
    this.send(`activate ${JSON.stringify(spec)}`);
    return Number(await this.next('activated'));
  }

  /** Generations in a row, while other things are asked. */
  async churn(churn: Churn): Promise<Churned> {
    return await new Promise((resolve, reject) => {
      const late = () => reject(new Error('a generation of the churn does not come to its end'));
      let timer = setTimeout(late, GENERATION_MS_MAX);
      this.child.once('close', () => reject(new Error('server ended while it churned')));
      this.#churned = (churned) => {
        clearTimeout(timer);
        if (churned === undefined) {
          timer = setTimeout(late, GENERATION_MS_MAX);
          return;
        }
        this.#churned = undefined;
        resolve(churned);
      };
      this.send(`churn ${JSON.stringify(churn)}`);
    });
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
  /** Default: fuse-native. */
  readonly driver?: keyof typeof SERVE;
  /** Starts the server as this user. */
  readonly uid?: number;
  readonly env?: Readonly<Record<string, string>>;
}

/** Resolves when the mount is ready. `after` is called with what must run at the end of the test, in reverse order. */
export async function serve(
  spec: KernelSpec,
  after: (cleanup: () => Promise<void>) => void,
  options: StartOptions = {},
): Promise<Server> {
  const mountpoint = options.mountpoint ?? (await temporaryDirectory(after, options.uid));
  const user =
    options.uid === undefined
      ? []
      : ['setpriv', '--reuid', `${options.uid}`, '--regid', `${options.uid}`, '--clear-groups'];
  const [command = '', ...args] = [
    ...user,
    process.execPath,
    '--expose-gc',
    SERVE[options.driver ?? 'fuse-native'],
    mountpoint,
  ];
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
