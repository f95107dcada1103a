/** One hook: its queue, its probes, what became of its last run. */
import { compileGlob, type Glob } from '../checks/glob.ts';
import type { HookResult, HookStatus } from '../control/protocol.ts';
import { ControlError, describeBug, quote, SecretsfsError } from '../errors.ts';
import type { Activated, FileChange } from '../hooks/changes.ts';
import { type Batch, HookQueue } from '../hooks/queue.ts';
import type { HookSettings } from '../hooks/settings.ts';
import type { Account } from '../system/users.ts';
import { type ActionTools, act, commandsOf } from './hook-actions.ts';
import { HookFailure } from './hook-failure.ts';
import { HookProbes } from './hook-probes.ts';
import { type ProgramEnd, runProgram } from './hook-process.ts';
import type { HooksPorts } from './hooks.ts';
import { checkCommand, checkSocket } from './trusted-command.ts';

/** What a program is told of by name. More of them say no more. */
const PATHS_MAX = 10_000;
/** Before a reload is repeated: a server with many certificates takes its time. */
const LOOK_FIRST_MS_MAX = 10_000;
/** A service that starts when files are served should be up by then; later, the slow probes find it. */
const LOOK_AT_START_MS = 30_000;

interface LastRun {
  readonly startedMs: number;
  readonly generation: number;
  readonly serial: number;
  ms: number;
  error: string | undefined;
}

interface HookAccounts {
  readonly user: Account;
  readonly root: Account;
  /** Who may have haproxy's socket in a directory of its own. */
  readonly socketOwner: Account | undefined;
}

export class Hook {
  readonly settings: HookSettings;
  readonly probes: HookProbes;
  /** Of `run`, and of who speaks to haproxy. Everything else is root's. */
  readonly #user: Account;
  readonly #root: Account;
  readonly #socketOwner: Account | undefined;
  readonly #match: readonly Glob[];
  readonly #mountpoint: string;
  readonly #ports: HooksPorts;
  readonly #queue: HookQueue;
  readonly #abort = new AbortController();
  #live: Activated | undefined;
  #running: Promise<void> = Promise.resolve();
  #last: LastRun | undefined;
  #runs = 0;
  #failures = 0;

  constructor(
    settings: HookSettings,
    { user, root, socketOwner }: HookAccounts,
    mountpoint: string,
    ports: HooksPorts,
  ) {
    this.settings = settings;
    this.#user = user;
    this.#root = root;
    this.#socketOwner = socketOwner;
    this.#match = settings.match.map(compileGlob);
    this.#mountpoint = mountpoint;
    this.#ports = ports;
    this.probes = new HookProbes(settings.name, settings.probes, ports);
    const { nowMs, timers } = ports;
    const run = (batch: Batch) => {
      const running = this.#run(batch);
      this.#running = running.catch(() => undefined);
      return running;
    };
    this.#queue = new HookQueue(settings.debounce, { nowMs, timers, run });
  }

