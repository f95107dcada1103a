/** The objects below a prefix of a bucket. Needs s3:ListBucket, and s3:GetObject below the prefix. */
import type { AwsAccess } from '../aws/access.ts';
import { readS3Body } from '../aws/s3-body.ts';
import { type S3Target, s3ReadError } from '../aws/s3-errors.ts';
import type { CiphertextPlace, ListedFile } from './ciphertexts.ts';
import { parseS3Url, type S3Url } from './s3-url.ts';

export class CiphertextsPrefix implements CiphertextPlace {
  readonly location: string;
  readonly #url: S3Url;
  readonly #aws: AwsAccess;

  /** s3://bucket/prefix/. Throws UsageError. */
  constructor(location: string, aws: AwsAccess) {
    this.location = location;
    this.#url = parseS3Url(location.replace(/\/$/, ''));
    this.#aws = aws;
  }

  async *list(signal: AbortSignal | undefined): AsyncGenerator<ListedFile> {
    const { bucket, key } = this.#url;
    const prefix = `${key}/`;
    const { ListObjectsV2Command } = await import('../aws/sdk-s3.ts');
    let token: string | undefined;
    do {
      const command = new ListObjectsV2Command({
        Bucket: bucket,
        Prefix: prefix,
        ...(token === undefined ? {} : { ContinuationToken: token }),
      });
      const page = await this.#call('list', prefix, async () =>
        (await this.#aws.s3()).send(command, signal === undefined ? {} : { abortSignal: signal }),
      );
      for (const { Key = '', ETag = '', LastModified } of page.Contents ?? []) {
        yield {
          path: Key.slice(prefix.length),
          revision: ETag,
          modifiedMs: LastModified?.getTime() ?? 0,
        };
      }
      token = page.NextContinuationToken;
    } while (token !== undefined);
  }

  read(path: string, bytesMax: number, signal: AbortSignal | undefined): Promise<Buffer> {
    const { bucket, key } = this.#url;
    return this.#call('fetch', `${key}/${path}`, async () => {
      const { GetObjectCommand } = await import('../aws/sdk-s3.ts');
      const client = await this.#aws.s3();
      const command = new GetObjectCommand({ Bucket: bucket, Key: `${key}/${path}` });
      const answer = await client.send(command, signal === undefined ? {} : { abortSignal: signal });
      const location = `${this.location}${path}`;
      const tooLargeHint = 'it is no KMS ciphertext: what is larger belongs into a bundle';
      return readS3Body(answer, { location, bytesMax, tooLargeHint, signal });
    });
  }

  async #call<T>(verb: 'list' | 'fetch', key: string, send: () => Promise<T>): Promise<T> {
    const { bucket } = this.#url;
    const target: S3Target = {
      ...{ bucket, key, location: this.location, expectedOwner: this.#aws.expectedBucketOwner },
      ...(verb === 'list' ? { verb, grant: { action: 's3:ListBucket', resource: 'bucket' as const } } : {}),
    };
    try {
      return await send();
    } catch (error) {
      throw s3ReadError(error, target);
    }
  }
}
