/**
 * Which keys wrap what an object holds, told by its first bytes, for every format that KMS keys are used in here: AWS Encryption SDK
 * messages of any version and suite (bundles and single secrets are such), sneaker's and kms-secrets', and raw KMS ciphertexts. Of
 * the latter three only KMS can say which key it was. Nothing is authenticated, and nothing has to be: who overstates what a
 * key wraps keeps it from being deleted, no more.
 *
 * Messages: https://docs.aws.amazon.com/encryption-sdk/latest/developer-guide/message-format.html
 */
import type { Buffer } from 'node:buffer';
import { fromBase64 } from '../bundle/base64.ts';
import { describeDataKey } from '../bundle/data-keys.ts';
import type { EncryptedDataKeyInfo } from '../bundle/header.ts';
import { BUNDLE, SECRET } from '../bundle/kind.ts';
import { beginsLikeKms } from '../bundle/kms-beginnings.ts';
import { recogniseCiphertext, splitSneaker } from '../bundle/old-format.ts';
import { FORMAT_PAIR, NAME_PAIR } from '../bundle/pairs.ts';
import { HEADER_BYTES_MAX } from '../limits.ts';

/** Enough for every raw ciphertext, also in base64, and for nearly every message's header. */
export const HEAD_BYTES = 16 * 1024;

export type What = 'bundle' | 'secret' | 'message' | 'sneaker' | 'kms-secrets' | 'kms';

export type Wrapping =
  /** The keys that it names; `name` is a bundle's. */
  | {
      readonly kind: 'named';
      readonly what: What;
      readonly name?: string;
      readonly keys: readonly EncryptedDataKeyInfo[];
    }
  /** KMS has to be asked about `blob`. */
  | { readonly kind: 'ask'; readonly what: What; readonly blob: Buffer }
  /** So many bytes from `offset` on would tell. */
  | { readonly kind: 'more'; readonly offset: number; readonly bytes: number }
  /** It begins as one, and is cut short or damaged. */
  | { readonly kind: 'damaged' }
  /** No format that a KMS key wraps. */
  | { readonly kind: 'none' };

const NONE: Wrapping = { kind: 'none' };

/** `head`: the first HEAD_BYTES, or more of them where this asked for more, or all that there is of `size`. */
export function wrappingOf(head: Buffer, size: number): Wrapping {
  const message = messageOf(head, size);
  if (message !== undefined) return message;
  const pack = tarPackOf(head);
  if (pack !== undefined) return pack;
  const sneaker = splitSneaker(head);
  if (sneaker !== undefined && isCiphertext(sneaker.wrappedKey)) {
    return { kind: 'ask', what: 'sneaker', blob: sneaker.wrappedKey };
  }
  // A ciphertext alone is all of its object.
  const raw = size > head.length ? undefined : recogniseCiphertext(head);
  if (raw === undefined) return messageInBase64(head, size) ?? NONE;
  if (isCiphertext(raw.blob)) return { kind: 'ask', what: 'kms', blob: raw.blob };
  return raw.encoding === 'binary' ? NONE : (messageOf(raw.blob, raw.blob.length) ?? NONE);
}

/**
 * What KMS's ciphertexts begin with, now and before 2016, and what imitations of KMS (moto, LocalStack) begin with: the key's id.
 * KMS does not document it; a file that looks so and is none costs one call.
 */
function isCiphertext(blob: Buffer): boolean {
  if (beginsLikeKms(blob)) return true;
  return /^(mrk-)?[0-9a-f]{8}-[0-9a-f]{4}-/.test(blob.toString('latin1', 0, 18));
}

/** Of what is longer than a ciphertext may be. */
function messageInBase64(head: Buffer, size: number): Wrapping | undefined {
  const letters = head.filter((byte) => byte > 0x20);
  const bytes = fromBase64(letters.subarray(0, letters.length - (letters.length % 4)));
  const message = bytes && messageOf(bytes, Math.ceil((size * 3) / 4));
  if (message?.kind !== 'more') return message;
  // Four letters are three bytes, and each may have a line of its own.
  const whole = Math.min(size, 3 * HEADER_BYTES_MAX);
  return head.length < whole ? { kind: 'more', offset: 0, bytes: whole } : { kind: 'damaged' };
}

