/**
 * One secret of a store: sealing, opening, and what it says of itself (docs/format.md, "A single secret"). It is a message
 * like a bundle's, but its context says which full place it was sealed for, and it is one frame, so that the beginning
 * says how long the content is.
 *
 * Contents are Buffers, never text, and the caller's to wipe.
 */
import { Buffer } from 'node:buffer';
import type { KeyringNode } from '@aws-crypto/material-management-node';
import { describeDataKey } from '../bundle/data-keys.ts';
import type { AcceptedKey, EncryptedDataKeyInfo } from '../bundle/header.ts';
import { SECRET } from '../bundle/kind.ts';
import { type MessageHeader, parseHeader, soleFrameBytes } from '../bundle/message.ts';
import { validateContext } from '../bundle/name.ts';
import { openMessage } from '../bundle/open-message.ts';
import { CREATED_PAIR, FORMAT_PAIR, HASH_PAIR, ownPairs, PATH_PAIR } from '../bundle/pairs.ts';
import { checkContext, checkKeys } from '../bundle/policy.ts';
import { sealMessage } from '../bundle/seal-message.ts';
import { BundleError, quote, shellQuote, UsageError } from '../errors.ts';
import { FRAME_BYTES_MIN, LOCATION_BYTES_MAX, SECRET_BYTES_MAX } from '../limits.ts';

/** What a secret says of itself. Of one that was only read, nothing is authenticated; openSecret() returns the same. */
export interface SecretHeader {
  /** The full place that it was sealed for, as SecretStore.locate() says it. */
  readonly location: string;
  /** When it was sealed, by the author's clock: ISO 8601, UTC. */
  readonly created: string;
  /** The author's own pairs. */
  readonly context: Readonly<Record<string, string>>;
  /** A keyed hash of the content, 64 hex digits, where the author gave one: sync's. */
  readonly hash: string | undefined;
  readonly encryptedDataKeys: readonly EncryptedDataKeyInfo[];
  /** Length of the header with its authentication tag. */
  readonly headerBytes: number;
  /** Length of the content. undefined: there was too little to see it, or another program made several frames of it. */
  readonly plaintextBytes: number | undefined;
}

/**
 * Reads a secret's header without any key. Its first SECRET_HEAD_BYTES are enough for nearly every one; where they are
 * not, this throws bundle-truncated, and HEADER_BYTES_MAX + 24 always are. Throws BundleError: bundle-invalid,
 * -truncated, -suite, -too-many-keys, -format.
 */
export function readSecretHeader(bytes: Uint8Array): SecretHeader {
  const message = parseHeader(bytes, SECRET);
  return interpret(message, soleFrameBytes(bytes, message));
}

function interpret(message: MessageHeader, plaintextBytes: number | undefined): SecretHeader {
  const pairs = ownPairs(message, SECRET, [PATH_PAIR, HASH_PAIR]);
  return {
    location: pairs.required(PATH_PAIR, isLocation, 'a full place, as in s3://bucket/prefix/name'),
    created: pairs.created,
    context: pairs.context,
    hash: pairs.optional(HASH_PAIR, isHash, '64 hex digits'),
    encryptedDataKeys: message.encryptedDataKeys.map(describeDataKey),
    headerBytes: message.headerBytes,
    plaintextBytes,
  };
}

/** Which places there are is the store's to say; here, what may stand in a context and in a message. */
function isLocation(text: string): boolean {
  return (
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
    /^(?:s3|file):\/\/[^\u0000-\u001f\u007f-\u009f]+$/.test(text) &&
    Buffer.byteLength(text) <= LOCATION_BYTES_MAX
  );
}

function isHash(text: string): boolean {
  return /^[0-9a-f]{64}$/.test(text);
}

export interface SealSecretOptions {
  /** Wraps the data key. A SecretsfsError that it throws is what sealSecret() throws. */
  readonly keyring: KeyringNode;
  /** The full place that it will have. */
  readonly location: string;
  readonly created: Date;
  /** The author's own pairs. */
  readonly context?: Readonly<Record<string, string>> | undefined;
  /** A keyed hash of the content, 64 hex digits. It is as public as the rest of the context. */
  readonly hash?: string | undefined;
  /** Called as it goes on. The total is an estimate from above. */
  readonly progress?: ((doneBytes: number, totalBytes: number) => void) | undefined;
}

