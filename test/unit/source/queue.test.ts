import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SourceError } from '../../../src/errors.ts';
import { listenToQueue, type Queue, type QueueMessage, type QueueStatus } from '../../../src/source/queue.ts';
import { messageConcerns } from '../../../src/source/queue-message.ts';
import { regionOfQueue } from '../../../src/source/sqs.ts';
import { VirtualTime } from '../../support/virtual-time.ts';

const PLACES = [{ bucket: 'bundles', key: 'web/a b+c.enc' }];
const record = (bucket: string, key: string) => ({
  eventSource: 'aws:s3',
  eventName: 'ObjectCreated:Put',
  s3: { bucket: { name: bucket }, object: { key, versionId: 'v' } },
});
const fromS3 = (...places: [string, string][]) => ({ Records: places.map(([b, k]) => record(b, k)) });
const OURS = fromS3(['bundles', 'web/a+b%2Bc.enc']);
const wrapped = (message: unknown) => ({
  Type: 'Notification',
  TopicArn: 'arn:aws:sns:eu-west-1:1:t',
  Message: typeof message === 'string' ? message : JSON.stringify(message),
});
const fromEventBridge = (key: string) => ({
  version: '0',
  'detail-type': 'Object Created',
  source: 'aws.s3',
  detail: { bucket: { name: 'bundles' }, object: { key, size: 1 } },
});
const concerns = (message: unknown) =>
  messageConcerns(typeof message === 'string' ? message : JSON.stringify(message), PLACES);

test('a message of S3, by SNS raw or wrapped, or of EventBridge is ours if it names our object', () => {
  for (const message of [OURS, wrapped(OURS), wrapped(wrapped(OURS)), fromEventBridge('web/a b+c.enc')]) {
    assert.equal(concerns(message), 'ours', JSON.stringify(message));
  }
  assert.equal(concerns(wrapped(fromEventBridge('web/a b+c.enc'))), 'ours');
  assert.equal(concerns(fromS3(['bundles', 'other'], ['bundles', 'web/a+b%2Bc.enc'])), 'ours');
});

test('a message about something else is no hint, nor is what S3 sends when notifications are set up', () => {
  for (const message of [
    fromS3(['bundles', 'other']),
    fromS3(['other', 'web/a+b%2Bc.enc']),
    fromS3(['bundles', 'web/a b+c.enc']),
    fromS3(),
    wrapped(fromS3(['bundles', 'other'])),
    fromEventBridge('web/a+b%2Bc.enc'),
    { Service: 'Amazon S3', Event: 's3:TestEvent', Bucket: 'bundles' },
  ]) {
    assert.equal(concerns(message), 'other', JSON.stringify(message));
  }
});

test('what is of another form is unreadable, however deep, long or broken', () => {
  for (const message of [
    '',
    'null',
    '[]',
    '"x"',
    '{',
    {},
    { Records: {} },
    { Records: [{}] },
    { Records: [{ s3: { bucket: { name: 1 }, object: { key: 'x' } } }] },
    { Records: [record('bundles', '%E0%A4%A')] },
    { source: 'aws.s3' },
    { source: 'aws.s3', detail: { bucket: {}, object: {} } },
    wrapped('not JSON'),
    wrapped(wrapped(wrapped(wrapped(OURS)))),
    `${' '.repeat(300_000)}${JSON.stringify(OURS)}`,
  ]) {
    assert.equal(concerns(message), 'unreadable', JSON.stringify(message).slice(0, 80));
  }
});

test('no message at all does more than be ours, other or unreadable', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.json(),
        fc.jsonValue().map((v) => JSON.stringify(wrapped(v as string))),
      ),
      (body) => ['ours', 'other', 'unreadable'].includes(messageConcerns(body, PLACES)),
    ),
  );
});

test('regionOfQueue() reads the region from the URLs that AWS gives out', () => {
  assert.equal(regionOfQueue('https://sqs.eu-west-1.amazonaws.com/123456789012/q'), 'eu-west-1');
  assert.equal(regionOfQueue('https://eu-west-1.queue.amazonaws.com/123456789012/q'), 'eu-west-1');
  assert.equal(regionOfQueue('https://sqs-fips.us-gov-west-1.amazonaws.com/1/q'), 'us-gov-west-1');
  assert.equal(regionOfQueue('https://sqs.cn-north-1.amazonaws.com.cn/1/q'), 'cn-north-1');
  assert.equal(regionOfQueue('http://127.0.0.1:5000/123456789012/q'), undefined);
});

type Step = QueueMessage[] | Error;

