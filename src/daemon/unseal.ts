/**
 * From ciphertext to a generation: header against policy, unwrap, authenticate everything, untar under limits, build.
 * Plaintext outside the generation's own memory is wiped before this returns or throws.
 */

import type { ArchiveEntry } from '../bundle/archive.ts';
import { readArchive } from '../bundle/archive.ts';
import { readHeader, unseal } from '../bundle/envelope.ts';
import type { BundleHeader } from '../bundle/header.ts';
import { checkHeader, type Policy } from '../bundle/policy.ts';
import type { openUnwrapping } from '../keyring/keyring.ts';
import { tarBytesMax } from '../limits.ts';
import { type OldPolicy, openOld, recogniseOld } from './unseal-old.ts';

export type Unwrapping = Awaited<ReturnType<typeof openUnwrapping>>;

/** When it was sealed, and in which order: what is made of it needs no more. */
export type Sealed = Pick<BundleHeader, 'serial' | 'created'>;

export interface UnsealPolicy extends Omit<Policy, 'accepted'> {
  readonly old: OldPolicy;
  readonly bytesMax: number;
  readonly filesMax: number;
}

/** This process serves reads meanwhile. */
export const othersTurn = () => new Promise<void>((resolve) => setImmediate(resolve));

/**
 * Opens `bytes` and hands the entries to `build`, which must copy what it keeps: the entries' data are wiped after.
 * `beforeKeys` may refuse what the header's policy let through, before a key is used.
 */
export async function openBundle<T>(
  bytes: Buffer,
  policy: UnsealPolicy,
  unwrapping: Unwrapping,
  build: (header: Sealed, entries: readonly ArchiveEntry[]) => T | Promise<T>,
  beforeKeys: () => void = () => undefined,
): Promise<T> {
  const old = await recogniseOld(bytes, policy);
  if (old !== undefined) {
    beforeKeys();
    return readInto(await openOld(old, policy), policy, build);
  }
  checkHeader(readHeader(bytes), { ...policy, accepted: unwrapping.accepted });
  beforeKeys();
  const unsealed = await unseal(bytes, {
    keyring: unwrapping.keyring,
    plaintextBytesMax: tarBytesMax(policy),
    progress: othersTurn,
  });
  return readInto(unsealed, policy, build);
}

async function readInto<T>(
  { header, plaintext }: { readonly header: Sealed; readonly plaintext: Buffer },
  policy: UnsealPolicy,
  build: (header: Sealed, entries: readonly ArchiveEntry[]) => T | Promise<T>,
): Promise<T> {
  try {
    return await build(header, await readArchive(plaintext, { ...policy, yield: othersTurn }));
  } finally {
    plaintext.fill(0);
  }
}
