/** Looks at all that a person named for what a key still wraps. */
import { realpath } from 'node:fs/promises';
import type { AwsAccess } from '../aws/access.ts';
import { nameOf } from '../aws/errors.ts';
import { storedSecretContexts } from '../bundle/sneaker.ts';
import { KeyError, quote, SecretsfsError, UsageError } from '../errors.ts';
import { type EncryptionContext, RawKms } from '../keyring/raw-kms.ts';
import type { KmsSpec } from '../keyring/spec.ts';
import { mapConcurrently } from '../secrets/concurrent.ts';
import { parseStoreLocation } from '../secrets/location.ts';
import type { KeyFacts } from './key-facts.ts';
import type { KmsKeys } from './kms-keys.ts';
import { scanFiles } from './scan-files.ts';
import { listBuckets, scanBucket } from './scan-s3.ts';
import { type Candidate, type Usage, UsageAudit } from './usage.ts';
import type { What } from './wrapped-by.ts';

/** Every bucket of the account. */
const EVERYWHERE = 's3://';
/** Requests to S3 at a time: a range of one object each. */
const AT_ONCE = 64;

export type Place =
  | { readonly kind: 'account' }
  | { readonly kind: 'bucket'; readonly bucket: string; readonly prefix: string }
  | { readonly kind: 'files'; readonly path: string };

/** `s3://` (every bucket), `s3://bucket`, `s3://bucket/prefix`, a directory or a file. Throws UsageError. */
export function parsePlace(text: string): Place {
  if (text === EVERYWHERE) return { kind: 'account' };
  const location = parseStoreLocation(text);
  if (location.kind === 'directory') return { kind: 'files', path: location.directory };
  return { kind: 'bucket', bucket: location.bucket, prefix: location.prefix };
}

export interface AuditOptions {
  readonly aws: AwsAccess;
  readonly keys: KmsKeys;
  readonly places: readonly Place[];
  /** Of what names no key itself: sneaker's and KMS's own. */
  readonly context: EncryptionContext;
}

/** Throws ConfigError, and SecretsfsError for a place that is not there; what can't be seen is in the usage. */
export async function auditKey(key: KeyFacts, { aws, keys, places, context }: AuditOptions): Promise<Usage> {
  const kms = new RawKms(aws);
  const audit = new UsageAudit(key, {
    describe: (keyId) => keys.describe(keyId),
    opens: (blob, spec, what, location) => opens(kms, blob, spec, contextsOf(what, context, location)),
  });
  await lookAtGrants(key, keys, audit);
  await mapConcurrently(candidatesIn(aws, places, audit), AT_ONCE, (candidate) => audit.look(candidate));
  const order = ({ location, version }: { location: string; version: string | null }) =>
    `${location}\0${version ?? ''}`;
  for (const list of [audit.usage.uses, audit.usage.unseen])
    list.sort((a, b) => (order(a) < order(b) ? -1 : 1));
  return audit.usage;
}

async function* candidatesIn(
  aws: AwsAccess,
  places: readonly Place[],
  audit: UsageAudit,
): AsyncGenerator<Candidate> {
  const paths = places.flatMap((place) => (place.kind === 'files' ? [place.path] : []));
  const roots = (await Promise.all(paths.map((each) => realpath(each).catch(() => [])))).flat();
  for (const place of places) {
    if (place.kind === 'account') {
      for (const bucket of await listBuckets(aws)) yield* scanBucket(aws, bucket, '', audit);
      continue;
    }
    const unseenBefore = audit.usage.unseen.length;
    let found = 0;
    const scan =
      place.kind === 'files'
        ? scanFiles(place.path, audit, roots)
        : scanBucket(aws, place.bucket, place.prefix, audit);
    for await (const candidate of scan) {
      found++;
      yield candidate;
    }
    if (found > 0 || audit.usage.unseen.length > unseenBefore) continue;
    const where = place.kind === 'files' ? place.path : `s3://${place.bucket}/${place.prefix}`;
    // A slip in a name looks just like it.
    audit.unseen(
      where,
      undefined,
      new UsageError(`there is nothing in ${quote(where)}`, { hint: 'check --in, or leave it out' }),
    );
  }
}

/** AWS's services use a key by a grant: what they sealed is in no bucket. */
async function lookAtGrants({ arn }: KeyFacts, keys: KmsKeys, audit: UsageAudit): Promise<void> {
  try {
    for (const { GranteePrincipal, GrantId, Name } of await keys.grants(arn)) {
      audit.usedBy(`grant ${GrantId ?? ''} to ${GranteePrincipal ?? 'somebody'}`, 'grant', Name ?? null);
    }
  } catch (error) {
    if (!(error instanceof KeyError)) throw error;
    audit.unseen(arn.text, undefined, error);
  }
}

/** In the order of their likelihood. Those of a stored secret name its place, without the endings of the oldest. */
function contextsOf(what: What, context: EncryptionContext, location: string): readonly EncryptionContext[] {
  const place = location.replace(/\.(kms|aes)$/, '');
  const stored = storedSecretContexts('kms-secrets', context, place);
  return what === 'kms' || what === 'kms-secrets' ? [context, ...stored] : [...stored, context];
}

/** Whether the key opens a ciphertext that names none. What it held is wiped at once. */
async function opens(
  kms: Pick<RawKms, 'decrypt'>,
  blob: Buffer,
  key: KmsSpec,
  contexts: readonly EncryptionContext[],
): Promise<'yes' | 'no' | 'unknown'> {
  for (const context of contexts) {
    try {
      const { plaintext } = await kms.decrypt(blob, { context, keys: [key] });
      plaintext.fill(0);
      return 'yes';
    } catch (error) {
      if (!(error instanceof SecretsfsError) || error.code !== 'data-key-refused') throw error;
      if (nameOf(error.cause) === 'IncorrectKeyException') return 'no';
    }
  }
  return 'unknown';
}
