/** What S3 answers, and what a person is told of it. */
import { OutputError, quote, SecretsfsError, SourceError } from '../errors.ts';
import { answer, nameOf, networkTrouble, setupError, statusOf, THROTTLED } from './errors.ts';

export interface S3Target {
  readonly bucket: string;
  readonly key: string;
  /** As a person wrote it. */
  readonly location: string;
  readonly versionId?: string | undefined;
  /** The account that the bucket must belong to. */
  readonly expectedOwner?: string | undefined;
  /** What was noticed is asked for, and nothing else. */
  readonly exact?: boolean;
  /** What was being done, where that is not fetching or writing: `list`. */
  readonly verb?: string;
  /** What has to be granted for it, where that is not reading or writing the object. */
  readonly grant?: { readonly action: string; readonly resource: 'bucket' | 'object' };
  /** From --region or the environment: decides the partition in hints. */
  readonly partition?: string | undefined;
}

const MISSING = new Set(['NoSuchKey', 'NotFound', 'NoSuchBucket', 'NoSuchVersion', 'MethodNotAllowed']);

/** S3 says so in a header of its 404, and of the 405 that reading the marker itself is answered with. */
function isDeleteMarker(error: unknown): boolean {
  const { $response } = error as { $response?: { headers?: Readonly<Record<string, string>> } };
  return $response?.headers?.['x-amz-delete-marker'] === 'true';
}

function grantOf({ partition = 'aws', bucket, key, grant }: S3Target): string {
  const { action, resource } = grant ?? { action: 's3:PutObject', resource: 'object' };
  const below = resource === 'object' ? `/${key}` : '';
  return `${action} on "arn:${partition}:s3:::${bucket}${below}"`;
}

/** What to throw for an error of reading an object. An error that is not AWS's is returned as it is. */
export function s3ReadError(error: unknown, target: S3Target): unknown {
  if (error instanceof SecretsfsError) return error;
  const what = `cannot ${target.verb ?? 'fetch'} ${quote(target.location)}`;
  const details = { cause: error };
  const setup = setupError(error);
  if (setup !== undefined) return setup;
  const name = nameOf(error);
  const status = statusOf(error);
  const arn = `arn:${target.partition ?? 'aws'}:s3:::${target.bucket}`;
  if (target.exact === true && (status === 412 || status === 404)) {
    return new SourceError('source-changed', `${what}: what was noticed is gone again`, {
      ...details,
      hint: 'what is there now is looked at next',
    });
  }
  if (THROTTLED.has(name) || name === 'SlowDown' || status === 429) {
    return new SourceError('source-throttled', `${what}: S3 answered ${answer(error)}`, {
      ...details,
      hint: 'it is asked less often until it answers; docs/fleet.md has what a bucket can take',
    });
  }
  const trouble = networkTrouble(error);
  if (trouble !== undefined) {
    return new SourceError('source-unreachable', `${what}: ${trouble.what}`, {
      ...details,
      hint: trouble.hint,
    });
  }
  if (name === 'NoSuchBucket') {
    return new SourceError('source-not-found', `${what}: there is no bucket ${quote(target.bucket)}`, {
      ...details,
      hint: 'check its name and the endpoint',
    });
  }
  if (isDeleteMarker(error)) {
    return new SourceError('source-deleted', `${what}: the object was deleted (a delete marker is on top)`, {
      ...details,
      hint: `to bring it back, remove the marker: aws s3api list-object-versions --bucket ${target.bucket} --prefix "${target.key}" shows it`,
    });
  }
  if (MISSING.has(name) || status === 404) {
    const version = target.versionId === undefined ? '' : `with version ${quote(target.versionId)} `;
    return new SourceError('source-not-found', `${what}: there is no such object ${version}`.trimEnd(), {
      ...details,
      hint: `aws s3 ls s3://${target.bucket}/ shows those that there are`,
    });
  }
  if (status === 403) {
    if (target.grant !== undefined) {
      return new SourceError('source-denied', `${what}: S3 answered ${answer(error)}`, {
        ...details,
        hint: `grant ${grantOf(target)}`,
      });
    }
    const action = target.versionId === undefined ? 's3:GetObject' : 's3:GetObjectVersion';
    const owner =
      target.expectedOwner === undefined ? '' : `; the bucket must belong to account ${target.expectedOwner}`;
    return new SourceError('source-denied', `${what}: denied, or missing: S3 answered ${answer(error)}`, {
      ...details,
      hint: `grant ${action} on "${arn}/${target.key}"; without s3:ListBucket on "${arn}" S3 answers the same for an object that is missing${owner}`,
    });
  }
  if (status === 301 || status === 307 || name === 'AuthorizationHeaderMalformed') {
    return new SourceError('source-invalid', `${what}: the bucket is in another region (${answer(error)})`, {
      ...details,
      hint: 'give the region of the bucket with --region',
    });
  }
  if (status !== undefined) {
    return new SourceError('source-invalid', `${what}: S3 answered ${answer(error)}`, {
      ...details,
      hint: `aws s3api head-object --bucket ${target.bucket} --key ${target.key} may say more`,
    });
  }
  return error;
}

/** The same for writing: what failed is the output, unless it is the set-up. */
export function s3WriteError(error: unknown, target: S3Target): unknown {
  if (error instanceof SecretsfsError) return error;
  const what = `cannot ${target.verb ?? 'write'} ${quote(target.location)}`;
  const setup = setupError(error);
  if (setup !== undefined) return setup;
  const status = statusOf(error);
  if (status === 412 || status === 409) {
    return new OutputError('output-changed', `${what}: somebody else wrote it since we looked`, {
      hint: 'run the command again',
      cause: error,
    });
  }
  const trouble = networkTrouble(error);
  if (trouble !== undefined) {
    return new OutputError('output-failed', `${what}: ${trouble.what}`, { hint: trouble.hint, cause: error });
  }
  if (status === 403) {
    const kms =
      target.grant === undefined ? ' (and kms:GenerateDataKey where the bucket encrypts with a KMS key)' : '';
    return new OutputError('output-denied', `${what}: S3 answered ${answer(error)}`, {
      hint: `grant ${grantOf(target)}${kms}`,
      cause: error,
    });
  }
  if (nameOf(error) === 'NoSuchBucket') {
    return new OutputError('output-failed', `${what}: there is no bucket ${quote(target.bucket)}`, {
      hint: `aws s3 mb s3://${target.bucket} makes it`,
      cause: error,
    });
  }
  if (status !== undefined) {
    return new OutputError('output-failed', `${what}: S3 answered ${answer(error)}`, {
      hint: `aws s3 cp FILE ${target.location} may say more`,
      cause: error,
    });
  }
  return error;
}
