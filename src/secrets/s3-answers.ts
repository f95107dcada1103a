/** What S3 answers, as the port has it. */
import type { ListObjectVersionsCommandOutput } from '@aws-sdk/client-s3';
import { nameOf, statusOf } from '../aws/errors.ts';
import type { S3Target } from '../aws/s3-errors.ts';
import type { ObjectAnswer } from '../aws/s3-objects.ts';
import { OutputError, quote } from '../errors.ts';
import type { ReadObject, StoredVersion, Written } from './store.ts';

/** In the order of their times; of the same second, a delete marker is taken for the newer one. */
export function versionsOf(
  page: ListObjectVersionsCommandOutput,
  isWanted: (key?: string) => boolean,
): StoredVersion[] {
  const markers = (page.DeleteMarkers ?? []).filter(({ Key }) => isWanted(Key));
  const versions = (page.Versions ?? []).filter(({ Key }) => isWanted(Key));
  const all = [
    ...markers.map((each) => ({ ...each, Size: undefined, ETag: undefined, deleted: true })),
    ...versions.map((each) => ({ ...each, deleted: false })),
  ].map(({ VersionId = 'null', LastModified, IsLatest = false, Size, ETag, deleted }): StoredVersion => {
    const modifiedMs = LastModified?.getTime() ?? 0;
    return { version: VersionId, modifiedMs, latest: IsLatest, deleted, bytes: Size, etag: ETag };
  });
  return all.sort((a, b) => Number(b.latest) - Number(a.latest) || b.modifiedMs - a.modifiedMs);
}

export function readOf(
  { ETag, ContentRange, LastModified, VersionId }: ObjectAnswer,
  bytes: Buffer,
): ReadObject {
  // bytes 0-65535/1234567
  const size = Number(/\/(\d+)$/.exec(ContentRange ?? '')?.[1] ?? bytes.length);
  const version = VersionId === undefined || VersionId === 'null' ? {} : { version: VersionId };
  return { bytes, size, etag: ETag ?? '', modifiedMs: LastModified?.getTime() ?? 0, ...version };
}

export function writtenOf({
  ETag,
  VersionId,
}: {
  ETag?: string | undefined;
  VersionId?: string | undefined;
}): Written {
  return {
    etag: ETag ?? '',
    ...(VersionId === undefined || VersionId === 'null' ? {} : { version: VersionId }),
  };
}

/** S3 answers 404 to If-Match where nothing is left, and 405 to a delete marker that is asked for by its version. */
export function isMissing(error: unknown): boolean {
  const status = statusOf(error);
  return (status === 404 && nameOf(error) !== 'NoSuchBucket') || status === 405;
}

/** Whether it was asked before, so that the error may be about what that attempt did. */
export function isRepeated(error: unknown): boolean {
  const { $metadata } = error as { $metadata?: { attempts?: number } };
  return ($metadata?.attempts ?? 1) > 1;
}

export function removedMeanwhile(
  error: unknown,
  { verb = 'write', location }: S3Target,
): OutputError | undefined {
  if (!isMissing(error)) return undefined;
  return new OutputError(
    'output-changed',
    `cannot ${verb} ${quote(location)}: somebody else removed it since we looked`,
    { hint: 'run the command again', cause: error },
  );
}

/** Form encoding: a space may be a plus. Servers that do not know the parameter encode nothing, and say nothing. */
export function decodeKey(key: string, encoding: string | undefined): string {
  if (encoding !== 'url') return key;
  try {
    return decodeURIComponent(key.replaceAll('+', ' '));
  } catch {
    return key;
  }
}
