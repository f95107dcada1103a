/** What KMS says of a key, in our words. */
import type { GrantListEntry, KeyMetadata } from '@aws-sdk/client-kms';
import { KeyError, quote } from '../errors.ts';
import { type KeyArn, parseKeyArn } from '../keyring/spec.ts';

export interface KeyFacts {
  readonly arn: KeyArn;
  /** As KMS says it: Enabled, Disabled, PendingDeletion, … https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html */
  readonly state: string;
  readonly description: string;
  /** ISO 8601, as all times here. */
  readonly created: string | undefined;
  /** AWS's own keys (alias/aws/…) can be looked at alone. */
  readonly managedByAws: boolean;
  /** "SYMMETRIC_DEFAULT" is what wraps data keys. */
  readonly spec: string;
  /** AWS_KMS, EXTERNAL, AWS_CLOUDHSM or EXTERNAL_KEY_STORE. */
  readonly origin: string;
  /** Of a multi-Region key: the ARNs of all that there are, the primary first. Else empty. */
  readonly replicas: readonly string[];
  readonly deletionDate: string | undefined;
}

export interface Alias {
  /** With "alias/". */
  readonly name: string;
  readonly arn: string;
  /** The key's id; undefined for one of AWS's that has no key yet. */
  readonly keyId: string | undefined;
}

export interface Rotation {
  readonly enabled: boolean;
  readonly everyDays: number | undefined;
  readonly next: string | undefined;
}

export type KeyGrant = Pick<GrantListEntry, 'GrantId' | 'GranteePrincipal' | 'Operations' | 'Name'>;

/** Of the SDK's Dates. */
export const iso = (date: Date | undefined) => date?.toISOString();

/** Throws KeyError where the answer is not about a key. `keyId` is for the message. */
export function factsOf(keyId: string, key: KeyMetadata | undefined): KeyFacts {
  const arn = parseKeyArn(key?.Arn ?? '');
  if (key === undefined || arn?.kind !== 'key') {
    throw new KeyError('key-invalid', `cannot use KMS's answer about ${quote(keyId)}: it names no key`, {
      hint: 'check the endpoint (AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_KMS)',
    });
  }
  const { PrimaryKey, ReplicaKeys = [] } = key.MultiRegionConfiguration ?? {};
  return {
    arn,
    state: key.KeyState ?? 'unknown',
    description: key.Description ?? '',
    created: iso(key.CreationDate),
    managedByAws: key.KeyManager === 'AWS',
    spec: key.KeySpec ?? 'unknown',
    origin: key.Origin ?? 'unknown',
    replicas: [PrimaryKey, ...ReplicaKeys].flatMap((replica) => replica?.Arn ?? []),
    deletionDate: iso(key.DeletionDate),
  };
}
