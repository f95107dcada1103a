/**
 * Between the supervisor and its agent: one line of JSON a message, over a stream socket. The agent talks to the network
 * and to whoever may use the control socket, so the supervisor takes nothing from it but what is here: that something may
 * be new, that nothing is, and the operations of the control socket.
 *
 *   agent → supervisor      {"event":"changed"} {"event":"unchanged","revision":"R"} {"ask":1,"op":"status"} {"pong":1}
 *   supervisor → agent      the task, first; {"revision":"R"} {"ping":1} {"answer":1,"ok":true,"result":…}
 *                           {"answer":1,"ok":false,"error":{"code":…,"message":…,"exitCode":…}}
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
import { SecretsfsError } from '../errors.ts';
import type { Channel, Message } from './channel.ts';

/** A revision is an S3 version and an ETag, each at most about a kilobyte. */
export const REVISION_LENGTH_MAX = 4096;
/** Questions that wait for their answers. Waiting for a mount to be ready is one, however many wait. */
export const ASKS_MAX = 64;
export const awsSettingsSchema = z.strictObject({
  profile: z.string().optional(),
  region: z.string().optional(),
  roleArn: z.string().optional(),
  externalId: z.string().optional(),
  forcePathStyle: z.boolean().optional(),
  likelyRegion: z.string().optional(),
});
/** What AwsAccess takes beside the environment. */
export type AwsSettings = z.infer<typeof awsSettingsSchema>;

export const agentTaskSchema = z.strictObject({
  /** Absolute, or s3://…. */
  location: z.string(),
  pollMs: z.number().positive(),
  aws: awsSettingsSchema,
  /** What a check is made against; null: anything is new. */
  revision: z.string().nullable(),
  /** Whether there is a status socket, after the control socket. */
  statusSocket: z.boolean(),
});
export type AgentTask = z.infer<typeof agentTaskSchema>;

const agentMessageSchema = z.union([
  z.strictObject({ event: z.literal('changed') }),
  z.strictObject({ event: z.literal('unchanged'), revision: z.string().max(REVISION_LENGTH_MAX) }),
  z.strictObject({ ask: z.int().min(1), op: z.enum(OPERATIONS), args: argumentsSchema.optional() }),
  z.strictObject({ pong: z.int() }),
]);
export type AgentMessage = z.infer<typeof agentMessageSchema>;

const answerSchema = z.discriminatedUnion('ok', [
  z.object({ answer: z.int(), ok: z.literal(true), result: z.unknown() }),
  z.object({ answer: z.int(), ok: z.literal(false), error: failureSchema }),
]);
export const supervisorMessageSchema = z.union([
  z.strictObject({ revision: z.string() }),
  z.strictObject({ ping: z.int() }),
  answerSchema,
]);
export type SupervisorMessage = z.infer<typeof supervisorMessageSchema>;

export interface AgentEvents {
  /** There may be something new. */
  changed(): void;
  /** This is still what the source has. */
  unchanged(revision: string): void;
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
  readonly #operations: Operations;
  readonly #events: AgentEvents;
  #asks = 0;
  #closed = false;

  /** Sends the task, and listens. */
  constructor(channel: Channel, task: AgentTask, operations: Operations, events: AgentEvents) {
    this.#channel = channel;
    this.#operations = operations;
    this.#events = events;
    channel.send(task);
    void this.#listen();
  }

  /** What is to be checked against from now on. */
  tellRevision(revision: string): void {
    this.#channel.send({ revision } satisfies SupervisorMessage);
  }

  /** Asks whether it still listens: AgentEvents.alive. */
  ping(ping: number): void {
    this.#channel.send({ ping } satisfies SupervisorMessage);
  }

  /** The agent sees the end, lets answers out that it has, and ends: to be waited for, or they are lost. */
  close(): void {
    this.#closed = true;
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
    } else if ('pong' in message) this.#events.alive?.(message.pong);
    else if (message.event === 'changed') this.#events.changed();
    else this.#events.unchanged(message.revision);
  }

  async #answer(ask: number, op: keyof Operations, args: Arguments): Promise<void> {
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
    this.#channel.close();
    this.#events.closed(why);
  }
}
