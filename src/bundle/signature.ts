/**
 * The signature of a message: ECDSA on P-384 with SHA-384, by a key that is made for it and forgotten. What it costs, some
 * milliseconds for each message however short, is calculated in Node's thread pool, so that many are sealed and opened at a
 * time. PURE but for randomness.
 */
import { Buffer } from 'node:buffer';
import {
  createPublicKey,
  createSign,
  createVerify,
  generateKeyPair,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';
import { FRAME_BYTES_MAX } from '../limits.ts';

const CURVE = 'secp384r1';
const HASH = 'sha384';
/** Compressed: its first coordinate after one byte that says the sign of the other. */
const POINT_BYTES = 49;
/** In DER: two numbers of 48 bytes, each with a sign. */
export const SIGNATURE_BYTES_MAX = 2 + 2 * (2 + 49);
/** RFC 5480's SubjectPublicKeyInfo up to the point, of this curve. */
const SPKI_HEAD = Buffer.from('3046301006072a8648ce3d020106052b81040022033200', 'hex');
/** The pool gets a copy of what it works on, and only in one piece: of what is longer, calculating is the smaller part. */
const POOL_BYTES_MAX = FRAME_BYTES_MAX;

export interface SigningKey {
  readonly privateKey: KeyObject;
  /** The public half, compressed, in base64: as the context has it. */
  readonly publicKey: string;
}

export function makeSigningKey(): Promise<SigningKey> {
  return new Promise((resolve, reject) => {
    generateKeyPair('ec', { namedCurve: CURVE }, (error, publicKey, privateKey) => {
      if (error) return reject(error);
      const { x = '', y = '' } = publicKey.export({ format: 'jwk' });
      const sign = 2 | ((Buffer.from(y, 'base64url').at(-1) ?? 0) & 1);
      const point = Buffer.concat([Buffer.of(sign), Buffer.from(x, 'base64url')]);
      resolve({ privateKey, publicKey: point.toString('base64') });
    });
  });
}

/** DER. `bytes` must not change meanwhile. */
export async function signMessage(bytes: Buffer, { privateKey }: SigningKey): Promise<Buffer> {
  if (bytes.length <= POOL_BYTES_MAX) {
    return new Promise((resolve, reject) => {
      sign(HASH, bytes, privateKey, (error, signature) => (error ? reject(error) : resolve(signature)));
    });
  }
  const signing = createSign(HASH);
  for (const piece of piecesOf(bytes)) signing.update(piece);
  return signing.sign(privateKey);
}

/**
 * Whether the owner of `publicKey`, which isPublicKey() let through, signed `bytes`. `progress` is awaited after each MiB or
 * less, with how much is done; what it throws is thrown.
 */
export async function isSignedBy(
  publicKey: string,
  bytes: Buffer,
  signature: Buffer,
  progress?: (doneBytes: number) => Promise<void> | void,
): Promise<boolean> {
  const key = keyOf(publicKey);
  if (key === undefined) return false;
  if (bytes.length <= POOL_BYTES_MAX) {
    const isRight = await new Promise<boolean>((resolve) => {
      verify(HASH, bytes, key, signature, (error, result) => resolve(error === null && result));
    });
    await progress?.(bytes.length);
    return isRight;
  }
  const verifying = createVerify(HASH);
  let done = 0;
  for (const piece of piecesOf(bytes)) {
    verifying.update(piece);
    done += piece.length;
    await progress?.(done);
  }
  return verifying.verify(key, signature);
}

/** undefined where it is no point of the curve. */
function keyOf(publicKey: string): KeyObject | undefined {
  try {
    const spki = Buffer.concat([SPKI_HEAD, Buffer.from(publicKey, 'base64')]);
    return createPublicKey({ key: spki, format: 'der', type: 'spki' });
  } catch {
    return undefined;
  }
}

/** Whether a context's pair is written as makeSigningKey() writes it. Whether that is a key shows when something is verified. */
export function isPublicKey(text: string | undefined): boolean {
  const point = Buffer.from(text ?? '', 'base64');
  return (
    point.length === POINT_BYTES && (point[0] === 2 || point[0] === 3) && point.toString('base64') === text
  );
}

/** Node's crypto takes less than 2 GiB at a time, and returns as much as it takes. */
export function* piecesOf(bytes: Buffer): Generator<Buffer, void, undefined> {
  for (let at = 0; at < bytes.length; at += FRAME_BYTES_MAX) yield bytes.subarray(at, at + FRAME_BYTES_MAX);
}
