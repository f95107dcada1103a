/** What is sent past the SDK is what the SDK would have sent, and everything but success is left to it. */
import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { GetObjectCommand, PutObjectCommand, S3Client, type S3ClientConfig } from '@aws-sdk/client-s3';
import { type HttpRequest, HttpResponse } from '@smithy/core/protocols';
import fc from 'fast-check';
import { type ReplayedClient, Replays } from '../../../src/aws/replay.ts';

class FakeServer {
  readonly seen: HttpRequest[] = [];
  /** Of the next answers; 200 when there are no more. */
  statuses: number[] = [];
  isBroken = false;
  readonly client: S3Client;
  readonly replays: Replays;

  constructor(config: S3ClientConfig = {}) {
    this.client = new S3Client({
      region: 'eu-west-1',
      credentials: { accessKeyId: 'id', secretAccessKey: 'secret' },
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      maxAttempts: 1,
      ...config,
      requestHandler: { handle: async (request: HttpRequest) => ({ response: this.#answer(request) }) },
    });
    this.replays = new Replays(this.client as unknown as ReplayedClient);
  }

  #answer(request: HttpRequest): HttpResponse {
    this.seen.push(request);
    if (this.isBroken) throw new Error('no connection');
    const statusCode = this.statuses.shift() ?? 200;
    return new HttpResponse({ statusCode, headers: { etag: '"e"' }, body: Readable.from([]) });
  }

  async get(key: string, range?: string): Promise<HttpRequest | undefined> {
    await this.client.send(
      new GetObjectCommand({ Bucket: 'bucket', Key: key, ...(range === undefined ? {} : { Range: range }) }),
    );
    return this.seen.at(-1);
  }

  replayGet(key: string, headers: Record<string, string> = {}) {
    return this.replays.send({ command: 'GetObjectCommand', bucket: 'bucket', key, headers });
  }
}

/** Without what is another for each request: time, signature, number of the attempt. */
function comparable({ method, protocol, hostname, port, path, query, headers }: HttpRequest): object {
  const own = /^(authorization|x-amz-date|amz-sdk-.*)$/;
  const kept = Object.entries(headers)
    .map(([name, value]) => [name.toLowerCase(), value] as const)
    .filter(([name]) => !own.test(name))
    .sort();
  return { method, protocol, hostname, port, path, query, headers: kept };
}

function signedHeaders({ headers }: HttpRequest): string {
  return /SignedHeaders=([^,]+), Signature=[0-9a-f]{64}$/.exec(headers['authorization'] ?? '')?.[1] ?? '';
}

for (const forcePathStyle of [false, true]) {
  test(`any key is asked for as the SDK asks for it (path style: ${forcePathStyle})`, async () => {
    const server = new FakeServer({ forcePathStyle });
    await server.get('prefix/first', 'bytes=0-99');
    const names = fc.array(fc.string({ minLength: 1, unit: 'binary' }), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(names, async (parts) => {
        const key = parts.join('/');
        const bySdk = await server.get(key, 'bytes=0-4095');
        const answer = await server.replayGet(key, { range: 'bytes=0-4095' });
        assert.ok('statusCode' in answer);
        const replayed = server.seen.at(-1);
        assert.ok(bySdk !== undefined && replayed !== undefined && replayed !== bySdk);
        assert.deepEqual(comparable(replayed), comparable(bySdk));
        assert.ok(signedHeaders(replayed).split(';').includes('range'));
      }),
    );
  });
}

test('a write has its own body, checksum and condition, and no other', async () => {
  const server = new FakeServer();
  const put = (Key: string, text: string, IfMatch?: string) =>
    server.client.send(
      new PutObjectCommand({
        ...{ Bucket: 'bucket', Key, Body: Buffer.from(text), ContentLength: text.length },
        ...{ ContentType: 'application/octet-stream', ChecksumSHA256: `hash of ${text}` },
        ...{ ServerSideEncryption: 'aws:kms', SSEKMSKeyId: 'key' },
        ...(IfMatch === undefined ? { IfNoneMatch: '*' } : { IfMatch }),
      }),
    );
  await put('a', 'one');
  await put('b', 'other', '"e"');
  const bySdk = server.seen.at(-1);
  await put('a', 'one');
  const answer = await server.replays.send({
    ...{ command: 'PutObjectCommand', bucket: 'bucket', key: 'b', body: Buffer.from('other') },
    headers: { 'x-amz-checksum-sha256': 'hash of other', 'if-match': '"e"' },
  });
  assert.ok('statusCode' in answer);
  const replayed = server.seen.at(-1);
  assert.ok(bySdk !== undefined && replayed !== undefined);
  assert.deepEqual(comparable(replayed), comparable(bySdk));
  assert.deepEqual(replayed.body, Buffer.from('other'));
});

test('it is signed with the credentials of the moment', async () => {
  let count = 0;
  const server = new FakeServer({
    credentials: async () => {
      count += 1;
      const lasting = { accessKeyId: `id${count}`, secretAccessKey: 's', sessionToken: `token${count}` };
      return { ...lasting, expiration: new Date(Date.now() + 1000) };
    },
  });
  await server.get('a');
  await server.replayGet('b');
  const ids = server.seen.map(
    ({ headers }) => /Credential=(\w+)\//.exec(headers['authorization'] ?? '')?.[1],
  );
  const tokens = server.seen.map(({ headers }) => headers['x-amz-security-token']);
  assert.notEqual(ids[0], ids[1]);
  assert.notEqual(tokens[0], tokens[1]);
});

test('nothing is replayed of another command or bucket, of a call that failed, or that asked for a version', async () => {
  const server = new FakeServer();
  const none = { mayBeDone: false };
  assert.deepEqual(await server.replayGet('a'), none);
  server.statuses = [403];
  await assert.rejects(server.get('a'));
  assert.deepEqual(await server.replayGet('a'), none);
  await server.client.send(new GetObjectCommand({ Bucket: 'bucket', Key: 'a', VersionId: 'v' }));
  assert.deepEqual(await server.replayGet('a'), none);
  await server.client.send(new GetObjectCommand({ Bucket: 'other-bucket', Key: 'a' }));
  assert.deepEqual(await server.replayGet('a'), none);
  await server.client.send(new PutObjectCommand({ Bucket: 'bucket', Key: 'a', Body: '' }));
  assert.deepEqual(await server.replayGet('a'), none);
  await server.get('a');
  assert.ok('statusCode' in (await server.replayGet('a')));
});

for (const status of [301, 403, 404, 412, 503, undefined]) {
  test(`after ${status ?? 'no answer'} the SDK is asked, until it has succeeded again`, async () => {
    const server = new FakeServer();
    await server.get('a');
    server.statuses = status === undefined ? [] : [status];
    server.isBroken = status === undefined;
    assert.deepEqual(await server.replayGet('a'), { mayBeDone: true });
    server.isBroken = false;
    assert.deepEqual(await server.replayGet('a'), { mayBeDone: false });
    await server.get('a');
    assert.ok('statusCode' in (await server.replayGet('a')));
  });
}

test('a bucket with sessions of its own is left to the SDK', async () => {
  const session = {
    Credentials: {
      AccessKeyId: 'i',
      SecretAccessKey: 's',
      SessionToken: 't',
      Expiration: new Date(Date.now() + 1e6),
    },
  };
  const server = new FakeServer({
    s3ExpressIdentityProvider: {
      getS3ExpressIdentity: async () => ({ accessKeyId: 'i', secretAccessKey: 's', ...session }),
    },
  } as S3ClientConfig);
  const bucket = 'bucket--euw1-az1--x-s3';
  await server.client.send(new GetObjectCommand({ Bucket: bucket, Key: 'a' }));
  const answer = await server.replays.send({ command: 'GetObjectCommand', bucket, key: 'a', headers: {} });
  assert.deepEqual(answer, { mayBeDone: false });
  assert.equal(server.seen.length, 1);
});
