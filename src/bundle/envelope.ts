/**
 * A sealed bundle to bytes: a signed AWS Encryption SDK message (docs/format.md) around a plaintext that this module
 * knows nothing of. seal.ts makes one.
 *
 * Keys, commitment and signature checks come from the SDK's materials, but the message is walked here: whole in memory,
 * it can be verified to the last byte before the first one is decrypted, which the SDK's streams can't do, and into one
 * buffer that is ours to wipe.
 */
import { Buffer } from 'node:buffer';
import { ECDH } from 'node:crypto';
import { VerificationKey } from '@aws-crypto/material-management';
import {
  AlgorithmSuiteIdentifier,
  EncryptedDataKey,
  type GetDecipher,
  getDecryptionHelper,
  type KeyringNode,
  NodeAlgorithmSuite,
  NodeDecryptionMaterial,
} from '@aws-crypto/material-management-node';
import { BundleError, KeyError, quote, SecretsfsError } from '../errors.ts';
import { FRAME_BYTES_MAX, TAR_BYTES_MAX } from '../limits.ts';
import type { BundleHeader, EncryptedDataKeyInfo } from './header.ts';
import {
  corrupt,
  type Frame,
  frameAssociatedData,
  framesOf,
  layOut,
  type MessageDataKey,
  type MessageHeader,
  PUBLIC_KEY_PAIR,
  parseHeader,
} from './message.ts';
import { isName } from './name.ts';

/** The version of what is in docs/format.md: of the pairs below, and of the plaintext being a tar. */
export const FORMAT = '1';
export const NAME_PAIR = 'secretsfs-name';
export const SERIAL_PAIR = 'secretsfs-serial';
export const CREATED_PAIR = 'secretsfs-created';
export const FORMAT_PAIR = 'secretsfs-format';
const OUR_PAIRS: readonly string[] = [NAME_PAIR, SERIAL_PAIR, CREATED_PAIR, FORMAT_PAIR];

const CREATED = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?Z$/;

/** src/keyring/local.ts: its key info is the name, two lengths and a nonce. */
export const LOCAL_PROVIDER_ID = 'secretsfs-local';
export const LOCAL_KEY_NAME_LENGTH = 16;
const LOCAL_KEY_INFO_BYTES = LOCAL_KEY_NAME_LENGTH + 4 + 4 + 12;

/**
 * Reads a bundle's header without any key: nothing of it is authenticated. The first HEADER_BYTES_MAX bytes of a
 * bundle are enough. Throws BundleError: bundle-invalid, -truncated, -suite, -too-many-keys, -format.
 */
export function readHeader(bytes: Uint8Array): BundleHeader {
  return interpret(parseHeader(bytes));
}

function interpret(message: MessageHeader): BundleHeader {
  const pairs = message.encryptionContext;
  const format = pairs.get(FORMAT_PAIR);
  if (format === undefined) {
    throw malformed(`it has no ${FORMAT_PAIR} in its context`, 'it was not made by: secretsfs pack');
  }
  if (format !== FORMAT) {
    throw malformed(
      `${FORMAT_PAIR} is ${quote(format)}, want ${quote(FORMAT)}`,
      'it may need a newer version of secretsfs',
    );
  }
  const ours = (key: string, valid: (value: string) => boolean, want: string): string => {
    const value = pairs.get(key);
    if (value === undefined) throw malformed(`it has no ${key} in its context`);
    if (!valid(value)) throw malformed(`${key} is ${quote(value)}, want ${want}`);
    return value;
  };
  const name = ours(NAME_PAIR, isName, 'a name');
  const serial = ours(SERIAL_PAIR, isSerial, 'a whole number from 1 to 2^53 - 1');
  const created = ours(CREATED_PAIR, isCreated, 'a time as in 2026-01-31T12:00:00Z');
  const unknown = [...pairs.keys()].find((key) => key.startsWith('secretsfs-') && !OUR_PAIRS.includes(key));
  if (unknown !== undefined) {
    throw malformed(
      `it has an unknown ${quote(unknown)} in its context`,
      'it may need a newer version of secretsfs',
    );
  }
  if (!isPublicKey(pairs.get(PUBLIC_KEY_PAIR))) {
    throw malformed(`it has no usable ${PUBLIC_KEY_PAIR} in its context`);
  }
  return {
    name,
    serial: Number(serial),
    created,
    context: Object.fromEntries(
      [...pairs].filter(([key]) => !OUR_PAIRS.includes(key) && key !== PUBLIC_KEY_PAIR),
    ),
    encryptedDataKeys: message.encryptedDataKeys.map(describeDataKey),
    frameBytes: message.frameBytes,
    headerBytes: message.headerBytes,
  };
}

