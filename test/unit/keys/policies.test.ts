/** What the policies allow, asked as AWS would decide it, and word for word where a person would read them. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import * as kms from '@aws-sdk/client-kms';
import * as s3 from '@aws-sdk/client-s3';
import fc from 'fast-check';
import { UsageError } from '../../../src/errors.ts';
import { type KeyArn, parseKeyArn } from '../../../src/keyring/spec.ts';
import { type Grants, KEY_POLICY_BYTES_MAX, keyPolicy } from '../../../src/keys/key-policy.ts';
import { type PolicyDocument, partitionOf } from '../../../src/keys/policy-document.ts';
import { parseNamedPrincipal, parsePrincipal } from '../../../src/keys/principals.ts';
import {
  bucketPolicy,
  identityPolicy,
  keyStatements,
  sidOf,
  type Task,
} from '../../../src/keys/role-policy.ts';
import { isAllowed, type Policies, problemsOf } from '../../support/iam.ts';
import { VECTORS } from '../../support/paths.ts';

const OWNER = '123456789012';
const OTHER = '999988887777';
const KEY_ID = '1234abcd-12ab-34cd-56ef-1234567890ab';
const MRK_ID = 'mrk-1234abcd12ab34cd56ef1234567890ab';
const key = (text: string): KeyArn => parseKeyArn(text) ?? assert.fail(text);
const KEY = key(`arn:aws:kms:eu-west-1:${OWNER}:key/${KEY_ID}`);
const MRK = key(`arn:aws:kms:eu-central-1:${OWNER}:key/${MRK_ID}`);
const role = (name: string, account = OWNER, partition = 'aws') =>
  parsePrincipal(`arn:${partition}:iam::${account}:role/${name}`, '--admin');
const WEB: Task = {
  role: 'instance',
  name: 'web',
  keys: [KEY],
  bundle: { bucket: 'example-bundles', key: 'prod/web.enc.tar' },
};
const NOBODY: Grants = { admins: [], users: [], authors: [], readers: [], iam: false, multiRegion: false };
/** AWS's own default: the account's IAM policies decide. */
const IAM_DECIDES = keyPolicy(OWNER, 'aws', { ...NOBODY, iam: true });
const named = (name: string) => ({ 'kms:EncryptionContext:secretsfs-name': name });

/** Every single request that is asked of a policy: which of them it allows. */
const REQUESTS = [
  ...[
    'kms:Decrypt',
    'kms:GenerateDataKey',
    'kms:Encrypt',
    'kms:PutKeyPolicy',
    'kms:ScheduleKeyDeletion',
  ].flatMap((action) =>
    ['web', 'mail', undefined].map((name) => ({
      label: `${action} ${name ?? '-'}`,
      action,
      resource: KEY.text,
      context: name === undefined ? {} : named(name),
    })),
  ),
  ...['s3:GetObject', 's3:PutObject', 's3:DeleteObject', 's3:GetObjectVersion'].flatMap((action) =>
    ['prod/web.enc.tar', 'prod/mail.enc.tar'].map((object) => ({
      label: `${action} ${object}`,
      action,
      resource: `arn:aws:s3:::example-bundles/${object}`,
      context: {},
    })),
  ),
  ...['example-bundles', 'others'].map((bucket) => ({
    label: `s3:ListBucket ${bucket}`,
    action: 's3:ListBucket',
    resource: `arn:aws:s3:::${bucket}`,
    context: {},
  })),
];

function allowed(
  principal: string,
  identity: PolicyDocument | undefined,
  keyed: PolicyDocument,
  bucket?: PolicyDocument,
) {
  return REQUESTS.filter((request) => {
    const resource = request.action.startsWith('kms:') ? keyed : bucket;
    const policies: Policies = {
      owner: OWNER,
      ...(identity === undefined ? {} : { identity }),
      ...(resource === undefined ? {} : { resource }),
    };
    return isAllowed({ principal, ...request }, policies);
  }).map(({ label }) => label);
}

