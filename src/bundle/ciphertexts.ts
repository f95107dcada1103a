/**
 * KMS ciphertexts, a secret each, as one run of bytes: a tar of files PATH.kms, which a source makes of a directory or a prefix
 * (source/ciphertexts.ts). Nothing binds them to each other or to their names.
 */
import { BundleError, quote } from '../errors.ts';
import { CIPHERTEXTS_MAX } from '../limits.ts';
import { recogniseCiphertext } from './old-format.ts';
import { membersOf } from './tar.ts';

export const CIPHERTEXT_SUFFIX = '.kms';

export interface NamedCiphertext {
  /** Without .kms: what its content is called. */
  readonly path: string;
  readonly blob: Buffer;
}

const isCiphertext = ({ path, kind }: { readonly path: string; readonly kind: string }) =>
  kind === 'file' && /[^/]\.kms$/.test(path);

/**
 * What is in such a tar, and undefined for any other: one file of another name is enough. Throws BundleError bundle-invalid for a
 * file that is too large to be a ciphertext, archive-too-large for too many, archive-invalid for what is cut short.
 */
export async function ciphertextsIn(tar: Buffer): Promise<readonly NamedCiphertext[] | undefined> {
  const found: NamedCiphertext[] = [];
  for await (const member of membersOf(tar, true)) {
    if (!isCiphertext(member)) return undefined;
    if (found.length === CIPHERTEXTS_MAX) throw tooMany(`over ${CIPHERTEXTS_MAX}`);
    const ciphertext = recogniseCiphertext(member.data);
    if (ciphertext === undefined) throw invalid(member.path, member.data.length);
    found.push({ path: member.path.slice(0, -CIPHERTEXT_SUFFIX.length), blob: ciphertext.blob });
  }
  return found.length === 0 ? undefined : found;
}

export function tooMany(count: string): BundleError {
  return new BundleError(
    'archive-too-large',
    `cannot accept KMS ciphertexts: there are ${count}, want at most ${CIPHERTEXTS_MAX}`,
    {
      hint: 'each costs a call of KMS whenever one of them changes: make a bundle of them with secretsfs pack',
    },
  );
}

function invalid(path: string, bytes: number): BundleError {
  return new BundleError(
    'bundle-invalid',
    `cannot accept ${quote(path)}: ${bytes} bytes are no KMS ciphertext`,
    {
      hint: 'secretsfs encrypt or aws kms encrypt makes one; what is larger belongs into a bundle',
    },
  );
}
