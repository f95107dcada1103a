/**
 * Which of the formats that are not ours a run of bytes is, by its shape alone: nothing is decrypted, and nothing of it
 * is to be trusted. What they have in common: no name, no serial, no commitment to a key, no signature.
 *
 *   sneaker      u32 length (big-endian), KMS ciphertext of the data key, sealed bytes (sneaker.ts)
 *   kms-secrets  a tar with the members key.kms and encrypted.tar.aes or secrets.tar.aes
 *   kms          one KMS ciphertext, as bytes, as base64 or as the JSON of `aws kms encrypt`
 */
import { Buffer } from 'node:buffer';
import { BundleError, SecretsfsError } from '../errors.ts';
import { KMS_CIPHERTEXT_BYTES_MAX } from '../limits.ts';
import { fromBase64 } from './base64.ts';
import { BLOCK_BYTES } from './extended.ts';
import type { OldFormat } from './old-format-names.ts';
import { type Member, membersOf } from './tar.ts';

export type SealedFormat = Exclude<OldFormat, 'kms'>;

/** A data key that KMS has to unwrap, and what it seals. Views of what was recognised. */
export interface WrappedAndSealed {
  readonly format: SealedFormat;
  /** A KMS CiphertextBlob, 1 to 6,144 bytes. */
  readonly wrappedKey: Buffer;
  /** At least an authentication tag. */
  readonly sealed: Buffer;
}

export interface RawCiphertext {
  readonly format: 'kms';
  readonly encoding: 'binary' | 'base64' | 'json';
  readonly blob: Buffer;
}

const LENGTH_BYTES = 4;
export const NONCE_BYTES = 12;
export const TAG_BYTES = 16;
const USTAR = { at: 257, bytes: Buffer.from('ustar') } as const;
const NAME_BYTES = 100;
const KEY_MEMBER = 'key.kms';
const SEALED_MEMBERS: readonly string[] = ['encrypted.tar.aes', 'secrets.tar.aes'];
/** What `aws kms encrypt` prints. */
const JSON_TEXT = /^\s*\{[^{}]*"CiphertextBlob"\s*:\s*"([^"]*)"[^{}]*\}\s*$/;
/** Three bytes are four letters, with a line break after each, at most, and room for JSON around. */
const TEXT_BYTES_MAX = 2 * KMS_CIPHERTEXT_BYTES_MAX + 4096;

/** An object or a pack of sneaker as it has been since 18 April 2015, or undefined. */
export function splitSneaker(bytes: Buffer): WrappedAndSealed | undefined {
  if (bytes.length < LENGTH_BYTES) return undefined;
  const length = bytes.readUInt32BE(0);
  if (length === 0 || length > KMS_CIPHERTEXT_BYTES_MAX) return undefined;
  const sealed = bytes.subarray(LENGTH_BYTES + length);
  if (sealed.length < TAG_BYTES) return undefined;
  return { format: 'sneaker', wrappedKey: bytes.subarray(LENGTH_BYTES, LENGTH_BYTES + length), sealed };
}

/** What a list can say of a stored object without its key, by its first bytes and its size; undefined for what is none. */
export function describeSneaker(head: Buffer, size: number): { readonly plaintextBytes: number } | undefined {
  if (head.length < LENGTH_BYTES) return undefined;
  const length = head.readUInt32BE(0);
  // As it has been since 21 April 2015: four days before that there were 12 bytes more of it.
  const plaintextBytes = size - LENGTH_BYTES - length - NONCE_BYTES - TAG_BYTES;
  const fits = length > 0 && length <= KMS_CIPHERTEXT_BYTES_MAX && plaintextBytes >= -NONCE_BYTES;
  return fits ? { plaintextBytes: Math.max(0, plaintextBytes) } : undefined;
}

/** The other way round; both are copied. */
export function joinSneaker(wrappedKey: Uint8Array, sealed: Uint8Array): Buffer {
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32BE(wrappedKey.length);
  return Buffer.concat([length, wrappedKey, sealed]);
}

