/**
 * What the beginning of a stored object says of it, without a key: nothing of it is authenticated, as with `inspect`. PURE.
 */
import { readHeader } from '../bundle/envelope.ts';
import type { EncryptedDataKeyInfo } from '../bundle/header.ts';
import { beginsLikeKms } from '../bundle/kms-beginnings.ts';
import { describeSneaker, NONCE_BYTES, recogniseCiphertext, TAG_BYTES } from '../bundle/old-format.ts';
import type { OldFormat } from '../bundle/old-format-names.ts';
import { BundleError } from '../errors.ts';
import { HEADER_BYTES_MAX } from '../limits.ts';
import { readSecretHeader } from './secret.ts';

export interface Facts {
  /** `damaged`: it begins like a secret, and its header can't be read. `unknown`: like nothing that we know. */
  readonly format: 'secretsfs' | 'bundle' | OldFormat | 'damaged' | 'unknown';
  /** undefined where only its key would tell. */
  readonly plaintextBytes: number | undefined;
  /** Empty for formats that do not name them. */
  readonly keys: readonly EncryptedDataKeyInfo[];
  /** Of a secret: ISO 8601. */
  readonly created: string | undefined;
  /** The author's own pairs. */
  readonly context: Readonly<Record<string, string>>;
  /** Of a secret: the place that it was sealed for. Elsewhere it does not open. */
  readonly sealedFor: string | undefined;
}

const NOTHING: Omit<Facts, 'format'> = {
  plaintextBytes: undefined,
  keys: [],
  created: undefined,
  context: {},
  sealedFor: undefined,
};

/** Message format 2 and suite 0x0578, which all that we seal begins with. */
const SEALED = Buffer.from([0x02, 0x05, 0x78]);

/** Enough of every object: a header, and the frame after it that says how long the content is. */
export const FACTS_BYTES_MAX = HEADER_BYTES_MAX + 24;

/** `head`: the first bytes, or all. undefined: more of it has to be read, FACTS_BYTES_MAX. */
export function factsOf(head: Buffer, size: number, path: string): Facts | undefined {
  if (head.subarray(0, SEALED.length).equals(SEALED)) return factsOfMessage(head, size);
  const sneaker = describeSneaker(head, size);
  if (sneaker !== undefined) return { ...NOTHING, format: 'sneaker', ...sneaker };
  // One of the two objects that a secret of kms-secrets was: nonce, ciphertext and tag.
  if (path.endsWith('.aes')) {
    return { ...NOTHING, format: 'kms-secrets', plaintextBytes: Math.max(0, size - NONCE_BYTES - TAG_BYTES) };
  }
  const ciphertext = size === head.length ? recogniseCiphertext(head) : undefined;
  // What else is short and binary is not taken for one.
  const isKms = ciphertext !== undefined && beginsLikeKms(ciphertext.blob);
  return { ...NOTHING, format: isKms ? 'kms' : 'unknown' };
}

function factsOfMessage(head: Buffer, size: number): Facts | undefined {
  try {
    const { plaintextBytes, encryptedDataKeys, created, context, location } = readSecretHeader(head);
    const keys = encryptedDataKeys;
    return { format: 'secretsfs', plaintextBytes, keys, created, context, sealedFor: location };
  } catch (error) {
    if (!(error instanceof BundleError)) throw error;
    if (error.code === 'bundle-truncated' && head.length < Math.min(size, FACTS_BYTES_MAX)) return undefined;
    return factsOfBundle(head);
  }
}

function factsOfBundle(head: Buffer): Facts {
  try {
    const { encryptedDataKeys, created, context } = readHeader(head);
    return { ...NOTHING, format: 'bundle', keys: encryptedDataKeys, created, context };
  } catch (error) {
    if (!(error instanceof BundleError)) throw error;
    return { ...NOTHING, format: 'damaged' };
  }
}
