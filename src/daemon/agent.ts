/**
 * The agent: watches the bundle's source and answers on the sockets of the mount, as a user of its own, with neither the
 * FUSE connection nor a byte of what is served. All it can do is to ask the supervisor (agent-channel.ts).
 *
 * Descriptors: 3 the channel to the supervisor, 4 the listening control socket, 5 the listening status socket or, where
 * there is none, /dev/null, 6 the listening socket of metrics.
 */
import { Socket } from 'node:net';
import { AwsAccess } from '../aws/access.ts';
import type {
  Arguments,
  HookResult,
  RemountResult,
  Status,
  UnmountResult,
  UpgradeResult,
} from '../control/protocol.ts';
import { type ControlServer, type Operations, serveListening } from '../control/server.ts';
import { ControlError, describeBug, isErrorCode, SecretsfsError } from '../errors.ts';
import { CallCounts, type CallTotal } from '../metrics/calls.ts';
import type { Snapshot } from '../metrics/snapshot.ts';
import type { Queue } from '../source/queue.ts';
import type { Source, Watch } from '../source/source.ts';
import {
  type AgentMessage,
  type AgentOperations,
  type AgentTask,
  ASKS_MAX,
  parseAgentTask,
  type QueueTask,
  supervisorMessageSchema,
  toldError,
  type WatchTask,
} from './agent-channel.ts';
import { Channel, ChannelError, type Message } from './channel.ts';
import { CHILD_EXIT_WRONG, enterChild, exitWith, writeToLog } from './child.ts';
import { MetricsEndpoints } from './metrics.ts';
import { probeTls } from './probes.ts';
import { openQueueOf } from './queues.ts';
import type { Looked } from './rotation-ports.ts';
import { createSource } from './sources.ts';
import { watchSources } from './watching.ts';

const CHANNEL_FD = 3;
const CONTROL_FD = 4;
const STATUS_FD = 5;
const METRICS_FD = 6;
const SOCKET = /^socket:/;
/** Answers that are still to go out when the supervisor has ended. */
const CLOSE_MS_MAX = 2_000;

export interface AgentPorts {
  readonly channel: Channel;
  readonly controlFd: number;
  readonly statusFd: number;
  readonly metricsFd: number;
  createSources(task: WatchTask): readonly Source[];
  openQueue(queue: QueueTask, task: WatchTask): Promise<Queue>;
  /** Of AWS, that it made. */
  calls(): readonly CallTotal[];
  /** For bugs: their class and place. */
  log(line: string): void;
}

/** Serves until the supervisor closes the channel, or says what no supervisor says. Throws MountError for one of another version. */
export async function serveAgent(ports: AgentPorts): Promise<void> {
  await new Agent(ports).ended;
}

/** The agent as a process. Never returns. */
export async function runAgent(): Promise<never> {
  enterChild({ role: 'agent', fds: [SOCKET, SOCKET, /^(socket:|\/dev\/null$)/, SOCKET] });
  const calls = new CallCounts();
  const onCall = calls.add.bind(calls);
  const log = (line: string) => writeToLog(`${line}\n`);
  await serveAgent({
    channel: new Channel(new Socket({ fd: CHANNEL_FD, readable: true, writable: true })),
    controlFd: CONTROL_FD,
    statusFd: STATUS_FD,
    metricsFd: METRICS_FD,
    calls: () => calls.totals(),
    createSources: ({ sources }) =>
      sources.map(({ location, aws }) =>
        createSource(location, new AwsAccess({ env: process.env, onCall, ...aws })),
      ),
    openQueue: (queue, { aws }) => openQueueOf(queue, new AwsAccess({ env: process.env, onCall, ...aws })),
    log,
  }).catch((error: unknown) => {
    if (error instanceof SecretsfsError)
      exitWith('agent', `${error.message}: ${error.hint}`, CHILD_EXIT_WRONG);
    log(JSON.stringify({ level: 50, event: 'bug', error: describeBug(error) }));
  });
  process.exit();
}

interface Asked {
  resolve(result: unknown): void;
  reject(error: Error): void;
}

class Agent {
  readonly ended: Promise<void>;
  readonly #ports: AgentPorts;
  readonly #asked = new Map<number, Asked>();
  #end: (error?: Error) => void = () => undefined;
  #nextAsk = 1;
  #waiting: Promise<Status> | undefined;
  /** Of each bundle. */
  #known: WatchTask['known'][] = [];
  #watches: Watch[] = [];
  #control: Promise<ControlServer> | undefined;
  #metrics: MetricsEndpoints | undefined;

