/** What KMS answers to whoever manages keys, and what a person is told of it. Using keys is kms-errors.ts's. */
import { KeyError, quote, SecretsfsError } from '../errors.ts';
import { answer, nameOf, networkTrouble, setupError, statusOf } from './errors.ts';

/** A call of KMS that manages, and what it is for: the verb of the message. */
export const KEY_CALLS = {
  CancelKeyDeletion: 'cancel the deletion of',
  CreateAlias: 'make the alias',
  CreateKey: 'make a key in',
  DeleteAlias: 'remove the alias',
  DescribeKey: 'look at the key',
  DisableKey: 'disable the key',
  DisableKeyRotation: 'stop the rotation of the key',
  EnableKey: 'enable the key',
  EnableKeyRotation: 'turn on the rotation of the key',
  GetKeyLastUsage: 'see the last use of the key',
  GetKeyPolicy: 'read the policy of the key',
  GetKeyRotationStatus: 'see the rotation of the key',
  ListAliases: 'list the aliases of',
  ListGrants: 'list the grants of the key',
  ListKeys: 'list the keys of',
  PutKeyPolicy: 'write the policy of the key',
  RotateKeyOnDemand: 'rotate the key',
  ScheduleKeyDeletion: 'delete the key',
  UpdateAlias: 'move the alias',
} as const;

export type KeyCall = keyof typeof KEY_CALLS;

/** Those that no policy of a key can allow. */
const IN_IAM_ALONE: readonly KeyCall[] = ['CreateKey', 'ListAliases', 'ListKeys'];

const THROTTLED = new Set([
  'Throttling',
  'ThrottlingException',
  'TooManyRequestsException',
  'RequestLimitExceeded',
]);

/** What to throw for an error of `call`, about `what`: a key, an alias or a region. An error that is not AWS's is returned as it is. */
export function keyCallError(error: unknown, call: KeyCall, what: string): unknown {
  if (error instanceof SecretsfsError) return error;
  const setup = setupError(error);
  if (setup !== undefined) return setup;
  const keyError = (code: KeyError['code'], why: string, hint: string): KeyError =>
    new KeyError(code, `cannot ${KEY_CALLS[call]} ${quote(what)}: ${why}`, { hint, cause: error });
  const name = nameOf(error);
  const told = TOLD[name]?.(what, error);
  if (told !== undefined) return keyError(...told);
  if (THROTTLED.has(name) || statusOf(error) === 429) {
    return keyError('key-throttled', `KMS answered ${answer(error)}`, 'try again in a minute');
  }
  const trouble = networkTrouble(error);
  if (trouble !== undefined) return keyError('key-unreachable', trouble.what, trouble.hint);
  if (name.startsWith('AccessDenied') || statusOf(error) === 403) {
    const where = IN_IAM_ALONE.includes(call)
      ? 'in IAM'
      : 'in the policy of the key, or in IAM where that lets it';
    return keyError('key-denied', `KMS answered ${answer(error)}`, `grant kms:${call} ${where}`);
  }
  if (statusOf(error) === undefined) return error;
  return keyError('key-invalid', `KMS answered ${answer(error)}`, 'secretsfs keys show KEY shows what it is');
}

/** The same, known from the state of a key before KMS is asked: so a dry run refuses what KMS would. */
export function keyStateError(call: KeyCall, what: string, state: 'disabled' | 'pending-deletion'): KeyError {
  const [code, why, hint] = state === 'disabled' ? disabled(what) : pendingDeletion(what);
  return new KeyError(code, `cannot ${KEY_CALLS[call]} ${quote(what)}: ${why}`, { hint });
}

type Told = readonly [code: KeyError['code'], why: string, hint: string];

const disabled = (what: string): Told => [
  'key-disabled',
  'the key is disabled',
  `secretsfs keys enable ${what}`,
];
const pendingDeletion = (what: string): Told => [
  'key-pending-deletion',
  'it is to be deleted',
  `secretsfs keys delete ${what} --cancel takes that back`,
];

const TOLD: Readonly<Record<string, (what: string, error: unknown) => Told>> = {
  AlreadyExistsException: (what) => [
    'key-exists',
    'there is one already',
    `secretsfs keys show ${what} shows of which key; secretsfs keys alias ${what} KEY --replace moves it`,
  ],
  MalformedPolicyDocumentException: () => [
    'key-policy',
    'KMS refuses the policy: somebody in it does not exist, or you yourself could not change it again',
    'name your own role or user with --admin (aws sts get-caller-identity shows it), and check each ARN',
  ],
  NotFoundException: () => [
    'key-not-found',
    'there is no such key or alias in this account and region',
    'give its whole ARN, or --region; secretsfs keys ls shows those of a region',
  ],
  InvalidArnException: () => [
    'key-not-found',
    'its ARN is of another account, or of something else',
    'a key is managed with credentials of its own account: --profile or --role-arn',
  ],
  DisabledException: disabled,
  // Which state it is stands in the text alone.
  KMSInvalidStateException: (what, error) =>
    /pending deletion/i.test(String((error as Error).message))
      ? pendingDeletion(what)
      : ['key-state', 'its present state does not allow it', `secretsfs keys show ${what} shows the state`],
  LimitExceededException: () => [
    'key-limit',
    'a quota of KMS is used up',
    'aws service-quotas list-service-quotas --service-code kms shows them; on demand a key rotates 25 times in all',
  ],
  UnsupportedOperationException: (what) => [
    'key-invalid',
    'keys of its kind can not',
    `secretsfs keys show ${what} shows its kind; only symmetric keys that KMS itself made rotate`,
  ],
  ConflictException: (what) => [
    'key-state',
    'it is under way already',
    `wait, and look: secretsfs keys show ${what}`,
  ],
};
