/**
 * What a role needs for a store of single secrets: an instance takes secrets out, an author puts them in. Each secret's data key is
 * bound to its full place (docs/format.md), so that a key's users open and seal below one prefix alone. docs/keys.md.
 */
import type { KeyArn } from '../keyring/spec.ts';
import { type Conditions, literally, type Statement } from './policy-document.ts';
import type { KeyUse, Role } from './role-policy.ts';

export interface StoreSubject {
  /** Canonical: `s3://bucket/prefix` or `file:///dir`. */
  readonly location: string;
  /** undefined: it is a directory. `prefix` without a slash at its ends; '' is the whole bucket. */
  readonly s3: { readonly bucket: string; readonly prefix: string } | undefined;
  /** Older versions are looked at and brought back, too. */
  readonly versions: boolean;
  /** And removed for good, by an author. */
  readonly purge: boolean;
}

/** The pair of the context that says where a secret belongs; KMS hands it to policies under this name. */
const PLACE_CONDITION = 'kms:EncryptionContext:secretsfs-path';
/** Of what `sync` compares by, at whatever prefix of the store: SYNC_KEY of secrets/sync.ts. */
const SYNC_KEYS = '*/.secretsfs-sync-key';

function below({ location }: StoreSubject, pattern: string): Conditions {
  return { StringLike: { [PLACE_CONDITION]: `${literally(location)}/${pattern}` } };
}

/** An author opens nothing but the keys of his own syncs. */
export function storeKeyUses(role: Role, store: StoreSubject, keys: readonly KeyArn[]): readonly KeyUse[] {
  const condition = below(store, '*');
  if (role === 'instance') return [{ sid: 'OpenSecrets', action: 'kms:Decrypt', keys, condition }];
  const [first, ...others] = keys;
  const wrap = { sid: 'WrapDataKeys', action: 'kms:Encrypt', keys: others, condition };
  return [
    {
      sid: 'MakeDataKeys',
      action: 'kms:GenerateDataKey',
      keys: first === undefined ? [] : [first],
      condition,
    },
    ...(others.length === 0 ? [] : [wrap]),
    { sid: 'OpenSyncKeys', action: 'kms:Decrypt', keys, condition: below(store, SYNC_KEYS) },
  ];
}

export function storeStatements(
  role: Role,
  { s3, versions, purge }: StoreSubject,
  partition: string,
): readonly Omit<Statement, 'Principal'>[] {
  if (s3 === undefined) return [];
  const bucketArn = `arn:${partition}:s3:::${s3.bucket}`;
  const isAuthor = role === 'author';
  const isPurging = purge && isAuthor;
  const objects = [
    ...(isAuthor ? ['s3:DeleteObject'] : []),
    ...(isPurging ? ['s3:DeleteObjectVersion'] : []),
    's3:GetObject',
    ...(versions ? ['s3:GetObjectVersion'] : []),
    ...(isAuthor ? ['s3:PutObject'] : []),
  ];
  const list = ['s3:ListBucket', ...(versions || isPurging ? ['s3:ListBucketVersions'] : [])];
  const allow = (Sid: string, actions: readonly string[], Resource: string) => {
    const [only = '', ...more] = actions;
    return { Sid, Effect: 'Allow' as const, Action: more.length === 0 ? only : actions, Resource };
  };
  const below = s3.prefix === '' ? '*' : `${literally(s3.prefix)}/*`;
  return [
    allow(isAuthor ? 'WriteSecrets' : 'ReadSecrets', objects, `${bucketArn}/${below}`),
    // Narrowed to the prefix it would not tell what is missing from what is denied: that question names no prefix.
    allow('ListStore', list, bucketArn),
    ...(isAuthor
      ? [
          allow(
            'SeePublic',
            ['s3:GetBucketAcl', 's3:GetBucketPolicyStatus', 's3:GetBucketPublicAccessBlock'],
            bucketArn,
          ),
        ]
      : []),
  ];
}
