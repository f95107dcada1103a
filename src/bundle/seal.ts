/** A tar to a sealed bundle, as envelope.ts opens it. */
import type { Buffer } from 'node:buffer';
import type { KeyringNode } from '@aws-crypto/material-management-node';
import { BundleError, UsageError } from '../errors.ts';
import { TAR_BYTES_MAX } from '../limits.ts';
import { readHeader } from './envelope.ts';
import { BUNDLE } from './kind.ts';
import { validateContext, validateName } from './name.ts';
import { CREATED_PAIR, FORMAT_PAIR, NAME_PAIR, SERIAL_PAIR } from './pairs.ts';
import { frameBytesFor, sealMessage } from './seal-message.ts';

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
