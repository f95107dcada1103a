/** A sealed bundle to its header and its tar, which this module knows nothing of. seal.ts makes one. */
import type { Buffer } from 'node:buffer';
import { TAR_BYTES_MAX } from '../limits.ts';
import { describeDataKey } from './data-keys.ts';
import type { BundleHeader } from './header.ts';
import { BUNDLE } from './kind.ts';
import { type MessageHeader, parseHeader } from './message.ts';
import { isName } from './name.ts';
import { type OpenOptions, openMessage } from './open-message.ts';
import { NAME_PAIR, ownPairs, SERIAL_PAIR } from './pairs.ts';

/**
 * Reads a bundle's header without any key: nothing of it is authenticated. The first HEADER_BYTES_MAX bytes of a
 * bundle are enough. Throws BundleError: bundle-invalid, -truncated, -suite, -too-many-keys, -format.
 */
export function readHeader(bytes: Uint8Array): BundleHeader {
  return interpret(parseHeader(bytes, BUNDLE));
}

function interpret(message: MessageHeader): BundleHeader {
  const pairs = ownPairs(message, BUNDLE, [NAME_PAIR, SERIAL_PAIR]);
  return {
    name: pairs.required(NAME_PAIR, isName, 'a name'),
    serial: Number(pairs.required(SERIAL_PAIR, isSerial, 'a whole number from 1 to 2^53 - 1')),
    created: pairs.created,
    context: pairs.context,
    encryptedDataKeys: message.encryptedDataKeys.map(describeDataKey),
    frameBytes: message.frameBytes,
    headerBytes: message.headerBytes,
  };
}

function isSerial(text: string): boolean {
  return /^[1-9]\d{0,15}$/.test(text) && Number.isSafeInteger(Number(text));
}

/** As openMessage() takes them. */
export type UnsealOptions = Omit<OpenOptions, 'plaintextBytesMax'> & {
  readonly plaintextBytesMax?: number;
};

export interface Unsealed {
  /** As readHeader() has it, but authenticated. */
  readonly header: BundleHeader;
  /** The caller's to wipe. */
  readonly plaintext: Buffer;
}

/** Opens a bundle. Throws what readHeader() and openMessage() throw. `bytes` must not change meanwhile. */
export async function unseal(bytes: Buffer, options: UnsealOptions): Promise<Unsealed> {
  const message = parseHeader(bytes, BUNDLE);
  const header = interpret(message);
  const plaintext = await openMessage(bytes, message, { plaintextBytesMax: TAR_BYTES_MAX, ...options });
  return { header, plaintext };
}
