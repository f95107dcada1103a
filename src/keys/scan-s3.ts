/**
 * Every object of a bucket below a prefix, with its older versions where they may be listed. What is not allowed is told of, and the
 * rest is looked at all the same.
 */
import type { ListObjectVersionsCommandOutput, S3Client } from '@aws-sdk/client-s3';
import type { AwsAccess } from '../aws/access.ts';
import { nameOf } from '../aws/errors.ts';
import { readS3Body } from '../aws/s3-body.ts';
import { type S3Target, s3ReadError } from '../aws/s3-errors.ts';
import { quote, SecretsfsError, SourceError } from '../errors.ts';
import { decodeKey } from '../secrets/s3-answers.ts';
import type { Candidate, UsageAudit } from './usage.ts';

/** The names of all buckets of the account. Throws SecretsfsError. */
export async function listBuckets(aws: AwsAccess): Promise<string[]> {
  const names: string[] = [];
  let token: string | undefined;
  do {
    const from = token;
    const page = await ask(
      aws,
      {
        bucket: '',
        key: '',
        location: 's3://',
        verb: 'list the buckets of',
        grant: inBucket('s3:ListAllMyBuckets'),
      },
      async (client, sdk) =>
        client.send(new sdk.ListBucketsCommand({ MaxBuckets: 1000, ContinuationToken: from })),
    );
    names.push(...(page.Buckets ?? []).flatMap(({ Name }) => Name ?? []));
    token = page.ContinuationToken;
  } while (token !== undefined);
  return names;
}

/** Objects and versions below `prefix`, in no order that matters. */
export async function* scanBucket(
  aws: AwsAccess,
  bucket: string,
  prefix: string,
  audit: UsageAudit,
): AsyncGenerator<Candidate> {
  await lookAtDefault(aws, bucket, audit);
  const location = `s3://${bucket}${prefix === '' ? '' : `/${prefix}`}`;
  try {
    yield* versionsBelow(aws, bucket, prefix, location);
    return;
  } catch (error) {
    if (!isHidden(error)) throw error;
    if (error.code !== 'source-denied') return audit.unseen(location, undefined, error);
    audit.unseen(location, undefined, error);
  }
  try {
    yield* newestBelow(aws, bucket, prefix, location);
  } catch (error) {
    if (!isHidden(error)) throw error;
    audit.unseen(location, undefined, error);
  }
}

function isHidden(error: unknown): error is SourceError {
  return error instanceof SourceError;
}

async function* versionsBelow(aws: AwsAccess, bucket: string, prefix: string, location: string) {
  const target = {
    bucket,
    key: prefix,
    location,
    verb: 'list the versions of',
    grant: inBucket('s3:ListBucketVersions'),
  };
  let from: Pick<ListObjectVersionsCommandOutput, 'NextKeyMarker' | 'NextVersionIdMarker'> | undefined = {};
  while (from !== undefined) {
    const { NextKeyMarker: KeyMarker, NextVersionIdMarker: VersionIdMarker } = from;
    const page: ListObjectVersionsCommandOutput = await ask(aws, target, (client, sdk) =>
      client.send(
        new sdk.ListObjectVersionsCommand({
          Bucket: bucket,
          Prefix: prefix,
          EncodingType: 'url',
          KeyMarker,
          VersionIdMarker,
        }),
      ),
    );
    for (const { Key = '', VersionId, IsLatest = false, Size = 0 } of page.Versions ?? []) {
      const key = decodeKey(Key, page.EncodingType);
      yield candidateOf(aws, { bucket, key, versionId: VersionId, current: IsLatest, size: Size });
    }
    from = page.IsTruncated === true ? page : undefined;
  }
}

async function* newestBelow(aws: AwsAccess, bucket: string, prefix: string, location: string) {
  let token: string | undefined;
  do {
    const from = token;
    const page = await ask(
      aws,
      { bucket, key: prefix, location, verb: 'list', grant: inBucket('s3:ListBucket') },
      (client, sdk) =>
        client.send(
          new sdk.ListObjectsV2Command({
            Bucket: bucket,
            Prefix: prefix,
            EncodingType: 'url',
            ContinuationToken: from,
          }),
        ),
    );
    for (const { Key = '', Size = 0 } of page.Contents ?? []) {
      const key = decodeKey(Key, page.EncodingType);
      yield candidateOf(aws, { bucket, key, versionId: undefined, current: true, size: Size });
    }
    token = page.IsTruncated === true ? page.NextContinuationToken : undefined;
  } while (token !== undefined);
}

