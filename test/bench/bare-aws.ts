/**
 * As much of S3 and KMS as listing and rotating a store need, in memory, with nothing checked but conditions of writes: an
 * answer costs nearly nothing, or exactly as long as is asked for, so that what is measured is the client.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface BareAws {
  readonly url: string;
  /** How long requests were under way since the last call, added up, in ms. */
  takeBusyMs(): number;
  close(): Promise<void>;
}

export interface BareOptions {
  /** By their keys, which are of plain letters. */
  readonly objects?: ReadonlyMap<string, Buffer>;
  /** Each answer waits as long. */
  readonly delayMs?: number;
}

const PAGE = 1000;
const MODIFIED = '2026-01-01T00:00:00.000Z';
const KEY_ARN = 'arn:aws:kms:eu-west-1:123456789012:key/';

interface StoredBytes {
  readonly bytes: Buffer;
  readonly etag: string;
}

export async function startBareAws({ objects = new Map(), delayMs = 0 }: BareOptions = {}): Promise<BareAws> {
  const stored = new Map<string, StoredBytes>(
    [...objects].map(([key, bytes]) => [key, { bytes, etag: newEtag() }]),
  );
  const dataKeys = new Map<string, string>();
  let busyMs = 0;
  const server = createServer((request, response) => {
    const begun = performance.now();
    response.once('close', () => {
      busyMs += performance.now() - begun;
    });
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.once('end', () => {
      const answer = () => answerOf(request, response, Buffer.concat(chunks), stored, dataKeys);
      if (delayMs === 0) answer();
      else setTimeout(answer, delayMs);
    });
  });
  server.keepAliveTimeout = 60_000;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    takeBusyMs() {
      const taken = busyMs;
      busyMs = 0;
      return taken;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function newEtag(): string {
  return `"${randomBytes(16).toString('hex')}"`;
}

function answerOf(
  request: IncomingMessage,
  response: ServerResponse,
  body: Buffer,
  stored: Map<string, StoredBytes>,
  dataKeys: Map<string, string>,
): void {
  const target = request.headers['x-amz-target'];
  const { searchParams, pathname } = new URL(request.url ?? '', 'http://s3');
  // Path style: /bucket/key.
  const key = pathname.split('/').slice(2).join('/');
  if (target !== undefined) kms(String(target), body, dataKeys, response);
  else if (searchParams.has('list-type')) list(stored, searchParams, response);
  else if (key === '') refuse(response, 403, 'AccessDenied');
  else if (request.method === 'PUT') put(key, body, request, stored, response);
  else get(stored.get(key), request.headers.range, response);
}

function refuse(response: ServerResponse, status: number, code: string): void {
  response.writeHead(status, { 'content-type': 'application/xml' });
  response.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>no</Message></Error>`);
}

function get(found: StoredBytes | undefined, range: string | undefined, response: ServerResponse): void {
  if (found === undefined) {
    refuse(response, 404, 'NoSuchKey');
    return;
  }
  const { bytes, etag } = found;
  const part = bytes.subarray(0, Number(/-(\d+)$/.exec(range ?? '')?.[1] ?? bytes.length - 1) + 1);
  response.writeHead(range === undefined ? 200 : 206, {
    'content-length': part.length,
    'content-range': `bytes 0-${part.length - 1}/${bytes.length}`,
    'last-modified': new Date(MODIFIED).toUTCString(),
    etag,
  });
  response.end(part);
}

function put(
  key: string,
  bytes: Buffer,
  { headers }: IncomingMessage,
  stored: Map<string, StoredBytes>,
  response: ServerResponse,
): void {
  const found = stored.get(key);
  const isWanted =
    headers['if-none-match'] === '*' ? found === undefined : found?.etag === headers['if-match'];
  if (!isWanted) {
    refuse(response, 412, 'PreconditionFailed');
    return;
  }
  const etag = newEtag();
  stored.set(key, { bytes, etag });
  response.writeHead(200, { etag, 'content-length': 0 }).end();
}

function list(
  stored: ReadonlyMap<string, StoredBytes>,
  query: URLSearchParams,
  response: ServerResponse,
): void {
  const from = Number(query.get('continuation-token') ?? 0);
  const prefix = query.get('prefix') ?? '';
  const keys = [...stored.keys()].filter((key) => key.startsWith(prefix)).sort();
  const contents = keys.slice(from, from + PAGE).map((key) => {
    const { bytes, etag } = stored.get(key) as StoredBytes;
    return `<Contents><Key>${key}</Key><LastModified>${MODIFIED}</LastModified><ETag>${etag}</ETag><Size>${bytes.length}</Size></Contents>`;
  });
  const next = from + PAGE;
  const more = next < keys.length;
  const token = more ? `<NextContinuationToken>${next}</NextContinuationToken>` : '';
  response.writeHead(200, { 'content-type': 'application/xml' });
  response.end(
    `<?xml version="1.0"?><ListBucketResult><IsTruncated>${more}</IsTruncated>${token}${contents.join('')}</ListBucketResult>`,
  );
}

function kms(target: string, body: Buffer, dataKeys: Map<string, string>, response: ServerResponse): void {
  const { KeyId, CiphertextBlob } = JSON.parse(body.toString());
  const arn = String(KeyId).startsWith('arn:') ? KeyId : KEY_ARN + KeyId;
  const answer: Record<string, string | undefined> = { KeyId: arn };
  if (target.endsWith('.Decrypt')) answer['Plaintext'] = dataKeys.get(CiphertextBlob);
  else {
    answer['Plaintext'] = randomBytes(32).toString('base64');
    answer['CiphertextBlob'] = randomBytes(184).toString('base64');
    dataKeys.set(answer['CiphertextBlob'], answer['Plaintext']);
  }
  response.writeHead(200, { 'content-type': 'application/x-amz-json-1.1' });
  response.end(JSON.stringify(answer));
}

/** Of a key that is not there before it is used. */
export function bareKey(): string {
  return KEY_ARN + randomUUID();
}
