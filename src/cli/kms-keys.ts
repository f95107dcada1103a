/** KMS keys as the commands that use KMS directly take them. */
import type { Settings } from '../daemon/config.ts';
import { UsageError } from '../errors.ts';
import { type KmsSpec, parseAcceptedKey, parseKeySpec } from '../keyring/spec.ts';
import type { Context } from './command.ts';

/** The one KMS key of --key, which `verb` needs. Throws UsageError. */
export function soleKmsKey({ key = [] }: Settings, verb: string): KmsSpec {
  const [only, ...more] = key;
  if (only !== undefined && more.length === 0) return kmsKey(only, verb);
  throw notOne(verb, only === undefined ? 'no key given' : 'there are several keys');
}

/** What is no key file. Throws UsageError. */
export function kmsKey(text: string, verb: string): KmsSpec {
  const spec = parseKeySpec(text);
  if (spec.kind === 'kms') return spec;
  throw notOne(verb, 'it is a key file');
}

const notOne = (verb: string, found: string) =>
  new UsageError(`cannot ${verb}: ${found}, want one of KMS`, {
    hint: '--key alias/NAME, or the id or ARN of a KMS key',
  });

/** Keys of KMS among those of --accept-key; none where nothing was said: KMS finds the key. Throws UsageError. */
export function acceptedKmsKeys({ acceptKey }: Settings): readonly KmsSpec[] {
  if (acceptKey === undefined) return [];
  const keys = acceptKey.map(parseAcceptedKey).filter((spec) => spec.kind === 'kms');
  if (keys.length > 0) return keys;
  throw new UsageError('cannot open it: only key files are accepted, and KMS encrypted it', {
    hint: '--accept-key with the ARN of the KMS key, or leave --accept-key out',
  });
}

/**
 * Keys of KMS that a pack may have: what --accept-key or --key says. KMS_KEY_ID does not count: it is the key to encrypt
 * with, and old packs have an older one.
 */
export function openingKmsKeys({ settings, asWritten }: Context): readonly KmsSpec[] {
  const isTyped = asWritten('key') !== 'key';
  if (settings.acceptKey !== undefined || !isTyped) return acceptedKmsKeys(settings);
  return (settings.key ?? []).map((key) => kmsKey(key, 'open a pack of sneaker'));
}
