/** Where an object lies, as a person writes it. */
import { quote, UsageError } from '../errors.ts';

export interface S3Url {
  /** As it was written. */
  readonly location: string;
  readonly bucket: string;
  readonly key: string;
  readonly versionId?: string;
}

/** AWS's own rule for new buckets is narrower; older ones and other servers are not. */
const BUCKET = 'a letter or digit, then 1 to 254 letters, digits, ".", "_" or "-"';
const FORM = 'write it as s3://BUCKET/KEY or s3://BUCKET/KEY?versionId=ID';

/** Reads `s3://bucket/key[?versionId=…]`; the key is taken literally, not percent-decoded. Throws UsageError. */
export function parseS3Url(text: string): S3Url {
  const invalid = (why: string): UsageError =>
    new UsageError(`cannot use the location ${quote(text)}: ${why}`, { hint: FORM });
  if (!text.startsWith('s3://')) throw invalid('it does not begin with s3://');
  const rest = text.slice('s3://'.length);
  const slash = rest.indexOf('/');
  const bucket = slash === -1 ? rest : rest.slice(0, slash);
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$/.test(bucket))
    throw invalid(`its bucket is ${quote(bucket)}, want ${BUCKET}`);
  const path = slash === -1 ? '' : rest.slice(slash + 1);
  const [, key = '', query] = /^([^?]*)(?:\?(.*))?$/s.exec(path) ?? [];
  if (key === '' || key.endsWith('/')) throw invalid('it names no object');
  if (Buffer.byteLength(key) > 1024) throw invalid('its key is longer than 1024 bytes');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\u0000-\u001f\u007f]/.test(key)) throw invalid('its key has control characters');
  if (query === undefined) return { location: text, bucket, key };
  const version = /^versionId=([A-Za-z0-9._~+/=-]{1,1024})$/.exec(query)?.[1];
  if (version === undefined) throw invalid('after the ? only versionId=ID may stand');
  return { location: text, bucket, key, versionId: version };
}