const INSTANCE_MAY = ['kms:Decrypt web', 's3:GetObject prod/web.enc.tar', 's3:ListBucket example-bundles'];
const AUTHOR_MAY = [
  'kms:GenerateDataKey web',
  's3:GetObject prod/web.enc.tar',
  's3:PutObject prod/web.enc.tar',
  's3:ListBucket example-bundles',
];

test('an instance may open the bundle of its name, an author may seal it, and neither anything else', () => {
  const { arn } = role('web');
  assert.deepEqual(allowed(arn, identityPolicy(WEB), IAM_DECIDES), INSTANCE_MAY);
  assert.deepEqual(allowed(arn, identityPolicy({ ...WEB, role: 'author' }), IAM_DECIDES), AUTHOR_MAY);
});

test('across accounts it takes the policies of the role, the key and the bucket together', () => {
  const principal = role('web', OTHER);
  for (const [task, may] of [
    [WEB, INSTANCE_MAY],
    [{ ...WEB, role: 'author' }, AUTHOR_MAY],
  ] as const) {
    const own = keyPolicy(OWNER, 'aws', NOBODY);
    const keyed = { ...own, Statement: [...own.Statement, ...keyStatements(task, KEY, principal)] };
    const bucket = bucketPolicy(task, principal);
    const identity = identityPolicy(task);
    assert.deepEqual(problemsOf(keyed, 'resource'), []);
    assert.deepEqual(problemsOf(bucket, 'resource'), []);
    assert.deepEqual(allowed(principal.arn, identity, keyed, bucket), may);
    assert.deepEqual(allowed(principal.arn, undefined, keyed, bucket), []);
    const kmsAlone = may.filter((label) => label.startsWith('kms:'));
    assert.deepEqual(allowed(principal.arn, identity, keyed), kmsAlone);
    assert.deepEqual(
      allowed(principal.arn, identity, own, bucket),
      may.filter((label) => !kmsAlone.includes(label)),
    );
    assert.deepEqual(allowed(role('other', OTHER).arn, identity, keyed, bucket), []);
  }
});

test('of a store across accounts and partitions: what is below its prefix, for both policies together, and nothing beside it', () => {
  for (const [partition, region] of [
    ['aws', 'eu-west-1'],
    ['aws-cn', 'cn-north-1'],
    ['aws-us-gov', 'us-gov-west-1'],
  ] as const) {
    const own = key(`arn:${partition}:kms:${region}:${OWNER}:key/${KEY_ID}`);
    const principal = role('app', OTHER, partition);
    const s3Store = { bucket: 'secrets', prefix: 'a*/prod' };
    const store = { location: 's3://secrets/a*/prod', s3: s3Store, versions: false, purge: false };
    const may = (side: 'instance' | 'author') => {
      const task: Task = { role: side, name: store.location, keys: [own], bundle: undefined, store };
      const base = keyPolicy(OWNER, partition, NOBODY);
      const keyed = { ...base, Statement: [...base.Statement, ...keyStatements(task, own, principal)] };
      const [identity, bucket] = [identityPolicy(task), bucketPolicy(task, principal)];
      for (const each of [keyed, bucket]) assert.deepEqual(problemsOf(each, 'resource'), []);
      return (action: string, path: string, without: 'identity' | 'resource' | 'nothing' = 'nothing') => {
        const isKms = action.startsWith('kms:');
        const place = { 'kms:EncryptionContext:secretsfs-path': `s3://secrets/${path}` };
        const resource = isKms ? own.text : `arn:${partition}:s3:::secrets/${path}`;
        const asked = { principal: principal.arn, action, resource, context: isKms ? place : {} };
        return isAllowed(asked, {
          owner: OWNER,
          ...(without === 'identity' ? {} : { identity }),
          ...(without === 'resource' ? {} : { resource: isKms ? keyed : bucket }),
        });
      };
    };
    const [reader, writer] = [may('instance'), may('author')];
    for (const [mayI, action] of [
      [reader, 'kms:Decrypt'],
      [reader, 's3:GetObject'],
      [writer, 'kms:GenerateDataKey'],
      [writer, 's3:PutObject'],
      [writer, 's3:DeleteObject'],
    ] as const) {
      assert.equal(mayI(action, 'a*/prod/db/x'), true, `${partition} ${action}`);
      for (const beside of ['a*/prod', 'a*/production/x', 'ab/prod/x', 'x'])
        assert.equal(mayI(action, beside), false, `${action} ${beside}`);
      for (const without of ['identity', 'resource'] as const)
        assert.equal(mayI(action, 'a*/prod/db/x', without), false, `${action} without ${without}`);
    }
    assert.equal(writer('kms:Decrypt', 'a*/prod/db/x'), false);
    assert.equal(writer('kms:Decrypt', 'a*/prod/gpg/.secretsfs-sync-key'), true);
    for (const action of ['kms:GenerateDataKey', 's3:PutObject', 's3:DeleteObject', 's3:GetObjectVersion'])
      assert.equal(reader(action, 'a*/prod/db/x'), false, action);
  }
});

