import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AwsAccess } from '../../../src/aws/access.ts';
import { openTopic } from '../../../src/source/sqs.ts';

const TOPIC = 'arn:aws:sns:eu-west-1:123456789012:uploads';
const URL = 'https://sqs.eu-west-1.amazonaws.com/123456789012/q';
const NAMED = { topic: TOPIC, queueName: 'q', instance: 'web' };
const { signal } = new AbortController();

/** SQS and SNS that answer what `answers` says, by command; a function may throw. SQS refuses names as the real one does. */
function setUp(answers: Record<string, () => object> = {}) {
  const calls: string[] = [];
  let removed = false;
  const client = {
    async send(command: object) {
      const name = command.constructor.name.replace(/Command$/, '');
      calls.push(name);
      if (name === 'CreateQueue' && removed) throw failure('QueueDeletedRecently', 400);
      if (name === 'DeleteQueue') removed = true;
      const answer = answers[name]?.();
      if (answer !== undefined) return answer;
      if (name === 'CreateQueue') return { QueueUrl: URL };
      return name === 'Subscribe' ? { SubscriptionArn: `${TOPIC}:1` } : {};
    },
  };
  const aws = { sqs: async () => client, sns: async () => client } as unknown as AwsAccess;
  return { calls, open: () => openTopic(aws, NAMED) };
}

const failure = (name: string, httpStatusCode: number) =>
  Object.assign(new Error('no'), { name, $metadata: { httpStatusCode }, $fault: 'client' });

test('what a queue of our own fails in is told each time, and what was made of it goes in the end', async () => {
  let denied = true;
  const { calls, open } = setUp({
    Subscribe: () => {
      if (denied) throw failure('AuthorizationErrorException', 403);
      return { SubscriptionArn: `${TOPIC}:1` };
    },
  });
  const queue = await open();
  for (let i = 0; i < 3; i++) {
    await assert.rejects(queue.receive(signal, true), {
      code: 'queue-denied',
      message: /subscribe to the topic/,
    });
  }
  denied = false;
  assert.deepEqual(await queue.receive(signal, true), []);
  await queue.receive(signal, true);
  await queue.close();
  assert.deepEqual(calls.slice(-7), [
    'CreateQueue',
    'SetQueueAttributes',
    'Subscribe',
    'ReceiveMessage',
    'ReceiveMessage',
    'Unsubscribe',
    'DeleteQueue',
  ]);
});

test('a queue that was never subscribed is removed in the end, and one that was never made needs nothing', async () => {
  const half = setUp({
    Subscribe: () => {
      throw failure('NotFoundException', 404);
    },
  });
  const queue = await half.open();
  await assert.rejects(queue.receive(signal, true), { code: 'queue-missing' });
  await queue.close();
  assert.deepEqual(half.calls.slice(3), ['DeleteQueue']);
  const none = setUp();
  await (await none.open()).close();
  assert.deepEqual(none.calls, []);
});

test('a queue of our own that somebody removed is made anew, and until SQS allows that, the reason is told', async () => {
  let gone = true;
  const { calls, open } = setUp({
    CreateQueue: () => {
      if (gone && calls.length > 4) throw failure('QueueDeletedRecently', 400);
      return { QueueUrl: URL };
    },
    ReceiveMessage: () => {
      if (gone) throw failure('QueueDoesNotExist', 400);
      return {};
    },
  });
  const queue = await open();
  await assert.rejects(queue.receive(signal, true), { code: 'queue-missing' });
  await assert.rejects(queue.receive(signal, true), { code: 'queue-unreachable', message: /last minute/ });
  gone = false;
  assert.deepEqual(await queue.receive(signal, true), []);
});
