/** What KMS answers, and what a person is told of it. */
import { KeyError, quote, SecretsfsError } from '../errors.ts';
import { answer, nameOf, networkTrouble, setupError, statusOf, THROTTLED } from './errors.ts';

export type KmsAction = 'Decrypt' | 'Encrypt' | 'GenerateDataKey';

const WANTED: Readonly<Record<KmsAction, string>> = {
  Decrypt: 'unwrap the data key with',
  Encrypt: 'wrap the data key with',
  GenerateDataKey: 'make a data key with',
};

/** What to throw for an error of a KMS call with `keyId`. An error that is not AWS's is returned as it is. */
export function kmsError(error: unknown, keyId: string, action: KmsAction): unknown {
  if (error instanceof SecretsfsError) return error;
  const what = `cannot ${WANTED[action]} ${quote(keyId)}`;
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
      return keyError('key-denied', answered, `grant kms:${action} on "${keyId}"`);
    case 'NotFoundException':
      return keyError(
        'key-not-found',
        'there is no such key',
        'check the account, the region and the id of the key',
      );
    case 'DisabledException':
      return keyError('key-disabled', 'the key is disabled', `aws kms enable-key --key-id ${keyId}`);
    case 'KMSInvalidStateException':
    case 'KMSInvalidState':
      // The state is in the text alone.
      if (/pending deletion/i.test(String((error as Error).message))) {
        return keyError(
          'key-pending-deletion',
          'the key is to be deleted',
          `at once: aws kms cancel-key-deletion --key-id ${keyId}, then aws kms enable-key; what it sealed is lost with it`,
        );
      }
      return keyError(
        'key-state',
        'the key cannot be used in its present state',
        `aws kms describe-key --key-id ${keyId} shows it; aws kms cancel-key-deletion takes back a deletion`,
      );
    case 'IncorrectKeyException':
    case 'InvalidCiphertextException':
      return keyError(
        'data-key-refused',
        answered,
        'the data key was wrapped with another key or another encryption context, or was altered: pack the bundle again',
      );
    case 'InvalidKeyUsageException':
      return keyError(
        'key-invalid',
        answered,
        'a key for symmetric encryption (SYMMETRIC_DEFAULT) is wanted',
      );
  }
  if (statusOf(error) === 403) return keyError('key-denied', answered, `grant kms:${action} on "${keyId}"`);
  if (statusOf(error) !== undefined) return keyError('key-invalid', answered);
  return error;
}
