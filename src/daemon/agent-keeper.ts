/**
 * Keeps an agent running: starts another when one ends or hangs, tells each what to watch and what is live. It speaks to the
 * network, so nothing it says is believed: a hint costs one conditional look by an unsealer, and not more than one a second.
 */
import type { Operations } from '../control/server.ts';
import { describeBug } from '../errors.ts';
import { AgentLink, type AgentTask } from './agent-channel.ts';
import type { Child } from './children.ts';
import type { Log } from './log.ts';

/** Between starts of an agent that ends at once. */
const RESTART_MS_MIN = 100;
const RESTART_MS_MAX = 10_000;
/** One that lived so long begins anew. */
const STEADY_MS = 30_000;
/** Hints that come faster are one: each starts a process. */
const HINT_EVERY_MS = 1_000;
/** How often it is asked whether it still listens, and how many answers in a row may be missing. */
const PING_EVERY_MS = 3_000;
const PONGS_MISSING_MAX = 2;
/** Its last answers go out within this, or not at all. */
const STOP_MS_MAX = 2_000;

export interface AgentPorts {
  spawn(): Child;
  readonly task: Omit<AgentTask, 'revision'>;
  onChanged(): void;
  onUnchanged(revision: string): void;
  readonly operations: Operations;
  readonly log: Log;
}

export class AgentKeeper {
  readonly #ports: AgentPorts;
  #child: Child | undefined;
  #link: AgentLink | undefined;
  #startedMs = 0;
  #pinged = 0;
  #answered = 0;
  #pingTimer: NodeJS.Timeout | undefined;
  #restarts = -1;
  #restartMs = RESTART_MS_MIN;
  #restartTimer: NodeJS.Timeout | undefined;
  #revision: string | null = null;
  #hintTimer: NodeJS.Timeout | undefined;
  #hintedMs = Number.NEGATIVE_INFINITY;
  #expected = false;
  #stopped = false;

  constructor(ports: AgentPorts) {
    this.#ports = ports;
    this.#start();
  }

  state(): { role: string; pid: number; startedMs: number; restarts: number }[] {
    const pid = this.#child?.pid;
    if (pid === undefined) return [];
    return [{ role: 'agent', pid, startedMs: this.#startedMs, restarts: this.#restarts }];
  }

  /** What is live, so that the agent need not wonder about it. */
  tell(revision: string): void {
    this.#revision = revision;
    this.#link?.tellRevision(revision);
  }

  /** Goes over to the program that is on disk now. Who is connected to the control sockets keeps waiting for a moment. */
  restart(): void {
    this.#restartMs = RESTART_MS_MIN;
    this.#expected = true;
    this.#end();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#restartTimer);
    clearTimeout(this.#hintTimer);
    clearInterval(this.#pingTimer);
    this.#end();
    await this.#child?.exited;
  }

  /** It lets answers out that it has, and ends. */
  #end(): void {
    const child = this.#child;
    this.#link?.close();
    const timer = setTimeout(() => child?.kill('SIGKILL'), STOP_MS_MAX);
    void child?.exited.then(() => clearTimeout(timer));
  }

  #start(): void {
    const { spawn, task, operations, onChanged, onUnchanged, log } = this.#ports;
    let child: Child;
    try {
      child = spawn();
    } catch (error) {
      log.warn('agent-not-started', { error: (error as Error).message });
      this.#startLater(this.#restartMs);
      return;
    }
    this.#child = child;
    this.#startedMs = Date.now();
    this.#restarts += 1;
    this.#expected = false;
    this.#link = new AgentLink(child.channel, { ...task, revision: this.#revision }, operations, {
      changed: () => this.#hint(onChanged),
      unchanged: (revision) => {
        onUnchanged(revision);
      },
      alive: (ping) => {
        this.#answered = ping;
      },
      closed: () => child.kill('SIGKILL'),
      bug: (error) => log.error('bug', { error: describeBug(error) }),
    });
    this.#pinged = this.#answered = 0;
    this.#ping(child);
    clearInterval(this.#pingTimer);
    this.#pingTimer = setInterval(() => this.#ping(child), PING_EVERY_MS);
    void child.exited.then((how) => {
      clearInterval(this.#pingTimer);
      this.#child = undefined;
      this.#link = undefined;
      if (this.#stopped) return;
      if (!this.#expected) log.warn('agent-died', { pid: child.pid, ...how });
      if (Date.now() - this.#startedMs > STEADY_MS) this.#restartMs = RESTART_MS_MIN;
      this.#startLater(this.#expected ? 0 : this.#restartMs);
    });
  }

  #startLater(delayMs: number): void {
    this.#restartTimer = setTimeout(() => this.#start(), delayMs);
    this.#restartMs = Math.min(2 * this.#restartMs, RESTART_MS_MAX);
  }

  /** One that never answered may be of a version that does not know the question. */
  #ping(child: Child): void {
    if (this.#answered > 0 && this.#pinged - this.#answered >= PONGS_MISSING_MAX) {
      this.#ports.log.error('agent-hung', { pid: child.pid });
      child.kill('SIGKILL');
      return;
    }
    this.#pinged += 1;
    this.#link?.ping(this.#pinged);
  }

  #hint(onChanged: () => void): void {
    if (this.#hintTimer !== undefined) return;
    const waitMs = Math.max(0, this.#hintedMs + HINT_EVERY_MS - performance.now());
    this.#hintTimer = setTimeout(() => {
      this.#hintTimer = undefined;
      this.#hintedMs = performance.now();
      onChanged();
    }, waitMs);
  }
}
