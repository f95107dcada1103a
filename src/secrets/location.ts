/** Where a store is, and which paths a secret in it may have. */
import nodePath from 'node:path';
import { quote, UsageError } from '../errors.ts';
import { FILE_NAME_BYTES_MAX, PATH_BYTES_MAX } from '../limits.ts';

export type StoreLocation =
  /** `prefix` has no slash at its ends; '' is the whole bucket. */
  | { readonly kind: 's3'; readonly location: string; readonly bucket: string; readonly prefix: string }
  /** `directory` is absolute, and symlinks in it are as they were written. */
  | { readonly kind: 'directory'; readonly location: string; readonly directory: string };

/** S3's own: bytes of a whole key, prefix included. */
const KEY_BYTES_MAX = 1024;
/** Below it a directory store keeps its lock and what is not whole yet; in S3 it is free for what may come. */
export const RESERVED = '.secretsfs';

const FORM = 'write it as s3://BUCKET/PREFIX, file:///DIRECTORY or DIRECTORY';

/** Reads what `--store` says. Everything is taken literally, nothing percent-decoded. Throws UsageError. */
export function parseStoreLocation(text: string): StoreLocation {
  const invalid = (why: string): UsageError =>
    new UsageError(`cannot use the store ${quote(text)}: ${why}`, { hint: FORM });
  if (text === '') throw invalid('it is empty');
  if (hasUnprintable(text)) throw invalid('it has control characters, or broken ones');
  if (text.startsWith('s3://')) {
    const [, bucket = '', rest = ''] = /^([^/]*)\/*(.*)$/s.exec(text.slice('s3://'.length)) ?? [];
    // AWS's own rule for new buckets is narrower; older ones and other servers are not.
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$/.test(bucket)) {
      throw invalid(`its bucket is ${quote(bucket)}`);
    }
    const prefix = rest.replace(/\/+$/, '');
    const why = prefix === '' ? undefined : whyNotPath(prefix);
    if (why !== undefined) throw invalid(`its prefix ${why}`);
    return { kind: 's3', location: `s3://${bucket}${prefix === '' ? '' : `/${prefix}`}`, bucket, prefix };
  }
  const url = /^file:\/\/(.*)$/s.exec(text)?.[1];
  if (url !== undefined && !url.startsWith('/')) throw invalid('file:// must be followed by a whole path');
  if (url === undefined && /^[a-z][a-z0-9+.-]*:\//i.test(text)) throw invalid('it is neither S3 nor a file');
  const directory = nodePath.resolve(url ?? text);
  return { kind: 'directory', location: `file://${directory === '/' ? '' : directory}`, directory };
}

/** `s3://bucket/prefix/a/b` or `file:///dir/a/b`: what a secret at `path` is bound to. */
export function placeOf({ location }: StoreLocation, path: string): string {
  return `${location}/${path}`;
}

/** The key in its bucket. */
export function keyOf({ prefix }: Extract<StoreLocation, { kind: 's3' }>, path: string): string {
  return prefix === '' ? path : `${prefix}/${path}`;
}

/** A path as a person wrote it, as stores take it: slashes at its beginning, an old habit, are left out. Throws UsageError. */
export function parsePath(text: string): string {
  const path = text.replace(/^\/+/, '');
  const why = whyNotPath(path);
  if (why === undefined) return path;
  throw new UsageError(`cannot use the path ${quote(text)}: it ${why}`, {
    hint: 'a path is NAME or DIR/NAME, below the store',
  });
}

/** `path`, which is valid in this store. Throws UsageError. */
export function checkPath(location: StoreLocation, path: string): string {
  const why = whyNotPath(path) ?? whyTooLong(location, path);
  if (why === undefined) return path;
  throw new UsageError(`cannot use the path ${quote(path)}: it ${why}`, {
    hint: 'a path is NAME or DIR/NAME, below the store',
  });
}

/** Why a text is no path of a secret, in words that follow it; undefined for one that is. */
export function whyNotPath(path: string): string | undefined {
  if (path === '') return 'is empty';
  if (Buffer.byteLength(path) > KEY_BYTES_MAX) return `is longer than ${KEY_BYTES_MAX} bytes`;
  if (hasUnprintable(path)) return 'has control characters, or broken ones';
  const segments = path.split('/');
  if (segments.includes('')) return 'has an empty part';
  if (segments.includes('.') || segments.includes('..')) return 'has a part that is . or ..';
  if (segments[0] === RESERVED) return `begins with ${RESERVED}, which is reserved`;
  return undefined;
}

function whyTooLong(location: StoreLocation, path: string): string | undefined {
  if (location.kind === 's3') {
    const isLong = Buffer.byteLength(keyOf(location, path)) > KEY_BYTES_MAX;
    return isLong ? `is longer than ${KEY_BYTES_MAX} bytes, with the prefix of the store` : undefined;
  }
  const isLong = path.split('/').some((segment) => Buffer.byteLength(segment) > FILE_NAME_BYTES_MAX);
  if (isLong) return `has a part that is longer than ${FILE_NAME_BYTES_MAX} bytes`;
  return Buffer.byteLength(placeOf(location, path)) > PATH_BYTES_MAX ? 'is too long' : undefined;
}

/** Controls of C0 and C1 and DEL; and halves of surrogate pairs, which have no UTF-8. */
function hasUnprintable(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return /[\u0000-\u001f\u007f-\u009f]|\p{Surrogate}/u.test(text);
}
