/**
 * Secrets below a prefix of a bucket. Every write is conditional (If-None-Match: *, or If-Match), so two people never
 * overwrite each other unseen; none ever sets an ACL, and a bucket that lets everybody in is not written to unasked.
 */
import { createHash } from 'node:crypto';
import type { ListObjectVersionsCommandOutput } from '@aws-sdk/client-s3';
import type { AwsAccess } from '../aws/access.ts';
import { statusOf } from '../aws/errors.ts';
import { readS3Body } from '../aws/s3-body.ts';
import { type S3Target, s3ReadError, s3WriteError } from '../aws/s3-errors.ts';
import { getObject, putObject } from '../aws/s3-objects.ts';
import { quote, SourceError } from '../errors.ts';
import { STORED_BYTES_MAX } from '../limits.ts';
import { checkPath, keyOf, placeOf, type StoreLocation, whyNotPath } from './location.ts';
import { refusePublicBucket } from './public-bucket.ts';
import {
  decodeKey,
  isMissing,
  isRepeated,
  readOf,
  removedMeanwhile,
  versionsOf,
  writtenOf,
} from './s3-answers.ts';
import { inRequest, type ServerSideEncryption } from './server-side-encryption.ts';
import type {
  Expected,
  ReadObject,
  ReadOptions,
  SecretStore,
  StoredObject,
  StoredVersion,
  Written,
} from './store.ts';

export interface S3StoreOptions {
  readonly sse?: ServerSideEncryption | undefined;
  /** Writes to a bucket that lets everybody in, too. */
  readonly allowPublic?: boolean | undefined;
}

type S3Location = Extract<StoreLocation, { kind: 's3' }>;

const TOO_LARGE_HINT = 'it is no secret of a store: those are far smaller; what is it, and who put it there?';

export class S3Store implements SecretStore {
  readonly location: string;
  readonly versioned = true;
  readonly #location: S3Location;
  readonly #aws: AwsAccess;
  readonly #options: S3StoreOptions;
  #allowed: Promise<void> | undefined;

  constructor(location: S3Location, aws: AwsAccess, options: S3StoreOptions = {}) {
    this.location = location.location;
    this.#location = location;
    this.#aws = aws;
    this.#options = options;
  }

