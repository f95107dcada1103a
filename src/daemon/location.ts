/** What a bundle's location is, by its look. */
import { quote, UsageError } from '../errors.ts';

export function isS3Url(location: string): boolean {
  return location.startsWith('s3://');
}

/** By the slash at its end: a directory, or a prefix in S3, of KMS ciphertexts. */
export function isDirectory(location: string): boolean {
  return location.endsWith('/');
}

/** One that the supervisor opens and looks at, for those who may not. */
export function isLocalFile(location: string): boolean {
  return !isS3Url(location) && !isDirectory(location);
}

/** Returns a path or a URL of S3. Throws UsageError for what looks like another URL: nobody means a file of that name. */
export function checkLocation(location: string): string {
  if (isS3Url(location) || !/^[a-z][a-z0-9+.-]*:\//i.test(location)) return location;
  throw new UsageError(
    `cannot use the location ${quote(location)}: it is neither a path nor s3://BUCKET/KEY`,
    {
      hint: `write s3:// in small letters, with two slashes; a file of that name is ${quote(`./${location}`)}`,
    },
  );
}