const malformed = (why: string, hint = 'have its author seal it again with: secretsfs pack') =>
  new BundleError('bundle-format', `cannot accept bundle: ${why}`, { hint });

function isSerial(text: string): boolean {
  return /^[1-9]\d{0,15}$/.test(text) && Number.isSafeInteger(Number(text));
}

function isCreated(text: string): boolean {
  return CREATED.test(text) && !Number.isNaN(Date.parse(text));
}

function isPublicKey(text: string | undefined): boolean {
  if (text === undefined) return false;
  try {
    const point = Buffer.from(text, 'base64');
    ECDH.convertKey(point, 'secp384r1', undefined, undefined, 'uncompressed');
    return point.length === 49 && point.toString('base64') === text;
  } catch {
    return false;
  }
}

/** interpret() let it through. Not the SDK's own decompression, which calculates in JavaScript: 14 ms. */
function publicKeyOf({ encryptionContext }: MessageHeader): Uint8Array {
  const point = Buffer.from(encryptionContext.get(PUBLIC_KEY_PAIR) ?? '', 'base64');
  return new Uint8Array(ECDH.convertKey(point, 'secp384r1', undefined, undefined, 'uncompressed') as Buffer);
}

function describeDataKey({ providerId, providerInfo }: MessageDataKey): EncryptedDataKeyInfo {
  const local = providerId === LOCAL_PROVIDER_ID && providerInfo.length === LOCAL_KEY_INFO_BYTES;
  const name = local ? providerInfo.subarray(0, LOCAL_KEY_NAME_LENGTH) : providerInfo;
  return { providerId, keyName: name.toString('utf8') };
}

export interface UnsealOptions {
  /** Unwraps the data key. A SecretsfsError that it throws is what unseal() throws. */
  readonly keyring: KeyringNode;
  readonly plaintextBytesMax?: number;
  /**
   * Awaited after each MiB or less, verified or decrypted, so that a process that also serves can let others run, or
   * show how far it is: `doneBytes` grows to `totalBytes`. When it throws, unseal() wipes and throws the same.
   */
  readonly progress?: (doneBytes: number, totalBytes: number) => Promise<void> | void;
}

export interface Unsealed {
  /** As readHeader() has it, but authenticated. */
  readonly header: BundleHeader;
  /** The caller's to wipe. */
  readonly plaintext: Buffer;
}

/**
 * Opens a bundle, from its first byte to its last: the signature over all of it is verified before anything is
 * decrypted, and nothing may follow it. Besides what readHeader() throws: bundle-truncated, bundle-corrupt (anything
 * that fails to authenticate), bundle-too-large; what the keyring throws if that is a SecretsfsError, else KeyError
 * data-key-refused. `bytes` must not change meanwhile.
 */