interface Version {
  readonly bucket: string;
  readonly key: string;
  readonly versionId: string | undefined;
  readonly current: boolean;
  readonly size: number;
}

function candidateOf(aws: AwsAccess, { bucket, key, versionId, current, size }: Version): Candidate {
  const location = `s3://${bucket}/${key}`;
  // "null" is what an object is called that was there before versions were kept: without naming it, s3:GetObject is enough.
  const version = versionId === 'null' && current ? undefined : versionId;
  return {
    location,
    version,
    current,
    size,
    async read(offset, bytes) {
      const end = Math.min(offset + bytes, size) - 1;
      const action = version === undefined ? 's3:GetObject' : 's3:GetObjectVersion';
      const grant = { action, resource: 'object' } as const;
      const named = { bucket, key, location, versionId: version, verb: 'look into', grant };
      const answer = await ask(aws, named, (client, sdk) =>
        client.send(
          new sdk.GetObjectCommand({
            Bucket: bucket,
            Key: key,
            ...(version === undefined ? {} : { VersionId: version }),
            // An empty object has no first byte.
            ...(end < offset ? {} : { Range: `bytes=${offset}-${end}` }),
          }),
        ),
      );
      const tooLargeHint = 'the S3 server ignores ranges: check AWS_ENDPOINT_URL_S3';
      const body = await readS3Body(answer, { location, bytesMax: bytes, tooLargeHint });
      return { bytes: body, s3Key: answer.SSEKMSKeyId };
    },
  };
}

/** What the bucket encrypts with what comes without saying how. */
async function lookAtDefault(aws: AwsAccess, bucket: string, audit: UsageAudit): Promise<void> {
  const location = `s3://${bucket}`;
  try {
    const target = {
      bucket,
      key: '',
      location,
      verb: 'see the encryption of',
      grant: inBucket('s3:GetEncryptionConfiguration'),
    };
    const answer = await ask(aws, target, (client, sdk) =>
      client.send(new sdk.GetBucketEncryptionCommand({ Bucket: bucket })),
    );
    const rules = answer.ServerSideEncryptionConfiguration?.Rules ?? [];
    const keys = rules.flatMap((rule) => rule.ApplyServerSideEncryptionByDefault?.KMSMasterKeyID ?? []);
    for (const key of keys) {
      if (await audit.isNamedBy(key, location)) return audit.usedBy(location, 'bucket', null);
    }
  } catch (error) {
    if (!(error instanceof SecretsfsError) || !isHidden(error)) throw error;
    if (nameOf(error.cause) === 'ServerSideEncryptionConfigurationNotFoundError') return;
    // What lists the bucket says that it is not there.
    if (nameOf(error.cause) === 'NoSuchBucket') return;
    audit.unseen(location, undefined, error);
  }
}

const inBucket = (action: string) => ({ action, resource: 'bucket' }) as const;

type Sdk = typeof import('../aws/sdk-s3.ts');

async function ask<T>(
  aws: AwsAccess,
  target: S3Target,
  send: (client: S3Client, sdk: Sdk) => Promise<T>,
): Promise<T> {
  const sdk = await import('../aws/sdk-s3.ts');
  const client = await aws.s3();
  try {
    return await send(client, sdk);
  } catch (error) {
    throw nameOf(error) === 'InvalidObjectState'
      ? archived(target, error)
      : hiddenOr(s3ReadError(error, target), target);
  }
}

function archived({ location }: S3Target, cause: unknown): SourceError {
  return new SourceError('source-invalid', `cannot look into ${quote(location)}: it is archived`, {
    hint: 'aws s3api restore-object brings it back for a while',
    cause,
  });
}

/** It was listed, so what is denied is not missing. */
function hiddenOr(error: unknown, { verb, location, bucket, key, grant }: S3Target): unknown {
  if (!(error instanceof SourceError) || error.code !== 'source-denied') return error;
  const object = grant?.resource === 'object';
  return new SourceError('source-denied', `cannot ${verb} ${quote(location)}: denied`, {
    hint: `grant ${grant?.action} on ${quote(object ? `${bucket}/${key}` : bucket)}${object ? ', and kms:Decrypt where S3 encrypts it with a KMS key' : ''}`,
    cause: error.cause,
  });
}
