/**
 * Keeps an agent running: starts another when one ends or hangs, tells each what to watch and what is live. It speaks to the
 * network, so nothing it says is believed: a hint costs one conditional look by an unsealer, and what it found is taken once a
 * second at the most.
 */
import { describeBug } from '../errors.ts';
import type { ProbeAnswer } from '../hooks/probe-state.ts';
import {
  AgentLink,
  type AgentOperations,
  type AgentTask,
  NO_AGENT,
  type NoticingState,
  type ProbeRequest,
  type WatchTask,
} from './agent-channel.ts';
import type { Child } from './children.ts';
import { type ChildState, KeptChild } from './kept-child.ts';
import type { Log } from './log.ts';
import type { Looked } from './rotation-ports.ts';

/** Looks that come faster are one: a hint starts a process, a failure may be a line of the log. */
const LOOK_EVERY_MS = 1_000;
/** How often it is asked whether it still listens, and how many answers in a row may be missing. */
const PING_EVERY_MS = 3_000;
const PONGS_MISSING_MAX = 2;
/** The same, before its first answer: it starts, for some 20 s at most. */
const FIRST_PONGS_MISSING_MAX = 7;
/** Its last answers go out within this, or not at all. */
const STOP_MS_MAX = 2_000;

export interface AgentPorts {
  spawn(): Child;
  /** What to watch. `restarts`: how often an agent was told to end and another one took its place. */
  task(restarts: number): Omit<AgentTask, 'parts'> & { readonly parts: readonly Omit<WatchTask, 'known'>[] };
  /** Of which bundle. */
  onLooked(looks: readonly Looked[], part: number): void;
  readonly operations: AgentOperations;
  readonly log: Log;
}

/** Of one bundle: what was found last, and when something was told last. */
interface Told {
  looks: readonly Looked[];
  timer: NodeJS.Timeout | undefined;
  atMs: number;
}

export class AgentKeeper {
  readonly #ports: AgentPorts;
  readonly #kept: KeptChild;
  #link: AgentLink | undefined;
  #pinged = 0;
  #answered = 0;
  #pingTimer: NodeJS.Timeout | undefined;
  /** Of each bundle. */
  #known: readonly WatchTask['known'][] = [];
  #noticing: (NoticingState | undefined)[] = [];
  /** Told to end, and replaced. */
  #replaced = 0;
  readonly #told: Told[] = [];

  constructor(ports: AgentPorts) {
    this.#ports = ports;
    const { spawn, log } = ports;
    this.#kept = new KeptChild({
      spawn,
      onStart: (child) => this.#talk(child),
      onGone: () => {
        clearInterval(this.#pingTimer);
        this.#link = undefined;
      },
      onDeath: (how) => log.warn('agent-died', { ...how }),
      onNotStarted: (error) => log.warn('agent-not-started', { error }),
    });
    this.#kept.start();
  }

  state(): ChildState<'agent'>[] {
    return this.#kept.states('agent');
  }

  /** When it looks again, and how its queue is; undefined while that is not known. */
  noticing(part = 0): NoticingState | undefined {
    return this.#link === undefined ? undefined : this.#noticing[part];
  }

  /** Of each source of each bundle, what is known of it, so that the agent need not wonder about it. */
  tell(known: readonly WatchTask['known'][]): void {
    this.#known = known;
    for (const [part, each] of known.entries()) this.#link?.tellKnown(each, part);
  }

  /** Which certificate is served there. Never rejects: without an agent, it is not known. */
  async probe(request: ProbeRequest): Promise<ProbeAnswer> {
    return (await this.#link?.probe(request)) ?? NO_AGENT;
  }

  /** Goes over to the program that is on disk now. Who is connected to the control sockets keeps waiting for a moment. */
  restart(): void {
    this.#replaced += 1;
    this.#kept.restart((child) => this.#end(child));
  }

  async stop(): Promise<void> {
    const { child } = this.#kept;
    for (const told of this.#told) clearTimeout(told?.timer);
    clearInterval(this.#pingTimer);
    this.#kept.stop((last) => this.#end(last));
    await child?.exited;
  }

  /** It lets answers out that it has, and ends. */
  #end(child: Child): void {
    this.#link?.close();
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX);
    void child.exited.then(() => clearTimeout(timer));
  }

  #talk(child: Child): void {
    const { task, operations, log } = this.#ports;
    const { parts, ...rest } = task(this.#replaced);
    const told = { ...rest, parts: parts.map((each, i) => ({ ...each, known: this.#known[i] ?? [] })) };
    this.#link = new AgentLink(child.channel, told, operations, {
      looked: (looks, part) => this.#looked(looks, part),
      noticing: (state, part) => {
        this.#noticing[part] = state;
      },
      alive: (ping) => {
        this.#answered = ping;
      },
      closed: () => child.kill('SIGKILL'),
      bug: (error) => log.error('bug', { error: describeBug(error) }),
    });
    this.#pinged = this.#answered = 0;
    this.#ping(child);
    this.#pingTimer = setInterval(() => this.#ping(child), PING_EVERY_MS);
  }

  #ping(child: Child): void {
    const missingMax = this.#answered === 0 ? FIRST_PONGS_MISSING_MAX : PONGS_MISSING_MAX;
    if (this.#pinged - this.#answered >= missingMax) {
      this.#ports.log.error('agent-hung', { pid: child.pid });
      child.kill('SIGKILL');
      return;
    }
    this.#pinged += 1;
    this.#link?.ping(this.#pinged);
  }

  /** The latest of those that come too fast, of each bundle; but a hint only gives way to a hint. */
  #looked(looks: readonly Looked[], part: number): void {
    const told = this.#told[part] ?? { looks, timer: undefined, atMs: Number.NEGATIVE_INFINITY };
    this.#told[part] = told;
    const waits = told.timer !== undefined;
    if (!waits || isHint(looks) || !isHint(told.looks)) told.looks = looks;
    if (waits) return;
    const waitMs = Math.max(0, told.atMs + LOOK_EVERY_MS - performance.now());
    told.timer = setTimeout(() => {
      told.timer = undefined;
      told.atMs = performance.now();
      this.#ports.onLooked(told.looks, part);
    }, waitMs);
  }
}

function isHint(looks: readonly Looked[]): boolean {
  return looks.some(({ outcome }) => outcome === 'changed');
}