test('of several keys the first makes the data key and the others wrap it; an instance may open with each', () => {
  const second = key(`arn:aws:kms:us-east-1:${OWNER}:key/${KEY_ID}`);
  const task: Task = { ...WEB, role: 'author', keys: [KEY, second] };
  const ask = (action: string, resource: string, of: Task) =>
    isAllowed(
      { principal: role('web').arn, action, resource, context: named('web') },
      { owner: OWNER, identity: identityPolicy(of), resource: IAM_DECIDES },
    );
  assert.equal(ask('kms:GenerateDataKey', KEY.text, task), true);
  assert.equal(ask('kms:Encrypt', KEY.text, task), false);
  assert.equal(ask('kms:Encrypt', second.text, task), true);
  assert.equal(ask('kms:GenerateDataKey', second.text, task), false);
  for (const { text } of task.keys)
    assert.equal(ask('kms:Decrypt', text, { ...task, role: 'instance' }), true);
});

test('a multi-Region key may be used in each of its regions, another key of the account in none', () => {
  const identity = identityPolicy({ ...WEB, keys: [MRK] });
  const ask = (resource: string) =>
    isAllowed(
      { principal: role('web').arn, action: 'kms:Decrypt', resource, context: named('web') },
      { owner: OWNER, identity, resource: IAM_DECIDES },
    );
  assert.equal(ask(`arn:aws:kms:us-west-2:${OWNER}:key/${MRK_ID}`), true);
  assert.equal(ask(`arn:aws:kms:us-west-2:${OTHER}:key/${MRK_ID}`), false);
  assert.equal(ask(KEY.text), false);
});

test('a key of the bucket may be used through S3 alone', () => {
  const sseKey = key(`arn:aws-cn:kms:cn-north-1:${OWNER}:key/${KEY_ID}`);
  const keys = [key(`arn:aws-cn:kms:cn-north-1:${OWNER}:key/${MRK_ID}`)];
  const task: Task = { ...WEB, keys, sseKey };
  const resource = keyPolicy(OWNER, 'aws-cn', { ...NOBODY, iam: true });
  const ask = (of: Task, action: string, context: Record<string, string>) =>
    isAllowed(
      { principal: role('web', OWNER, 'aws-cn').arn, action, resource: sseKey.text, context },
      { owner: OWNER, identity: identityPolicy(of), resource },
    );
  const viaS3 = { 'kms:ViaService': 's3.cn-north-1.amazonaws.com.cn' };
  assert.equal(ask(task, 'kms:Decrypt', viaS3), true);
  assert.equal(ask(task, 'kms:Decrypt', {}), false);
  assert.equal(ask(task, 'kms:GenerateDataKey', viaS3), false);
  assert.equal(ask({ ...task, role: 'author' }, 'kms:GenerateDataKey', viaS3), true);
});

