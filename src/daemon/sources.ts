/** A bundle's location, as a person writes it, to the Source that reads it. */
import type { AwsAccess } from '../aws/access.ts';
import { CiphertextsSource } from '../source/ciphertexts.ts';
import { CiphertextsDirectory } from '../source/ciphertexts-directory.ts';
import { CiphertextsPrefix } from '../source/ciphertexts-s3.ts';
import { FileSource } from '../source/file.ts';
import { S3Source } from '../source/s3.ts';
import { parseS3Url } from '../source/s3-url.ts';
import type { Source } from '../source/source.ts';
import { isDirectory, isS3Url } from './location.ts';

export function createSource(
  location: string,
  aws: AwsAccess,
  options: { readonly opened?: number | string | undefined } = {},
): Source {
  if (isDirectory(location)) {
    const place = isS3Url(location)
      ? new CiphertextsPrefix(location, aws)
      : new CiphertextsDirectory(location);
    return new CiphertextsSource(place);
  }
  if (!isS3Url(location)) return new FileSource(location, { opened: options.opened });
  return new S3Source(parseS3Url(location), aws);
}
