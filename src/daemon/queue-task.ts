/** What an agent is told of a queue. Here and not in queues.ts: the supervisor, which says it, must not be able to open one. */
import type { QueueTask } from './agent-channel.ts';

/** SQS allows 80 characters. */
const INSTANCE_LENGTH_MAX = 48;

/**
 * `ownId` tells this mount from all others. `restarts` is in the name because SQS refuses one for a minute after its queue was
 * removed: one agent that follows another that was told to end needs another queue; one that follows one that died takes over.
 */
export function queueTaskOf(
  queue: { readonly url: string } | { readonly topic: string },
  instance: string,
  ownId: string,
  restarts: number,
): QueueTask {
  if ('url' in queue) return { url: queue.url };
  const shown = instance.replaceAll(/[^A-Za-z0-9_-]/g, '-').slice(0, INSTANCE_LENGTH_MAX);
  return { topic: queue.topic, queueName: `secretsfs-${shown}-${ownId}-${restarts}`, instance };
}