test('in the policy of a key managing is not using, and a reader opens one bundle', () => {
  const grants: Grants = {
    ...NOBODY,
    admins: [role('admin')],
    users: [role('operator')],
    authors: [{ name: 'web', principal: role('ci', OTHER) }],
    readers: [{ name: 'web', principal: role('web') }],
  };
  const document = keyPolicy(OWNER, 'aws', grants);
  const ofKms = (arn: string, identity?: PolicyDocument) => allowed(arn, identity, document);
  const managing = REQUESTS.map(({ label }) => label).filter((label) => /^kms:(Put|Schedule)/.test(label));
  const using = REQUESTS.map(({ label }) => label).filter((label) => /^kms:(D|G|E)/.test(label));
  assert.deepEqual(ofKms(role('admin').arn), managing);
  assert.deepEqual(ofKms(role('operator').arn), using);
  assert.deepEqual(ofKms(role('web').arn), ['kms:Decrypt web']);
  // Of another account, its own policy must agree.
  const author = identityPolicy({ ...WEB, role: 'author' });
  assert.deepEqual(ofKms(role('ci', OTHER).arn, author), ['kms:GenerateDataKey web']);
  assert.deepEqual(ofKms(role('ci', OTHER).arn), []);
});

test('without --iam what IAM allows in the account does not count, but the root user itself is let in', () => {
  const everything: PolicyDocument = {
    Version: '2012-10-17',
    Statement: [{ Sid: 'All', Effect: 'Allow', Action: 'kms:*', Resource: '*' }],
  };
  const strict = keyPolicy(OWNER, 'aws', { ...NOBODY, admins: [role('admin')] });
  const ofKms = (arn: string, document: PolicyDocument) =>
    allowed(arn, everything, document).filter((label) => label.startsWith('kms:'));
  assert.deepEqual(ofKms(role('anybody').arn, strict), []);
  assert.equal(ofKms(`arn:aws:iam::${OWNER}:root`, strict).length, 15);
  assert.equal(ofKms(role('anybody').arn, IAM_DECIDES).length, 15);
});

test("an object's key is taken literally, wildcards and variables too", () => {
  fc.assert(
    fc.property(
      fc.stringMatching(/^[ -~]{1,12}$/).filter((text) => !text.includes('?')),
      fc.stringMatching(/^[*?$ab{}]{1,12}$/),
      (object, other) => {
        for (const of of [object, other]) {
          const identity = identityPolicy({ ...WEB, bundle: { bucket: 'b', key: of } });
          const ask = (asked: string) =>
            isAllowed(
              { principal: role('web').arn, action: 's3:GetObject', resource: `arn:aws:s3:::b/${asked}` },
              { owner: OWNER, identity },
            );
          assert.equal(ask(of), true);
          assert.equal(ask(`${of}x`), false);
          for (const asked of [object, other, 'a', 'ab']) assert.equal(ask(asked), asked === of);
        }
      },
    ),
  );
});

const names = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,20}$/);
const roles = fc.stringMatching(/^[A-Za-z0-9+=,.@_-]{1,20}$/);
const principals = fc
  .tuple(roles, fc.constantFrom(OWNER, OTHER))
  .map(([name, account]) => role(name, account));
const namedOnes = fc.array(fc.record({ name: names, principal: principals }), { maxLength: 6 });

test('whoever is named, the policy of a key is one that KMS takes, and a reader opens its own bundles alone', () => {
  fc.assert(
    fc.property(
      fc.array(
        roles.map((name) => role(name)),
        { maxLength: 3 },
      ),
      fc.array(principals, { maxLength: 3 }),
      namedOnes,
      namedOnes,
      fc.boolean(),
      (admins, users, authors, readers, multiRegion) => {
        const grants: Grants = { admins, users, authors, readers, iam: false, multiRegion };
        const document = keyPolicy(OWNER, 'aws', grants);
        assert.deepEqual(problemsOf(document, 'resource'), []);
        for (const { principal } of readers.filter((each) => each.principal.account === OWNER)) {
          for (const name of [...readers.map((each) => each.name), 'nobodys']) {
            const request = {
              principal: principal.arn,
              action: 'kms:Decrypt',
              resource: KEY.text,
              context: named(name),
            };
            const may =
              users.some(({ arn }) => arn === principal.arn) ||
              readers.some((each) => each.name === name && each.principal.arn === principal.arn);
            assert.equal(isAllowed(request, { owner: OWNER, resource: document }), may);
          }
        }
      },
    ),
  );
});

