/** Reading and writing objects by the thousand: as the SDK does, and past it where it does the same again (replay.ts). */
import type {
  GetObjectCommandOutput,
  PutObjectCommandInput,
  PutObjectCommandOutput,
} from '@aws-sdk/client-s3';
import type { AwsAccess } from './access.ts';

export type ObjectAnswer = Pick<
  GetObjectCommandOutput,
  'Body' | 'ContentLength' | 'ContentRange' | 'ETag' | 'LastModified' | 'VersionId'
>;

export interface ObjectPlace {
  readonly bucket: string;
  readonly key: string;
}

/** Throws what the SDK throws. The body is yet to be read, or to be destroyed. */
export async function getObject(
  aws: AwsAccess,
  { bucket, key }: ObjectPlace,
  { range, version }: { readonly range?: string | undefined; readonly version?: string | undefined },
): Promise<ObjectAnswer> {
  const client = await aws.s3();
  if (version === undefined) {
    const headers: Record<string, string> = range === undefined ? {} : { range };
    const answer = await (await aws.replays(client))?.send({
      command: 'GetObjectCommand',
      bucket,
      key,
      headers,
    });
    if (answer !== undefined && 'statusCode' in answer) return asOutput(answer);
  }
  const { GetObjectCommand } = await import('./sdk-s3.ts');
  return client.send(
    new GetObjectCommand({
      Bucket: bucket,
      Key: key,
      ...(range === undefined ? {} : { Range: range }),
      ...(version === undefined ? {} : { VersionId: version }),
    }),
  );
}

function asOutput({ headers, body }: { headers: Record<string, string>; body?: unknown }): ObjectAnswer {
  const { 'content-length': length, 'last-modified': modified } = headers;
  return {
    Body: body as NonNullable<ObjectAnswer['Body']>,
    ContentLength: length === undefined ? undefined : Number(length),
    ContentRange: headers['content-range'],
    ETag: headers['etag'],
    LastModified: modified === undefined ? undefined : new Date(modified),
    VersionId: headers['x-amz-version-id'],
  };
}

export interface PutObject extends ObjectPlace {
  readonly bytes: Buffer;
  /** In base64. */
  readonly sha256: string;
  readonly contentType: string;
  /** If-Match with this etag; If-None-Match: * without one. */
  readonly ifMatch: string | undefined;
  /** The same for every object of the bucket. */
  readonly more: Partial<PutObjectCommandInput>;
}

/** Throws what the SDK throws; `$metadata.attempts` of that counts all there were. */
export async function putObject(
  aws: AwsAccess,
  { bucket, key, bytes, sha256, contentType, ifMatch, more }: PutObject,
): Promise<Pick<PutObjectCommandOutput, 'ETag' | 'VersionId'>> {
  const client = await aws.s3();
  const answer = await (await aws.replays(client))?.send({
    command: 'PutObjectCommand',
    ...{ bucket, key },
    headers: {
      'content-type': contentType,
      'x-amz-checksum-sha256': sha256,
      ...(ifMatch === undefined ? { 'if-none-match': '*' } : { 'if-match': ifMatch }),
    },
    body: bytes,
  });
  if (answer !== undefined && 'statusCode' in answer) {
    answer.body?.resume?.();
    return { ETag: answer.headers['etag'], VersionId: answer.headers['x-amz-version-id'] };
  }
  const { PutObjectCommand } = await import('./sdk-s3.ts');
  const command = new PutObjectCommand({
    ...more,
    Bucket: bucket,
    Key: key,
    Body: bytes,
    ContentLength: bytes.length,
    ContentType: contentType,
    ChecksumSHA256: sha256,
    ...(ifMatch === undefined ? { IfNoneMatch: '*' } : { IfMatch: ifMatch }),
  });
  try {
    return await client.send(command);
  } catch (error) {
    const { $metadata } = error as { $metadata?: { attempts?: number } };
    if ($metadata !== undefined && answer?.mayBeDone === true)
      $metadata.attempts = ($metadata.attempts ?? 1) + 1;
    throw error;
  }
}
