/**
 * The AWS Encryption SDK's message format, version 2, as bytes: where everything is, and nothing about keys.
 * https://docs.aws.amazon.com/encryption-sdk/latest/developer-guide/message-format.html; tables in docs/format.md.
 *
 * Parsing is our own, and not @aws-crypto/serialize's, because that answers every malformation with one kind of
 * Error, and because a message that is wholly in memory can be walked before anything of it is decrypted.
 * Nothing here allocates by a length that the message claims.
 */
import { Buffer } from 'node:buffer';
import { BundleError, quote } from '../errors.ts';
import { ENCRYPTED_DATA_KEYS_MAX, FRAME_BYTES_MIN, HEADER_BYTES_MAX } from '../limits.ts';
import type { Kind } from './kind.ts';
import { recognise } from './recognise.ts';

/** ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY_ECDSA_P384, the only one that is accepted. */
export const SUITE_ID = 0x0578;
/** The pair of the context with the public half of the signing key, a compressed P-384 point in base64. */
export const PUBLIC_KEY_PAIR = 'aws-crypto-public-key';

export const MESSAGE_ID_BYTES = 32;
const COMMITMENT_BYTES = 32;
export const CONTENT_TYPE_FRAMED = 2;
export const IV_BYTES = 12;
export const TAG_BYTES = 16;
export const SEQUENCE_FINAL = 0xffffffff;
export const FRAME_HEADER_BYTES = 4 + IV_BYTES;
export const FINAL_FRAME_HEADER_BYTES = 4 + 4 + IV_BYTES + 4;

/** Names as the AWS Encryption SDK's documentation has them. */
const SUITES: ReadonlyMap<number, string> = new Map([
  [0x0014, 'AES-128-GCM, unsigned and without key commitment'],
  [0x0046, 'AES-192-GCM, unsigned and without key commitment'],
  [0x0078, 'AES-256-GCM, unsigned and without key commitment'],
  [0x0114, 'AES-128-GCM with HKDF-SHA256, unsigned and without key commitment'],
  [0x0146, 'AES-192-GCM with HKDF-SHA256, unsigned and without key commitment'],
  [0x0178, 'AES-256-GCM with HKDF-SHA256, unsigned and without key commitment'],
  [0x0214, 'AES-128-GCM with HKDF-SHA256 and ECDSA P-256, without key commitment'],
  [0x0346, 'AES-192-GCM with HKDF-SHA384 and ECDSA P-384, without key commitment'],
  [0x0378, 'AES-256-GCM with HKDF-SHA384 and ECDSA P-384, without key commitment'],
  [0x0478, 'AES-256-GCM with HKDF-SHA512 and key commitment, unsigned'],
]);

export interface MessageDataKey {
  readonly providerId: string;
  /** For raw keys these are not text: name, then lengths and a nonce. */
  readonly providerInfo: Buffer;
  readonly encryptedDataKey: Buffer;
}

/** Views of the message, not copies. */
export interface MessageHeader {
  /** What it is read as, for messages; whether it is that, its context says. */
  readonly kind: Kind;
  readonly messageId: Buffer;
  /** Every pair, reserved ones too. */
  readonly encryptionContext: ReadonlyMap<string, string>;
  readonly encryptedDataKeys: readonly MessageDataKey[];
  readonly frameBytes: number;
  readonly commitment: Buffer;
  /** What the header's tag authenticates. */
  readonly body: Buffer;
  readonly authTag: Buffer;
  /** With the tag. */
  readonly headerBytes: number;
}

/** Views of the message, not copies. */
export interface Frame {
  /** From 1. */
  readonly sequence: number;
  readonly final: boolean;
  readonly iv: Buffer;
  readonly ciphertext: Buffer;
  readonly authTag: Buffer;
}

export interface MessageLayout {
  readonly plaintextBytes: number;
  /** Everything that is signed: the message less its footer. */
  readonly signed: Buffer;
  readonly signature: Buffer;
}

const truncated = ({ noun }: Kind, what: string) =>
  new BundleError('bundle-truncated', `cannot read ${noun}: it ends inside its ${what}`, {
    hint: 'fetch or copy it again: a part of it is missing',
  });

const invalid = ({ noun, maker }: Kind, why: string) =>
  new BundleError('bundle-invalid', `cannot read ${noun} header: ${why}`, {
    hint: `the file is damaged, or it is not a ${noun} made by: ${maker}`,
  });

export const corrupt = ({ kind }: Pick<MessageHeader, 'kind'>, why: string, cause?: unknown) =>
  new BundleError('bundle-corrupt', `cannot authenticate ${kind.noun}: ${why}`, {
    hint: 'it was altered or damaged after it was sealed: fetch it again, or have its author seal it again',
    cause,
  });

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
function text(bytes: Uint8Array, kind: Kind, what: string): string {
  try {
    return UTF8.decode(bytes);
  } catch {
    throw invalid(kind, `${what} is not UTF-8`);
  }
}

