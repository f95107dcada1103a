/** A bundle's location, as a person writes it, to the Source that reads it. */
import type { AwsAccess } from '../aws/access.ts';
import { FileSource } from '../source/file.ts';
import { parseS3Url, S3Source } from '../source/s3.ts';
import type { Source } from '../source/source.ts';
import { DEFAULTS } from './config.ts';

export function isS3Url(location: string): boolean {
  return location.startsWith('s3://');
}

export function createSource(location: string, aws: AwsAccess, pollMs: number = DEFAULTS.pollMs): Source {
  if (isS3Url(location)) return new S3Source(parseS3Url(location), aws, { pollIntervalMs: pollMs });
  return new FileSource(location);
}
