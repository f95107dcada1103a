/** What a store in S3 does when S3 refuses, loses an answer, or has more to tell than fits into one. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { PutBucketAclCommand, PutObjectCommand, PutPublicAccessBlockCommand } from '@aws-sdk/client-s3';
import { AwsAccess } from '../../src/aws/access.ts';
import { type ErrorCode, SecretsfsError } from '../../src/errors.ts';
import { mapConcurrently } from '../../src/secrets/concurrent.ts';
import { createStore } from '../../src/secrets/open.ts';
import { type Fault, type FaultProxy, type Rule, startFaultProxy } from '../support/fault-proxy.ts';
import { awsEnv, createBucket, type Moto, motoS3, replaceEnv, startMoto, unique } from '../support/moto.ts';

let moto: Moto;
let proxy: FaultProxy;
let restore: () => void;
let aws: AwsAccess;
let bucket: string;

before(async () => {
  moto = await startMoto();
  proxy = await startFaultProxy(moto.url);
  bucket = await createBucket(moto.url);
  restore = replaceEnv(awsEnv(proxy.url));
  aws = new AwsAccess({ env: process.env, forcePathStyle: true });
});
beforeEach(() => {
  proxy.rules = [];
  proxy.seen.length = 0;
});
after(async () => {
  aws?.destroy();
  restore?.();
  await proxy?.close();
  await moto?.stop();
});

const newStore = (options = {}) => createStore(`s3://${bucket}/${unique('store')}`, aws, options);
const failsWith = (code: ErrorCode, text: RegExp) => (error: unknown) => {
  assert.ok(error instanceof SecretsfsError, `not ours: ${error}`);
  assert.equal(error.code, code, error.message);
  assert.match(`${error.message}\n${error.hint}`, text);
  return true;
};
/** The fault for the first request of that method. */
function once(method: string, fault: Fault): Rule {
  let isOver = false;
  return (request) => {
    if (isOver || request.method !== method) return undefined;
    isOver = true;
    return fault;
  };
}
const always =
  (method: string, fault: Fault): Rule =>
  (request) =>
    request.method === method ? fault : undefined;
const puts = () => proxy.seen.filter(({ method }) => method === 'PUT');
async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

test('a write whose answer was lost is not taken for somebody else’s when it is repeated', async () => {
  const store = newStore();
  proxy.rules = [once('PUT', { kind: 'lose' })];
  const first = await store.write('a', Buffer.from('one'), 'absent');
  assert.equal(puts().length, 2);
  assert.equal((await store.read('a'))?.etag, first.etag);
  proxy.rules = [once('PUT', { kind: 'lose' })];
  const second = await store.write('a', Buffer.from('two'), first);
  assert.equal((await store.read('a'))?.etag, second.etag);
  // The next goes through the SDK, and the one after that past it.
  const third = await store.write('a', Buffer.from('three'), second);
  proxy.rules = [once('PUT', { kind: 'lose' })];
  const fourth = await store.write('a', Buffer.from('four'), third);
  assert.equal((await store.read('a'))?.etag, fourth.etag);
  const bySdk = puts().map(({ headers }) => headers['amz-sdk-request'] !== undefined);
  assert.deepEqual(bySdk, [true, true, true, true, true, false, true]);
});

test('a removal whose answer was lost is one', async () => {
  const store = newStore();
  const written = await store.write('a', Buffer.from('one'), 'absent');
  proxy.rules = [once('DELETE', { kind: 'lose' })];
  await store.remove('a', written);
  assert.equal(await store.read('a'), undefined);
});

test('a write that is repeated, and overtaken meanwhile, is refused', async () => {
  const store = newStore();
  const client = motoS3(moto.url);
  const [, Key = ''] = store.locate('a').split(`s3://${bucket}/`);
  await client.send(new PutObjectCommand({ Bucket: bucket, Key, Body: 'theirs' }));
  client.destroy();
  proxy.rules = [once('PUT', { kind: 'reset' })];
  await assert.rejects(
    store.write('a', Buffer.from('ours'), 'absent'),
    failsWith('output-changed', /somebody else/),
  );
  assert.equal(String((await store.read('a'))?.bytes), 'theirs');
});

test('every write is conditional and says its checksum, and none sets an ACL', async () => {
  const store = newStore();
  const written = await store.write('a', Buffer.from('one'), 'absent');
  await store.write('a', Buffer.from('two'), written);
  const [first, second] = puts().map(({ headers }) => headers);
  assert.equal(first?.['if-none-match'], '*');
  assert.equal(second?.['if-match'], written.etag);
  for (const headers of [first, second]) {
    assert.ok(headers?.['x-amz-checksum-sha256']);
    assert.deepEqual(
      Object.keys(headers ?? {}).filter((name) => /acl|grant/.test(name)),
      [],
    );
  }
});

test('more than a page holds is listed whole', async () => {
  const store = newStore();
  const client = motoS3(moto.url);
  const prefix = store.location.split(`s3://${bucket}/`)[1];
  const paths = Array.from({ length: 1003 }, (_, i) => `p${String(i).padStart(4, '0')}`);
  await mapConcurrently(paths, 16, (path) =>
    client.send(new PutObjectCommand({ Bucket: bucket, Key: `${prefix}/${path}`, Body: 'x' })),
  );
  client.destroy();
  assert.deepEqual(
    (await collect(store.list())).map(({ path }) => path),
    paths,
  );
  assert.equal(proxy.seen.filter(({ path }) => path.includes('list-type')).length, 2);
});