  constructor(ports: AgentPorts) {
    this.#ports = ports;
    const over = new Promise<void>((resolve, reject) => {
      this.#end = (error) => (error === undefined ? resolve() : reject(error));
    });
    this.ended = over.finally(() => this.#close());
    void this.#listen();
  }

  async #listen(): Promise<void> {
    try {
      const task = parseAgentTask(await this.#ports.channel.receive());
      if (task === undefined) throw new Error('the first message is no task');
      this.#start(task);
      for (;;) this.#take(await this.#ports.channel.receive());
    } catch (error) {
      // The end, or what ends it.
      this.#end(error instanceof ChannelError ? undefined : (error as Error));
    }
  }

  #take(said: Message): void {
    const message = supervisorMessageSchema.safeParse(said).data;
    // A newer supervisor may say more.
    if (message === undefined) return;
    if ('known' in message) {
      this.#known[message.part] = message.known;
      return;
    }
    if ('ping' in message) {
      this.#send({ pong: message.ping });
      return;
    }
    if ('probe' in message) {
      const { probe, ...request } = message;
      void probeTls(request).then((answer) => this.#send({ probed: probe, ...answer }));
      return;
    }
    const asked = this.#asked.get(message.answer);
    this.#asked.delete(message.answer);
    if (message.ok) {
      asked?.resolve(message.result);
      return;
    }
    const { code, hint } = message.error;
    const error = isErrorCode(code) ? new SecretsfsError(code, message.error.message, { hint }) : undefined;
    asked?.reject(error ?? new Error('the supervisor met a bug'));
  }

  #start(task: AgentTask): void {
    this.#known = task.parts.map(({ known }) => known);
    const { controlFd, statusFd } = this.#ports;
    this.#control = serveListening({
      controlFd,
      statusFd: task.statusSocket ? statusFd : undefined,
      operations: this.#operations(),
      // The supervisor has told its log.
      onBug: () => undefined,
    });
    this.#control.catch((error: Error) => this.#end(error));
    this.#serveMetrics(task.metrics);
    for (const [part, watched] of task.parts.entries()) this.#watch(watched, part);
  }

  #watch(task: WatchTask, part: number): void {
    const { pollMs, spreadMs, queue } = task;
    const { createSources, openQueue, log } = this.#ports;
    const bug = (description: string) => log(JSON.stringify({ level: 50, event: 'bug', error: description }));
    try {
      const watch = watchSources(
        { pollMs, spreadMs },
        {
          sources: createSources(task),
          openQueue: queue === null ? undefined : () => openQueue(queue, task),
          known: (source) => this.#known[part]?.[source] ?? undefined,
          looked: (looks) => this.#send({ event: 'looked', part, looks: looks.map(toldLook) }),
          state: (state) => this.#send({ event: 'noticing', part, ...state }),
          bug,
        },
      );
      this.#watches.push(watch);
    } catch (error) {
      // A location that can't be watched was not taken by the supervisor either; the sockets are to be answered on.
      bug(describeBug(error));
    }
  }

  #serveMetrics({ listen, fileLabels }: AgentTask['metrics']): void {
    const { metricsFd: fd, calls, log } = this.#ports;
    const endpoints = new MetricsEndpoints(
      { listen: listen ?? undefined, fileLabels },
      {
        snapshot: () => this.#ask<Snapshot>('metrics'),
        calls,
        onNotListening: (error) =>
          log(JSON.stringify({ level: 40, event: 'metrics-not-listening', ...listen, error })),
        onNotLoaded: (error) => log(JSON.stringify({ level: 40, event: 'metrics-not-listening', error })),
      },
    );
    this.#metrics = endpoints;
    endpoints.start({ fd }).catch((error: Error) => this.#end(error));
  }

  #operations(): Operations {
    return {
      status: () => this.#ask<Status>('status'),
      // Who waits and goes away must leave nothing behind at the supervisor: all of them wait for one answer.
      wait: () => {
        this.#waiting ??= this.#ask<Status>('wait').finally(() => {
          this.#waiting = undefined;
        });
        return this.#waiting;
      },
      remount: (args) => this.#ask<RemountResult>('remount', args),
      unmount: () => this.#ask<UnmountResult>('unmount'),
      upgrade: () => this.#ask<UpgradeResult>('upgrade'),
      hook: (args) => this.#ask<HookResult>('hook', args),
    };
  }

  /** The answer goes to the client as it is: client and supervisor know what it is. */
  #ask<T>(op: keyof AgentOperations, args: Arguments = {}): Promise<T> {
    if (this.#asked.size >= ASKS_MAX) {
      return Promise.reject(
        new ControlError('control-busy', `cannot ${op}: ${ASKS_MAX} requests wait already`, {
          hint: 'try again in a moment; the log of the mount says what it is doing',
        }),
      );
    }
    const ask = this.#nextAsk++;
    return new Promise<T>((resolve, reject) => {
      this.#asked.set(ask, { resolve: (result) => resolve(result as T), reject });
      this.#send({ ask, op, ...(Object.keys(args).length === 0 ? {} : { args }) });
    });
  }

  #send(message: AgentMessage): void {
    this.#ports.channel.send(message);
  }

  async #close(): Promise<void> {
    for (const { reject } of this.#asked.values()) reject(stopping());
    this.#asked.clear();
    // Rejections become answers first.
    await new Promise((resolve) => setImmediate(resolve));
    const timer = new Promise((resolve) => setTimeout(resolve, CLOSE_MS_MAX).unref());
    const control = this.#control?.then((server) => server.close()).catch(() => undefined);
    await Promise.race([
      Promise.all([control, this.#metrics?.close(), ...this.#watches.map((watch) => watch.close())]),
      timer,
    ]);
    this.#ports.channel.close();
  }
}

function toldLook(look: Looked): Extract<AgentMessage, { event: 'looked' }>['looks'][number] {
  if (look.outcome === 'failed') return { outcome: 'failed', error: toldError(look.error) };
  if (look.outcome !== 'changed') return look;
  return { outcome: 'changed', ...(look.revision === undefined ? {} : { revision: look.revision }) };
}

function stopping(): ControlError {
  return new ControlError('control-not-running', 'cannot answer: the mount is stopping, or being upgraded', {
    hint: 'try again; where it stopped, its log says why',
  });
}
