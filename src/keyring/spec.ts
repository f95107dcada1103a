/**
 * How a person names a wrapping key: `local:PATH`, or anything that KMS takes as a KeyId. Keys that a reader accepts
 * are named by their ARN only: an alias may point elsewhere tomorrow, and a bare id says neither account nor region.
 */
import { quote, UsageError } from '../errors.ts';

export interface KeyArn {
  /** The whole ARN. */
  readonly text: string;
  readonly partition: string;
  readonly region: string;
  readonly account: string;
  readonly kind: 'key' | 'alias';
  /** The key's id, or the alias with its "alias/". */
  readonly id: string;
}

export interface LocalSpec {
  readonly kind: 'local';
  readonly path: string;
}
export interface KmsSpec {
  readonly kind: 'kms';
  /** What KMS is given as KeyId. */
  readonly keyId: string;
  /** Where `keyId` is an ARN. */
  readonly arn?: KeyArn;
}
export interface KmsArnSpec extends KmsSpec {
  readonly arn: KeyArn & { readonly kind: 'key' };
}

export type KeySpec = LocalSpec | KmsSpec;
export type AcceptedKeySpec = LocalSpec | KmsArnSpec;

const FORMS = 'a key is local:PATH, a KMS key ARN or id, alias/NAME or an alias ARN';
// KMS itself writes 32 digits after "mrk-"; imitations of it (moto) write a UUID.
const UUID = '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}';
const KEY_ID = new RegExp(`^(?:${UUID}|mrk-[0-9a-f]{32}|mrk-${UUID})$`);
const ALIAS = /^alias\/[A-Za-z0-9/_-]{1,250}$/;
const ARN =
  /^arn:(aws(?:-[a-z]{1,12}){0,3}):kms:([a-z]{2,}(?:-[a-z]{1,16}){1,3}-\d{1,2}):(\d{12}):(key\/(.+)|alias\/.+)$/;

/** The parts of a KMS key's or alias's ARN, or undefined where it is not one. */
export function parseKeyArn(text: string): KeyArn | undefined {
  const [, partition = '', region = '', account = '', resource = '', keyId] = ARN.exec(text) ?? [];
  if (partition === '') return undefined;
  if (keyId !== undefined) {
    return KEY_ID.test(keyId) ? { text, partition, region, account, kind: 'key', id: keyId } : undefined;
  }
  return ALIAS.test(resource) ? { text, partition, region, account, kind: 'alias', id: resource } : undefined;
}

function parseLocal(text: string): LocalSpec | undefined {
  if (!text.startsWith('local:')) return undefined;
  const path = text.slice('local:'.length);
  if (path === '' || path.includes('\0')) {
    throw new UsageError(`cannot use the key ${quote(text)}: it has no path`, {
      hint: 'write it as local:PATH; secretsfs keygen PATH makes one',
    });
  }
  return { kind: 'local', path };
}

/** A key to wrap with. Throws UsageError. */
export function parseKeySpec(text: string): KeySpec {
  const local = parseLocal(text);
  if (local !== undefined) return local;
  if (text.startsWith('arn:')) {
    const arn = parseKeyArn(text);
    if (arn !== undefined) return { kind: 'kms', keyId: text, arn };
    throw new UsageError(`cannot use the key ${quote(text)}: it is not the ARN of a KMS key or alias`, {
      hint: 'such an ARN is arn:aws:kms:REGION:ACCOUNT:key/ID or arn:aws:kms:REGION:ACCOUNT:alias/NAME',
    });
  }
  if (KEY_ID.test(text) || ALIAS.test(text)) return { kind: 'kms', keyId: text };
  throw new UsageError(`cannot use the key ${quote(text)}: it names no key`, { hint: FORMS });
}

/** A key that a reader accepts. Throws UsageError, for aliases and bare ids too. */
export function parseAcceptedKey(text: string): AcceptedKeySpec {
  const spec = parseKeySpec(text);
  if (spec.kind === 'local') return spec;
  const { arn } = spec;
  if (arn?.kind === 'key') return { kind: 'kms', keyId: spec.keyId, arn: { ...arn, kind: 'key' } };
  throw new UsageError(`cannot accept the key ${quote(text)}: it is not a key's ARN`, {
    hint: `secretsfs keys show ${text} shows the ARN`,
  });
}

/** Two ARNs of one key: equal, or replicas of a multi-Region key in different regions. */
export function isSameKey(a: KeyArn, b: KeyArn): boolean {
  return (
    a.kind === 'key' &&
    b.kind === 'key' &&
    a.partition === b.partition &&
    a.account === b.account &&
    a.id === b.id &&
    (a.region === b.region || a.id.startsWith('mrk-'))
  );
}

/** The replica of a multi-Region key in another region, which may not exist. */
export function inRegion(arn: KeyArn, region: string): KeyArn {
  const text = `arn:${arn.partition}:kms:${region}:${arn.account}:${arn.kind === 'key' ? 'key/' : ''}${arn.id}`;
  return { ...arn, region, text };
}
