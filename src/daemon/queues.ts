/** The queue that a mount was told of, as it is opened. */
import type { AwsAccess } from '../aws/access.ts';
import type { Queue } from '../source/queue.ts';
import type { QueueTask } from './agent-channel.ts';

export async function openQueueOf(task: QueueTask, aws: AwsAccess): Promise<Queue> {
  // Most mounts have none.
  const { openQueue, openTopic } = await import('../source/sqs.ts');
  return 'url' in task ? openQueue(aws, task.url) : openTopic(aws, task);
}
