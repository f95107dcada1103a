/**
 * Queues of SQS: one that somebody made for this instance, or one of our own that is subscribed to a topic and removed at the
 * end. A queue of several instances would bring each message to one of them only.
 */
import type { SQSClient } from '@aws-sdk/client-sqs';
import type { AwsAccess } from '../aws/access.ts';
import { queueError } from '../aws/queue-errors.ts';
import { SecretsfsError } from '../errors.ts';
import type { Queue, QueueMessage } from './queue.ts';

type Messages = Pick<Queue, 'receive' | 'remove'>;

/** As long as SQS can. */
const WAIT_SECONDS = 20;
const BRIEF_WAIT_SECONDS = 1;
const MESSAGES_MAX = 10;
/** Of our own queue: what it holds of one that was not removed is gone soon. */
const RETENTION_SECONDS = 300;
/** A process that ends has two seconds. */
const CLOSE_MS_MAX = 1_500;

/** The region that a queue's URL names; undefined for an endpoint that names none. */
export function regionOfQueue(url: string): string | undefined {
  return /^https?:\/\/(?:sqs(?:-fips)?\.)?([a-z]{2}(?:-[a-z]+)+-\d+)\.(?:queue\.|api\.)?(?:amazonaws|aws)\./.exec(
    url,
  )?.[1];
}

/** A queue that is there. */
export async function openQueue(aws: AwsAccess, url: string): Promise<Queue> {
  const client = await aws.sqs(regionOfQueue(url));
  return { ...(await messagesOf(client, url)), close: async () => undefined };
}

/**
 * A queue of our own that only the topic may send to, subscribed to it. receive() makes what is missing of it, and finds what an
 * earlier attempt, or another process, made under the same name: nothing is removed where a step fails, because SQS refuses a name
 * for a minute after its queue was removed, and that would be all that is heard of. What was made goes with close().
 */
export async function openTopic(
  aws: AwsAccess,
  {
    topic,
    queueName,
    instance,
  }: { readonly topic: string; readonly queueName: string; readonly instance: string },
): Promise<Queue> {
  const [, partition = '', , region = ''] = topic.split(':');
  const { CreateQueueCommand, DeleteQueueCommand, SetQueueAttributesCommand } = await import(
    '../aws/sdk-sqs.ts'
  );
  const { SubscribeCommand, UnsubscribeCommand } = await import('../aws/sdk-sns.ts');
  const [sqs, sns] = await Promise.all([aws.sqs(region), aws.sns(region)]);
  let url: string | undefined;
  let subscription: string | undefined;
  let messages: Messages | undefined;

  const make = async (): Promise<Messages> => {
    const create = new CreateQueueCommand({
      QueueName: queueName,
      Attributes: { MessageRetentionPeriod: String(RETENTION_SECONDS) },
      tags: { 'secretsfs-instance': instance, 'secretsfs-topic': topic },
    });
    const needs = 'sqs:CreateQueue and sqs:TagQueue';
    const { QueueUrl = '' } = await step(sqs.send(create), 'make the queue', queueName, needs);
    url = QueueUrl;
    const queueArn = `arn:${partition}:sqs:${region}:${accountOfQueue(url)}:${queueName}`;
    const allow = new SetQueueAttributesCommand({
      QueueUrl: url,
      Attributes: { Policy: JSON.stringify(policyOf(queueArn, topic)) },
    });
    await step(sqs.send(allow), 'set the policy of the queue', queueName, 'sqs:SetQueueAttributes');
    const subscribe = new SubscribeCommand({
      TopicArn: topic,
      Protocol: 'sqs',
      Endpoint: queueArn,
      Attributes: { RawMessageDelivery: 'true' },
      ReturnSubscriptionArn: true,
    });
    const subscribed = await step(sns.send(subscribe), 'subscribe to the topic', topic, 'sns:Subscribe');
    subscription = subscribed.SubscriptionArn;
    return messagesOf(sqs, url);
  };
  return {
    async receive(signal, briefly) {
      messages ??= await make();
      try {
        return await messages.receive(signal, briefly);
      } catch (error) {
        if (error instanceof SecretsfsError && error.code === 'queue-missing') messages = undefined;
        throw error;
      }
    },
    remove: async (received) => messages?.remove(received),
    async close() {
      const bounded = () => ({ abortSignal: AbortSignal.timeout(CLOSE_MS_MAX) });
      // What is left of it is empty within minutes, and is to be reaped by its tags (docs/noticing.md).
      await Promise.allSettled([
        subscription && sns.send(new UnsubscribeCommand({ SubscriptionArn: subscription }), bounded()),
        url && sqs.send(new DeleteQueueCommand({ QueueUrl: url }), bounded()),
      ]);
    },
  };
}

/** Throws SecretsfsError. */
async function step<T>(answer: Promise<T>, what: string, name: string, action: string): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    throw queueError(error, what, name, action);
  }
}

/** https://sqs.REGION.amazonaws.com/ACCOUNT/NAME */
function accountOfQueue(url: string): string {
  return new URL(url).pathname.split('/')[1] ?? '';
}

function policyOf(queueArn: string, topic: string) {
  return {
    Version: '2012-10-17',
    Statement: [
      {
        Effect: 'Allow',
        Principal: { Service: 'sns.amazonaws.com' },
        Action: 'sqs:SendMessage',
        Resource: queueArn,
        Condition: { ArnEquals: { 'aws:SourceArn': topic } },
      },
    ],
  };
}

async function messagesOf(client: SQSClient, url: string): Promise<Messages> {
  const { DeleteMessageBatchCommand, ReceiveMessageCommand } = await import('../aws/sdk-sqs.ts');
  return {
    async receive(signal, briefly) {
      try {
        const command = new ReceiveMessageCommand({
          QueueUrl: url,
          MaxNumberOfMessages: MESSAGES_MAX,
          WaitTimeSeconds: briefly ? BRIEF_WAIT_SECONDS : WAIT_SECONDS,
        });
        const { Messages = [] } = await client.send(command, { abortSignal: signal });
        return Messages.map(({ Body = '', ReceiptHandle = '' }) => ({ body: Body, receipt: ReceiptHandle }));
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        throw queueError(error, 'listen to the queue', url, 'sqs:ReceiveMessage');
      }
    },
    async remove(messages: readonly QueueMessage[]) {
      const Entries = messages.map(({ receipt }, i) => ({ Id: String(i), ReceiptHandle: receipt }));
      await client.send(new DeleteMessageBatchCommand({ QueueUrl: url, Entries })).catch((error: unknown) => {
        throw queueError(error, 'remove messages of the queue', url, 'sqs:DeleteMessage');
      });
    },
  };
}
