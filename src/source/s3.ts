/**
 * A bundle in S3. A HEAD with If-None-Match says whether there is something new, and which revision; a GET of exactly that
 * revision, as long as it is the newest, brings it. S3 is strongly consistent, so what was seen is what is fetched, or something
 * newer is there and looked for again.
 */
import { createHash } from 'node:crypto';
import type { GetObjectCommandInput, GetObjectCommandOutput } from '@aws-sdk/client-s3';
import type { AwsAccess } from '../aws/access.ts';
import { statusOf } from '../aws/errors.ts';
import { readS3Body } from '../aws/s3-body.ts';
import { type S3Target, s3ReadError, s3WriteError } from '../aws/s3-errors.ts';
import { ConfigError, OutputError, quote, SourceError, UsageError } from '../errors.ts';
import { HEADER_BYTES_MAX } from '../limits.ts';
import type { S3Url } from './s3-url.ts';
import type { FetchedBundle, Found, Source, Watch } from './source.ts';

interface Got {
  readonly answer: GetObjectCommandOutput;
  readonly bytes: Buffer;
}

export interface S3SourceOptions {
  /** A body that brings nothing for this long is given up. */
  readonly stallTimeoutMs?: number;
}

const TOO_LARGE_HINT =
  'raise --max-bytes of the mount if it is meant to be so large; no command takes more than 2 GiB';

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

  /** A version never changes. */
  get polled(): boolean {
    return this.#url.versionId === undefined;
  }

  async fetch(options: {
    readonly bytesMax: number;
    readonly knownRevision?: string | undefined;
    readonly revision?: string | undefined;
    readonly signal?: AbortSignal | undefined;
  }): Promise<FetchedBundle | undefined> {
    const { bytesMax, knownRevision, revision, signal } = options;
    const wanted = revision === undefined ? undefined : etagOf(revision);
    if (revision !== undefined && wanted !== undefined) {
      return this.#fetchExactly(revision, wanted, bytesMax, signal);
    }
    const known = knownRevision === undefined ? undefined : etagOf(knownRevision);
    const got = await this.#get(known === undefined ? {} : { IfNoneMatch: known }, bytesMax, signal);
    if (got === 'unchanged') return undefined;
    const fetched = fetchedOf(got);
    // Some S3-compatible servers ignore If-None-Match.
    return fetched.revision === knownRevision ? undefined : fetched;
  }

  async check(options: {
    readonly knownRevision: string | undefined;
    readonly signal?: AbortSignal | undefined;
  }): Promise<Found> {
    const { knownRevision, signal } = options;
    const { bucket, key, versionId } = this.#url;
    const known = knownRevision === undefined ? undefined : etagOf(knownRevision);
    try {
      const { HeadObjectCommand } = await import('../aws/sdk-s3.ts');
      const client = await this.#aws.s3();
      signal?.throwIfAborted();
      const command = new HeadObjectCommand({
        Bucket: bucket,
        Key: key,
        ...(versionId === undefined ? {} : { VersionId: versionId }),
        ...(known === undefined ? {} : { IfNoneMatch: known }),
      });
      const answer = await client.send(command, signal === undefined ? {} : { abortSignal: signal });
      const revision = revisionOf(answer);
      // Some S3-compatible servers ignore If-None-Match.
      return revision === knownRevision ? { outcome: 'same' } : { outcome: 'changed', revision };
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      if (statusOf(error) === 304) return { outcome: 'same' };
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
      if (error.code === 'source-deleted') return undefined;
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

  watch(): Watch {
    return { close: async () => {} };
  }

  /**
   * As long as it is the newest: who noticed it is not to be believed that it still is, and by its version one that was withdrawn
   * could be had too.
   */
  async #fetchExactly(
    revision: string,
    etag: string,
    bytesMax: number,
    signal: AbortSignal | undefined,
  ): Promise<FetchedBundle> {
    const got = await this.#get({ IfMatch: etag }, bytesMax, signal, true);
    if (got === 'unchanged') throw this.#invalid('S3 answered 304 to an unconditional request');
    const fetched = fetchedOf(got);
    if (fetched.revision === revision) return fetched;
    throw new SourceError(
      'source-changed',
      `cannot fetch ${quote(this.location)}: what was noticed is gone again`,
      { hint: 'what is there now is looked at next' },
    );
  }

  #target(exact = false): S3Target {
    const { bucket, key, location, versionId } = this.#url;
    return { bucket, key, location, versionId, expectedOwner: this.#aws.expectedBucketOwner, exact };
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
    exact = false,
  ): Promise<Got | 'unchanged'> {
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
      const bytes = await readS3Body(answer, {
        location: this.location,
        bytesMax,
        tooLargeHint: TOO_LARGE_HINT,
        stallTimeoutMs: this.#options.stallTimeoutMs,
        signal,
      });
      return { answer, bytes };
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      if (statusOf(error) === 304) return 'unchanged';
      throw s3ReadError(error, this.#target(exact));
    }
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
  return /^(?:[^ ]+ )?((?:W\/)?"[\x21\x23-\x7e]*")$/.exec(revision)?.[1];
}

function fetchedOf({ answer, bytes }: Got): FetchedBundle {
  return { revision: revisionOf(answer), bytes, uploadedMs: answer.LastModified?.getTime() };
}

function nameOf(error: unknown): unknown {
  return typeof error === 'object' && error !== null && 'name' in error ? error.name : undefined;
}
const isNoSuchBucket = (error: SourceError): boolean => nameOf(error.cause) === 'NoSuchBucket';
const isNoSuchKey = (error: unknown): boolean => statusOf(error) === 404 && nameOf(error) !== 'NoSuchBucket';
