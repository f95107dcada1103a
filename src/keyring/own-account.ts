/** KMS ciphertexts whose key nobody named, held to keys of the own account. */
import { KeyError, quote } from '../errors.ts';
import type { RawKms } from './raw-kms.ts';
import { parseKeyArn } from './spec.ts';

type Decrypting = Pick<RawKms, 'decrypt'>;

/**
 * As `kms`, but a key that was not named must be of the account of the credentials: who can write to a bucket could
 * otherwise put there what a key of his own encrypted. A ciphertext does not say its key before KMS has opened it; so
 * what was opened is opened again, once for a key, by the id without an account, which KMS looks for in the own one alone.
 */
export function ofOwnAccount(kms: Decrypting): Decrypting {
  const own = new Set<string>();
  return {
    async decrypt(blob, { context, keys }) {
      const opened = await kms.decrypt(blob, { context, keys });
      if (keys.length > 0 || own.has(opened.keyId)) return opened;
      try {
        const keyId = parseKeyArn(opened.keyId)?.id ?? '';
        const again = await kms.decrypt(blob, { context, keys: [{ kind: 'kms', keyId }] });
        again.plaintext.fill(0);
        if (again.keyId !== opened.keyId) throw foreign(opened.keyId);
        own.add(opened.keyId);
        return opened;
      } catch (error) {
        opened.plaintext.fill(0);
        throw error instanceof KeyError && error.code === 'key-not-found'
          ? foreign(opened.keyId, error)
          : error;
      }
    },
  };
}

/** The same of ReEncrypt: what a key of another account encrypted is not put under one of ours unasked. */
export async function reencryptOfOwnAccount(
  kms: Pick<RawKms, 'reencrypt'>,
  ...[blob, from, to]: Parameters<RawKms['reencrypt']>
): ReturnType<RawKms['reencrypt']> {
  const anew = await kms.reencrypt(blob, from, to);
  if (from.key !== undefined) return anew;
  const { sourceKeyId = '' } = anew;
  try {
    const keyId = parseKeyArn(sourceKeyId)?.id ?? '';
    const again = await kms.reencrypt(blob, { ...from, key: { kind: 'kms', keyId } }, to);
    if (again.sourceKeyId === sourceKeyId) return again;
  } catch (error) {
    if (!(error instanceof KeyError) || error.code !== 'key-not-found') throw error;
  }
  throw foreign(sourceKeyId);
}

function foreign(arn: string, cause?: KeyError): KeyError {
  return new KeyError(
    'key-not-accepted',
    `cannot decrypt: ${quote(arn)} is no key of the account of these credentials`,
    {
      hint: `if it is one of another account, and meant: --accept-key ${arn} (--from-key to reencrypt)`,
      cause,
    },
  );
}
