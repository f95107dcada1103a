/** The agent of a supervisor: when it starts, and what it is told. */
import { randomBytes } from 'node:crypto';
import type { Snapshot } from '../metrics/snapshot.ts';
import type { ProcessUsers } from '../system/process-users.ts';
import type { NoticingState } from './agent-channel.ts';
import { AgentKeeper, type AgentPorts } from './agent-keeper.ts';
import type { ControlSockets } from './control-sockets.ts';
import type { Log } from './log.ts';
import type { Parts } from './parts.ts';
import { spawnAgent } from './processes.ts';
import type { SupervisorOptions } from './supervisor-options.ts';
import { watchTasks } from './watch-tasks.ts';

/** A start that takes longer should be able to say what it waits for. */
const AFTER_MS = 1_000;

export interface SupervisorAgentPorts {
  /** Those of now. */
  options(): SupervisorOptions;
  readonly users: ProcessUsers;
  /** Those that it answers. */
  readonly sockets: ControlSockets;
  /** The mount is at its end. */
  isEnding(): boolean;
  readonly parts: Pick<Parts, 'known' | 'noteLook'>;
  readonly operations: Omit<AgentPorts['operations'], 'metrics'>;
  snapshot(): Snapshot;
  readonly log: Log;
}

export class SupervisorAgent {
  readonly #ports: SupervisorAgentPorts;
  readonly #ownId = randomBytes(6).toString('hex');
  #timer: NodeJS.Timeout | undefined;
  #keeper: AgentKeeper | undefined;

  constructor(ports: SupervisorAgentPorts) {
    this.#ports = ports;
  }

  /** Starts it, unless startNow() does before. */
  startSoon(): void {
    this.#timer = setTimeout(() => this.startNow(), AFTER_MS);
  }

  /** Once, and not at the end of the mount. */
  startNow(): void {
    clearTimeout(this.#timer);
    if (this.#keeper !== undefined || this.#ports.isEnding()) return;
    this.#keeper = this.#keep();
    this.tell();
  }

  /** One that is not started yet is not started any more. */
  hold(): void {
    clearTimeout(this.#timer);
  }

  /** What need not be looked at again, so that a poll without news costs no unsealer. */
  tell(): void {
    this.#keeper?.tell(this.#ports.parts.known());
  }

  /** With the options of now, and the program that is on disk. */
  restart(): void {
    this.#keeper?.restart();
  }

  /** Of each bundle, by its place. */
  noticing(part: number): NoticingState | undefined {
    return this.#keeper?.noticing(part);
  }

  get state(): ReturnType<AgentKeeper['state']> {
    return this.#keeper?.state() ?? [];
  }

  /** undefined: not started yet. */
  get keeper(): AgentKeeper | undefined {
    return this.#keeper;
  }

  async stop(): Promise<void> {
    await this.#keeper?.stop();
  }

  #keep(): AgentKeeper {
    const { options, users, sockets, parts, operations, snapshot, log } = this.#ports;
    return new AgentKeeper({
      spawn: () => spawnAgent(users.agent, sockets, log),
      task: (restarts) => ({
        parts: watchTasks(options(), this.#ownId, restarts),
        statusSocket: sockets.statusFd !== undefined,
        metrics: { ...options().metrics, listen: options().metrics.listen ?? null },
      }),
      onLooked: (looks, part) => parts.noteLook(part, looks),
      operations: { ...operations, metrics: async () => snapshot() },
      log,
    });
  }
}