test('every action that is named is one of the service', () => {
  const document = keyPolicy(OWNER, 'aws', {
    admins: [role('a')],
    users: [role('b')],
    authors: [{ name: 'web', principal: role('c') }],
    readers: [{ name: 'web', principal: role('d') }],
    ...{ iam: false, multiRegion: true },
  });
  const roleDocuments = (['instance', 'author'] as const).flatMap((each) => {
    const task: Task = { ...WEB, role: each, keys: [KEY, MRK], sseKey: KEY };
    return [
      identityPolicy(task),
      identityPolicy({ ...task, bundle: { bucket: 'b', key: 'k', versionId: 'v' } }),
    ];
  });
  const actions = [document, ...roleDocuments].flatMap(({ Statement }) =>
    Statement.flatMap(({ Action }) => Action),
  );
  // Two permissions of one call, and names that S3 gave its permissions before its calls.
  const others = ['kms:*', 'kms:ReEncryptFrom', 'kms:ReEncryptTo', 's3:ListBucket', 's3:GetObjectVersion'];
  for (const action of new Set(actions as string[])) {
    const [service, call] = action.split(':');
    const known = (service === 'kms' ? kms : s3) as Readonly<Record<string, unknown>>;
    assert.ok(others.includes(action) || `${call}Command` in known, action);
  }
});

/** Word for word, so that a change is seen by whoever reads the difference. */
const GOLDEN: Record<string, () => unknown> = {
  'instance.json': () => identityPolicy(WEB),
  'instance-version-queue.json': () =>
    identityPolicy({
      ...WEB,
      bundle: { bucket: 'example-bundles', key: 'prod/web.enc.tar', versionId: 'v1' },
      queue: `arn:aws:sqs:eu-west-1:${OWNER}:web-1`,
    }),
  'instance-gov-topic.json': () =>
    identityPolicy({
      ...WEB,
      keys: [key(`arn:aws-us-gov:kms:us-gov-west-1:${OWNER}:key/${MRK_ID}`)],
      topic: `arn:aws-us-gov:sns:us-gov-west-1:${OWNER}:uploads`,
    }),
  'author-several-sse.json': () => identityPolicy({ ...WEB, role: 'author', keys: [KEY, MRK], sseKey: KEY }),
  'across-key.json': () => keyStatements(WEB, KEY, role('web', OTHER)),
  'across-bucket.json': () => bucketPolicy({ ...WEB, role: 'author' }, role('ci', OTHER)),
  'key-china.json': () =>
    keyPolicy(OWNER, 'aws-cn', {
      admins: [role('admin', OWNER, 'aws-cn')],
      users: [],
      authors: [{ name: 'web.prod', principal: role('ci', OWNER, 'aws-cn') }],
      readers: [
        { name: 'web.prod', principal: role('web', OWNER, 'aws-cn') },
        { name: 'web.prod', principal: role('web', OTHER, 'aws-cn') },
      ],
      ...{ iam: false, multiRegion: true },
    }),
};
for (const [file, make] of Object.entries(GOLDEN)) {
  test(`policies/${file} is what is printed`, () => {
    const golden = readFileSync(path.join(VECTORS, 'policies', file), 'utf8');
    assert.equal(`${JSON.stringify(make(), null, 2)}\n`, golden);
  });
}

