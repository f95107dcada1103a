/**
 * Bytes to a sealed message, as open-message.ts opens it. Keys, their derivation and commitment come from the SDK's
 * materials; header and frames are written here, into one buffer, where the SDK's streams keep copies and sign in the way of
 * everything else.
 */
import { Buffer } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import {
  AlgorithmSuiteIdentifier,
  type EncryptedDataKey,
  type GetCipher,
  getEncryptHelper,
  type KeyringNode,
  NodeAlgorithmSuite,
  NodeEncryptionMaterial,
} from '@aws-crypto/material-management-node';
import { FRAME_BYTES_MAX, FRAME_BYTES_MIN } from '../limits.ts';
import {
  CONTENT_TYPE_FRAMED,
  FINAL_FRAME_HEADER_BYTES,
  FRAME_HEADER_BYTES,
  frameAssociatedData,
  IV_BYTES,
  MESSAGE_ID_BYTES,
  PUBLIC_KEY_PAIR,
  SEQUENCE_FINAL,
  SUITE_ID,
  TAG_BYTES,
} from './message.ts';
import { makeSigningKey, SIGNATURE_BYTES_MAX, signMessage } from './signature.ts';

export interface SealMessageOptions {
  /** Wraps the data key. A SecretsfsError that it throws is what sealMessage() throws. */
  readonly keyring: KeyringNode;
  /** Exactly these pairs; the signing key's is added. All together have 64 KiB of room: callers have validated them (name.ts). */
  readonly context: Readonly<Record<string, string>>;
  readonly frameBytes: number;
  /** Called after each frame. The total is an estimate from above. */
  readonly progress?: ((doneBytes: number, totalBytes: number) => void) | undefined;
}

/** A power of two, so that a frame holds all of a small plaintext and a large one has frames of 1 MiB. */
export function frameBytesFor(plaintextBytes: number): number {
  let frameBytes = FRAME_BYTES_MIN;
  while (frameBytes < plaintextBytes && frameBytes < FRAME_BYTES_MAX) frameBytes *= 2;
  return frameBytes;
}

/** Seals `plaintext`, which stays the caller's to wipe and must not change meanwhile. Throws whatever the keyring throws. */
export async function sealMessage(plaintext: Uint8Array, options: SealMessageOptions): Promise<Buffer> {
  const { keyring, frameBytes, progress } = options;
  const signingKey = await makeSigningKey();
  const context = { ...options.context, [PUBLIC_KEY_PAIR]: signingKey.publicKey };
  const suite = new NodeAlgorithmSuite(
    AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY_ECDSA_P384,
  );
  const material = await keyring.onEncrypt(new NodeEncryptionMaterial(suite, context));
  const { getCipherInfo, dispose } = getEncryptHelper(material);
  try {
    const messageId = randomBytes(MESSAGE_ID_BYTES);
    const { getCipher, keyCommitment } = getCipherInfo(messageId);
    const body = Buffer.concat([
      Buffer.of(2, SUITE_ID >> 8, SUITE_ID & 0xff),
      messageId,
      field(encodeContext(context)),
      encodeDataKeys(material.encryptedDataKeys),
      Buffer.of(CONTENT_TYPE_FRAMED),
      u32(frameBytes),
      keyCommitment ?? Buffer.alloc(0),
    ]);
    const fullFrames = Math.floor(plaintext.length / frameBytes);
    const frameOverhead =
      fullFrames * (FRAME_HEADER_BYTES + TAG_BYTES) + FINAL_FRAME_HEADER_BYTES + TAG_BYTES;
    const room = Buffer.allocUnsafeSlow(
      body.length + TAG_BYTES + frameOverhead + plaintext.length + 2 + SIGNATURE_BYTES_MAX,
    );
    let length = 0;
    const write = (bytes: Uint8Array) => {
      room.set(bytes, length);
      length += bytes.length;
    };
    write(body);
    write(encrypt(getCipher, Buffer.alloc(IV_BYTES), body).authTag);
    for (let frame = 0; frame <= fullFrames; frame++) {
      const content = plaintext.subarray(frame * frameBytes, (frame + 1) * frameBytes);
      const place = { sequence: frame + 1, final: frame === fullFrames };
      for (const part of sealFrame(getCipher, messageId, content, place)) write(part);
      progress?.(length, room.length);
    }
    const signature = await signMessage(room.subarray(0, length), signingKey);
    write(field(signature));
    return room.subarray(0, length);
  } finally {
    dispose();
  }
}

/** Header, ciphertext and tag. */
function sealFrame(
  getCipher: GetCipher,
  messageId: Buffer,
  content: Uint8Array,
  { sequence, final }: { readonly sequence: number; readonly final: boolean },
): Buffer[] {
  const iv = Buffer.alloc(IV_BYTES);
  iv.writeUInt32BE(sequence, IV_BYTES - 4);
  const numbered = Buffer.concat([u32(sequence), iv]);
  const head = final ? Buffer.concat([u32(SEQUENCE_FINAL), numbered, u32(content.length)]) : numbered;
  const associated = frameAssociatedData(messageId, { sequence, final, bytes: content.length });
  const { ciphertext, authTag } = encrypt(getCipher, iv, associated, content);
  return [head, ciphertext, authTag];
}

function encrypt(
  getCipher: GetCipher,
  iv: Buffer,
  associated: Buffer,
  content: Uint8Array = Buffer.alloc(0),
) {
  const cipher = getCipher(iv).setAAD(associated);
  const ciphertext = cipher.update(Buffer.from(content.buffer, content.byteOffset, content.byteLength));
  cipher.final();
  return { ciphertext, authTag: cipher.getAuthTag() };
}

/** Pairs in the order of their names' bytes. */
function encodeContext(context: Readonly<Record<string, string>>): Buffer {
  const pairs = Object.entries(context)
    .map(([name, value]) => [Buffer.from(name), Buffer.from(value)] as const)
    .sort(([a], [b]) => a.compare(b));
  return Buffer.concat([u16(pairs.length), ...pairs.flatMap((pair) => pair.map(field))]);
}

function encodeDataKeys(keys: readonly EncryptedDataKey[]): Buffer {
  const encoded = keys.map(({ providerId, providerInfo, rawInfo, encryptedDataKey }) => [
    field(Buffer.from(providerId)),
    // Of raw keys it is no text.
    field(rawInfo ?? Buffer.from(providerInfo)),
    field(encryptedDataKey),
  ]);
  return Buffer.concat([u16(keys.length), ...encoded.flat()]);
}

/** Its length as u16, then that many bytes. */
function field(bytes: Uint8Array): Buffer {
  return Buffer.concat([u16(bytes.length), bytes]);
}

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