/** Reads forward through a header; running out is a truncation, unless the header would be too large. */
class Cursor {
  readonly #bytes: Buffer;
  readonly #kind: Kind;
  at = 0;

  constructor(bytes: Buffer, kind: Kind) {
    this.#bytes = bytes;
    this.#kind = kind;
  }

  take(length: number): Buffer {
    const end = this.at + length;
    if (end > HEADER_BYTES_MAX) throw invalid(this.#kind, `it is longer than ${HEADER_BYTES_MAX} bytes`);
    if (end > this.#bytes.length) throw truncated(this.#kind, 'header');
    const taken = this.#bytes.subarray(this.at, end);
    this.at = end;
    return taken;
  }

  u16(): number {
    return this.take(2).readUInt16BE(0);
  }

  /** A field: its length as u16, then that many bytes. */
  field(): Buffer {
    return this.take(this.u16());
  }
}

function requireSuite(view: Buffer, kind: Kind): void {
  const version = view[0];
  // A message of version 1 goes on with its type, 0x80.
  if (version === 1 && view[1] === 0x80) {
    if (view.length < 4) throw truncated(kind, 'header');
    throw wrongSuite(kind, view.readUInt16BE(2), 'message format is version 1, want 2; ');
  }
  if (version === 2) {
    if (view.length < 3) throw truncated(kind, 'header');
    const suite = view.readUInt16BE(1);
    if (suite !== SUITE_ID) throw wrongSuite(kind, suite, '');
    return;
  }
  const guess = recognise(view);
  throw new BundleError(
    'bundle-invalid',
    guess === undefined
      ? `cannot read ${kind.noun}: this is not a ${kind.noun}`
      : `cannot read ${kind.noun}: it is ${guess.what}`,
    { hint: guess?.hint ?? `a ${kind.noun} is made by: ${kind.maker}` },
  );
}

function wrongSuite({ noun, maker }: Kind, suite: number, before: string): BundleError {
  const hex = (id: number) => `0x${id.toString(16).padStart(4, '0')}`;
  const name = SUITES.get(suite) ?? 'unknown';
  return new BundleError(
    'bundle-suite',
    `cannot accept ${noun}: ${before}suite is ${hex(suite)} (${name}), want ${hex(SUITE_ID)} (signed, with key commitment)`,
    {
      hint: `whoever may decrypt an unsigned ${noun} can forge one: seal it again with ${maker}, or with that suite`,
    },
  );
}

/** Reads a header from the beginning of a message that should be of `kind`; of the rest, nothing need be there. */
export function parseHeader(bytes: Uint8Array, kind: Kind): MessageHeader {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  requireSuite(view, kind);
  const cursor = new Cursor(view, kind);
  cursor.take(1 + 2);
  const messageId = cursor.take(MESSAGE_ID_BYTES);
  const encryptionContext = parseEncryptionContext(cursor.field(), kind);

  const count = cursor.u16();
  if (count === 0) throw invalid(kind, 'it has no encrypted data key');
  if (count > ENCRYPTED_DATA_KEYS_MAX) {
    throw new BundleError(
      'bundle-too-many-keys',
      `cannot accept ${kind.noun}: it has ${count} encrypted data keys, want at most ${ENCRYPTED_DATA_KEYS_MAX}`,
      { hint: 'each may cost a call to KMS: seal it again under fewer keys' },
    );
  }
  const encryptedDataKeys: MessageDataKey[] = [];
  for (let i = 0; i < count; i++) {
    const providerId = text(cursor.field(), kind, "a data key's provider");
    encryptedDataKeys.push({ providerId, providerInfo: cursor.field(), encryptedDataKey: cursor.field() });
  }

  const contentType = cursor.take(1)[0];
  if (contentType !== CONTENT_TYPE_FRAMED) {
    throw invalid(kind, `content type is ${contentType}, want ${CONTENT_TYPE_FRAMED} (framed)`);
  }
  const frameBytes = cursor.take(4).readUInt32BE(0);
  // Smaller frames would only cost time: each has a key schedule of its own.
  if (frameBytes < FRAME_BYTES_MIN) {
    throw invalid(kind, `frame length is ${frameBytes}, want at least ${FRAME_BYTES_MIN}`);
  }
  const commitment = cursor.take(COMMITMENT_BYTES);
  const body = view.subarray(0, cursor.at);
  const authTag = cursor.take(TAG_BYTES);
  const headerBytes = cursor.at;
  return {
    kind,
    messageId,
    encryptionContext,
    encryptedDataKeys,
    frameBytes,
    commitment,
    body,
    authTag,
    headerBytes,
  };
}

function parseEncryptionContext(section: Buffer, kind: Kind): Map<string, string> {
  const pairs = new Map<string, string>();
  if (section.length === 0) return pairs;
  let at = 0;
  const need = (length: number): number => {
    if (at + length > section.length) throw invalid(kind, 'its encryption context is malformed');
    at += length;
    return at - length;
  };
  const field = () => {
    const length = section.readUInt16BE(need(2));
    const start = need(length);
    return text(section.subarray(start, start + length), kind, 'its encryption context');
  };
  const count = section.readUInt16BE(need(2));
  for (let i = 0; i < count; i++) {
    const key = field();
    if (pairs.has(key)) throw invalid(kind, `its encryption context has ${quote(key)} twice`);
    pairs.set(key, field());
  }
  if (at !== section.length) throw invalid(kind, 'its encryption context is malformed');
  return pairs;
}

/**
 * Checks that a message is whole, and finds its signature. Throws bundle-truncated when it ends early, bundle-corrupt
 * when it can't be what was sealed, bundle-too-large when its plaintext would be over `plaintextBytesMax`.
 */
export function layOut(bytes: Buffer, header: MessageHeader, plaintextBytesMax: number): MessageLayout {
  let plaintextBytes = 0;
  let at = header.headerBytes;
  for (const frame of framesOf(bytes, header)) {
    plaintextBytes += frame.ciphertext.length;
    if (plaintextBytes > plaintextBytesMax) throw tooLarge(header.kind, plaintextBytes, plaintextBytesMax);
    at += (frame.final ? FINAL_FRAME_HEADER_BYTES : FRAME_HEADER_BYTES) + frame.ciphertext.length + TAG_BYTES;
  }
  const signed = bytes.subarray(0, at);
  if (at + 2 > bytes.length) throw truncated(header.kind, 'signature');
  const end = at + 2 + bytes.readUInt16BE(at);
  if (end > bytes.length) throw truncated(header.kind, 'signature');
  if (end < bytes.length) throw corrupt(header, `${bytes.length - end} bytes follow its end`);
  return { plaintextBytes, signed, signature: bytes.subarray(at + 2, end) };
}

/** The frames in order, made one at a time: a list of them could take more memory than the message. */
export function* framesOf(bytes: Buffer, header: MessageHeader): Generator<Frame, void, undefined> {
  let at = header.headerBytes;
  const take = (length: number) => {
    if (at + length > bytes.length) throw truncated(header.kind, 'frames');
    at += length;
    return bytes.subarray(at - length, at);
  };
  for (let sequence = 1, final = false; !final; sequence++) {
    const first = take(4).readUInt32BE(0);
    final = first === SEQUENCE_FINAL;
    const found = final ? take(4).readUInt32BE(0) : first;
    if (found !== sequence) throw corrupt(header, `frame ${sequence} says that it is frame ${found}`);
    const iv = take(IV_BYTES);
    const length = final ? take(4).readUInt32BE(0) : header.frameBytes;
    if (length > header.frameBytes) throw corrupt(header, 'its last frame is longer than a frame');
    const ciphertext = take(length);
    yield { sequence, final, iv, ciphertext, authTag: take(TAG_BYTES) };
  }
}

const tooLarge = ({ noun }: Kind, atLeast: number, max: number) =>
  new BundleError(
    'bundle-too-large',
    `cannot open ${noun}: it holds at least ${atLeast} bytes, want at most ${max}`,
    {
      hint:
        noun === 'bundle'
          ? 'allow more with --max-bytes where the memory is there, or make two bundles of it'
          : 'a single secret is not so large: pack makes a bundle of such a file',
    },
  );

/**
 * The length of the content of a message whose first frame is its only one, from its beginning; undefined where it has
 * several, or where `bytes` end before that can be seen.
 */
export function soleFrameBytes(bytes: Uint8Array, { headerBytes }: MessageHeader): number | undefined {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).subarray(headerBytes);
  if (view.length < FINAL_FRAME_HEADER_BYTES || view.readUInt32BE(0) !== SEQUENCE_FINAL) return undefined;
  return view.readUInt32BE(FINAL_FRAME_HEADER_BYTES - 4);
}

/** What a frame's tag authenticates besides its ciphertext, which is as long as its content. */
export function frameAssociatedData(
  messageId: Uint8Array,
  { sequence, final, bytes }: { readonly sequence: number; readonly final: boolean; readonly bytes: number },
): Buffer {
  const label = final ? 'AWSKMSEncryptionClient Final Frame' : 'AWSKMSEncryptionClient Frame';
  const numbers = Buffer.alloc(4 + 8);
  numbers.writeUInt32BE(sequence, 0);
  numbers.writeBigUInt64BE(BigInt(bytes), 4);
  return Buffer.concat([messageId, Buffer.from(label), numbers]);
}
