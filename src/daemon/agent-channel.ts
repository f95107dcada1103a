/**
 * Between the supervisor and its agent: one line of JSON a message, over a stream socket. The agent talks to the network
 * and to whoever may use the control socket, so the supervisor takes nothing from it but what is here: what it found at the
 * sources, when it looks again and how its queue is, which are shown, and the operations of the control socket.
 *
 *   agent → supervisor      {"event":"looked","looks":[{"outcome":"changed","revision":"R"},…]} {"event":"noticing",…}
 *                           {"ask":1,"op":"status"} {"ask":2,"op":"hook","args":{"hook":"web"}} {"pong":1}
 *                           {"probed":1,"serial":"0a01","error":null}
 *   supervisor → agent      the task, first; {"known":[{"revision":"R","is":"live"},…]} {"ping":1}
 *                           {"answer":1,"ok":true,"result":…}
 *                           {"answer":1,"ok":false,"error":{"code":…,"message":…,"exitCode":…}}
 *                           {"probe":1,"address":"127.0.0.1:443","servername":"web.test","timeoutMs":5000}
 */
import * as z from 'zod';
import {
  type Arguments,
  argumentsSchema,
  failureOf,
  failureSchema,
  OPERATIONS,
} from '../control/protocol.ts';
import type { Operations } from '../control/server.ts';
import { escapeInvisible, isErrorCode, MountError, SecretsfsError } from '../errors.ts';
import type { ProbeAnswer } from '../hooks/probe-state.ts';
import { PARTS_MAX } from '../limits.ts';
import type { Snapshot } from '../metrics/snapshot.ts';
import type { Channel, Message } from './channel.ts';
import type { Looked } from './rotation-ports.ts';

/** A revision is an S3 version and an ETag, each at most about a kilobyte. */
export const REVISION_LENGTH_MAX = 4096;
/** Questions that wait for their answers. Waiting for a mount to be ready is one, however many wait. */
export const ASKS_MAX = 64;
/** A probe's answer is this much later than its own time limit at the most. */
const PROBE_GRACE_MS = 2_000;
export const NO_AGENT: ProbeAnswer = { serial: null, error: 'no-agent' };

export const awsSettingsSchema = z.strictObject({
  profile: z.string().optional(),
  region: z.string().optional(),
  roleArn: z.string().optional(),
  externalId: z.string().optional(),
  forcePathStyle: z.boolean().optional(),
  expectedBucketOwner: z.string().optional(),
  likelyRegion: z.string().optional(),
});
/** What AwsAccess takes beside the environment. */
export type AwsSettings = z.infer<typeof awsSettingsSchema>;

/** Sources of one mount, with room to spare. */
const SOURCES_MAX = 16;
/** A message quotes at most a few values of 200 characters. */
const TEXT_LENGTH_MAX = 2000;
/** Cut, on one line, and without what a terminal would obey. */
export const foreignText = z
  .string()
  .transform((value) => escapeInvisible(value.slice(0, TEXT_LENGTH_MAX).replaceAll('\n', ' ')));
export const foreignRevision = z
  .string()
  .min(1)
  .max(REVISION_LENGTH_MAX)
  .refine((value) => !value.includes('\n') && escapeInvisible(value) === value);
const errorCode = z.string().refine(isErrorCode);

const knownSchema = z
  .strictObject({ revision: z.string(), is: z.enum(['live', 'behind', 'refused']) })
  .nullable();

/** Where uploads are heard of: a queue of this instance alone, or a topic for which the agent makes one of this name. */
export const queueTaskSchema = z.union([
  z.strictObject({ url: z.string() }),
  z.strictObject({ topic: z.string(), queueName: z.string(), instance: z.string() }),
]);
export type QueueTask = z.infer<typeof queueTaskSchema>;

/**
 * Of the task: another one with each change of its schema, or of what its fields mean. An agent is of the program on disk, the
 * supervisor of the one that it was started from.
 */
export const AGENT_TASK_VERSION = 2;

/** What is watched for one bundle. */
const watchTaskSchema = z.strictObject({
  /** In their order; a location is absolute, or s3://…. */
  sources: z.array(z.strictObject({ location: z.string(), aws: awsSettingsSchema })).min(1),
  pollMs: z.number().positive(),
  spreadMs: z.number().min(0),
  queue: queueTaskSchema.nullable(),
  /** For the queue. */
  aws: awsSettingsSchema,
  /** Of each source, what a look is made against. */
  known: z.array(knownSchema),
});
export type WatchTask = z.infer<typeof watchTaskSchema>;

/** Which of the bundles a message is about: its place among them. */
const partNumber = z
  .int()
  .min(0)
  .max(PARTS_MAX - 1)
  .default(0);

