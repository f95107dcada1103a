import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { promisify } from 'node:util';
import { DeleteObjectCommand, HeadObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { AwsAccess } from '../../src/aws/access.ts';
import { type ErrorCode, SecretsfsError } from '../../src/errors.ts';
import { S3Source, type S3SourceOptions } from '../../src/source/s3.ts';
import { parseS3Url } from '../../src/source/s3-url.ts';
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import { awsEnv, createBucket, type Moto, motoS3, replaceEnv, startMoto, unique } from '../support/moto.ts';

let moto: Moto;
let proxy: FaultProxy;
let restore: () => void;
let aws: AwsAccess;
let bucket: string;
let versioned: string;

before(async () => {
  moto = await startMoto();
  proxy = await startFaultProxy(moto.url);
  bucket = await createBucket(moto.url);
  versioned = await createBucket(moto.url, { versioned: true });
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

const bytes = Buffer.from('sealed bytes');
const source = (url: string, options?: S3SourceOptions): S3Source =>
  new S3Source(parseS3Url(url), aws, options);
async function put(Bucket: string, Key: string, Body: Buffer): Promise<string | undefined> {
  const client = motoS3(moto.url);
  const { VersionId } = await client.send(new PutObjectCommand({ Bucket, Key, Body }));
  client.destroy();
  return VersionId;
}
const failsWith =
  (code: ErrorCode, text?: RegExp) =>
  (error: unknown): true => {
    assert.ok(error instanceof SecretsfsError, `not ours: ${error}`);
    assert.equal(error.code, code, error.message);
    if (text !== undefined) assert.match(`${error.message}\n${error.hint ?? ''}`, text);
    return true;
  };

test('an unchanged object costs one conditional request', async () => {
  const key = unique('k');
  await put(bucket, key, bytes);
  const got = await source(`s3://${bucket}/${key}`).fetch({ bytesMax: 100 });
  proxy.seen.length = 0;
  await source(`s3://${bucket}/${key}`).fetch({ bytesMax: 100, knownRevision: got?.revision });
  assert.deepEqual(
    proxy.seen.map((r) => [r.method, r.headers['if-none-match']]),
    [['GET', got?.revision]],
  );
});

test('a pinned version is fetched whatever came after, and is not watched', async () => {
  const key = unique('k');
  const version = await put(versioned, key, bytes);
  await put(versioned, key, Buffer.from('newer'));
  const pinned = source(`s3://${versioned}/${key}?versionId=${version}`);
  const got = await pinned.fetch({ bytesMax: 100 });
  assert.deepEqual(got?.bytes, bytes);
  assert.equal(await pinned.fetch({ bytesMax: 100, knownRevision: got?.revision }), undefined);
  assert.equal(pinned.polled, false);
  await assert.rejects(
    source(`s3://${versioned}/${key}?versionId=gone`).fetch({ bytesMax: 100 }),
    failsWith('source-not-found', /version "gone"/),
  );
});

const FAULTS: readonly [string, number, ErrorCode, RegExp][] = [
  ['NoSuchKey', 404, 'source-not-found', /no such object/],
  ['NoSuchBucket', 404, 'source-not-found', /no bucket/],
  ['AccessDenied', 403, 'source-denied', /s3:GetObject on "arn:aws:s3:::.*s3:ListBucket/],
  ['SlowDown', 503, 'source-throttled', /503/],
  ['InternalError', 500, 'source-unreachable', /500/],
  ['RequestTimeout', 400, 'source-unreachable', /RequestTimeout/],
  ['PermanentRedirect', 301, 'source-invalid', /another region/],
  ['ExpiredToken', 400, 'credentials-expired', /sso login/],
  ['InvalidAccessKeyId', 403, 'credentials-invalid', /get-caller-identity/],
  ['SignatureDoesNotMatch', 403, 'credentials-invalid', /get-caller-identity/],
  ['RequestTimeTooSkewed', 403, 'clock-skewed', /clock/],
  ['InvalidObjectState', 403, 'source-denied', /403/],
  ['Strange', 418, 'source-invalid', /418/],
];
for (const [code, status, expected, text] of FAULTS) {
  test(`fetch() says ${expected} when S3 answers ${status} ${code}`, async () => {
    proxy.rules = [() => ({ kind: 'error', status, code })];
    await assert.rejects(source(`s3://${bucket}/x`).fetch({ bytesMax: 100 }), failsWith(expected, text));
  });
}

test('an answer that is not of S3 is an error of ours', async () => {
  for (const [status, body] of [
    [200, ''],
    [403, '<html>portal</html>'],
    [404, 'no'],
    [502, '<html>'],
    [400, '{]'],
  ] as const) {
    proxy.rules = [() => ({ kind: 'answer', status, headers: { 'content-type': 'text/html' }, body })];
    await assert.rejects(
      source(`s3://${bucket}/x`).fetch({ bytesMax: 100 }),
      (e: unknown) => e instanceof SecretsfsError,
      `status ${status}`,
    );
  }
});

test('a body that ends early or stalls is source-unreachable', async () => {
  const key = unique('k');
  await put(bucket, key, Buffer.alloc(10_000, 1));
  for (const then of ['close', 'stall'] as const) {
    const started = performance.now();
    proxy.rules = [() => ({ kind: 'truncate', bytes: 5_000, then })];
    await assert.rejects(
      source(`s3://${bucket}/${key}`, { stallTimeoutMs: 300 }).fetch({ bytesMax: 100_000 }),
      failsWith('source-unreachable'),
    );
    assert.ok(performance.now() - started < 5_000);
  }
});

test('a body without a length is held to the limit while it comes', async () => {
  const headers = { etag: '"e"', 'transfer-encoding': 'chunked' };
  proxy.rules = [() => ({ kind: 'answer', status: 200, headers, body: Buffer.alloc(500) })];
  assert.equal((await source(`s3://${bucket}/x`).fetch({ bytesMax: 500 }))?.bytes.length, 500);
  await assert.rejects(source(`s3://${bucket}/x`).fetch({ bytesMax: 499 }), failsWith('source-too-large'));
});

test('an abort ends a fetch that stalls', async () => {
  proxy.rules = [() => ({ kind: 'stall' })];
  const signal = AbortSignal.timeout(200);
  await assert.rejects(source(`s3://${bucket}/x`).fetch({ bytesMax: 500, signal }), { name: 'TimeoutError' });
});

test('readHead() returns the beginning and an ETag, undefined for no object, and bears an empty one', async () => {
  const key = unique('k');
  const s = source(`s3://${bucket}/${key}`);
  assert.equal(await s.readHead(), undefined);
  await put(bucket, key, Buffer.alloc(100_000, 3));
  const head = await s.readHead();
  assert.equal(head?.bytes.length, 65_536);
  assert.match(head?.etag ?? '', /^".+"$/);
  await put(bucket, key, Buffer.alloc(0));
  assert.equal((await s.readHead())?.bytes.length, 0);
  await assert.rejects(
    source('s3://no-such-bucket-here/x').readHead(),
    failsWith('source-not-found', /bucket/),
  );
});

test('putObject() replaces only what was looked at', async () => {
  for (const b of [bucket, versioned]) {
    const key = unique('k');
    const s = source(`s3://${b}/${key}`);
    await s.putObject(bytes, 'absent');
    await assert.rejects(s.putObject(bytes, 'absent'), failsWith('output-changed', /somebody else/));
    const head = await s.readHead();
    assert.ok(head);
    await s.putObject(Buffer.from('second'), head);
    await assert.rejects(
      s.putObject(Buffer.from('third'), head),
      failsWith('output-changed', /somebody else/),
    );
    assert.equal((await s.fetch({ bytesMax: 100 }))?.bytes.toString(), 'second');

    const now = await s.readHead();
    const client = motoS3(moto.url);
    const { ContentType } = await client.send(new HeadObjectCommand({ Bucket: b, Key: key }));
    assert.equal(ContentType, 'application/octet-stream');
    await client.send(new DeleteObjectCommand({ Bucket: b, Key: key }));
    client.destroy();
    assert.ok(now);
    await assert.rejects(s.putObject(bytes, now), failsWith('output-changed'));
  }
});

const WRITE_FAULTS: readonly [string, number, ErrorCode, RegExp][] = [
  ['ConditionalRequestConflict', 409, 'output-changed', /somebody else/],
  ['AccessDenied', 403, 'output-denied', /s3:PutObject on "arn/],
  ['NoSuchBucket', 404, 'output-failed', /no bucket/],
  ['SlowDown', 503, 'output-failed', /503/],
  ['ExpiredToken', 400, 'credentials-expired', /sso login/],
];
for (const [code, status, expected, text] of WRITE_FAULTS) {
  test(`putObject() says ${expected} when S3 answers ${status} ${code}`, async () => {
    proxy.rules = [() => ({ kind: 'error', status, code })];
    const s = source(`s3://${bucket}/x`);
    await assert.rejects(s.putObject(bytes, 'absent'), failsWith(expected, text));
    await assert.rejects(s.putObject(bytes, { etag: '"e"' }), failsWith(expected, text));
  });
}

test('a fetch asks for no checksum', async () => {
  const key = unique('k');
  await put(bucket, key, bytes);
  await source(`s3://${bucket}/${key}`).fetch({ bytesMax: 100 });
  assert.equal(proxy.seen.at(-1)?.headers['x-amz-checksum-mode'], undefined);
});

test('a put sends a whole checksum and no trailer, which older servers do not know', async () => {
  const key = unique('k');
  await source(`s3://${bucket}/${key}`).putObject(Buffer.alloc(3_000_000, 1), 'absent');
  const { headers } = proxy.seen.at(-1) ?? {};
  assert.equal(headers?.['x-amz-trailer'], undefined);
  assert.equal(headers?.['content-encoding'], undefined);
  assert.equal(headers?.expect, undefined);
  assert.match(String(headers?.['x-amz-checksum-sha256']), /=$/);
});

test('a bucket in another region is followed there', async () => {
  const key = unique('k');
  await put(bucket, key, bytes);
  // As S3 does: 301 with the bucket's region until the signature is for that one.
  proxy.rules = [
    (r) =>
      r.region === 'eu-west-1'
        ? {
            kind: 'error',
            status: 301,
            code: 'PermanentRedirect',
            headers: { 'x-amz-bucket-region': 'ap-southeast-2' },
          }
        : undefined,
  ];
  const got = await source(`s3://${bucket}/${key}`).fetch({ bytesMax: 100 });
  assert.deepEqual(got?.bytes, bytes);
  assert.equal(proxy.seen.at(-1)?.region, 'ap-southeast-2');
});

test('the aws command reads what putObject() wrote, and the reverse', async () => {
  const key = unique('k');
  const file = path.join(tmpdir(), unique('aws-cli'));
  const aws = (...args: string[]) =>
    promisify(execFile)('aws', ['--endpoint-url', moto.url, ...args], { env: awsEnv(moto.url) });
  try {
    await source(`s3://${bucket}/${key}`).putObject(bytes, 'absent');
    await aws('s3', 'cp', `s3://${bucket}/${key}`, file);
    assert.deepEqual(await readFile(file), bytes);
    await aws('s3', 'cp', file, `s3://${bucket}/${key}2`);
    assert.deepEqual((await source(`s3://${bucket}/${key}2`).fetch({ bytesMax: 100 }))?.bytes, bytes);
  } finally {
    await rm(file, { force: true });
  }
});

test('what was noticed is fetched as long as it is the newest, without a right to versions, and else it is source-changed', async () => {
  const key = unique('k');
  await put(versioned, key, bytes);
  const one = source(`s3://${versioned}/${key}`);
  const found = await one.check({ knownRevision: undefined });
  assert.ok(found.outcome === 'changed' && found.revision !== undefined);
  const { revision } = found;
  proxy.rules = [
    ({ path }) =>
      /versionId=/.test(path) ? { kind: 'error', status: 403, code: 'AccessDenied' } : undefined,
  ];
  const got = await one.fetch({ bytesMax: 100, revision });
  assert.deepEqual([got?.revision, got?.bytes], [revision, bytes]);
  await put(versioned, key, Buffer.from('newer'));
  await assert.rejects(one.fetch({ bytesMax: 100, revision }), failsWith('source-changed'));
  // The same bytes under a newer version are not what was noticed.
  await put(versioned, key, bytes);
  await assert.rejects(one.fetch({ bytesMax: 100, revision }), failsWith('source-changed'));
});

test('a version that was removed since it was noticed is source-changed', async () => {
  const key = unique('k');
  const VersionId = await put(versioned, key, bytes);
  const one = source(`s3://${versioned}/${key}`);
  const found = await one.check({ knownRevision: undefined });
  const client = motoS3(moto.url);
  await client.send(new DeleteObjectCommand({ Bucket: versioned, Key: key, VersionId }));
  client.destroy();
  assert.ok(found.outcome === 'changed');
  await assert.rejects(one.fetch({ bytesMax: 100, revision: found.revision }), failsWith('source-changed'));
});

test('a delete marker is told from an object that never was', async () => {
  const headers = { 'x-amz-delete-marker': 'true', 'content-type': 'application/xml' };
  const body = '<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>';
  proxy.rules = [
    ({ method }) => ({ kind: 'answer', status: 404, headers, body: method === 'HEAD' ? '' : body }),
  ];
  const one = source(`s3://${bucket}/x`);
  await assert.rejects(one.fetch({ bytesMax: 100 }), failsWith('source-deleted', /list-object-versions/));
  await assert.rejects(one.check({ knownRevision: undefined }), failsWith('source-deleted'));
  assert.equal(await one.readHead(), undefined);
});

test('every request says whose bucket it must be, and a denial says it too', async () => {
  const owned = new AwsAccess({
    env: process.env,
    forcePathStyle: true,
    expectedBucketOwner: '999999999999',
  });
  const one = new S3Source(parseS3Url(`s3://${bucket}/${unique('k')}`), owned);
  proxy.rules = [() => ({ kind: 'error', status: 403, code: 'AccessDenied' })];
  try {
    const denied = failsWith('source-denied', /denied, or missing[\s\S]*999999999999/);
    await assert.rejects(one.fetch({ bytesMax: 100 }), denied);
    await assert.rejects(one.check({ knownRevision: undefined }), denied);
    await assert.rejects(one.fetch({ bytesMax: 100, revision: 'v "e"' }), denied);
    await assert.rejects(one.putObject(bytes, 'absent'), failsWith('output-denied'));
    assert.ok(proxy.seen.length >= 4);
    for (const { headers } of proxy.seen) {
      assert.equal(headers['x-amz-expected-bucket-owner'], '999999999999');
    }
  } finally {
    owned.destroy();
  }
});