  /** Looks at what it will run and whom it speaks to. Throws ConfigError config-untrusted, config-invalid. */
  check(): void {
    const { action } = this.settings;
    for (const argv of commandsOf(action))
      checkCommand({ argv, user: this.#userOfPrograms }, this.#mountpoint);
    if (action.kind === 'haproxy') checkSocket(action.socket, this.#socketOwner, this.#mountpoint);
  }

  activated(change: Activated): void {
    const { generation, serial, first, changed } = change;
    this.expect(change);
    if (first) {
      if (this.settings.atStart) this.#queue.notice(generation, serial, []);
      else if (this.probes.count > 0) void this.#lookAtStart(generation, serial);
      return;
    }
    const matching = changed.filter(({ path }) => this.#match.some((glob) => glob.match(path) !== undefined));
    if (matching.length > 0) this.#queue.notice(generation, serial, matching);
  }

  /** It is live, and there is nothing to tell of it. */
  expect(change: Activated): void {
    this.#live = { ...change, changed: [] };
    this.probes.expect(change);
  }

  /** Nothing waits, runs, or failed. */
  get isSettled(): boolean {
    return this.#queue.isSettled;
  }

  /** Changes of what is live that were meant for another one in its place. */
  tell(changed: readonly FileChange[]): void {
    if (this.#live !== undefined && changed.length > 0)
      this.activated({ ...this.#live, first: false, changed });
  }

  /** What no run has told; to be asked for once, after stop(). */
  untold(): readonly FileChange[] {
    return this.#queue.untold();
  }

  /** Runs it whatever changed. Throws ControlError hook-failed. */
  async runNow(): Promise<HookResult> {
    const { name } = this.settings;
    if (this.#live === undefined) throw failed(name, 'nothing is served yet');
    try {
      await this.#queue.ask(this.#live.generation, this.#live.serial);
    } catch (error) {
      throw failed(name, error instanceof HookFailure ? error.message : 'the mount is stopping');
    }
    const { generation = 0, serial = 0, ms = 0 } = this.#last ?? {};
    return { hook: name, outcome: 'done', generation, serial, ms };
  }

  status(): HookStatus {
    const last = this.#last;
    const isRunning = this.#queue.state === 'running';
    return {
      name: this.settings.name,
      kind: this.settings.action.kind,
      state: this.#queue.state,
      lastRun:
        last === undefined
          ? null
          : {
              started: new Date(last.startedMs).toISOString(),
              ms: last.ms,
              generation: last.generation,
              serial: last.serial,
            },
      outcome: last === undefined || isRunning ? null : last.error === undefined ? 'done' : 'failed',
      error: isRunning ? null : (last?.error ?? null),
      runs: this.#runs,
      failures: this.#failures,
    };
  }

  /** Kills what runs, and waits until it is gone. */
  async stop(): Promise<void> {
    this.#queue.stop();
    this.#abort.abort();
    await this.#running;
  }

  /** A service that was there before this mount may serve what it had from the one before. */
  async #lookAtStart(generation: number, serial: number): Promise<void> {
    const isOver = () => this.#abort.signal.aborted || this.#queue.state !== 'idle';
    const verdict = await this.probes.look({ withinMs: LOOK_AT_START_MS, isOver, once: true });
    if (verdict === 'wrong' && !isOver()) this.#queue.notice(generation, serial, []);
  }

  async #run(batch: Batch): Promise<void> {
    const { log, nowMs } = this.#ports;
    const { name } = this.settings;
    const { generation, serial, changed } = batch;
    const run: LastRun = { startedMs: nowMs(), generation, serial, ms: 0, error: undefined };
    this.#last = run;
    this.#runs += 1;
    log.info('hook-started', { hook: name, generation, serial, changed: changed.length });
    try {
      await this.#tell(batch, run.startedMs + this.settings.timeout);
      run.ms = Math.round(nowMs() - run.startedMs);
      log.info('hook-done', { hook: name, ms: run.ms });
    } catch (error) {
      run.ms = Math.round(nowMs() - run.startedMs);
      const isTold = error instanceof HookFailure || error instanceof SecretsfsError;
      this.#failures += 1;
      run.error = isTold ? error.message : 'internal error: see the log of the mount';
      if (!isTold) log.error('bug', { error: describeBug(error) });
      log.error('hook-failed', { hook: name, ms: run.ms, error: run.error });
      throw error instanceof HookFailure ? error : new HookFailure(run.error, { cause: error });
    }
  }

  /** Until the new certificate is served; nginx and haproxy are told twice, if they have to be. */
  async #tell(batch: Batch, deadlineMs: number): Promise<void> {
    const { action } = this.settings;
    const leftMs = () => deadlineMs - this.#ports.nowMs();
    const attempts = this.probes.count > 0 && (action.kind === 'nginx' || action.kind === 'haproxy') ? 2 : 1;
    for (let attempt = 1; attempt <= attempts; attempt++) {
      // Each time: what was so when the mount started need not be so now.
      orFail(() => this.check());
      await act(action, this.#tools(batch, leftMs), attempt);
      if (this.probes.count === 0) return;
      const withinMs = attempt < attempts ? Math.min(leftMs() / 2, LOOK_FIRST_MS_MAX) : leftMs();
      const isOver = () => batch.isSuperseded() || this.#abort.signal.aborted;
      const verdict = await this.probes.look({ withinMs, isOver });
      if (verdict === 'served' || verdict === 'unknown' || isOver()) return;
    }
    throw new HookFailure(this.probes.describe());
  }

  get #userOfPrograms(): Account {
    return this.settings.action.kind === 'run' ? this.#user : this.#root;
  }

  #tools(batch: Batch, leftMs: () => number): ActionTools {
    const { log, spawnHaproxyUpdater } = this.#ports;
    const { name } = this.settings;
    const { generation, serial, changed } = batch;
    const program = async (
      argv: readonly [string, ...string[]],
      onLine?: (line: string) => void,
    ): Promise<ProgramEnd> => {
      const told = { generation, serial, mountpoint: this.#mountpoint, changed: changed.slice(0, PATHS_MAX) };
      const more = Math.max(0, changed.length - PATHS_MAX);
      const end = await runProgram({
        argv,
        user: this.#userOfPrograms,
        environment: { SECRETSFS_GENERATION: `${generation}`, SECRETSFS_SERIAL: `${serial}` },
        stdin: Buffer.from(`${JSON.stringify({ ...told, more })}\n`),
        timeoutMs: Math.max(1, leftMs()),
        signal: this.#abort.signal,
        onLine: (stream, line) => {
          if (onLine !== undefined && stream === 'stdout') onLine(line);
          else log.info('hook-output', { hook: name, stream, line });
        },
      });
      if (end.dropped > 0) log.warn('hook-output', { hook: name, dropped: end.dropped });
      return end;
    };
    return {
      mountpoint: this.#mountpoint,
      batch,
      user: this.#user,
      isSocketThere: (path) => orFail(() => checkSocket(path, this.#socketOwner, this.#mountpoint)),
      leftMs,
      program,
      spawnHaproxyUpdater: (user) => {
        const child = spawnHaproxyUpdater(user);
        const kill = () => child.kill();
        const timer = setTimeout(kill, Math.max(1, leftMs()));
        this.#abort.signal.addEventListener('abort', kill, { once: true });
        void child.exited.then(() => {
          clearTimeout(timer);
          this.#abort.signal.removeEventListener('abort', kill);
        });
        return child;
      },
    };
  }
}

function orFail<T>(look: () => T): T {
  try {
    return look();
  } catch (error) {
    throw new HookFailure((error as Error).message, { cause: error });
  }
}

function failed(name: string, why: string): ControlError {
  return new ControlError('hook-failed', `cannot run hook ${quote(name)}: ${why}`, {
    hint: 'the log of the mount has what it said; secretsfs hook run repeats it',
  });
}