export async function unseal(bytes: Buffer, options: UnsealOptions): Promise<Unsealed> {
  const message = parseHeader(bytes);
  const header = interpret(message);
  const layout = layOut(bytes, message, options.plaintextBytesMax ?? TAR_BYTES_MAX);

  const material = await unwrap(message, options.keyring);
  const { getDecipherInfo, getVerify, dispose } = getDecryptionHelper(material);
  try {
    const getDecipher = authenticateHeader(message, getDecipherInfo);
    const verify = getVerify?.();
    if (verify === undefined) throw corrupt('its suite has no signature');
    const totalBytes = layout.signed.length + layout.plaintextBytes;
    let verified = 0;
    for (const piece of piecesOf(layout.signed)) {
      verify.update(piece);
      verified += piece.length;
      await options.progress?.(verified, totalBytes);
    }
    if (!isVerified(() => verify.awsCryptoVerify(layout.signature)))
      throw corrupt('its signature does not match');

    // Not from Buffer's pool, which other buffers share: this one holds secrets until its caller wipes it.
    const plaintext = Buffer.allocUnsafeSlow(layout.plaintextBytes);
    try {
      let done = 0;
      for (const frame of framesOf(bytes, message)) {
        done += decryptFrame(frame, message.messageId, getDecipher, plaintext.subarray(done));
        await options.progress?.(verified + done, totalBytes);
      }
      return { header, plaintext };
    } catch (error) {
      plaintext.fill(0);
      throw error;
    }
  } finally {
    dispose();
  }
}

async function unwrap(message: MessageHeader, keyring: KeyringNode): Promise<NodeDecryptionMaterial> {
  const suite = new NodeAlgorithmSuite(
    AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY_ECDSA_P384,
  );
  const context = Object.fromEntries(message.encryptionContext);
  const verificationKey = new VerificationKey(publicKeyOf(message), suite);
  const encryptedDataKeys = message.encryptedDataKeys.map(
    ({ providerId, providerInfo, encryptedDataKey }) =>
      new EncryptedDataKey({
        providerId,
        providerInfo: providerInfo.toString('utf8'),
        rawInfo: new Uint8Array(providerInfo),
        encryptedDataKey: new Uint8Array(encryptedDataKey),
      }),
  );
  try {
    const material = await keyring.onDecrypt(
      new NodeDecryptionMaterial(suite, context).setVerificationKey(verificationKey),
      encryptedDataKeys,
    );
    // Throws where none of them was unwrapped.
    material.getUnencryptedDataKey();
    return material;
  } catch (error) {
    if (error instanceof SecretsfsError) throw error;
    const keys = message.encryptedDataKeys.map(describeDataKey).map(({ keyName }) => quote(keyName));
    throw new KeyError(
      'data-key-refused',
      `cannot unwrap data key: none of ${keys.join(', ')} was unwrapped`,
      {
        hint: 'give a key that the bundle was sealed under; if it is one of these, the bundle was altered',
        cause: error,
      },
    );
  }
}

function authenticateHeader(
  message: MessageHeader,
  getDecipherInfo: ReturnType<typeof getDecryptionHelper>['getDecipherInfo'],
): GetDecipher {
  try {
    // Compares the key commitment.
    const getDecipher = getDecipherInfo(message.messageId, message.commitment);
    const decipher = getDecipher(Buffer.alloc(12)).setAAD(message.body).setAuthTag(message.authTag);
    decipher.final();
    return getDecipher;
  } catch (error) {
    throw corrupt('its header does not match its data key', error);
  }
}

function isVerified(verify: () => boolean): boolean {
  try {
    return verify();
  } catch {
    return false;
  }
}

/** Decrypts a frame into the beginning of `target` and returns its length. */
function decryptFrame(frame: Frame, messageId: Buffer, getDecipher: GetDecipher, target: Buffer): number {
  const decipher = getDecipher(frame.iv)
    .setAAD(frameAssociatedData(messageId, frame))
    .setAuthTag(frame.authTag);
  let done = 0;
  for (const piece of piecesOf(frame.ciphertext)) {
    const plain = decipher.update(piece);
    done += plain.copy(target, done);
    plain.fill(0);
  }
  try {
    decipher.final();
  } catch (error) {
    throw corrupt(`frame ${frame.sequence} does not match its data key`, error);
  }
  return done;
}

/** Node's crypto takes less than 2 GiB at a time, and returns as much as it takes. */
function* piecesOf(bytes: Buffer): Generator<Buffer, void, undefined> {
  for (let at = 0; at < bytes.length; at += FRAME_BYTES_MAX) yield bytes.subarray(at, at + FRAME_BYTES_MAX);
}
