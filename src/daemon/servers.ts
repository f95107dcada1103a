/**
 * The server that answers the kernel, and a warm successor that waits beside it. Exactly one of them has been told to go;
 * when it ends, however it ends, the successor is told within milliseconds, and a new successor is started.
 *
 * A request that was taken and not answered is in the store's request file: the one who takes over answers it. Where the
 * same request ended two servers in a row, the third is told to answer it with an error instead.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { MountError } from '../errors.ts';
import { Backoff } from './backoff.ts';
import type { Message } from './channel.ts';
import type { Child, Exit } from './children.ts';
import type { Log } from './log.ts';

/** A server that is not ready by then never will be. */
const READY_MS_MAX = 20_000;
/** Between starts of a successor that ends before it is ready: the first comes at once, somebody may wait for it. */
const RESTARTS = { firstMs: 0, minMs: 100, maxMs: 5_000 };
/** Deaths over the same recorded request before it is no longer tried. */
const POISON_DEATHS = 2;
/** For one whose start failed: a fork that is refused, a program that is just being replaced. */
const NOT_STARTED = 'it could not be started';

export interface ServersPorts {
  spawn(): Child;
  /** What identifies the request that was taken last: its unique number, as text. */
  recordedRequest(): string;
  /** Called just before a server is told to go. */
  beforeGo(): void;
  /** The active one ended, by itself or by a signal that was not ours to expect. */
  onDeath(): void;
  readonly log: Log;
}

interface Server {
  readonly child: Child;
  readonly startedMs: number;
  /** undefined: it will serve. Otherwise why not. */
  readonly ready: Promise<string | undefined>;
  isReady: boolean;
  /** Nobody is to be told of its end. */
  expected: boolean;
  /** We ended it, because it left a request unanswered. */
  hung: boolean;
}

export interface ServerState {
  readonly role: 'server' | 'successor';
  readonly pid: number;
  readonly startedMs: number;
}

export class Servers {
  readonly #ports: ServersPorts;
  #active: Server | undefined;
  #successor: Server | undefined;
  /** Of an upgrade, as long as it is neither: it gets ready. */
  #fresh: Server | undefined;
  readonly #backoff = new Backoff(() => this.#prepareOrLater(), RESTARTS);
  /** Why there is no successor, though one was started. */
  #problem: string | undefined;
  #restarts = 0;
  #deaths = { request: '', count: 0 };
  #taking: Promise<void> | undefined;
  #stopped = false;

  constructor(ports: ServersPorts) {
    this.#ports = ports;
  }

  /** How often the active one was replaced. */
  get restarts(): number {
    return this.#restarts;
  }

  /** Why nobody could take over from the active one now; undefined: one can, or is being started. */
  get successorProblem(): string | undefined {
    return this.#problem;
  }

  /** The pid that answers the kernel now. */
  get pid(): number | undefined {
    return this.#active?.child.pid;
  }

