/**
 * Opening what sneaker, kms-secrets and `aws kms encrypt` left: recognised by shape (bundle/old-format.ts), its key asked of
 * KMS, opened in whichever way it was ever written (bundle/sneaker.ts).
 *
 * What it says is not signed, and it carries neither name nor place: whoever can write the file and use the key can have made
 * it. Only a stored secret's context binds it to its place.
 */
import {
  joinPair,
  type RawCiphertext,
  recogniseCiphertext,
  splitSneaker,
  type WrappedAndSealed,
} from '../bundle/old-format.ts';
import { flagFor, type OldFormat } from '../bundle/old-format-names.ts';
import { recognise } from '../bundle/recognise.ts';
import { type Era, openSneaker, storedSecretContexts } from '../bundle/sneaker.ts';
import { BundleError, KeyError, quote } from '../errors.ts';
import type { Decrypted, EncryptionContext, RawKms } from './raw-kms.ts';
import type { KmsSpec } from './spec.ts';

export interface OldAccess {
  readonly kms: Pick<RawKms, 'decrypt'>;
  /** The only keys that may have encrypted it; none: any. */
  readonly keys: readonly KmsSpec[];
  readonly context: EncryptionContext;
}

export interface OldOpened {
  /** The caller's to wipe. */
  readonly plaintext: Buffer;
  readonly format: OldFormat;
  /** Of sneaker and kms-secrets. */
  readonly era: Era | undefined;
  /** ARN of the key, as KMS says it. */
  readonly keyId: string;
}

/** One object of a store, or the two that a secret was until 18 April 2015: PATH.kms and PATH.aes. */
export type StoredObject =
  | { readonly bytes: Buffer }
  | { readonly wrappedKey: Buffer; readonly sealed: Buffer };

/**
 * Opens a stored secret of any era; undefined for what can't be one. `place` is its s3://bucket/prefix/path, without .kms and
 * .aes, which its context has to have. Not so a bare KMS ciphertext, with the context as it was given, and a pair of before
 * paths: who may write there could have put anything there that the reader's keys open. So only where `formats` names kms, or
 * kms-secrets, are they opened. Throws KeyError (data-key-refused for another context, place or key) and BundleError
 * bundle-corrupt, bundle-invalid, bundle-format (before KMS is asked).
 */
export async function openOldSecret(
  object: StoredObject,
  {
    place,
    formats,
    ...access
  }: OldAccess & { readonly place: string; readonly formats: readonly OldFormat[] },
): Promise<OldOpened | undefined> {
  const old = 'bytes' in object ? splitSneaker(object.bytes) : joinPair(object.wrappedKey, object.sealed);
  if (old !== undefined) {
    // The third there may be is none at all, and a context that was given is demanded.
    const [withPath = {}, withoutPath] = storedSecretContexts(old.format, access.context, place);
    if (withoutPath === undefined) return openWith(old, access, [withPath]);
    if (formats.includes(old.format)) return openWith(old, access, [withPath, withoutPath]);
    return openWith(old, access, [withPath]).catch((error) => {
      throw orOlder(error, formats);
    });
  }
  const raw = 'bytes' in object ? recogniseCiphertext(object.bytes) : undefined;
  if (raw === undefined || formats.includes('kms')) return raw && openCiphertext(raw, access);
  const guess = 'bytes' in object ? recognise(object.bytes) : undefined;
  if (guess !== undefined && guess.encrypted !== true) return undefined;
  throw new BundleError(
    'bundle-format',
    `cannot open ${quote(place)}: it is no secret of ours, and nothing binds a ciphertext of KMS alone to its path`,
    { hint: `where it is one, and you know that it belongs there: ${flagFor('kms', formats)}` },
  );
}

/** The same, and what else it may be. */
function orOlder(error: unknown, formats: readonly OldFormat[]): unknown {
  if (!(error instanceof KeyError) || error.code !== 'data-key-refused') return error;
  const older = `where it is of before 4 February 2015, and bound to no path: ${flagFor('kms-secrets', formats)}`;
  const hint = error.hint === undefined ? older : `${error.hint}; ${older}`;
  return new KeyError(error.code, error.message, { hint, cause: error });
}

/** A pack, whose context is the packer's alone. Throws as above. */
export function openOldPack(pack: WrappedAndSealed, access: OldAccess): Promise<OldOpened> {
  return openWith(pack, access, [access.context]);
}

/** One KMS ciphertext. Throws KeyError. */
export async function openCiphertext({ blob }: RawCiphertext, access: OldAccess): Promise<OldOpened> {
  return { ...(await access.kms.decrypt(blob, access)), format: 'kms', era: undefined };
}

async function openWith(
  old: WrappedAndSealed,
  { kms, keys }: OldAccess,
  contexts: readonly EncryptionContext[],
): Promise<OldOpened> {
  const key = await unwrap(old.wrappedKey, kms, keys, contexts);
  try {
    return { ...openSneaker(old, key), format: old.format, keyId: key.keyId };
  } finally {
    key.plaintext.fill(0);
  }
}

/** With the first context that KMS takes. Throws what it said of the first, which is the likeliest. */
async function unwrap(
  wrappedKey: Buffer,
  kms: Pick<RawKms, 'decrypt'>,
  keys: readonly KmsSpec[],
  contexts: readonly EncryptionContext[],
): Promise<Decrypted> {
  let refusal: KeyError | undefined;
  for (const context of contexts) {
    try {
      return await kms.decrypt(wrappedKey, { context, keys });
    } catch (error) {
      if (!(error instanceof KeyError) || error.code !== 'data-key-refused') throw error;
      refusal ??= error;
    }
  }
  if (refusal === undefined) throw new Error('there is no context to try');
  throw refusal;
}
