/**
 * What `encrypt` writes of a file that KMS does not take by itself: a sealed message like a bundle's (docs/format.md), with
 * `secretsfs-format` "file-1", a time, and the author's pairs. It says neither name nor place: it may lie anywhere.
 *
 * Contents are Buffers, and the caller's to wipe.
 */
import type { KeyringNode } from '@aws-crypto/material-management-node';
import { FILE_BYTES_MAX } from '../limits.ts';
import { fromBase64 } from './base64.ts';
import { describeDataKey } from './data-keys.ts';
import type { AcceptedKey, EncryptedDataKeyInfo } from './header.ts';
import { FILE } from './kind.ts';
import { type MessageHeader, parseHeader } from './message.ts';
import { validateContext } from './name.ts';
import { openMessage } from './open-message.ts';
import { CREATED_PAIR, FORMAT_PAIR, ownPairs } from './pairs.ts';
import { checkContext, checkKeys } from './policy.ts';
import { frameBytesFor, sealMessage } from './seal-message.ts';

export interface FileHeader {
  /** When it was sealed, by the author's clock: ISO 8601, UTC. */
  readonly created: string;
  readonly context: Readonly<Record<string, string>>;
  readonly encryptedDataKeys: readonly EncryptedDataKeyInfo[];
}

const VERSION = 2;

/** The bytes of a message, also where they are in base64; undefined for what is none, by its first bytes. */
export function messageIn(bytes: Buffer): Buffer | undefined {
  if (bytes[0] === VERSION) return bytes;
  // Version 2 and the only suite.
  return bytes.subarray(0, 4).toString('latin1') === 'AgV4' ? fromBase64(bytes) : undefined;
}

/** Reads it without any key: nothing is authenticated. Throws BundleError: bundle-invalid, -truncated, -suite, -format. */
export function readFileHeader(bytes: Uint8Array): FileHeader {
  return interpret(parseHeader(bytes, FILE));
}

function interpret(message: MessageHeader): FileHeader {
  const { created, context } = ownPairs(message, FILE, []);
  return { created, context, encryptedDataKeys: message.encryptedDataKeys.map(describeDataKey) };
}

/** `plaintext` stays the caller's, and must not change meanwhile. Throws UsageError for a context, and what the keyring throws. */
export async function sealFile(
  plaintext: Uint8Array,
  options: {
    readonly keyring: KeyringNode;
    readonly created: Date;
    readonly context: Readonly<Record<string, string>>;
  },
): Promise<Buffer> {
  const { keyring, created, context } = options;
  validateContext(context);
  const sealed = await sealMessage(plaintext, {
    keyring,
    context: { ...context, [FORMAT_PAIR]: FILE.format, [CREATED_PAIR]: created.toISOString() },
    frameBytes: frameBytesFor(plaintext.length),
  });
  // What no reader would accept (too many keys, above all) must not be written.
  readFileHeader(sealed);
  return sealed;
}

/**
 * All of it, verified to the last byte, or nothing. Throws key-not-accepted and bundle-context before a key is asked, and
 * what readFileHeader() and openMessage() throw.
 */
export async function openFile(
  bytes: Buffer,
  options: {
    readonly keyring: KeyringNode;
    readonly accepted: readonly AcceptedKey[];
    /** Pairs that it must have. */
    readonly context: Readonly<Record<string, string>>;
  },
): Promise<Buffer> {
  const message = parseHeader(bytes, FILE);
  const header = interpret(message);
  checkKeys('file', header, options.accepted);
  checkContext('file', header, options.context);
  return openMessage(bytes, message, { keyring: options.keyring, plaintextBytesMax: FILE_BYTES_MAX });
}
