/**
 * What a thing that is not a bundle probably is: the commonest mistakes, told apart by their first bytes alone, so
 * that the hint can be better than "not a bundle".
 */
import { Buffer } from 'node:buffer';
import { KMS_BEGINNINGS } from './kms-beginnings.ts';

interface Guess {
  readonly what: string;
  readonly hint: string;
  /** Ciphertext that other commands open. */
  readonly encrypted?: true;
}

const BY_KMS: Guess = {
  what: 'a KMS ciphertext',
  hint: 'secretsfs decrypt opens it; a bundle is made by: secretsfs pack',
  encrypted: true,
};

const MAGICS: readonly (Guess & { readonly at: number; readonly bytes: Buffer })[] = [
  {
    at: 257,
    bytes: Buffer.from('ustar'),
    what: 'a plain tar',
    hint: 'seal it first: secretsfs pack --tar FILE BUNDLE',
  },
  {
    at: 0,
    bytes: Buffer.from([0x1f, 0x8b]),
    what: 'gzip data',
    hint: 'decompress it; a tar inside is sealed with: secretsfs pack --tar FILE BUNDLE',
  },
  {
    at: 0,
    bytes: Buffer.from([0x28, 0xb5, 0x2f, 0xfd]),
    what: 'zstd data',
    hint: 'decompress it; a tar inside is sealed with: secretsfs pack --tar FILE BUNDLE',
  },
  {
    at: 0,
    bytes: Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a]),
    what: 'xz data',
    hint: 'decompress it; a tar inside is sealed with: secretsfs pack --tar FILE BUNDLE',
  },
  {
    // Version 2, suite 0x0578, as base64.
    at: 0,
    bytes: Buffer.from('AgV4'),
    what: 'a bundle in base64',
    hint: 'decode it first: base64 -d',
    encrypted: true,
  },
  {
    at: 0,
    bytes: Buffer.from('AQIC'),
    ...BY_KMS,
    what: 'a KMS ciphertext in base64',
  },
  ...KMS_BEGINNINGS.flatMap((bytes) => [
    { at: 0, bytes, ...BY_KMS },
    // A length of at most 64 KiB as u32 before it.
    {
      at: 4,
      bytes,
      what: 'a pack of sneaker',
      hint: 'secretsfs unpack --formats sneaker opens it; a mount takes it where formats: of its config names sneaker',
      encrypted: true as const,
    },
  ]),
  {
    at: 0,
    bytes: Buffer.from('-----BEGIN '),
    what: 'a PEM file',
    hint: 'seal its directory: secretsfs pack --dir DIR BUNDLE',
  },
  {
    at: 0,
    bytes: Buffer.from('<'),
    what: 'XML or HTML',
    hint: 'it may be an error page that was saved as a file',
  },
];

/** What `bytes`, which are not a bundle, look like; undefined when they look like nothing known. */
export function recognise(bytes: Uint8Array): Guess | undefined {
  if (bytes.length === 0) return { what: 'empty', hint: 'check whether writing it was cut short' };
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return MAGICS.find((magic) => {
    if (magic.at === 4 && (view[0] !== 0 || view[1] !== 0)) return false;
    return view.subarray(magic.at, magic.at + magic.bytes.length).equals(magic.bytes);
  });
}
