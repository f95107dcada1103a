/**
 * A bundle in S3. A HEAD with If-None-Match says whether there may be something new; one GET with If-None-Match says both whether there is something new and what: S3 is strongly
 * consistent, so there is no race. Watching is polling; every hint is one such request.
 */
import { createHash } from 'node:crypto';
import type { GetObjectCommandInput, GetObjectCommandOutput } from '@aws-sdk/client-s3';
import type { AwsAccess } from '../aws/access.ts';
import { statusOf } from '../aws/errors.ts';
import { type S3Target, s3ReadError, s3WriteError } from '../aws/s3-errors.ts';
import { ConfigError, OutputError, quote, SourceError, UsageError } from '../errors.ts';
import { HEADER_BYTES_MAX } from '../limits.ts';
import type { Timers } from '../system/timers.ts';
import { startPolling } from './poll.ts';
import type { FetchedBundle, Source, Watch } from './source.ts';

export interface S3Url {
  /** As it was written. */
  readonly location: string;
  readonly bucket: string;
  readonly key: string;
  readonly versionId?: string;
}

/** AWS's own rule for new buckets is narrower; older ones and other servers are not. */
const BUCKET = 'a letter or digit, then 1 to 254 letters, digits, ".", "_" or "-"';
const FORM = 'write it as s3://BUCKET/KEY or s3://BUCKET/KEY?versionId=ID';

/** Reads `s3://bucket/key[?versionId=…]`; the key is taken literally, not percent-decoded. Throws UsageError. */
export function parseS3Url(text: string): S3Url {
  const invalid = (why: string): UsageError =>
    new UsageError(`cannot use the location ${quote(text)}: ${why}`, { hint: FORM });
  if (!text.startsWith('s3://')) throw invalid('it does not begin with s3://');
  const rest = text.slice('s3://'.length);
  const slash = rest.indexOf('/');
  const bucket = slash === -1 ? rest : rest.slice(0, slash);
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$/.test(bucket))
    throw invalid(`its bucket is ${quote(bucket)}, want ${BUCKET}`);
  const path = slash === -1 ? '' : rest.slice(slash + 1);
  const [, key = '', query] = /^([^?]*)(?:\?(.*))?$/s.exec(path) ?? [];
  if (key === '' || key.endsWith('/')) throw invalid('it names no object');
  if (Buffer.byteLength(key) > 1024) throw invalid('its key is longer than 1024 bytes');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\u0000-\u001f\u007f]/.test(key)) throw invalid('its key has control characters');
  if (query === undefined) return { location: text, bucket, key };
  const version = /^versionId=([A-Za-z0-9._~+/=-]{1,1024})$/.exec(query)?.[1];
  if (version === undefined) throw invalid('after the ? only versionId=ID may stand');
  return { location: text, bucket, key, versionId: version };
}

export interface S3SourceOptions {
  readonly pollIntervalMs?: number;
  readonly timers?: Timers;
  /** From 0 up to 1: spreads the polls of many instances. */
  readonly random?: () => number;
  /** A body that brings nothing for this long is given up. */
  readonly stallTimeoutMs?: number;
}

/** A rotation is live within seconds; a month of it is 90,000 requests, about four cents. */
export const S3_POLL_INTERVAL_MS = 30_000;
const STALL_TIMEOUT_MS = 10_000;
/** A whole body may take this long, and its size at a rate that is slower than any network between instances. */
const WHOLE_MS_MIN = 15_000;
const RATE_BYTES_PER_S_MIN = 256 * 1024;

export class S3Source implements Source {
  readonly location: string;
  readonly #url: S3Url;
  readonly #aws: AwsAccess;
  readonly #options: S3SourceOptions;

  constructor(url: S3Url, aws: AwsAccess, options: S3SourceOptions = {}) {
    this.location = url.location;
    this.#url = url;
    this.#aws = aws;
    this.#options = options;
  }

  async fetch(options: {
    readonly bytesMax: number;
    readonly knownRevision?: string | undefined;
    readonly signal?: AbortSignal | undefined;
  }): Promise<FetchedBundle | undefined> {
    const { bytesMax, knownRevision, signal } = options;
    const known = knownRevision === undefined ? undefined : etagOf(knownRevision);
    const got = await this.#get(known === undefined ? {} : { IfNoneMatch: known }, bytesMax, signal);
    if (got === 'unchanged') return undefined;
    const revision = revisionOf(got.answer);
    // Some S3-compatible servers ignore If-None-Match.
    return revision === knownRevision ? undefined : { revision, bytes: got.bytes };
  }