const VERSION_1_SUITES: readonly number[] = [0x14, 0x46, 0x78, 0x114, 0x146, 0x178, 0x214, 0x346, 0x378];
const VERSION_2_SUITES: readonly number[] = [0x478, 0x578];

/** The header of a message: version 1 has a type before the suite, and a shorter id after it. */
function messageOf(head: Buffer, size: number): Wrapping | undefined {
  const first = head[0] === 1 && head[1] === 0x80;
  if (head.length < 4 || (!first && head[0] !== 2)) return undefined;
  const suite = head.readUInt16BE(first ? 2 : 1);
  if (!(first ? VERSION_1_SUITES : VERSION_2_SUITES).includes(suite)) return undefined;
  try {
    return headerOf(head, first ? 4 + 16 : 3 + 32);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const whole = Math.min(size, HEADER_BYTES_MAX);
    return head.length < whole ? { kind: 'more', offset: 0, bytes: whole } : { kind: 'damaged' };
  }
}

/** Throws RangeError where it runs out of bytes, as Buffer's own readers do. */
function headerOf(head: Buffer, from: number): Wrapping {
  let at = from;
  const number = () => {
    at += 2;
    return head.readUInt16BE(at - 2);
  };
  const field = () => {
    const length = number();
    if (at + length > head.length) throw new RangeError('the header goes on');
    at += length;
    return head.subarray(at - length, at);
  };
  const pairs = new Map<string, string>();
  const contextEnd = number() + at;
  if (contextEnd > at) {
    for (let count = number(); count > 0 && at < contextEnd; count--)
      pairs.set(field().toString(), field().toString());
  }
  at = contextEnd;
  const keys: EncryptedDataKeyInfo[] = [];
  for (let count = number(); count > 0; count--) {
    const providerId = field().toString();
    keys.push(describeDataKey({ providerId, providerInfo: field(), encryptedDataKey: field() }));
  }
  const format = pairs.get(FORMAT_PAIR);
  const name = pairs.get(NAME_PAIR);
  const what = format === BUNDLE.format ? 'bundle' : format === SECRET.format ? 'secret' : 'message';
  return { kind: 'named', what, keys, ...(name === undefined ? {} : { name }) };
}

const BLOCK = 512;
const SEALED = ['encrypted.tar.aes', 'secrets.tar.aes'];

/** A pack of kms-secrets: a tar of two members, in either order. Of the key's, the first KMS_CIPHERTEXT bytes are all. */
function tarPackOf(head: Buffer): Wrapping | undefined {
  const member = memberOf(head, 0);
  if (member === undefined) return undefined;
  if (member.name === 'key.kms') return { kind: 'ask', what: 'kms-secrets', blob: member.data };
  if (!SEALED.includes(member.name)) return undefined;
  return { kind: 'more', offset: BLOCK + Math.ceil(member.size / BLOCK) * BLOCK, bytes: HEAD_BYTES };
}

/** The same, from the second member on: what `more` asked for. */
export function secondMember(bytes: Buffer): Wrapping {
  const member = memberOf(bytes, 0);
  return member?.name === 'key.kms' ? { kind: 'ask', what: 'kms-secrets', blob: member.data } : NONE;
}

function memberOf(bytes: Buffer, at: number): { name: string; size: number; data: Buffer } | undefined {
  if (bytes.length < at + BLOCK || bytes.toString('latin1', at + 257, at + 262) !== 'ustar') return undefined;
  const text = (from: number, length: number) =>
    bytes.toString('latin1', at + from, at + from + length).replace(/\0.*$/s, '');
  const octal = text(124, 12).trim();
  if (!/^[0-7]{1,11}$/.test(octal)) return undefined;
  const size = Number.parseInt(octal, 8);
  return { name: text(0, 100), size, data: bytes.subarray(at + BLOCK, at + BLOCK + size) };
}