function setUp(steps: Step[], options: { open?: () => Promise<void>; removeFails?: Error } = {}) {
  const time = new VirtualTime(0);
  const log: string[] = [];
  const statuses: QueueStatus[] = [];
  let closed = 0;
  const watch = listenToQueue({
    async open(): Promise<Queue> {
      log.push(`${time.nowMs} open`);
      await options.open?.();
      return {
        async receive(signal) {
          log.push(`${time.nowMs} receive`);
          const step = steps.shift();
          if (step === undefined) {
            return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
          }
          if (step instanceof Error) throw step;
          return step;
        },
        async remove(messages) {
          log.push(`${time.nowMs} remove ${messages.map(({ receipt }) => receipt).join()}`);
          if (options.removeFails !== undefined) throw options.removeFails;
        },
        async close() {
          closed++;
        },
      };
    },
    places: PLACES,
    timers: time,
    random: () => 0.5,
    nowMs: () => time.nowMs,
    hint: () => log.push(`${time.nowMs} hint`),
    status: (status) => statuses.push(status),
    bug: (error) => log.push(`bug ${error}`),
  });
  return { time, log, statuses, watch, closed: () => closed };
}
const message = (value: unknown, receipt: string): QueueMessage => ({ body: JSON.stringify(value), receipt });

test('messages become one hint and are removed; others are removed without one; what is unreadable is worth a look', async () => {
  const { time, log, statuses, watch, closed } = setUp([
    [message(OURS, 'a'), message(OURS, 'b'), message(fromS3(['x', 'y']), 'c')],
    [message(fromS3(['x', 'y']), 'd')],
    [{ body: 'garbage', receipt: 'e' }],
  ]);
  await time.pass(3_100);
  assert.deepEqual(log, [
    '0 open',
    '0 receive',
    '0 hint',
    '0 hint',
    '0 remove a,b,c',
    '1000 receive',
    '1000 remove d',
    '2000 receive',
    '2000 hint',
    '2000 remove e',
    '3000 receive',
  ]);
  assert.deepEqual(
    [statuses[0]?.state, statuses.at(-1)?.state, statuses.at(-1)?.messages],
    ['starting', 'listening', 5],
  );
  await watch.close();
  assert.deepEqual([closed(), time.pending], [1, 0]);
});

test('a queue that fails is tried again, later each time, and says why until it answers', async () => {
  const denied = new SourceError('queue-denied', 'no');
  const { time, log, statuses, watch } = setUp([denied, denied, denied, [], [message(OURS, 'a')]]);
  await time.until(6_999);
  assert.deepEqual(log, ['0 open', '0 receive', '1000 receive', '3000 receive']);
  assert.equal(statuses.at(-1)?.error?.code, 'queue-denied');
  await time.until(8_001);
  assert.deepEqual(log.slice(4), ['7000 receive', '7000 hint', '8000 receive', '8000 hint', '8000 remove a']);
  assert.deepEqual([statuses.at(-1)?.state, statuses.at(-1)?.error], ['listening', undefined]);
  await watch.close();
});

test('to begin to listen, at first or after a failure, is a hint: what came before is looked for', async () => {
  const { time, log, watch } = setUp([[], [], new SourceError('queue-unreachable', 'away'), [], []]);
  await time.until(10_000);
  assert.deepEqual(
    log.filter((line) => line.endsWith('hint')),
    ['0 hint', '3000 hint'],
  );
  await watch.close();
});

test('a queue that is never empty is not asked in a circle', async () => {
  const { time, log, watch } = setUp(Array.from({ length: 100 }, (_, i) => [message(OURS, `${i}`)]));
  await time.until(10_500);
  assert.equal(log.filter((line) => line.endsWith('receive')).length, 11);
  await watch.close();
});

test('a queue that waits for nothing is not asked in a circle', async () => {
  const { time, log, watch } = setUp(Array.from({ length: 100 }, () => []));
  await time.until(10_500);
  assert.equal(log.filter((line) => line.endsWith('receive')).length, 11);
  await watch.close();
});

test('messages that can not be removed make it back off, not turn in a circle', async () => {
  const steps = Array.from({ length: 50 }, () => [message(OURS, 'a')]);
  const { time, log, watch } = setUp(steps, { removeFails: new SourceError('queue-denied', 'no') });
  await time.until(60_000);
  assert.ok(log.filter((line) => line.endsWith('receive')).length < 70);
  await watch.close();
});

test('close() while it opens waits for it, and takes it away', async () => {
  let opened: () => void = () => undefined;
  const { watch, closed } = setUp([], {
    open: () =>
      new Promise((resolve) => {
        opened = resolve;
      }),
  });
  const closing = watch.close();
  opened();
  await closing;
  assert.equal(closed(), 1);
});
