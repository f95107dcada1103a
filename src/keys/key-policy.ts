/**
 * The policy of a new key: who manages it, who may use it, and who may seal or open the bundles of one name and no other.
 * Managing does not include using, and using does not include managing. docs/keys.md has each statement and why.
 */
import { Buffer } from 'node:buffer';
import { quote, UsageError } from '../errors.ts';
import {
  ofBundle,
  oneOrMany,
  type PolicyDocument,
  policyDocument,
  type Statement,
} from './policy-document.ts';
import type { NamedPrincipal, Principal } from './principals.ts';
import { sidOf } from './role-policy.ts';

export interface Grants {
  /** May change, disable and delete the key and its policy; may not use it. Of the key's own account. */
  readonly admins: readonly Principal[];
  /** May seal and open everything, and re-encrypt. */
  readonly users: readonly Principal[];
  /** May seal bundles of that name. */
  readonly authors: readonly NamedPrincipal[];
  /** May open bundles of that name. */
  readonly readers: readonly NamedPrincipal[];
  /** IAM policies of the account may give rights to the key, too. */
  readonly iam: boolean;
  readonly multiRegion: boolean;
}

/** Every action that manages a key. No CreateGrant: a grant is a right to use. */
const MANAGE = [
  'CancelKeyDeletion',
  'CreateAlias',
  'DeleteAlias',
  'DescribeKey',
  'DisableKey',
  'DisableKeyRotation',
  'EnableKey',
  'EnableKeyRotation',
  'GetKeyPolicy',
  'GetKeyRotationStatus',
  'ListGrants',
  'ListKeyPolicies',
  'ListKeyRotations',
  'ListResourceTags',
  'PutKeyPolicy',
  'RevokeGrant',
  'RotateKeyOnDemand',
  'ScheduleKeyDeletion',
  'TagResource',
  'UntagResource',
  'UpdateAlias',
  'UpdateKeyDescription',
];
const MANAGE_REPLICAS = ['ReplicateKey', 'UpdatePrimaryRegion'];
const USE = ['Decrypt', 'DescribeKey', 'Encrypt', 'GenerateDataKey', 'ReEncryptFrom', 'ReEncryptTo'];
const SEAL = ['Encrypt', 'GenerateDataKey'];
const OPEN = 'kms:Decrypt';

const kms = (actions: readonly string[]) => actions.map((action) => `kms:${action}`);

/** What KMS takes: https://docs.aws.amazon.com/kms/latest/developerguide/resource-limits.html */
export const KEY_POLICY_BYTES_MAX = 32_768;

/** Throws UsageError for principals that a key of `account` in `partition` can not have, and for too many of them. */
export function keyPolicy(account: string, partition: string, grants: Grants): PolicyDocument {
  const { admins, users, authors, readers, iam, multiRegion } = grants;
  checkPrincipals(account, partition, grants);
  const root = { AWS: `arn:${partition}:iam::${account}:root` };
  const allow = (Sid: string, of: readonly Principal[], actions: readonly string[] | string): Statement => ({
    Sid,
    Effect: 'Allow',
    Principal: { AWS: oneOrMany([...new Set(of.map(({ arn }) => arn))]) },
    Action: actions,
    Resource: '*',
  });
  const byName = (verb: string, of: readonly NamedPrincipal[], actions: readonly string[] | string) =>
    [...new Set(of.map(({ name }) => name))].sort().map((name): Statement => {
      const those = of.filter((each) => each.name === name).map(({ principal }) => principal);
      return { ...allow(`${verb}${sidOf(name)}`, those, actions), Condition: ofBundle(name) };
    });
  const document = policyDocument([
    iam
      ? { Sid: 'IamDecides', Effect: 'Allow', Principal: root, Action: 'kms:*', Resource: '*' }
      : {
          // The way back in when every administrator is gone. The condition keeps it from meaning what IAM allows.
          Sid: 'RootUserAlone',
          ...{ Effect: 'Allow', Principal: root, Action: 'kms:*', Resource: '*' },
          Condition: { StringEquals: { 'aws:PrincipalType': 'Account' } },
        },
    ...(admins.length === 0
      ? []
      : [allow('Manage', admins, kms([...MANAGE, ...(multiRegion ? MANAGE_REPLICAS : [])].sort()))]),
    ...(users.length === 0 ? [] : [allow('Use', users, kms(USE))]),
    ...byName('Seal', authors, kms(SEAL)),
    ...byName('Open', readers, OPEN),
  ]);
  const bytes = Buffer.byteLength(JSON.stringify(document));
  if (bytes <= KEY_POLICY_BYTES_MAX) return document;
  throw new UsageError(
    `cannot make the key's policy: it is ${bytes} bytes, want at most ${KEY_POLICY_BYTES_MAX}`,
    {
      hint: 'name roles that several assume, or use a key for each purpose',
    },
  );
}

function checkPrincipals(account: string, partition: string, grants: Grants): void {
  const named = [...grants.authors, ...grants.readers].map(({ principal }) => principal);
  for (const { arn, partition: its } of [...grants.admins, ...grants.users, ...named]) {
    if (its === partition) continue;
    throw new UsageError(
      `cannot name ${quote(arn)} in a policy of the partition ${partition}: it is of ${its}`,
      {
        hint: `a key and who uses it are of one partition; choose another --region, or an ARN that begins with arn:${partition}:`,
      },
    );
  }
  const foreign = grants.admins.find((admin) => admin.account !== account);
  if (foreign === undefined) return;
  throw new UsageError(
    `cannot have ${quote(foreign.arn)} manage a key of account ${account}: it is of another`,
    {
      hint: 'KMS lets only the own account manage a key; give a role here that they may assume',
    },
  );
}
