/** A bundle's location, as a person writes it, to the Source that reads it. */
import type { AwsAccess } from '../aws/access.ts';
import { FileSource } from '../source/file.ts';
import { S3Source } from '../source/s3.ts';
import { parseS3Url } from '../source/s3-url.ts';
import type { Source } from '../source/source.ts';
import { isS3Url } from './location.ts';

export function createSource(
  location: string,
  aws: AwsAccess,
  options: { readonly opened?: number | string | undefined } = {},
): Source {
  if (!isS3Url(location)) return new FileSource(location, { opened: options.opened });
  return new S3Source(parseS3Url(location), aws);
}
