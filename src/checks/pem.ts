/**
 * PEM as OpenSSL's reader takes it (crypto/pem/pem_lib.c): blocks whose BEGIN stands at the beginning of a line, and
 * anything between them. Only certificates and private keys are looked at; parameters, requests and the armour of other
 * programs are passed over.
 *
 * What OpenSSL says of a block that it can't read stays here: nothing but our own words comes out.
 */
import { Buffer } from 'node:buffer';
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';

const BEGIN = Buffer.from('-----BEGIN ');
const DASHES = '-----';
const LABEL_LENGTH_MAX = 64;
const LINE_FEED = 0x0a;
/** Space, tab and return: OpenSSL takes them from the end of a line. */
const SPACES = new Set([0x20, 0x09, 0x0d]);
const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);

const CERTIFICATE = /^(?:(?:X509 |TRUSTED )?CERTIFICATE)$/;
const PRIVATE_KEY = /^(?:(?:RSA |EC |DSA |ENCRYPTED )?PRIVATE KEY)$/;
/** Of a chain: a longer one is a bundle of trust, of which no more is read. */
export const CHAIN_MAX = 16;
/** A block that is larger is no certificate: 64 KiB hold thousands of names. */
const BLOCK_BYTES_MAX = 256 * 1024;

export interface Pem {
  /** At most CHAIN_MAX, in their order. */
  readonly certificates: readonly Certificate[];
  /** The first one, as it stands there: it is read when it is compared. */
  readonly key: Uint8Array | undefined;
  readonly keyIsEncrypted: boolean;
  /** What no program would take: the first such thing. */
  readonly problem: PemProblem | undefined;
}

export interface PemProblem {
  readonly line: number;
  readonly expected: string;
  readonly found: string;
}

