/**
 * The least that a role needs: an instance, which mounts one bundle, and an author, who packs it; or the same of a store of single
 * secrets (store-policy.ts). As an identity's policy, and
 * for a principal of another account also as what the key's and the bucket's own policies have to say. docs/keys.md.
 */
import { isSameKey, type KeyArn } from '../keyring/spec.ts';
import {
  type Conditions,
  literally,
  ofBundle,
  oneOrMany,
  type PolicyDocument,
  policyDocument,
  type Statement,
} from './policy-document.ts';
import type { Principal } from './principals.ts';
import { type StoreSubject, storeKeyUses, storeStatements } from './store-policy.ts';

export type Role = 'instance' | 'author';

export interface Task {
  readonly role: Role;
  /** The bundle's name, which its data keys are bound to; of a store, its place. */
  readonly name: string;
  /** Of one partition, at least one. In the author's order: the first makes the data key. */
  readonly keys: readonly KeyArn[];
  /** In place of a bundle. */
  readonly store?: StoreSubject | undefined;
  /** undefined: the bundle is a file, or it is about a store. */
  readonly bundle: { readonly bucket: string; readonly key: string; readonly versionId?: string } | undefined;
  /** The key with which the bucket itself encrypts. */
  readonly sseKey?: KeyArn | undefined;
  /** How an instance is told of uploads; ARNs. */
  readonly queue?: string | undefined;
  readonly topic?: string | undefined;
  /** Of the role; undefined: as the topic. The queue that it makes is its own. */
  readonly account?: string | undefined;
}

/** A mount asks the replica of a multi-Region key that is nearest to it. */
function keyResource(key: KeyArn): string {
  const region = key.id.startsWith('mrk-') ? '*' : key.region;
  return `arn:${key.partition}:kms:${region}:${key.account}:key/${key.id}`;
}

export interface KeyUse {
  readonly sid: string;
  readonly action: string;
  readonly keys: readonly KeyArn[];
  readonly condition: Conditions;
}

/** What is done with which keys. Whoever may open needs nothing else; whoever may seal can not open. */
function keyUses({ role, keys, name, store }: Task): readonly KeyUse[] {
  if (store !== undefined) return storeKeyUses(role, store, keys);
  const condition = ofBundle(name);
  if (role === 'instance') return [{ sid: 'OpenBundle', action: 'kms:Decrypt', keys, condition }];
  const [first, ...others] = keys;
  const make = {
    sid: 'MakeDataKey',
    action: 'kms:GenerateDataKey',
    keys: first === undefined ? [] : [first],
    condition,
  };
  const wrap = { sid: 'WrapDataKey', action: 'kms:Encrypt', keys: others, condition };
  return others.length === 0 ? [make] : [make, wrap];
}

function bucketStatements({ role, bundle, store, keys }: Task): readonly Omit<Statement, 'Principal'>[] {
  if (store !== undefined) return storeStatements(role, store, keys[0]?.partition ?? 'aws');
  if (bundle === undefined) return [];
  const bucketArn = `arn:${keys[0]?.partition ?? 'aws'}:s3:::${bundle.bucket}`;
  const read = bundle.versionId === undefined ? 's3:GetObject' : 's3:GetObjectVersion';
  return [
    {
      Sid: role === 'instance' ? 'ReadBundle' : 'WriteBundle',
      Effect: 'Allow',
      // Of an author: the bundle that is replaced says which serials were there.
      Action: role === 'instance' ? read : ['s3:GetObject', 's3:PutObject'],
      Resource: `${bucketArn}/${literally(bundle.key)}`,
    },
    // Without it S3 answers "denied" for what is missing.
    { Sid: 'TellMissingFromDenied', Effect: 'Allow', Action: 's3:ListBucket', Resource: bucketArn },
  ];
}

/** S3 asks in the role's name; no other use of that key is meant. */
function sseStatements({ role, sseKey }: Task): readonly Statement[] {
  if (sseKey === undefined) return [];
  const suffix = sseKey.partition === 'aws-cn' ? 'amazonaws.com.cn' : 'amazonaws.com';
  return [
    {
      Sid: 'BucketKey',
      Effect: 'Allow',
      Action: role === 'instance' ? 'kms:Decrypt' : ['kms:GenerateDataKey', 'kms:Decrypt'],
      Resource: keyResource(sseKey),
      Condition: { StringEquals: { 'kms:ViaService': `s3.${sseKey.region}.${suffix}` } },
    },
  ];
}

/** docs/noticing.md has why each. */
function noticingStatements({ queue, topic, account: own }: Task): readonly Statement[] {
  const allow = (Sid: string, Action: string | readonly string[], Resource: string): Statement => {
    return { Sid, Effect: 'Allow', Action, Resource };
  };
  if (queue !== undefined)
    return [allow('HearOfUploads', ['sqs:DeleteMessage', 'sqs:ReceiveMessage'], queue)];
  if (topic === undefined) return [];
  const [, partition, , region, account] = topic.split(':');
  return [
    allow(
      'OwnQueue',
      ['CreateQueue', 'DeleteMessage', 'DeleteQueue', 'ReceiveMessage', 'SetQueueAttributes', 'TagQueue'].map(
        (action) => `sqs:${action}`,
      ),
      `arn:${partition}:sqs:${region}:${own ?? account}:secretsfs-*`,
    ),
    allow('Subscribe', 'sns:Subscribe', topic),
    // SNS knows no narrower resource for it.
    allow('Unsubscribe', 'sns:Unsubscribe', '*'),
  ];
}

/** The policy of the role itself. */
export function identityPolicy(task: Task): PolicyDocument {
  return policyDocument([
    ...keyUses(task).map(
      ({ sid, action, keys, condition }): Statement => ({
        Sid: sid,
        Effect: 'Allow',
        Action: action,
        Resource: oneOrMany([...new Set(keys.map(keyResource))]),
        Condition: condition,
      }),
    ),
    ...bucketStatements(task),
    ...sseStatements(task),
    ...noticingStatements(task),
  ]);
}

/** What the policy of `key`, one of the task's, says of `principal`: needed where that is of another account. */
export function keyStatements(task: Task, key: KeyArn, principal: Principal): readonly Statement[] {
  const Principal = { AWS: principal.arn };
  const own = keyUses(task)
    .filter(({ keys }) => keys.some((each) => isSameKey(each, key)))
    .map(
      ({ sid, action, condition }): Statement => ({
        Sid: `${sid}${sidOf(task.name)}`,
        ...{ Effect: 'Allow', Principal, Action: action, Resource: '*', Condition: condition },
      }),
    );
  const sse = task.sseKey !== undefined && isSameKey(task.sseKey, key) ? sseStatements(task) : [];
  return [...own, ...sse.map((statement) => ({ ...statement, Principal, Resource: '*' }))];
}

/** What the bucket's policy says of `principal`: needed where that is of another account. */
export function bucketPolicy(task: Task, principal: Principal): PolicyDocument {
  const Principal = { AWS: principal.arn };
  return policyDocument(
    bucketStatements(task).map(({ Sid, Effect, ...rest }) => ({
      Sid: `${Sid}${sidOf(task.name)}`,
      ...{ Effect, Principal, ...rest },
    })),
  );
}

/** A Sid has letters and digits alone; a document has each once, so that `x`, which escapes, is escaped itself. */
export function sidOf(name: string): string {
  return [...name].map((c) => (/[A-Za-wyz0-9]/.test(c) ? c : `x${c.charCodeAt(0).toString(16)}`)).join('');
}
