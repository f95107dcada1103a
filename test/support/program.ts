/** Runs the shipped program as a user would: in processes of its own, with an environment that is all the test's. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { withoutAws } from './moto.ts';
import { PROGRAM } from './paths.ts';
import { patient } from './slowness.ts';

const RUN_MS_MAX = patient(60_000);

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  readonly uid?: number;
  readonly stdin?: Uint8Array;
  readonly timeoutMs?: number;
}

/** Runs any command to its end; never throws for its exit code. */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const { env = withoutAws(process.env), cwd, uid, stdin, timeoutMs = RUN_MS_MAX } = options;
    const child = execFile(
      command,
      args,
      {
        env,
        cwd,
        timeout: timeoutMs,
        killSignal: 'SIGKILL',
        maxBuffer: 256 * 1024 * 1024,
        encoding: 'latin1',
        ...(uid === undefined ? {} : { uid, gid: uid }),
      },
      (error, stdout, stderr) => {
        if (error !== null && typeof error.code !== 'number') {
          return reject(new Error(`${command} did not end by itself: ${error.message}\n${stderr}`));
        }
        resolve({
          code: error === null ? 0 : Number(error.code),
          stdout,
          stderr: Buffer.from(stderr, 'latin1').toString(),
        });
      },
    );
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(stdin);
  });
}

/** Runs any command and insists on success. */
export async function must(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const { code, stdout, stderr } = await run(command, args, options);
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} exited with ${code}: ${stderr}`);
  return stdout;
}

/** A place to work in, and the program in it. */
export class Bench {
  readonly directory: string;
  readonly env: NodeJS.ProcessEnv;
  /** What `secretsfs` is here. */
  program = PROGRAM;
  /** What mounts are started with: a command that becomes the one after it. */
  before: readonly string[] = [];
  /** What is to be ended after the test, the last first: node:test would begin with the first. */
  readonly #cleanups: (() => Promise<unknown>)[] = [];

  private constructor(directory: string, env: NodeJS.ProcessEnv) {
    this.directory = directory;
    this.env = env;
  }

  static async create(
    t: Pick<TestContext, 'after'>,
    env: NodeJS.ProcessEnv = withoutAws(process.env),
  ): Promise<Bench> {
    const directory = await mkdtemp(path.join(tmpdir(), 'secretsfs-'));
    const own = {
      SECRETSFS_RUNTIME_DIR: path.join(directory, 'run'),
      SECRETSFS_STATE_DIR: path.join(directory, 'state'),
      XDG_CACHE_HOME: path.join(directory, 'cache'),
    };
    const bench = new Bench(directory, { ...env, ...own });
    bench.after(() => rm(directory, { recursive: true, force: true }));
    t.after(async () => {
      for (const cleanup of bench.#cleanups.reverse()) await cleanup();
    });
    return bench;
  }

  after(cleanup: () => Promise<unknown>): void {
    this.#cleanups.push(cleanup);
  }

  path(...names: string[]): string {
    return path.join(this.directory, ...names);
  }

  /** `secretsfs ARGS...`, run in the directory. */
  secretsfs(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
    return run(process.execPath, [this.program, ...args], { env: this.env, cwd: this.directory, ...options });
  }

  /** The same, insisting on success. */
  must(args: readonly string[], options: RunOptions = {}): Promise<string> {
    return must(process.execPath, [this.program, ...args], {
      env: this.env,
      cwd: this.directory,
      ...options,
    });
  }

  /** Starts `secretsfs mount ARGS...`; it is stopped, and its mount gone, after the test. */
  async mount(args: readonly string[], env: NodeJS.ProcessEnv = this.env): Promise<Daemon> {
    const daemon = this.startMount(args, env);
    await daemon.event('ready');
    return daemon;
  }

  /** The same, without waiting until it is ready, and with a descriptor that is not meant for it. */
  startMount(
    args: readonly string[],
    env: NodeJS.ProcessEnv = this.env,
    leaked?: { readonly fd: number; readonly leakedAs: number },
  ): Daemon {
    const stdio: ('ignore' | 'pipe' | number)[] = ['ignore', 'ignore', 'pipe'];
    if (leaked !== undefined) {
      while (stdio.length < leaked.leakedAs) stdio.push('ignore');
      stdio.push(leaked.fd);
    }
    const [command = '', ...argv] = [...this.before, process.execPath, this.program, 'mount', ...args];
    const child = spawn(command, argv, {
      cwd: this.directory,
      env,
      stdio,
    });
    const daemon = new Daemon(child);
    this.after(() => daemon.stop());
    return daemon;
  }

  /** Starts a process of another program, ended after the test. */
  start(
    command: string,
    args: readonly string[],
    options: { readonly env?: NodeJS.ProcessEnv } = {},
  ): ChildProcess {
    const child = spawn(command, args, {
      cwd: this.directory,
      env: options.env ?? this.env,
      stdio: 'inherit',
    });
    this.after(async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = new Promise((resolve) => child.once('close', resolve));
      // Not SIGKILL at once: nginx's master takes its workers with it when it is asked to end.
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), 5_000);
      await ended;
      clearTimeout(timer);
    });
    return child;
  }
}

export interface LogLine {
  readonly event: string;
  readonly [field: string]: unknown;
}

/** A running mount. */
export class Daemon {
  readonly child: ChildProcess;
  readonly lines: LogLine[] = [];
  /** All of it, as it was written. */
  text = '';
  readonly ended: Promise<number | string>;
  #text = '';
  #over = false;
  readonly #listeners = new Set<() => void>();

  constructor(child: ChildProcess) {
    this.child = child;
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      this.text += chunk;
      const parts = (this.#text + chunk).split('\n');
      this.#text = parts.pop() ?? '';
      for (const part of parts) this.lines.push(parseLine(part));
      for (const listener of this.#listeners) listener();
    });
    this.ended = new Promise((resolve) => {
      child.once('close', (code, signal) => {
        this.#over = true;
        for (const listener of this.#listeners) listener();
        resolve(code ?? signal ?? 'unknown');
      });
    });
  }

  count(event: string): number {
    return this.lines.filter((line) => line.event === event).length;
  }

  /** The nth line of an event, as soon as it is there. */
  async event(event: string, nth = 1, timeoutMs = patient(20_000)): Promise<LogLine> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const found = this.lines.filter((line) => line.event === event)[nth - 1];
      if (found !== undefined) return found;
      const leftMs = deadline - Date.now();
      if (this.#over || leftMs <= 0) {
        const why = this.#over ? 'the daemon ended' : `${timeoutMs} ms passed`;
        throw new Error(
          `no event "${event}" number ${nth}: ${why}: ${JSON.stringify(this.lines)} ${this.#text}`,
        );
      }
      await this.#change(leftMs);
    }
  }

  #change(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#listeners.delete(done);
        resolve();
      };
      const timer = setTimeout(done, timeoutMs);
      this.#listeners.add(done);
    });
  }

  /** SIGTERM, and SIGKILL for one that does not end. */
  async stop(): Promise<number | string> {
    if (!this.#over) this.child.kill('SIGTERM');
    const timer = setTimeout(() => this.child.kill('SIGKILL'), patient(10_000));
    try {
      return await this.ended;
    } finally {
      clearTimeout(timer);
    }
  }
}

function parseLine(line: string): LogLine {
  try {
    return JSON.parse(line) as LogLine;
  } catch {
    return { event: 'text', text: line };
  }
}

/** Tries until it succeeds or time is up; then throws the last reason. */
export async function eventually<T>(attempt: () => Promise<T>, timeoutMs = patient(10_000)): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