/** The two objects PATH.kms and PATH.aes of before 18 April 2015. Throws BundleError bundle-invalid. */
export function joinPair(wrappedKey: Buffer, sealed: Buffer): WrappedAndSealed {
  const fits = wrappedKey.length > 0 && wrappedKey.length <= KMS_CIPHERTEXT_BYTES_MAX;
  if (fits && sealed.length >= TAG_BYTES) return { format: 'kms-secrets', wrappedKey, sealed };
  throw new BundleError(
    'bundle-invalid',
    `cannot read a pair of kms-secrets: .kms has ${wrappedKey.length} bytes, .aes has ${sealed.length}`,
    { hint: `one holds a KMS ciphertext, the other at least ${TAG_BYTES} bytes: check that both are whole` },
  );
}

/**
 * A pack of kms-secrets, or undefined for what is no such tar; a plain tar is none. Throws BundleError bundle-invalid for one
 * whose members are not what they must be.
 */
async function splitTarPack(bytes: Buffer): Promise<WrappedAndSealed | undefined> {
  if (bytes.length < BLOCK_BYTES || !looksLikeTar(bytes)) return undefined;
  const members: Member[] = [];
  try {
    for await (const member of membersOf(bytes, true)) {
      // There are two of them. What has more is some other tar, of any size.
      if (members.length === 2 || member.kind !== 'file') return undefined;
      members.push(member);
    }
  } catch (error) {
    if (error instanceof SecretsfsError) return undefined;
    throw error;
  }
  const key = members.find(({ path }) => path === KEY_MEMBER);
  const sealed = members.find(({ path }) => SEALED_MEMBERS.includes(path));
  return key === undefined || sealed === undefined ? undefined : joinPair(key.data, sealed.data);
}

/** What inspect says of a pack without its key, by its first block and its size; undefined for what is none. */
export function describePack(
  head: Buffer,
  size: number,
): { readonly format: SealedFormat; readonly plaintextBytes: number | undefined } | undefined {
  const sneaker = describeSneaker(head, size);
  if (sneaker !== undefined) return { format: 'sneaker', ...sneaker };
  const [name = ''] = head.subarray(0, NAME_BYTES).toString('latin1').split('\0');
  const isPack = looksLikeTar(head) && (name === KEY_MEMBER || SEALED_MEMBERS.includes(name));
  return isPack ? { format: 'kms-secrets', plaintextBytes: undefined } : undefined;
}

/** By its magic. */
export function looksLikeTar(bytes: Buffer): boolean {
  return bytes.subarray(USTAR.at, USTAR.at + USTAR.bytes.length).equals(USTAR.bytes);
}

/** A pack, of whichever era; undefined for what is none. Throws BundleError bundle-invalid for half of one. */
export async function recognisePack(bytes: Buffer): Promise<WrappedAndSealed | undefined> {
  return splitSneaker(bytes) ?? (await splitTarPack(bytes));
}

/**
 * A KMS ciphertext, or undefined for what is too large to be one. Its bytes are KMS's own affair, so binary is whatever is
 * no text that it could be in: KMS is who says whether it is one.
 */
export function recogniseCiphertext(bytes: Buffer): RawCiphertext | undefined {
  if (bytes.length === 0 || bytes.length > TEXT_BYTES_MAX) return undefined;
  const [, inJson] = JSON_TEXT.exec(bytes.toString('latin1')) ?? [];
  const blob = fromBase64(inJson === undefined ? bytes : Buffer.from(inJson));
  if (blob !== undefined && blob.length > 0 && blob.length <= KMS_CIPHERTEXT_BYTES_MAX) {
    return { format: 'kms', encoding: inJson === undefined ? 'base64' : 'json', blob };
  }
  if (bytes.length > KMS_CIPHERTEXT_BYTES_MAX) return undefined;
  return { format: 'kms', encoding: 'binary', blob: bytes };
}