  states(): ServerState[] {
    const of = (role: ServerState['role'], server: Server | undefined): ServerState[] =>
      server === undefined ? [] : [{ role, pid: server.child.pid, startedMs: server.startedMs }];
    return [...of('server', this.#active), ...of('successor', this.#successor)];
  }

  /** Starts one that waits. Its start-up overlaps with whatever comes before go(). Throws where it can't be started. */
  prepare(): void {
    if (this.#stopped || this.#successor !== undefined) return;
    this.#wait(this.#start());
  }

  #wait(server: Server): void {
    this.#successor = server;
    void server.ready.then((problem) => {
      if (this.#stopped || server.expected) return;
      this.#note(problem);
      if (problem === undefined) return this.#backoff.reset();
      // Its end starts another, after a while: the program may be the right one by then.
      server.child.kill('SIGKILL');
    });
  }

  /** The first server begins, without a successor yet: prepareNext(). Throws MountError where none comes up. */
  async go(): Promise<void> {
    this.prepare();
    const problem = await this.#successor?.ready;
    if (problem !== undefined) throw notReady(problem);
    await this.#takeOver();
    if (this.#active === undefined) throw notReady('it ended');
  }

  /** Starts a successor soon, if there is none: not before the caller has done what it is about to do. */
  prepareNext(): void {
    if (!this.#stopped && this.#successor === undefined) this.#backoff.later();
  }

  /** There is another generation: the successor loads it now, rather than when it is its turn. */
  tellSuccessor(): void {
    this.#successor?.child.channel.send({ load: true });
  }

  /** Kills the active one: the successor takes over. For a server that hangs. */
  kill(): void {
    if (this.#active === undefined) return;
    this.#active.hung = true;
    this.#active.child.kill('SIGKILL');
  }

  /**
   * Replaces both by what is on disk now. `handOver` makes the active one end by itself, between two requests. Throws
   * MountError, and the old ones go on, where the new program does not start or can't read the store.
   */
  async upgrade(handOver: (isGone: Promise<unknown>) => Promise<void>): Promise<void> {
    const fresh = this.#tryToStart();
    this.#fresh = fresh;
    const problem = fresh === undefined ? NOT_STARTED : await fresh.ready;
    this.#fresh = undefined;
    if (this.#stopped) {
      throw new MountError('upgrade-refused', 'cannot upgrade: the mount is stopping', {
        hint: 'the next mount is of the program that is on disk',
      });
    }
    if (fresh === undefined || problem !== undefined) {
      if (fresh !== undefined) {
        fresh.expected = true;
        fresh.child.kill('SIGKILL');
      }
      throw new MountError('upgrade-refused', `cannot upgrade: the new server is not ready: ${problem}`, {
        hint: 'the old one goes on serving; install a version that can, or restart the mount',
      });
    }
    const old = this.#successor;
    this.#successor = fresh;
    this.#note(undefined);
    if (old !== undefined) {
      old.expected = true;
      old.child.kill('SIGKILL');
    }
    const active = this.#active;
    if (active === undefined) return;
    active.expected = true;
    await handOver(active.child.exited);
    if (this.#active === active) {
      active.child.kill('SIGKILL');
      await active.child.exited;
    }
    await this.#taking;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#backoff.cancel();
    const servers = [this.#active, this.#successor, this.#fresh].filter((server) => server !== undefined);
    for (const server of servers) {
      server.expected = true;
      server.child.kill('SIGKILL');
    }
    await Promise.all(servers.map((server) => server.child.exited));
  }

  #start(): Server {
    const child = this.#ports.spawn();
    const ready = new Promise<string | undefined>((resolve) => {
      const timer = setTimeout(() => resolve('it takes too long'), READY_MS_MAX);
      void this.#listen(child, (said) => {
        clearTimeout(timer);
        resolve(said['ready'] === true ? undefined : reasonOf(said['refused']));
      });
      void child.exited.then(({ code, signal }) => {
        clearTimeout(timer);
        resolve(`it ended with ${signal ?? `code ${code}`}`);
      });
    });
    const server: Server = {
      child,
      startedMs: Date.now(),
      ready,
      isReady: false,
      expected: false,
      hung: false,
    };
    void ready.then((problem) => {
      server.isReady = problem === undefined;
    });
    void child.exited.then((how) => this.#ended(server, how));
    return server;
  }

  /** What comes after its first word, that it has loaded what it was told to, is for nobody. */
  async #listen(child: Child, first: (said: Message) => void): Promise<void> {
    try {
      first(await child.channel.receive());
      for (;;) await child.channel.receive();
    } catch {
      // Its end is told by `exited`.
    }
  }

  #ended(server: Server, how: Exit): void {
    const { log, onDeath } = this.#ports;
    const { pid } = server.child;
    if (server === this.#successor) {
      this.#successor = undefined;
      if (this.#stopped) return;
      if (!server.expected && server.isReady) log.warn('successor-died', { pid, ...how });
      this.#backoff.later();
      return;
    }
    if (server !== this.#active) return;
    this.#active = undefined;
    if (this.#stopped) return;
    if (!server.expected) {
      log.error('server-died', { pid, ...how });
      this.#countDeath(server, how);
      onDeath();
    }
    this.#restarts += 1;
    this.#taking = this.#takeOver();
  }

  /** Tells the successor to go; starts one where there is none. Ends when somebody serves, or nobody will. */
  async #takeOver(): Promise<void> {
    while (!this.#stopped && this.#active === undefined) {
      this.#prepareOrLater();
      const next = this.#successor;
      if (next === undefined) {
        await sleep(RESTARTS.minMs);
        continue;
      }
      const problem = await next.ready;
      if (problem !== undefined || this.#successor !== next) {
        await sleep(Math.max(RESTARTS.minMs, this.#backoff.delayMs));
        continue;
      }
      this.#ports.beforeGo();
      next.child.channel.send({ go: true, skip: this.#isPoison() });
      this.#active = next;
      this.#successor = undefined;
      // The first one's has time until the mount is ready: its start would take the CPU that this one needs.
      if (this.#restarts > 0) this.#backoff.later();
    }
  }

  /** Somebody else's kill -9 says nothing of the request that was under way. */
  #countDeath(server: Server, { signal }: Exit): void {
    if (signal === 'SIGKILL' && !server.hung) return;
    const request = this.#ports.recordedRequest();
    const count = this.#deaths.request === request ? this.#deaths.count + 1 : 1;
    this.#deaths = { request, count };
  }

  #isPoison(): boolean {
    const { request, count } = this.#deaths;
    if (count < POISON_DEATHS || request !== this.#ports.recordedRequest()) return false;
    this.#ports.log.error('request-refused', { deaths: count });
    return true;
  }

  /** Undefined, and in the log, where it can't be started. */
  #tryToStart(): Server | undefined {
    try {
      return this.#start();
    } catch (error) {
      this.#ports.log.error('server-not-started', { error: (error as Error).message });
      return undefined;
    }
  }

  #prepareOrLater(): void {
    if (this.#stopped || this.#successor !== undefined) return;
    const server = this.#tryToStart();
    if (server !== undefined) {
      this.#wait(server);
    } else {
      this.#problem = NOT_STARTED;
      this.#backoff.later();
    }
  }

  /** Said when it begins, changes or ends, not at each attempt. */
  #note(problem: string | undefined): void {
    const { log } = this.#ports;
    if (problem === this.#problem) return;
    if (problem !== undefined) log.warn('successor-not-ready', { error: problem });
    else log.info('successor-ready');
    this.#problem = problem;
  }
}

function notReady(problem: string): MountError {
  return new MountError('mount-failed', `cannot start the server: ${problem}`, {
    hint: 'its own lines in the log say more',
  });
}

/** What a server says of a store that it can't serve. */
function reasonOf(refused: unknown): string {
  return refused === 'version' ? 'it does not know the format of the store' : 'it can not read the store';
}