  async check(options: {
    readonly knownRevision: string;
    readonly signal?: AbortSignal | undefined;
  }): Promise<'same' | 'maybe-changed'> {
    const { knownRevision, signal } = options;
    const { bucket, key, versionId } = this.#url;
    const known = etagOf(knownRevision);
    if (known === undefined) return 'maybe-changed';
    try {
      const { HeadObjectCommand } = await import('../aws/sdk-s3.ts');
      const client = await this.#aws.s3();
      signal?.throwIfAborted();
      const command = new HeadObjectCommand({
        Bucket: bucket,
        Key: key,
        ...(versionId === undefined ? {} : { VersionId: versionId }),
        IfNoneMatch: known,
      });
      const answer = await client.send(command, signal === undefined ? {} : { abortSignal: signal });
      // Some S3-compatible servers ignore If-None-Match.
      return revisionOf(answer) === knownRevision ? 'same' : 'maybe-changed';
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      if (statusOf(error) === 304) return 'same';
      throw s3ReadError(error, this.#target());
    }
  }

  /**
   * The first bytes of the object, enough for a message's header by default, its size, and what putObject() expects.
   * undefined where there is no such object.
   */
  async readHead(
    bytes: number = HEADER_BYTES_MAX,
  ): Promise<{ bytes: Buffer; etag: string; size: number } | undefined> {
    const read = async (
      range: GetObjectCommandInput['Range'] | undefined,
    ): Promise<{ bytes: Buffer; etag: string; size: number }> => {
      const got = await this.#get(range === undefined ? {} : { Range: range }, bytes, undefined);
      if (got === 'unchanged') throw this.#invalid('S3 answered 304 to an unconditional request');
      const { ETag, ContentRange } = got.answer;
      if (ETag === undefined) throw this.#invalid('S3 answered without an ETag');
      // bytes 0-65535/1234567
      const size = Number(/\/(\d+)$/.exec(ContentRange ?? '')?.[1] ?? got.bytes.length);
      return { bytes: got.bytes, etag: ETag, size };
    };
    try {
      return await read(`bytes=0-${bytes - 1}`);
    } catch (error) {
      if (!(error instanceof SourceError)) throw error;
      // An empty object has no first byte.
      if (statusOf(error.cause) === 416) return read(undefined);
      if (error.code === 'source-not-found' && !isNoSuchBucket(error)) return undefined;
      throw error;
    }
  }

  /**
   * Writes the object, only if it is still what was looked at. Throws OutputError: `output-changed` where it is not.
   */
  async putObject(bytes: Buffer, expected: { readonly etag: string } | 'absent'): Promise<void> {
    const { bucket, key, location, versionId } = this.#url;
    if (versionId !== undefined) {
      throw new UsageError(`cannot write ${quote(location)}: it names a version`, {
        hint: 'leave out ?versionId=',
      });
    }
    try {
      const { PutObjectCommand } = await import('../aws/sdk-s3.ts');
      const client = await this.#aws.s3();
      await client.send(
        new PutObjectCommand({
          Bucket: bucket,
          Key: key,
          Body: bytes,
          ContentLength: bytes.length,
          ContentType: 'application/octet-stream',
          // Buckets with Object Lock want a checksum; servers that know none ignore it.
          ChecksumSHA256: createHash('sha256').update(bytes).digest('base64'),
          ...(expected === 'absent' ? { IfNoneMatch: '*' } : { IfMatch: expected.etag }),
        }),
      );
    } catch (error) {
      // What was to be replaced has gone: S3 answers 404 to If-Match.
      if (expected !== 'absent' && isNoSuchKey(error)) {
        throw new OutputError(
          'output-changed',
          `cannot write ${quote(location)}: somebody else removed it since we looked`,
          {
            hint: 'run the command again',
            cause: error,
          },
        );
      }
      throw s3WriteError(error, this.#target());
    }
  }

  watch(hint: () => void): Watch {
    const { pollIntervalMs = S3_POLL_INTERVAL_MS, timers, random } = this.#options;
    // A version never changes.
    if (this.#url.versionId !== undefined) return { close: async () => {} };
    return startPolling(hint, pollIntervalMs, timers, random);
  }

  #target(): S3Target {
    const { bucket, key, location, versionId } = this.#url;
    return { bucket, key, location, versionId };
  }

  #invalid(why: string): SourceError {
    return new SourceError('source-invalid', `cannot fetch ${quote(this.location)}: ${why}`, {
      hint: 'check the endpoint (AWS_ENDPOINT_URL_S3)',
    });
  }

  /** One GET with its body read to the end, under limits of size and silence. */
  async #get(
    conditions: Partial<GetObjectCommandInput>,
    bytesMax: number,
    signal: AbortSignal | undefined,
  ): Promise<{ answer: GetObjectCommandOutput; bytes: Buffer } | 'unchanged'> {
    const { bucket, key, versionId } = this.#url;
    try {
      const { GetObjectCommand } = await import('../aws/sdk-s3.ts');
      const client = await this.#aws.s3();
      signal?.throwIfAborted();
      const command = new GetObjectCommand({
        Bucket: bucket,
        Key: key,
        ...(versionId === undefined ? {} : { VersionId: versionId }),
        ...conditions,
      });
      const answer = await client.send(command, signal === undefined ? {} : { abortSignal: signal });
      return { answer, bytes: await this.#readBody(answer, bytesMax, signal) };
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      if (statusOf(error) === 304) return 'unchanged';
      throw s3ReadError(error, this.#target());
    }
  }

  async #readBody(
    answer: GetObjectCommandOutput,
    bytesMax: number,
    signal: AbortSignal | undefined,
  ): Promise<Buffer> {
    const { Body, ContentLength } = answer;
    const stream = Body as import('node:stream').Readable | undefined;
    if (stream === undefined) throw this.#invalid('S3 answered without a body');
    const tooLarge = (size: number | string): SourceError =>
      new SourceError(
        'source-too-large',
        `cannot fetch ${quote(this.location)}: it has ${size} bytes, want at most ${bytesMax}`,
        {
          hint: 'raise --max-bytes of the mount if it is meant to be so large; no command takes more than 2 GiB',
        },
      );
    if (ContentLength !== undefined && ContentLength > bytesMax) {
      stream.destroy();
      throw tooLarge(ContentLength);
    }

    const stallTimeoutMs = this.#options.stallTimeoutMs ?? STALL_TIMEOUT_MS;
    const stalled = Object.assign(new Error('the body stalled'), { name: 'TimeoutError' });
    const timer = setTimeout(() => stream.destroy(stalled), stallTimeoutMs);
    // A byte now and then is no progress either.
    const wholeMs = WHOLE_MS_MIN + ((ContentLength ?? bytesMax) / RATE_BYTES_PER_S_MIN) * 1000;
    const deadline = setTimeout(() => stream.destroy(stalled), wholeMs);
    const abort = (): void => {
      stream.destroy(new Error('aborted'));
    };
    signal?.addEventListener('abort', abort, { once: true });
    const chunks: Buffer[] = [];
    let length = 0;
    try {
      for await (const chunk of stream as AsyncIterable<Buffer>) {
        timer.refresh();
        length += chunk.length;
        if (length > bytesMax) throw tooLarge(`more than ${bytesMax}`);
        chunks.push(chunk);
      }
    } finally {
      clearTimeout(timer);
      clearTimeout(deadline);
      signal?.removeEventListener('abort', abort);
      stream.destroy();
    }
    // Node's own HTTP client reports this before; another handler may not.
    if (ContentLength !== undefined && length !== ContentLength) {
      throw new SourceError(
        'source-unreachable',
        `cannot fetch ${quote(this.location)}: the connection ended after ${length} of ${ContentLength} bytes`,
        { hint: 'try again, and look at the network of this machine' },
      );
    }
    return Buffer.concat(chunks, length);
  }
}

/** `VERSION ETAG`, where versions are kept, or the ETag alone. Opaque to everybody but this file. */
function revisionOf({ ETag, VersionId }: Pick<GetObjectCommandOutput, 'ETag' | 'VersionId'>): string {
  if (ETag === undefined || !/^(?:W\/)?"[\x21\x23-\x7e]*"$/.test(ETag)) {
    throw new ConfigError('config-invalid', 'cannot use the S3 server: it gives objects no valid ETag', {
      hint: 'check AWS_ENDPOINT_URL_S3',
    });
  }
  return VersionId === undefined || VersionId === 'null' ? ETag : `${VersionId} ${ETag}`;
}

/** undefined for a revision of another kind of source: then the object is simply fetched. */
function etagOf(revision: string): string | undefined {
  return /(?:^| )((?:W\/)?"[\x21\x23-\x7e]*")$/.exec(revision)?.[1];
}

function nameOf(error: unknown): unknown {
  return typeof error === 'object' && error !== null && 'name' in error ? error.name : undefined;
}
const isNoSuchBucket = (error: SourceError): boolean => nameOf(error.cause) === 'NoSuchBucket';
const isNoSuchKey = (error: unknown): boolean => statusOf(error) === 404 && nameOf(error) !== 'NoSuchBucket';