/**
 * Seals `plaintext`, under a data key of its own. It stays the caller's to wipe and must not change meanwhile. Throws
 * UsageError for a context, a place or a hash that no secret may have, BundleError bundle-too-large over
 * SECRET_BYTES_MAX, and whatever the keyring throws.
 */
export async function sealSecret(plaintext: Uint8Array, options: SealSecretOptions): Promise<Buffer> {
  const { keyring, location, created, context = {}, hash, progress } = options;
  validateContext(context);
  if (!isLocation(location)) {
    throw new UsageError(
      `cannot seal a secret for ${quote(location)}: it is no place that a secret may have`,
      {
        hint: `a place is s3://BUCKET/KEY or file:///PATH of at most ${LOCATION_BYTES_MAX} bytes, without control characters`,
      },
    );
  }
  if (hash !== undefined && !isHash(hash)) throw new Error('the hash of a secret is not 64 hex digits');
  if (plaintext.length > SECRET_BYTES_MAX) throw secretTooLarge(`${plaintext.length} bytes`);
  const sealed = await sealMessage(plaintext, {
    keyring,
    context: {
      ...context,
      [FORMAT_PAIR]: SECRET.format,
      [PATH_PAIR]: location,
      [CREATED_PAIR]: created.toISOString(),
      ...(hash === undefined ? {} : { [HASH_PAIR]: hash }),
    },
    frameBytes: soleFrameLength(plaintext.length),
    progress,
  });
  // What no reader would accept (too many keys, above all) must not be written.
  readSecretHeader(sealed);
  return sealed;
}

/** A power of two, so that it says little, and larger than the content: a frame that is just full would not be the last. */
function soleFrameLength(plaintextBytes: number): number {
  let length = FRAME_BYTES_MIN;
  while (length <= plaintextBytes) length *= 2;
  return length;
}

/** The refusal of a content that is `found`, "70000000 bytes". */
export function secretTooLarge(found: string): BundleError {
  return new BundleError(
    'bundle-too-large',
    `cannot seal a secret of ${found}: want at most ${SECRET_BYTES_MAX}`,
    { hint: 'secretsfs pack --dir or --tar makes a bundle of it: those may be larger' },
  );
}

/** What a reader demands of a secret before any key is asked to unwrap anything. */
export interface SecretPolicy {
  /** Where it lies: it must have been sealed for exactly this place. */
  readonly location: string;
  /** At least one of these must have wrapped it. undefined: any that the keyring takes. */
  readonly accepted?: readonly AcceptedKey[] | undefined;
  /** Pairs that the author's own context must have. */
  readonly context?: Readonly<Record<string, string>> | undefined;
}

/** Throws the first reason to refuse: secret-path, key-not-accepted, bundle-context. */
export function checkSecret(header: SecretHeader, policy: SecretPolicy): void {
  if (header.location !== policy.location) {
    const moved = header.location.startsWith('file://')
      ? '; of a directory that was moved as a whole, a symlink at its old place, and --store with that'
      : '';
    throw new BundleError(
      'secret-path',
      `cannot accept secret: it lies at ${quote(policy.location)}, but was sealed for ${quote(header.location)}`,
      {
        hint: `somebody moved or swapped it in the store; if it was you: --sealed-for ${shellQuote(header.location)}, and next time secretsfs mv${moved}`,
      },
    );
  }
  checkKeys('secret', header, policy.accepted);
  checkContext('secret', header, policy.context ?? {});
}

/**
 * Opens a secret that lies at `location`: whole, verified to the last byte, or not at all. `bytes` must not change
 * meanwhile; the plaintext is the caller's to wipe. Throws what readSecretHeader(), checkSecret() (before it asks any key)
 * and openMessage() throw.
 */
export async function openSecret(
  bytes: Buffer,
  options: SecretPolicy & { readonly keyring: KeyringNode },
): Promise<{ readonly header: SecretHeader; readonly plaintext: Buffer }> {
  const message = parseHeader(bytes, SECRET);
  const header = interpret(message, soleFrameBytes(bytes, message));
  checkSecret(header, options);
  const { keyring } = options;
  const plaintext = await openMessage(bytes, message, { keyring, plaintextBytesMax: SECRET_BYTES_MAX });
  return { header: { ...header, plaintextBytes: plaintext.length }, plaintext };
}
