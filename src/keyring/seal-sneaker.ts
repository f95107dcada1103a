/** A stored secret as sneaker writes it today, for who still reads it with sneaker: one KMS key, and nothing that is signed. */
import { randomBytes } from 'node:crypto';
import { NONCE_BYTES } from '../bundle/old-format.ts';
import { sealSneaker } from '../bundle/sneaker.ts';
import type { EncryptionContext, RawKms } from './raw-kms.ts';
import type { KmsSpec } from './spec.ts';

/**
 * `place` is its s3://bucket/prefix/path; sneaker demands it, and the same `context` (SNEAKER_MASTER_CONTEXT). `plaintext` stays
 * the caller's to wipe. Throws what RawKms throws.
 */
export async function sealForSneaker(
  plaintext: Uint8Array,
  options: {
    readonly kms: Pick<RawKms, 'generateDataKey'>;
    readonly key: KmsSpec;
    readonly context: EncryptionContext;
    readonly place: string;
  },
): Promise<Buffer> {
  const { kms, key, context, place } = options;
  const dataKey = await kms.generateDataKey(key, { ...context, Path: place });
  try {
    const { blob, keyId } = dataKey;
    const nonce = randomBytes(NONCE_BYTES);
    return sealSneaker(plaintext, { plaintext: dataKey.plaintext, keyId, wrappedKey: blob, nonce });
  } finally {
    dataKey.plaintext.fill(0);
  }
}