const agentTaskSchema = z.strictObject({
  /** Of each bundle of the mount, in their order. */
  parts: z.array(watchTaskSchema).min(1).max(PARTS_MAX),
  /** Whether there is a status socket, after the control socket. */
  statusSocket: z.boolean(),
  metrics: z.strictObject({
    listen: z.strictObject({ host: z.string(), port: z.int() }).nullable(),
    fileLabels: z.boolean(),
  }),
});
export type AgentTask = z.infer<typeof agentTaskSchema>;

/** Undefined for what is no task. Throws MountError for one of another version. */
export function parseAgentTask({ version, ...task }: Message): AgentTask | undefined {
  if (version !== AGENT_TASK_VERSION) throw foreignVersion('cannot watch the source');
  return agentTaskSchema.safeParse(task).data;
}

/** A supervisor of another version gave a task. */
export function foreignVersion(what: string): MountError {
  return new MountError('unsealer-failed', `${what}: the running supervisor is of another version`, {
    hint: 'restart the mount: secretsfs upgrade replaces every process but the supervisor',
  });
}

const toldErrorSchema = z.strictObject({
  code: errorCode,
  message: foreignText,
  hint: foreignText.optional(),
});
export type ToldError = z.infer<typeof toldErrorSchema>;

const lookSchema = z.discriminatedUnion('outcome', [
  z.strictObject({ outcome: z.literal('same'), revision: foreignRevision }),
  z.strictObject({ outcome: z.literal('changed'), revision: foreignRevision.optional() }),
  z.strictObject({ outcome: z.literal('failed'), error: toldErrorSchema }),
  z.strictObject({ outcome: z.literal('unasked') }),
]);

const time = z.number().min(0).max(8.64e15);
const queueStateSchema = z.strictObject({
  state: z.enum(['starting', 'listening', 'failing']),
  /** When the last message came that concerns a source. */
  heardMs: time.nullable(),
  messages: z.int().min(0),
  error: toldErrorSchema.nullable(),
});
export type QueueState = z.infer<typeof queueStateSchema>;

const noticingSchema = z.strictObject({
  event: z.literal('noticing'),
  part: partNumber,
  nextLookMs: time.nullable(),
  queue: queueStateSchema.nullable(),
});
/** Of the agent, to be shown. */
export type NoticingState = Omit<z.infer<typeof noticingSchema>, 'event' | 'part'>;

/** What a supervisor can be asked: what control sockets can, and what metrics are made from. */
const ASKED = [...OPERATIONS, 'metrics'] as const;
export interface AgentOperations extends Operations {
  metrics(): Promise<Snapshot>;
}

const agentMessageSchema = z.union([
  z.strictObject({
    event: z.literal('looked'),
    part: partNumber,
    looks: z.array(lookSchema).max(SOURCES_MAX),
  }),
  noticingSchema,
  z.strictObject({ ask: z.int().min(1), op: z.enum(ASKED), args: argumentsSchema.optional() }),
  z.strictObject({ pong: z.int() }),
  z.strictObject({
    probed: z.int().min(1),
    serial: z
      .string()
      .regex(/^([0-9a-f]{2}){1,64}$/)
      .nullable(),
    error: z
      .string()
      .regex(/^[A-Za-z0-9_-]{1,64}$/)
      .nullable(),
  }),
]);
/** As it is said. */
export type AgentMessage = z.input<typeof agentMessageSchema>;

/** A TLS handshake that the agent is to make, to see which certificate is served. */
export const probeSchema = z.strictObject({
  probe: z.int().min(1),
  /** As settings have it: parseAddress(). */
  address: z.string(),
  servername: z.string().optional(),
  timeoutMs: z.int().min(1),
});
export type ProbeRequest = Omit<z.infer<typeof probeSchema>, 'probe'>;

const answerSchema = z.discriminatedUnion('ok', [
  z.object({ answer: z.int(), ok: z.literal(true), result: z.unknown() }),
  z.object({ answer: z.int(), ok: z.literal(false), error: failureSchema }),
]);
export const supervisorMessageSchema = z.union([
  z.strictObject({ known: z.array(knownSchema), part: partNumber }),
  z.strictObject({ ping: z.int() }),
  probeSchema,
  answerSchema,
]);
/** As it is said. */
export type SupervisorMessage = z.input<typeof supervisorMessageSchema>;

/** An error as it is told to the other side. */
export function toldError({ code, message, hint }: SecretsfsError): ToldError {
  return { code, message, ...(hint === undefined ? {} : { hint }) };
}