test('names that are no paths of secrets are told and left out, and what consoles make of directories is not told', async () => {
  const store = newStore();
  const client = motoS3(moto.url);
  const prefix = store.location.split(`s3://${bucket}/`)[1];
  for (const [name, Body] of [
    ['dir/', ''],
    ['dir/a', 'x'],
    ['dir//b', 'x'],
    ['dir/../c', 'x'],
    ['full/', 'x'],
  ] as const) {
    await client.send(new PutObjectCommand({ Bucket: bucket, Key: `${prefix}/${name}`, Body }));
  }
  client.destroy();
  const skipped: string[] = [];
  const listed = await collect(store.list('', { skipped: (name) => skipped.push(name) }));
  assert.deepEqual(
    listed.map(({ path }) => path),
    ['dir/a'],
  );
  assert.deepEqual(skipped, ['dir/../c', 'dir//b', 'full/']);
});

const denied = { kind: 'error', status: 403, code: 'AccessDenied' } as const;

test('what is denied is named with the permission that is missing', async () => {
  const store = newStore({ allowPublic: true });
  const written = await store.write('a', Buffer.from('x'), 'absent');
  proxy.rules = [always('GET', denied), always('PUT', denied), always('DELETE', denied)];
  await assert.rejects(
    collect(store.list()),
    failsWith('source-denied', /cannot list.*grant s3:ListBucket on "arn:aws:s3:::[^/]+"/s),
  );
  await assert.rejects(
    collect(store.versions('a')),
    failsWith('source-denied', /grant s3:ListBucketVersions on/),
  );
  await assert.rejects(store.read('a'), failsWith('source-denied', /grant s3:GetObject on/));
  await assert.rejects(
    store.read('a', { version: 'v' }),
    failsWith('source-denied', /grant s3:GetObjectVersion on/),
  );
  await assert.rejects(
    store.write('b', Buffer.from('x'), 'absent'),
    failsWith('output-denied', /grant s3:PutObject on/),
  );
  await assert.rejects(
    store.remove('a', written),
    failsWith('output-denied', /cannot remove.*grant s3:DeleteObject on/s),
  );
  await assert.rejects(
    store.remove('a', 'any', 'v'),
    failsWith('output-denied', /grant s3:DeleteObjectVersion on/),
  );
});

test('a bucket that is not there is no empty store', async () => {
  const store = createStore(`s3://${unique('none')}/x`, aws, {});
  for (const work of [
    () => collect(store.list()),
    () => store.read('a'),
    () => collect(store.versions('a')),
  ]) {
    await assert.rejects(work(), failsWith('source-not-found', /no bucket/));
  }
  await assert.rejects(store.write('a', Buffer.from('x'), 'absent'), failsWith('output-failed', /no bucket/));
});

const PUBLIC_POLICY = '<PolicyStatus><IsPublic>true</IsPublic></PolicyStatus>';
const policyIsPublic: Rule = ({ path }) =>
  path.includes('policyStatus')
    ? { kind: 'answer', status: 200, headers: { 'content-type': 'application/xml' }, body: PUBLIC_POLICY }
    : undefined;

async function withBucket(
  work: (own: string, client: ReturnType<typeof motoS3>) => Promise<void>,
): Promise<void> {
  const client = motoS3(moto.url);
  await work(await createBucket(moto.url), client).finally(() => client.destroy());
}
const x = Buffer.from('x');

test('a bucket whose policy lets everybody in is not written to, unless it is blocked or allowed', async () => {
  proxy.rules = [policyIsPublic];
  await withBucket(async (own, client) => {
    const write = (options = {}) => createStore(`s3://${own}`, aws, options).write(unique('a'), x, 'absent');
    await assert.rejects(
      write(),
      failsWith('bucket-public', /its policy lets everybody in.*put-public-access-block/s),
    );
    assert.deepEqual(puts(), []);
    await write({ allowPublic: true });
    const PublicAccessBlockConfiguration = { RestrictPublicBuckets: true };
    await client.send(new PutPublicAccessBlockCommand({ Bucket: own, PublicAccessBlockConfiguration }));
    await write();
  });
});

test('a bucket whose ACL lets everybody in is not written to, unless it is blocked', async () => {
  await withBucket(async (own, client) => {
    await client.send(new PutBucketAclCommand({ Bucket: own, ACL: 'public-read' }));
    const write = () => createStore(`s3://${own}`, aws, {}).write(unique('a'), x, 'absent');
    await assert.rejects(write(), failsWith('bucket-public', /its ACL lets everybody in/));
    proxy.rules = [policyIsPublic];
    await assert.rejects(write(), failsWith('bucket-public', /its policy and ACL let everybody in/));
    proxy.rules = [];
    const PublicAccessBlockConfiguration = { IgnorePublicAcls: true };
    await client.send(new PutPublicAccessBlockCommand({ Bucket: own, PublicAccessBlockConfiguration }));
    await write();
  });
});

test('who may not ask whether the bucket is public writes all the same, and asks once', async () => {
  const store = newStore();
  const questions = () =>
    proxy.seen.filter(({ path }) => /[?&](policyStatus|acl|publicAccessBlock)/.test(path)).length;
  proxy.rules = [({ path }) => (/[?&](policyStatus|acl)/.test(path) ? denied : undefined)];
  await store.write('a', x, 'absent');
  assert.equal(questions(), 2);
  await store.write('b', x, 'absent');
  assert.equal(questions(), 2);
});
