/**
 * From an upload to the bytes that a reader gets, nobody touching anything: by a queue that S3 feeds, by a topic, by polling,
 * from a second source, through the processes of a real mount.
 */
import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { after, before, type TestContext, test } from 'node:test';
import { PutBucketNotificationConfigurationCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { CreateTopicCommand, ListSubscriptionsByTopicCommand, SNSClient } from '@aws-sdk/client-sns';
import { CreateQueueCommand, ListQueuesCommand, ListQueueTagsCommand, SQSClient } from '@aws-sdk/client-sqs';
import { writeArchive } from '../../src/bundle/archive.ts';
import type { Status } from '../../src/control/protocol.ts';
import { KEY, sealTest } from '../support/bundles.ts';
import { file } from '../support/entries.ts';
import { ACCOUNT, awsEnv, createBucket, type Moto, motoS3, startMoto, unique } from '../support/moto.ts';
import { Bench, type Daemon, eventually } from '../support/program.ts';

const REGION = 'eu-west-1';
let moto: Moto;
before(async () => {
  moto = await startMoto();
});
after(() => moto?.stop());

const aws = () => ({
  endpoint: moto.url,
  region: REGION,
  credentials: { accessKeyId: 'testing', secretAccessKey: 'testing' },
});

async function setUp(t: TestContext) {
  const bench = await Bench.create(t, awsEnv(moto.url));
  await writeFile(bench.path('key'), KEY, { mode: 0o400 });
  await mkdir(bench.path('mnt'));
  const s3 = motoS3(moto.url);
  t.after(() => s3.destroy());
  return { bench, s3 };
}

const KEY_NAME = 'some/web+1.enc';
const sealed = async (serial: number) =>
  sealTest(await writeArchive([file('serial', `${serial}`)]), { name: 'web', serial });
const serialIn = (bench: Bench) => readFile(bench.path('mnt', 'serial'), 'utf8');

async function statusOf(bench: Bench): Promise<Status> {
  const [status] = JSON.parse(await bench.must(['status', '--json']));
  return status;
}

async function mountOf(bench: Bench, args: readonly string[]): Promise<Daemon> {
  return bench.mount([
    '--driver',
    'kernel',
    '--key',
    'local:key',
    '--force-path-style',
    '--name',
    'web',
    ...args,
  ]);
}

test('what S3 tells a queue is live within seconds, long before a poll', async (t) => {
  const { bench, s3 } = await setUp(t);
  const Bucket = await createBucket(moto.url, { versioned: true });
  const sqs = new SQSClient(aws());
  t.after(() => sqs.destroy());
  const { QueueUrl = '' } = await sqs.send(new CreateQueueCommand({ QueueName: unique('uploads') }));
  const QueueArn = `arn:aws:sqs:${REGION}:${ACCOUNT}:${QueueUrl.split('/').at(-1)}`;
  await s3.send(
    new PutBucketNotificationConfigurationCommand({
      Bucket,
      NotificationConfiguration: { QueueConfigurations: [{ QueueArn, Events: ['s3:ObjectCreated:*'] }] },
    }),
  );
  await s3.send(new PutObjectCommand({ Bucket, Key: KEY_NAME, Body: await sealed(1) }));
  const args = [`s3://${Bucket}/${KEY_NAME}`, 'mnt', '--queue', QueueUrl, '--poll', '1h'];
  const daemon = await mountOf(bench, args);
  await eventually(async () => assert.equal((await statusOf(bench)).queue?.state, 'listening'));
  for (const serial of [2, 3]) {
    await s3.send(new PutObjectCommand({ Bucket, Key: KEY_NAME, Body: await sealed(serial) }));
    await daemon.event('activated', serial);
    assert.equal(await serialIn(bench), `${serial}`);
  }
  const status = await statusOf(bench);
  assert.deepEqual(
    [status.state, status.queue?.state, status.queue?.error, status.sources?.map(({ state }) => state)],
    ['live', 'listening', null, ['live']],
  );
  assert.ok((status.queue?.messages ?? 0) >= 2 && status.queue?.lastMessage != null);
  assert.ok(Math.abs(Date.parse(status.live?.uploaded ?? '') - Date.now()) < 60_000);
});

test('of a topic, a mount makes a queue of its own, and takes it away at the end', async (t) => {
  const { bench, s3 } = await setUp(t);
  const Bucket = await createBucket(moto.url);
  const sns = new SNSClient(aws());
  const sqs = new SQSClient(aws());
  t.after(() => {
    sns.destroy();
    sqs.destroy();
  });
  const { TopicArn = '' } = await sns.send(new CreateTopicCommand({ Name: unique('uploads') }));
  await s3.send(
    new PutBucketNotificationConfigurationCommand({
      Bucket,
      NotificationConfiguration: { TopicConfigurations: [{ TopicArn, Events: ['s3:ObjectCreated:*'] }] },
    }),
  );
  await s3.send(new PutObjectCommand({ Bucket, Key: KEY_NAME, Body: await sealed(1) }));
  const instance = unique('web');
  const queues = async () =>
    (await sqs.send(new ListQueuesCommand({ QueueNamePrefix: `secretsfs-${instance}-` }))).QueueUrls ?? [];
  const subscriptions = async () =>
    (await sns.send(new ListSubscriptionsByTopicCommand({ TopicArn }))).Subscriptions ?? [];
  const args = [
    `s3://${Bucket}/${KEY_NAME}`,
    'mnt',
    '--topic',
    TopicArn,
    '--poll',
    '1h',
    '--instance',
    instance,
  ];
  const daemon = await mountOf(bench, args);
  await eventually(async () => assert.equal((await statusOf(bench)).queue?.state, 'listening'));
  const [QueueUrl, ...others] = await queues();
  assert.deepEqual(others, []);
  const { Tags } = await sqs.send(new ListQueueTagsCommand({ QueueUrl }));
  assert.deepEqual(Tags, { 'secretsfs-instance': instance, 'secretsfs-topic': TopicArn });
  await s3.send(new PutObjectCommand({ Bucket, Key: KEY_NAME, Body: await sealed(2) }));
  await daemon.event('activated', 2);
  assert.equal(await serialIn(bench), '2');
  assert.equal((await subscriptions()).length, 1);
  assert.equal(await daemon.stop(), 0);
  assert.deepEqual([await queues(), await subscriptions()], [[], []]);
});

test('sources of a config are asked in order: the second while the first is away, and a lagging one never', async (t) => {
  const { bench, s3 } = await setUp(t);
  const [first, second] = [
    await createBucket(moto.url),
    await createBucket(moto.url, { region: 'us-east-1' }),
  ];
  const put = async (Bucket: string, serial: number) =>
    s3.send(new PutObjectCommand({ Bucket, Key: KEY_NAME, Body: await sealed(serial) }));
  await put(second, 5);
  const config = `mountpoint: mnt
poll: 1s
source:
  - bundle: s3://${first}/${KEY_NAME}
    expectedBucketOwner: '${ACCOUNT}'
  - bundle: s3://${second}/${KEY_NAME}
    region: us-east-1
`;
  await writeFile(bench.path('config.yaml'), config);
  const daemon = await mountOf(bench, ['--config', 'config.yaml']);
  const states = async () => (await statusOf(bench)).sources?.map(({ state }) => state);
  assert.deepEqual(await states(), ['failed', 'live']);
  assert.equal((await statusOf(bench)).sources?.[0]?.error?.code, 'source-not-found');
  // A replica that lags comes first in order.
  await put(first, 4);
  await eventually(async () => assert.deepEqual(await states(), ['behind', 'live']));
  await put(second, 6);
  await daemon.event('activated', 2);
  assert.equal(await serialIn(bench), '6');
  await put(first, 7);
  await daemon.event('activated', 3);
  assert.equal(await serialIn(bench), '7');
  const status = await statusOf(bench);
  assert.deepEqual([status.state, await states()], ['live', ['live', 'behind']]);
  assert.equal(daemon.count('refresh-failed'), 0);
});