export interface AgentEvents {
  /** What a look found, of which bundle. */
  looked(looks: readonly Looked[], part: number): void;
  /** When it looks again, and how the queue is. */
  noticing(state: NoticingState, part: number): void;
  /** The answer to a ping(). */
  alive?(ping: number): void;
  /** Once: the agent is gone, or said what no agent says. Whoever started it ends it and starts another. */
  closed(why: string): void;
  /** An operation failed by a bug of ours, after the agent was told so. */
  bug(error: unknown): void;
}

/** The supervisor's end. */
export class AgentLink {
  readonly #channel: Channel;
  readonly #operations: AgentOperations;
  readonly #events: AgentEvents;
  #asks = 0;
  #closed = false;
  #nextProbe = 1;
  readonly #probes = new Map<number, (answer: ProbeAnswer) => void>();

  /** Sends the task, and listens. */
  constructor(channel: Channel, task: AgentTask, operations: AgentOperations, events: AgentEvents) {
    this.#channel = channel;
    this.#operations = operations;
    this.#events = events;
    channel.send({ version: AGENT_TASK_VERSION, ...task });
    void this.#listen();
  }

  /** What is to be looked against from now on, of each source of a bundle. */
  tellKnown(known: WatchTask['known'], part = 0): void {
    this.#channel.send({ known, part } satisfies SupervisorMessage);
  }

  /** Asks whether it still listens: AgentEvents.alive. */
  ping(ping: number): void {
    this.#channel.send({ ping } satisfies SupervisorMessage);
  }

  /** What the agent found; never rejects. One that does not answer is as good as a server that does not. */
  probe(request: ProbeRequest): Promise<ProbeAnswer> {
    const probe = this.#nextProbe++;
    return new Promise((resolve) => {
      const timer = setTimeout(() => settle(NO_AGENT), request.timeoutMs + PROBE_GRACE_MS);
      const settle = (answer: ProbeAnswer) => {
        clearTimeout(timer);
        this.#probes.delete(probe);
        resolve(answer);
      };
      if (this.#closed) return settle(NO_AGENT);
      this.#probes.set(probe, settle);
      this.#channel.send({ probe, ...request } satisfies SupervisorMessage);
    });
  }

  /** The agent sees the end, lets answers out that it has, and ends: to be waited for, or they are lost. */
  close(): void {
    this.#closed = true;
    this.#forgetProbes();
    this.#channel.end();
  }

  async #listen(): Promise<void> {
    try {
      while (!this.#closed) this.#take(await this.#channel.receive());
    } catch (error) {
      this.#close((error as Error).message);
    }
  }

  #take(said: Message): void {
    const message = agentMessageSchema.safeParse(said).data;
    if (this.#closed) return;
    if (message === undefined) this.#close('a message that no agent sends');
    else if ('ask' in message) {
      if (this.#asks >= ASKS_MAX) this.#close('more questions than an agent asks');
      else void this.#answer(message.ask, message.op, message.args ?? {});
    } else if ('probed' in message) {
      // One that nobody waits for any more is late.
      this.#probes.get(message.probed)?.({ serial: message.serial, error: message.error });
    } else if ('pong' in message) this.#events.alive?.(message.pong);
    else if (message.event === 'noticing') {
      const { nextLookMs, queue, part } = message;
      this.#events.noticing({ nextLookMs, queue }, part);
    } else this.#events.looked(message.looks.map(lookedOf), message.part);
  }

  async #answer(ask: number, op: keyof AgentOperations, args: Arguments): Promise<void> {
    this.#asks++;
    try {
      const result = await this.#operations[op](args);
      this.#channel.send({ answer: ask, ok: true, result } satisfies SupervisorMessage);
    } catch (error) {
      if (!(error instanceof SecretsfsError)) this.#events.bug(error);
      const failure =
        error instanceof SecretsfsError
          ? failureOf(error)
          : { code: 'bug', message: 'internal error: see the log of the mount', exitCode: 1 };
      this.#channel.send({ answer: ask, ok: false, error: failure } satisfies SupervisorMessage);
    } finally {
      this.#asks--;
    }
  }

  #close(why: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#forgetProbes();
    this.#channel.close();
    this.#events.closed(why);
  }

  #forgetProbes(): void {
    for (const settle of [...this.#probes.values()]) settle(NO_AGENT);
  }
}

function lookedOf(look: z.infer<typeof lookSchema>): Looked {
  if (look.outcome === 'changed') return { outcome: 'changed', revision: look.revision };
  if (look.outcome !== 'failed') return look;
  const { code, message, hint } = look.error;
  return { outcome: 'failed', error: new SecretsfsError(code, message, { hint }) };
}