for (const [text, hint] of [
  ['123456789012', /arn:aws:iam::123456789012:root/],
  ['arn:aws:sts::123456789012:assumed-role/web/i-1234', /arn:aws:iam::123456789012:role\/web/],
  ['arn:aws-cn:sts::123456789012:federated-user/x', /role\/NAME/],
  ['arn:aws:iam::123456789012:group/ops', /its users/],
  ['arn:aws:iam::123456789012:role/*', /role\/NAME/],
  ['arn:aws:iam::123456789012:role/*/web', /role\/NAME/],
  ['arn:aws:iam::123456789012:instance-profile/web', /role\/NAME/],
  ['*', /role\/NAME/],
  ['web', /role\/NAME/],
  ['', /role\/NAME/],
] as const) {
  test(`parsePrincipal() refuses ${JSON.stringify(text)} and says what to write`, () => {
    assert.throws(
      () => parsePrincipal(text, '--user'),
      (error: unknown) =>
        error instanceof UsageError && hint.test(error.hint ?? '') && /--user/.test(error.message),
    );
  });
}

test('parsePrincipal() takes roles and users with paths, and accounts', () => {
  const kinds = [
    'role/a',
    'role/aws-service-role/x.amazonaws.com/a',
    'user/ops/jane@example.com',
    'root',
  ].map((resource) => parsePrincipal(`arn:aws-us-gov:iam::123456789012:${resource}`, '--user').kind);
  assert.deepEqual(kinds, ['role', 'role', 'user', 'account']);
});

test('no text makes parsePrincipal() or parseNamedPrincipal() fail but with a hint, or name what was not written', () => {
  const parts = fc.constantFrom(
    'arn:',
    'aws',
    'iam',
    'sts',
    ':',
    '::',
    '123456789012',
    'role/',
    'user/',
    'a',
    '*',
    '=',
    'é',
    '/',
    '\n',
  );
  const texts = fc.oneof(
    fc.string(),
    fc.array(parts, { maxLength: 12 }).map((all) => all.join('')),
  );
  fc.assert(
    fc.property(texts, (text) => {
      for (const parse of [parsePrincipal, parseNamedPrincipal]) {
        try {
          const result = parse(text, '--reader');
          const { arn } = 'principal' in result ? result.principal : result;
          assert.ok(
            text.endsWith(arn) && /^arn:aws[a-z-]*:iam::\d{12}:(root|(role|user)\/[!-~]+)$/.test(arn),
            arn,
          );
        } catch (error) {
          assert.ok(error instanceof UsageError && error.hint !== undefined, String(error));
        }
      }
    }),
    { numRuns: 2000 },
  );
});

test('a key has administrators of its own account and partition, and a policy of a size that KMS takes', () => {
  const usage = (grants: Partial<Grants>, pattern: RegExp) =>
    assert.throws(
      () => keyPolicy(OWNER, 'aws', { ...NOBODY, ...grants }),
      (error: unknown) =>
        error instanceof UsageError && pattern.test(error.message) && error.hint !== undefined,
    );
  usage({ admins: [role('a', OTHER)] }, /manage a key of account 123456789012/);
  usage({ users: [role('a', OWNER, 'aws-cn')] }, /partition aws: it is of aws-cn/);
  const many = Array.from({ length: 700 }, (_, i) => role(`a-role-with-a-name-${i}`));
  usage({ users: many }, new RegExp(`want at most ${KEY_POLICY_BYTES_MAX}`));
});

test('partitionOf() knows where each region belongs', () => {
  const found = [
    'eu-west-1',
    'cn-north-1',
    'us-gov-east-1',
    'us-iso-east-1',
    'us-isob-east-1',
    'eusc-de-east-1',
  ].map(partitionOf);
  assert.deepEqual(found, ['aws', 'aws-cn', 'aws-us-gov', 'aws-iso', 'aws-iso-b', 'aws-eusc']);
});

test('no two names have one Sid', () => {
  for (const [one, other] of [
    ['a-b', 'ax2db'],
    ['x', 'x78'],
  ] as const)
    assert.notEqual(sidOf(one), sidOf(other));
});
