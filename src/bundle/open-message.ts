/**
 * A sealed message to bytes: a signed AWS Encryption SDK message (docs/format.md) around a plaintext that this module
 * knows nothing of. seal-message.ts makes one.
 *
 * Keys and commitment come from the SDK's materials, but the message is walked here: whole in memory,
 * it can be verified to the last byte before the first one is decrypted, which the SDK's streams can't do, and into one
 * buffer that is ours to wipe.
 */
import { Buffer } from 'node:buffer';
import {
  AlgorithmSuiteIdentifier,
  EncryptedDataKey,
  type GetDecipher,
  getDecryptionHelper,
  type KeyringNode,
  NodeAlgorithmSuite,
  NodeDecryptionMaterial,
} from '@aws-crypto/material-management-node';
import { KeyError, quote, SecretsfsError } from '../errors.ts';
import { describeDataKey } from './data-keys.ts';
import {
  corrupt,
  type Frame,
  frameAssociatedData,
  framesOf,
  layOut,
  type MessageHeader,
  PUBLIC_KEY_PAIR,
} from './message.ts';
import { isSignedBy, piecesOf } from './signature.ts';

export interface OpenOptions {
  /** Unwraps the data key. A SecretsfsError that it throws is what is thrown. */
  readonly keyring: KeyringNode;
  readonly plaintextBytesMax: number;
  /**
   * Awaited after each MiB or less, verified or decrypted, so that a process that also serves can let others run, or
   * show how far it is: `doneBytes` grows to `totalBytes`. When it throws, everything is wiped and the same is thrown.
   */
  readonly progress?: ((doneBytes: number, totalBytes: number) => Promise<void> | void) | undefined;
}

/**
 * Opens a message, from its first byte to its last: the signature over all of it is verified before anything is
 * decrypted, and nothing may follow it. `message` is what parseHeader() made of the same `bytes`, which must not change
 * meanwhile, and whose pairs ownPairs() let through. The plaintext is the caller's to wipe. Throws bundle-truncated,
 * bundle-corrupt (anything that fails to authenticate), bundle-too-large; what the keyring throws if that is a
 * SecretsfsError, else KeyError data-key-refused.
 */
export async function openMessage(
  bytes: Buffer,
  message: MessageHeader,
  options: OpenOptions,
): Promise<Buffer> {
  const layout = layOut(bytes, message, options.plaintextBytesMax);

  const material = await unwrap(message, options.keyring);
  const { getDecipherInfo, dispose } = getDecryptionHelper(material);
  try {
    const getDecipher = authenticateHeader(message, getDecipherInfo);
    const { signed, signature, plaintextBytes } = layout;
    const totalBytes = signed.length + plaintextBytes;
    const publicKey = message.encryptionContext.get(PUBLIC_KEY_PAIR) ?? '';
    const isSigned = await isSignedBy(publicKey, signed, signature, (done) =>
      options.progress?.(done, totalBytes),
    );
    if (!isSigned) throw corrupt(message, 'its signature does not match');

    // Not from Buffer's pool, which other buffers share: this one holds secrets until its caller wipes it.
    const plaintext = Buffer.allocUnsafeSlow(plaintextBytes);
    try {
      let done = 0;
      for (const frame of framesOf(bytes, message)) {
        done += decryptFrame(frame, message, getDecipher, plaintext.subarray(done));
        await options.progress?.(signed.length + done, totalBytes);
      }
      return plaintext;
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
    const material = await keyring.onDecrypt(new NodeDecryptionMaterial(suite, context), encryptedDataKeys);
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
        hint: `give a key that the ${message.kind.noun} was sealed under; if it is one of these, the ${message.kind.noun} was altered`,
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
    throw corrupt(message, 'its header does not match its data key', error);
  }
}

/** Decrypts a frame into the beginning of `target` and returns its length. */
function decryptFrame(
  frame: Frame,
  message: MessageHeader,
  getDecipher: GetDecipher,
  target: Buffer,
): number {
  const decipher = getDecipher(frame.iv)
    .setAAD(frameAssociatedData(message.messageId, { ...frame, bytes: frame.ciphertext.length }))
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
    throw corrupt(message, `frame ${frame.sequence} does not match its data key`, error);
  }
  return done;
}
