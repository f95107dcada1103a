/**
 * Bytes to a sealed message, as open-message.ts opens it, and to a bundle, as envelope.ts does. Sealing is the AWS Encryption SDK's own. Apart from opening, since its
 * streams take longer to load than a small bundle takes to open.
 */
import { Buffer } from 'node:buffer';
import { buildEncrypt } from '@aws-crypto/encrypt-node';
import {
  AlgorithmSuiteIdentifier,
  CommitmentPolicy,
  type KeyringNode,
} from '@aws-crypto/material-management-node';
import { BundleError, UsageError } from '../errors.ts';
import { bundleBytesMax, FRAME_BYTES_MAX, FRAME_BYTES_MIN, TAR_BYTES_MAX } from '../limits.ts';
import { readHeader } from './envelope.ts';
import { BUNDLE } from './kind.ts';
import { validateContext, validateName } from './name.ts';
import { CREATED_PAIR, FORMAT_PAIR, NAME_PAIR, SERIAL_PAIR } from './pairs.ts';

const { encryptStream } = buildEncrypt({
  commitmentPolicy: CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT,
});

export interface SealOptions {
  /** Wraps the data key. A SecretsfsError that it throws is what seal() throws. */
  readonly keyring: KeyringNode;
  readonly name: string;
  readonly serial: number;
  readonly created: Date;
  /** The author's own pairs. */
  readonly context?: Readonly<Record<string, string>>;
  /** Called as it goes on. The total is an estimate from above. */
  readonly progress?: ((doneBytes: number, totalBytes: number) => void) | undefined;
}

/**
 * Seals `plaintext`, which stays the caller's to wipe and must not change meanwhile. Throws UsageError for a name, a
 * serial or a context that no bundle may have, and whatever the keyring throws.
 */
export async function seal(plaintext: Uint8Array, options: SealOptions): Promise<Buffer> {
  const { keyring, serial, created, context = {} } = options;
  const name = validateName(options.name);
  validateContext(context);
  if (!Number.isSafeInteger(serial) || serial <= 0) {
    throw new UsageError(`cannot use ${serial} as a serial: want a whole number from 1 to 2^53 - 1`, {
      hint: 'leave --serial out: then the clock says it',
    });
  }
  if (plaintext.length > TAR_BYTES_MAX) {
    throw new BundleError(
      'bundle-too-large',
      `cannot seal ${plaintext.length} bytes: want at most ${TAR_BYTES_MAX}`,
      { hint: 'make two bundles of it' },
    );
  }
  const sealed = await sealMessage(plaintext, {
    keyring,
    context: {
      ...context,
      [NAME_PAIR]: name,
      [SERIAL_PAIR]: String(serial),
      [CREATED_PAIR]: created.toISOString(),
      [FORMAT_PAIR]: BUNDLE.format,
    },
    frameBytes: frameBytesFor(plaintext.length),
    progress: options.progress,
  });
  // What no reader would accept (too many keys, above all) must not be written.
  readHeader(sealed);
  return sealed;
}

/** A power of two, so that a frame holds all of a small plaintext and a large one has frames of 1 MiB. */
export function frameBytesFor(plaintextBytes: number): number {
  let frameBytes = FRAME_BYTES_MIN;
  while (frameBytes < plaintextBytes && frameBytes < FRAME_BYTES_MAX) frameBytes *= 2;
  return frameBytes;
}

/** Seals `plaintext` with exactly the pairs of `context` and the SDK's own. Throws whatever the keyring throws. */
export async function sealMessage(
  plaintext: Uint8Array,
  options: Pick<SealOptions, 'keyring' | 'progress'> & {
    readonly context: Readonly<Record<string, string>>;
    readonly frameBytes: number;
  },
): Promise<Buffer> {
  const stream = encryptStream(options.keyring, {
    suiteId: AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY_ECDSA_P384,
    encryptionContext: { ...options.context },
    frameLength: options.frameBytes,
    plaintextLength: plaintext.length,
  });
  // Room for the largest header there may be; pages that are not written to cost nothing.
  const room = Buffer.allocUnsafeSlow(bundleBytesMax(plaintext.length));
  let length = 0;
  await new Promise<void>((resolve, reject) => {
    stream.on('data', (chunk: Buffer) => {
      // A larger header is refused by who reads it.
      length += chunk.copy(room, length);
      options.progress?.(length, room.length);
    });
    stream.once('end', resolve);
    stream.once('error', reject);
    // A Buffer over the caller's bytes: the stream would copy a plain Uint8Array.
    stream.end(Buffer.from(plaintext.buffer, plaintext.byteOffset, plaintext.byteLength));
  });
  return room.subarray(0, length);
}
