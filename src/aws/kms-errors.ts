/** What KMS answers, and what a person is told of it. */
import { KeyError, quote, SecretsfsError } from '../errors.ts';
import { answer, nameOf, networkTrouble, setupError, statusOf, THROTTLED } from './errors.ts';

export type KmsAction =
  | 'Decrypt'
  | 'Encrypt'
  | 'GenerateDataKey'
  | 'GenerateDataKeyWithoutPlaintext'
  | 'ReEncrypt';

interface Words {
  readonly wanted: string;
  /** Of a ciphertext that KMS does not know. */
  readonly refused: string;
}

const REFUSED_DATA_KEY =
  'the data key was wrapped with another key or another encryption context, or was altered: pack the bundle again';
const REFUSED_CIPHERTEXT =
  'it was encrypted with another key, another encryption context (--context) or in another region, or was altered';

const WORDS: Readonly<Record<KmsAction, Words>> = {
  Decrypt: { wanted: 'unwrap the data key with', refused: REFUSED_DATA_KEY },
  Encrypt: { wanted: 'wrap the data key with', refused: REFUSED_DATA_KEY },
  GenerateDataKey: { wanted: 'make a data key with', refused: REFUSED_DATA_KEY },
  GenerateDataKeyWithoutPlaintext: { wanted: 'make a data key with', refused: REFUSED_DATA_KEY },
  ReEncrypt: { wanted: 'encrypt anew with', refused: REFUSED_CIPHERTEXT },
};

/** The same calls about what a person gave to KMS, without an envelope. */
export const DIRECTLY: Readonly<Record<'Decrypt' | 'Encrypt', Words>> = {
  Decrypt: { wanted: 'decrypt with', refused: REFUSED_CIPHERTEXT },
  Encrypt: { wanted: 'encrypt with', refused: REFUSED_CIPHERTEXT },
};

/**
 * What to throw for an error of a KMS call with `keyId`; undefined where KMS was to find the key. An error that is not AWS's is
 * returned as it is.
 */
export function kmsError(
  error: unknown,
  keyId: string | undefined,
  action: KmsAction,
  words: Words = WORDS[action],
): unknown {
  if (error instanceof SecretsfsError) return error;
  const key = keyId === undefined ? 'its key' : quote(keyId);
  const id = keyId ?? 'ID';
  const what = `cannot ${words.wanted} ${key}`;
  const setup = setupError(error);
  if (setup !== undefined) return setup;
  const name = nameOf(error);
  const answered = `KMS answered ${answer(error)}`;
  const keyError = (code: KeyError['code'], why: string, hint?: string): KeyError =>
    new KeyError(code, `${what}: ${why}`, { hint, cause: error });

  if (THROTTLED.has(name) || statusOf(error) === 429) {
    return keyError(
      'key-throttled',
      answered,
      'the KMS requests of the whole account count; it is tried again',
    );
  }
  const trouble = networkTrouble(error);
  if (trouble !== undefined) return keyError('key-unreachable', trouble.what, trouble.hint);
  switch (name) {
    case 'AccessDeniedException':
    case 'AccessDenied':
      return keyError('key-denied', answered, `grant kms:${action} on ${key}`);
    case 'NotFoundException':
      return keyError(
        'key-not-found',
        'there is no such key',
        'check the account, the region and the id of the key',
      );
    case 'DisabledException':
      return keyError('key-disabled', 'the key is disabled', `aws kms enable-key --key-id ${id}`);
    case 'KMSInvalidStateException':
    case 'KMSInvalidState':
      // The state is in the text alone.
      if (/pending deletion/i.test(String((error as Error).message))) {
        return keyError(
          'key-pending-deletion',
          'the key is to be deleted',
          `at once: aws kms cancel-key-deletion --key-id ${id}, then aws kms enable-key; what it sealed is lost with it`,
        );
      }
      return keyError(
        'key-state',
        'the key cannot be used in its present state',
        `aws kms describe-key --key-id ${id} shows it; aws kms cancel-key-deletion takes back a deletion`,
      );
    case 'IncorrectKeyException':
    case 'InvalidCiphertextException':
      return keyError('data-key-refused', answered, words.refused);
    case 'InvalidKeyUsageException':
      return keyError(
        'key-invalid',
        answered,
        'a key for symmetric encryption (SYMMETRIC_DEFAULT) is wanted',
      );
  }
  if (statusOf(error) === 403) return keyError('key-denied', answered, `grant kms:${action} on ${key}`);
  if (statusOf(error) !== undefined) return keyError('key-invalid', answered);
  return error;
}