export interface Certificate {
  readonly x509: X509Certificate;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** Undefined for a file without a certificate and without a private key, and without what looks like either. */
export function readPem(data: Uint8Array): Pem | undefined {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  const certificates: Certificate[] = [];
  let key: Uint8Array | undefined;
  let keyIsEncrypted = false;
  let problem: PemProblem | undefined;
  let seen = false;
  let read = 0;
  for (let at = bytes.indexOf(BEGIN); at >= 0; ) {
    const block = blockAt(bytes, at);
    const next = bytes.indexOf(BEGIN, Math.max(block?.end ?? 0, at + BEGIN.length));
    if (block !== undefined) {
      const { kind } = block;
      if (block.problem !== undefined) {
        seen = true;
        problem ??= { line: lineOf(bytes, at), ...block.problem };
      } else if (kind === 'certificate') {
        seen = true;
        // A key may still follow.
        const certificate = read < CHAIN_MAX ? readCertificate(bytes.subarray(at, block.end)) : undefined;
        read++;
        if (certificate !== undefined) certificates.push(certificate);
        else if (read <= CHAIN_MAX)
          problem ??= {
            line: lineOf(bytes, at),
            expected: 'a certificate',
            found: 'one that cannot be read',
          };
      } else if (key === undefined) {
        seen = true;
        key = bytes.subarray(at, block.end);
        keyIsEncrypted = block.encrypted;
      }
    }
    at = next;
  }
  return seen ? { certificates, key, keyIsEncrypted, problem } : undefined;
}

/** Whether a key belongs to a certificate; undefined for a key that can't be read. */
export function keyBelongs(key: Uint8Array, certificates: readonly Certificate[]): number | undefined {
  let read: KeyObject;
  try {
    read = createPrivateKey({ key: Buffer.from(key.buffer, key.byteOffset, key.byteLength), format: 'pem' });
  } catch {
    return undefined;
  }
  return certificates.findIndex(({ x509 }) => {
    try {
      return x509.checkPrivateKey(read);
    } catch {
      return false;
    }
  });
}

/** Whether it can be read at all. */
export function isReadableKey(key: Uint8Array): boolean {
  return keyBelongs(key, []) !== undefined;
}

interface Block {
  readonly kind: 'certificate' | 'key';
  /** After its last byte. */
  readonly end: number;
  readonly encrypted: boolean;
  readonly problem: Omit<PemProblem, 'line'> | undefined;
}

/** Undefined for a block that is none of ours. */
function blockAt(bytes: Buffer, at: number): Block | undefined {
  const label = labelAt(bytes, at);
  if (label === undefined) return undefined;
  const kind = CERTIFICATE.test(label) ? 'certificate' : PRIVATE_KEY.test(label) ? 'key' : undefined;
  if (kind === undefined) return undefined;
  const broken = (expected: string, found: string, end: number): Block => {
    return { kind, end, encrypted: false, problem: { expected, found } };
  };
  const begun = at + BEGIN.length + label.length + DASHES.length;
  if (at > 0 && bytes[at - 1] !== LINE_FEED) {
    const mark = at === BYTE_ORDER_MARK.length && bytes.indexOf(BYTE_ORDER_MARK) === 0;
    // Within the lines of something else (YAML, JSON, a script) it is not this file's own.
    return mark
      ? broken('a BEGIN at the beginning of a line', 'a byte order mark before it', begun)
      : undefined;
  }
  const close = `-----END ${label}-----`;
  // No further than the next one, or a file of nothing but BEGINs would be read over and over.
  const another = bytes.indexOf(BEGIN, begun);
  const body = bytes.subarray(begun, another < 0 ? bytes.length : another);
  const length = body.indexOf(close, 0, 'latin1');
  if (length < 0)
    return broken(`an END of ${label}`, another < 0 ? 'the end of the file' : 'another BEGIN', begun);
  const end = begun + length;
  const stop = end + close.length;
  if (bytes[end - 1] !== LINE_FEED)
    return broken(`an END of ${label} on a line of its own`, 'other text before it', stop);
  // Two files put together without a newline between them.
  if (!endsLine(bytes, stop))
    return broken(`an END of ${label} on a line of its own`, 'other text after it', stop);
  if (!endsLine(bytes, begun))
    return broken(`a BEGIN of ${label} on a line of its own`, 'other text after it', stop);
  if (stop - at > BLOCK_BYTES_MAX) {
    return broken(`at most ${BLOCK_BYTES_MAX} bytes from BEGIN to END`, `${stop - at}`, stop);
  }
  const encrypted =
    label.startsWith('ENCRYPTED') ||
    bytes.subarray(begun, end).includes('Proc-Type: 4,ENCRYPTED', 0, 'latin1');
  return { kind, end: stop, encrypted, problem: undefined };
}

/** Whether nothing but spaces follows. */
function endsLine(bytes: Buffer, from: number): boolean {
  let at = from;
  while (SPACES.has(bytes[at] ?? 0)) at++;
  return at >= bytes.length || bytes[at] === LINE_FEED;
}

function labelAt(bytes: Buffer, at: number): string | undefined {
  const from = at + BEGIN.length;
  const text = bytes.toString('latin1', from, from + LABEL_LENGTH_MAX + DASHES.length);
  const end = text.indexOf(DASHES);
  return end < 0 ? undefined : text.slice(0, end);
}

function readCertificate(block: Buffer): Certificate | undefined {
  try {
    const x509 = new X509Certificate(block);
    const [notBeforeMs, notAfterMs] = [Date.parse(x509.validFrom), Date.parse(x509.validTo)];
    return Number.isNaN(notBeforeMs) || Number.isNaN(notAfterMs)
      ? undefined
      : { x509, notBeforeMs, notAfterMs };
  } catch {
    return undefined;
  }
}

/** From 1. */
function lineOf(bytes: Buffer, at: number): number {
  let line = 1;
  for (let i = bytes.indexOf(LINE_FEED); i >= 0 && i < at; i = bytes.indexOf(LINE_FEED, i + 1)) line++;
  return line;
}
