/** Base64 (RFC 4648) from bytes to bytes. Node's goes through a string, and of a secret there must be none. */
import { Buffer } from 'node:buffer';

const LETTERS = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/');
const PAD = 0x3d;
const NEWLINE = 0x0a;
/** As base64(1) and most mail programs break lines. */
const LINE_LETTERS = 76;

const VALUES = new Uint8Array(256).fill(255);
LETTERS.forEach((letter, value) => {
  VALUES[letter] = value;
});

const letterAt = (bits: number) => LETTERS[bits & 63] ?? PAD;

/** In lines of 76, each with its end: what base64(1) writes. Both are the caller's to wipe. */
export function toBase64(bytes: Uint8Array): Buffer {
  const letters = Math.ceil(bytes.length / 3) * 4;
  const text = Buffer.allocUnsafeSlow(letters + Math.ceil(letters / LINE_LETTERS));
  let at = 0;
  for (let i = 0; i < bytes.length; i += 3) {
    const left = bytes.length - i;
    const bits = ((bytes[i] ?? 0) << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
    text[at++] = letterAt(bits >> 18);
    text[at++] = letterAt(bits >> 12);
    text[at++] = left > 1 ? letterAt(bits >> 6) : PAD;
    text[at++] = left > 2 ? letterAt(bits) : PAD;
    if (at % (LINE_LETTERS + 1) === LINE_LETTERS || left <= 3) text[at++] = NEWLINE;
  }
  return text;
}

const isSpace = (byte: number) => byte === 0x20 || (byte >= 0x09 && byte <= 0x0d);

/**
 * What an encoder made `text` of, with white space anywhere; undefined for what no encoder writes: other letters, missing
 * padding, bits left over. The bytes are the caller's to wipe.
 */
export function fromBase64(text: Uint8Array): Buffer | undefined {
  const bytes = Buffer.allocUnsafeSlow(Math.floor(text.length / 4) * 3);
  let length = 0;
  let letters = 0;
  let pads = 0;
  let bits = 0;
  for (const letter of text) {
    if (isSpace(letter)) continue;
    const value = letter === PAD ? 0 : (VALUES[letter] ?? 255);
    if (letter === PAD) pads++;
    if (value > 63 || (letter !== PAD && pads > 0) || pads > 2) return wiped(bytes);
    bits = ((bits << 6) | value) & 0xffffff;
    letters++;
    if (letters % 4 !== 0) continue;
    bytes.writeUIntBE(bits, length, 3);
    length += 3;
  }
  const leftOver = bits & (pads === 2 ? 0xffff : pads === 1 ? 0xff : 0);
  if (letters % 4 !== 0 || leftOver !== 0) return wiped(bytes);
  return bytes.subarray(0, length - pads);
}

function wiped(bytes: Buffer): undefined {
  bytes.fill(0);
  return undefined;
}
