/**
 * What sneaker and kms-secrets, its name until April 2015, seal: AES-256-GCM under a single-use data key from KMS. A 12-byte
 * nonce, the ciphertext, a 16-byte tag; the associated data is the KeyId that KMS returned with the data key, the key's ARN.
 *
 *   era A  February to 17 April 2015   until 5 February and in packs no associated data
 *   era B  17 to 21 April 2015         the nonce is twelve zero bytes, and not stored
 *   era C  since
 *
 * Nothing in a file says which it is, so each is tried until one authenticates. Source: codahale/sneaker, crypto.go and
 * envelope.go over their history.
 */
import { Buffer } from 'node:buffer';
import { createCipheriv, createDecipheriv } from 'node:crypto';
import { BundleError } from '../errors.ts';
import { FRAME_BYTES_MAX } from '../limits.ts';
import {
  joinSneaker,
  NONCE_BYTES,
  type SealedFormat,
  TAG_BYTES,
  type WrappedAndSealed,
} from './old-format.ts';

const DATA_KEY_BYTES = 32;
const ZERO_NONCE = Buffer.alloc(NONCE_BYTES);

export type Era = 'A' | 'B' | 'C';

interface Way {
  readonly storedNonce: boolean;
  readonly boundToKey: boolean;
  readonly era: Era;
}

/** Of one object, since 18 April 2015: the key was bound already. */
const SNEAKER_WAYS: readonly Way[] = [
  { storedNonce: true, boundToKey: true, era: 'C' },
  { storedNonce: false, boundToKey: true, era: 'B' },
];
/** Of pairs and tars: until 18 April 2015, the first day of zero nonces included. */
const KMS_SECRETS_WAYS: readonly Way[] = [
  { storedNonce: true, boundToKey: true, era: 'A' },
  { storedNonce: true, boundToKey: false, era: 'A' },
  { storedNonce: false, boundToKey: true, era: 'B' },
  { storedNonce: false, boundToKey: false, era: 'B' },
];

export interface UnwrappedKey {
  /** The data key. Stays the caller's to wipe. */
  readonly plaintext: Uint8Array;
  /** As KMS returned it. */
  readonly keyId: string;
}

/**
 * Opens it, all of it or nothing. The plaintext is the caller's to wipe. Throws BundleError bundle-corrupt where it
 * authenticates in none of the ways there ever were.
 */
export function openSneaker(
  { format, sealed }: WrappedAndSealed,
  key: UnwrappedKey,
): { readonly plaintext: Buffer; readonly era: Era } {
  if (key.plaintext.length !== DATA_KEY_BYTES) {
    throw corrupt(format, `its data key has ${key.plaintext.length} bytes, want ${DATA_KEY_BYTES}`);
  }
  for (const way of format === 'sneaker' ? SNEAKER_WAYS : KMS_SECRETS_WAYS) {
    const plaintext = tryToOpen(sealed, way, key);
    if (plaintext !== undefined) return { plaintext, era: way.era };
  }
  throw corrupt(format, 'what it holds does not fit its data key');
}

function corrupt(format: SealedFormat, why: string): BundleError {
  return new BundleError('bundle-corrupt', `cannot open what ${format} wrote: ${why}`, {
    hint: 'it was altered or cut short, or two halves were mixed: take it from where it was made',
  });
}

function tryToOpen(sealed: Buffer, way: Way, key: UnwrappedKey): Buffer | undefined {
  const from = way.storedNonce ? NONCE_BYTES : 0;
  const to = sealed.length - TAG_BYTES;
  if (to < from) return undefined;
  const nonce = way.storedNonce ? sealed.subarray(0, NONCE_BYTES) : ZERO_NONCE;
  const decipher = createDecipheriv('aes-256-gcm', key.plaintext, nonce, { authTagLength: TAG_BYTES });
  if (way.boundToKey) decipher.setAAD(Buffer.from(key.keyId));
  decipher.setAuthTag(sealed.subarray(to));
  // Not from Buffer's pool, which other buffers share: the caller wipes it.
  const plaintext = Buffer.allocUnsafeSlow(to - from);
  for (let at = from; at < to; at += FRAME_BYTES_MAX) {
    const piece = decipher.update(sealed.subarray(at, Math.min(to, at + FRAME_BYTES_MAX)));
    piece.copy(plaintext, at - from);
    piece.fill(0);
  }
  try {
    decipher.final();
    return plaintext;
  } catch {
    plaintext.fill(0);
    return undefined;
  }
}

/**
 * As sneaker writes it today. `wrappedKey`: what KMS made of the data key. `nonce`: 12 random bytes. All stay the caller's;
 * the result holds no secret.
 */
export function sealSneaker(
  plaintext: Uint8Array,
  key: UnwrappedKey & { readonly wrappedKey: Uint8Array; readonly nonce: Uint8Array },
): Buffer {
  const cipher = createCipheriv('aes-256-gcm', key.plaintext, key.nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(Buffer.from(key.keyId));
  const pieces: Uint8Array[] = [key.nonce];
  for (let at = 0; at < plaintext.length; at += FRAME_BYTES_MAX) {
    pieces.push(cipher.update(plaintext.subarray(at, at + FRAME_BYTES_MAX)));
  }
  pieces.push(cipher.final(), cipher.getAuthTag());
  return joinSneaker(key.wrappedKey, Buffer.concat(pieces));
}

/**
 * The encryption contexts that KMS may have been given for a stored secret, the likeliest first. `place` is its
 * s3://bucket/prefix/path. Contexts came on 3 February 2015, the path on 4 February: only pairs are as old.
 */
export function storedSecretContexts(
  format: SealedFormat,
  context: Readonly<Record<string, string>>,
  place: string,
): readonly Readonly<Record<string, string>>[] {
  const withPath = { ...context, Path: place };
  if (format === 'sneaker') return [withPath];
  return Object.keys(context).length === 0 ? [withPath, {}] : [withPath, context, {}];
}