  locate(path: string): string {
    return placeOf(this.#location, checkPath(this.#location, path));
  }

  async *list(prefix = '', { skipped }: { skipped?(name: string): void } = {}): AsyncGenerator<StoredObject> {
    const { bucket } = this.#location;
    const base = keyOf(this.#location, '');
    let token: string | undefined;
    do {
      const page = await this.#listPage(`${base}${prefix}`, token);
      for (const { Key, Size = 0, LastModified, ETag = '' } of page.Contents ?? []) {
        const path = decodeKey(Key ?? '', page.EncodingType).slice(base.length);
        // What consoles make to show a directory.
        if (path === '' || (path.endsWith('/') && Size === 0)) continue;
        if (whyNotPath(path) === undefined) {
          yield { path, bytes: Size, modifiedMs: LastModified?.getTime() ?? 0, etag: ETag };
        } else skipped?.(path);
      }
      token = page.NextContinuationToken;
      if (page.IsTruncated === true && token === undefined) {
        throw new SourceError('source-invalid', `cannot list ${quote(bucket)}: a page has no next one`, {
          hint: 'check the endpoint (AWS_ENDPOINT_URL_S3)',
        });
      }
    } while (token !== undefined);
  }

  async read(path: string, options: ReadOptions = {}): Promise<ReadObject | undefined> {
    const { headBytes, bytesMax = STORED_BYTES_MAX, version } = options;
    const range = headBytes === undefined ? undefined : `bytes=0-${headBytes - 1}`;
    try {
      return await this.#get(path, { range, version }, headBytes ?? bytesMax);
    } catch (error) {
      // An empty object has no first byte.
      if (headBytes !== undefined && statusOf(error) === 416)
        return this.read(path, { ...options, headBytes: undefined });
      if (isMissing(error) || (version !== undefined && statusOf(error) === 400)) return undefined;
      throw s3ReadError(error, { ...this.#target(path), versionId: version });
    }
  }

  async check(path: string, verb: 'write' | 'remove'): Promise<void> {
    const { bucket } = this.#target(path);
    if (verb === 'write') await this.#refusePublic(bucket);
  }

  async write(path: string, bytes: Buffer, expected: 'absent' | Expected): Promise<Written> {
    const target = this.#target(path);
    await this.#refusePublic(target.bucket);
    try {
      const answer = await putObject(this.#aws, {
        ...{ bucket: target.bucket, key: target.key, bytes, contentType: 'application/octet-stream' },
        // Buckets with Object Lock want a checksum; servers that know none ignore it.
        sha256: createHash('sha256').update(bytes).digest('base64'),
        ifMatch: expected === 'absent' ? undefined : expected.etag,
        more: inRequest(this.#options.sse),
      });
      return writtenOf(answer);
    } catch (error) {
      const mine = await this.#writtenBefore(path, bytes, error);
      if (mine !== undefined) return mine;
      throw removedMeanwhile(error, target) ?? s3WriteError(error, target);
    }
  }

  async remove(path: string, expected: 'any' | Expected, version?: string): Promise<void> {
    const action = version === undefined ? 's3:DeleteObject' : 's3:DeleteObjectVersion';
    const target = { ...this.#target(path), verb: 'remove', grant: { action, resource: 'object' } } as const;
    const { DeleteObjectCommand } = await import('../aws/sdk-s3.ts');
    const client = await this.#aws.s3();
    const command = new DeleteObjectCommand({
      Bucket: target.bucket,
      Key: target.key,
      ...(version === undefined ? {} : { VersionId: version }),
      ...(expected === 'any' || version !== undefined ? {} : { IfMatch: expected.etag }),
    });
    try {
      await client.send(command);
    } catch (error) {
      // The answer to the first attempt was lost, and what it left is what was wanted.
      if (isRepeated(error) && isMissing(error)) return;
      throw removedMeanwhile(error, target) ?? s3WriteError(error, target);
    }
  }

  async *versions(path: string): AsyncGenerator<StoredVersion> {
    const { bucket, key } = this.#target(path);
    let from: { KeyMarker?: string | undefined; VersionIdMarker?: string | undefined } = {};
    for (;;) {
      const page = await this.#versionsPage(path, from);
      const decoded = (text: string | undefined) => decodeKey(text ?? '', page.EncodingType);
      yield* versionsOf(page, (each) => decoded(each) === key);
      // Every key that follows is longer.
      const next = decoded(page.NextKeyMarker);
      if (page.IsTruncated !== true || next !== key) return;
      from = { KeyMarker: next, VersionIdMarker: page.NextVersionIdMarker };
      if (from.VersionIdMarker === undefined) {
        throw new SourceError(
          'source-invalid',
          `cannot list versions of ${quote(bucket)}: a page has no next one`,
        );
      }
    }
  }

  async #refusePublic(bucket: string): Promise<void> {
    if (this.#options.allowPublic === true) return;
    this.#allowed ??= refusePublicBucket(this.#aws, bucket);
    await this.#allowed;
  }

  #target(path: string): S3Target {
    checkPath(this.#location, path);
    const { bucket } = this.#location;
    const location = placeOf(this.#location, path);
    return {
      bucket,
      key: keyOf(this.#location, path),
      location,
      expectedOwner: this.#aws.expectedBucketOwner,
    };
  }

  /** Throws what the SDK does, and readS3Body(). */
  async #get(path: string, more: Parameters<typeof getObject>[2], bytesMax: number): Promise<ReadObject> {
    const { bucket, key, location } = this.#target(path);
    const answer = await getObject(this.#aws, { bucket, key }, more);
    const bytes = await readS3Body(answer, { location, bytesMax, tooLargeHint: TOO_LARGE_HINT });
    return readOf(answer, bytes);
  }

  /**
   * A request that was repeated because its answer was lost meets what it wrote itself. No two sealings are equal, so what
   * has these bytes is ours.
   */
  async #writtenBefore(path: string, bytes: Buffer, error: unknown): Promise<Written | undefined> {
    if (statusOf(error) !== 412 || !isRepeated(error)) return undefined;
    const there = await this.read(path, { bytesMax: bytes.length }).catch(() => undefined);
    return there?.bytes.equals(bytes) ? there : undefined;
  }

  async #listPage(prefix: string, token: string | undefined) {
    const { bucket, location } = this.#location;
    try {
      const { ListObjectsV2Command } = await import('../aws/sdk-s3.ts');
      const client = await this.#aws.s3();
      return await client.send(
        new ListObjectsV2Command({
          Bucket: bucket,
          Prefix: prefix,
          // XML has no way to write some characters that keys may have.
          EncodingType: 'url',
          ...(token === undefined ? {} : { ContinuationToken: token }),
        }),
      );
    } catch (error) {
      throw s3ReadError(error, this.#listing(location, prefix, 's3:ListBucket'));
    }
  }

  async #versionsPage(path: string, from: object): Promise<ListObjectVersionsCommandOutput> {
    const { bucket, key, location } = this.#target(path);
    try {
      const { ListObjectVersionsCommand } = await import('../aws/sdk-s3.ts');
      const client = await this.#aws.s3();
      const command = new ListObjectVersionsCommand({
        Bucket: bucket,
        Prefix: key,
        EncodingType: 'url',
        ...from,
      });
      return await client.send(command);
    } catch (error) {
      throw s3ReadError(error, this.#listing(location, key, 's3:ListBucketVersions'));
    }
  }

  #listing(location: string, key: string, action: string): S3Target {
    const { bucket } = this.#location;
    return { bucket, key, location, verb: 'list', grant: { action, resource: 'bucket' } };
  }
}
