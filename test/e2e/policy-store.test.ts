/**
 * `policy instance|author --store`: moto behind a proxy that refuses what the printed policy does not allow, as AWS would. Every command
 * that the role is for works, and each action of the policy is used by one of them.
 */
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { after, before, type TestContext, test } from 'node:test';
import { keyPolicy } from '../../src/keys/key-policy.ts';
import type { PolicyDocument } from '../../src/keys/policy-document.ts';
import { type FaultProxy, type SeenRequest, startFaultProxy } from '../support/fault-proxy.ts';
import { isAllowed, problemsOf } from '../support/iam.ts';
import { ACCOUNT, awsEnv, createBucket, createKey, type Moto, startMoto } from '../support/moto.ts';
import { Bench } from '../support/program.ts';

let moto: Moto;
let proxy: FaultProxy;
before(async () => {
  moto = await startMoto();
  proxy = await startFaultProxy(moto.url);
});
after(async () => {
  await proxy?.close();
  await moto?.stop();
});

const ROLE = `arn:aws:iam::${ACCOUNT}:role/app`;
const NOBODY = { admins: [], users: [], authors: [], readers: [], iam: true, multiRegion: false };
const KEYED = keyPolicy(ACCOUNT, 'aws', NOBODY);

interface Asked {
  readonly action: string;
  readonly resource: string;
  readonly context: Readonly<Record<string, string>>;
}

/** What a request asks for, in IAM's words. */
function askedBy({ method, path, operation, body }: SeenRequest): Asked | undefined {
  if (operation !== undefined) {
    const { KeyId, EncryptionContext = {} } = JSON.parse(body.toString());
    // Keys of others are kept out by asking for the id alone.
    const id = String(KeyId).replace(/^.*\//, '');
    const resource = `arn:aws:kms:eu-west-1:${ACCOUNT}:key/${id}`;
    const pairs = Object.entries(EncryptionContext).map(([name, value]) => [
      `kms:EncryptionContext:${name}`,
      value,
    ]);
    return { action: `kms:${operation}`, resource, context: Object.fromEntries(pairs) };
  }
  // Of STS, who we are: that takes no right.
  if (method === 'POST') return undefined;
  const url = new URL(path, 'http://s3');
  const [, bucket = '', key = ''] = /^\/([^/]+)\/?(.*)$/.exec(decodeURIComponent(url.pathname)) ?? [];
  const has = (name: string) => url.searchParams.has(name);
  const [ofBucket, ofObject] = [`arn:aws:s3:::${bucket}`, `arn:aws:s3:::${bucket}/${key}`];
  if (key === '') {
    const action = has('versions')
      ? 'ListBucketVersions'
      : has('policyStatus')
        ? 'GetBucketPolicyStatus'
        : has('acl')
          ? 'GetBucketAcl'
          : has('publicAccessBlock')
            ? 'GetBucketPublicAccessBlock'
            : 'ListBucket';
    return { action: `s3:${action}`, resource: ofBucket, context: {} };
  }
  const verb = { GET: 'GetObject', HEAD: 'GetObject', PUT: 'PutObject', DELETE: 'DeleteObject' }[method];
  return { action: `s3:${verb}${has('versionId') ? 'Version' : ''}`, resource: ofObject, context: {} };
}

/** Lets through what `policy` allows; tells which of its actions were asked for, and what was refused. */
function enforce(policy: PolicyDocument) {
  const [used, refused] = [new Set<string>(), [] as string[]];
  proxy.rules = [
    (request) => {
      const asked = askedBy(request);
      if (asked === undefined) return undefined;
      const { action, resource, context } = asked;
      const isKms = action.startsWith('kms:');
      const policies = { identity: policy, owner: ACCOUNT, ...(isKms ? { resource: KEYED } : {}) };
      if (isAllowed({ principal: ROLE, action, resource, context }, policies)) {
        used.add(action);
        return undefined;
      }
      refused.push(`${action} ${resource} ${JSON.stringify(context)}`);
      return {
        kind: 'error',
        status: isKms ? 400 : 403,
        code: isKms ? 'AccessDeniedException' : 'AccessDenied',
      };
    },
  ];
  const granted = policy.Statement.flatMap(({ Action }) => Action);
  return { used, refused, granted };
}

async function setUp(t: TestContext) {
  const bench = await Bench.create(t, awsEnv(moto.url));
  const bucket = await createBucket(moto.url, { versioned: true });
  const [key, second] = [await createKey(moto.url), await createKey(moto.url)];
  bench.env['SECRETSFS_STORE'] = `s3://${bucket}/prod`;
  bench.env['XDG_CACHE_HOME'] = bench.path('cache');
  await mkdir(bench.path('dir'));
  await writeFile(bench.path('dir/file'), 'content');
  for (const content of ['older', 'newer'])
    await bench.must(['put', 'db/password', '--key', key, '--key', second], { stdin: Buffer.from(content) });
  const [, older] = JSON.parse(await bench.must(['history', 'db/password', '--json']));
  await bench.must(['put', 'other/secret', '--store', `s3://${bucket}`, '--key', key], {
    stdin: Buffer.from('x'),
  });
  const policy = async (role: string, ...more: string[]): Promise<PolicyDocument> => {
    const text = await bench.must(['policy', role, '--key', key, '--key', second, ...more]);
    const document: PolicyDocument = JSON.parse(text);
    assert.deepEqual(problemsOf(document, 'identity'), []);
    return document;
  };
  const run = (args: readonly string[]) =>
    bench.secretsfs(args, {
      env: { ...bench.env, AWS_ENDPOINT_URL: proxy.url },
      stdin: Buffer.from('value'),
    });
  t.after(() => {
    proxy.rules = [];
  });
  return { bench, bucket, key, second, policy, run, older: String(older.version) };
}

test('an instance of a store takes out what is below its prefix, and nothing else', async (t) => {
  const { bucket, key, policy, run, older } = await setUp(t);
  const { used, refused, granted } = enforce(await policy('instance', '--versions'));
  for (const args of [
    ['ls'],
    ['get', 'db/password'],
    ['download', 'db/password', 'out'],
    ['exec', 'db/*', '--', 'true'],
    ['history', 'db/password'],
    ['get', 'db/password', '--version', older],
  ]) {
    const { code, stderr } = await run(args);
    assert.equal(code, 0, `${args.join(' ')}: ${stderr}${refused}`);
  }
  assert.equal((await run(['get', 'none'])).code, 4);
  assert.deepEqual(
    [...new Set(granted)].filter((each) => !used.has(each)),
    [],
  );
  assert.deepEqual(refused, []);
  for (const args of [
    ['get', 'other/secret', '--store', `s3://${bucket}`],
    ['put', 'db/password', '--key', key],
    ['rm', 'db/password'],
  ])
    assert.notEqual((await run(args)).code, 0, args.join(' '));
  // What is sealed for another prefix opens with the key under no name.
  const least = await policy('instance');
  const elsewhere = { 'kms:EncryptionContext:secretsfs-path': `s3://${bucket}/other/secret` };
  for (const { Resource } of least.Statement.filter(({ Action }) => Action === 'kms:Decrypt')) {
    for (const resource of [Resource].flat()) {
      const asked = { principal: ROLE, action: 'kms:Decrypt', resource };
      assert.equal(
        isAllowed({ ...asked, context: elsewhere }, { identity: least, resource: KEYED, owner: ACCOUNT }),
        false,
      );
      assert.equal(isAllowed(asked, { identity: least, resource: KEYED, owner: ACCOUNT }), false);
    }
  }
  const older2 = enforce(least);
  assert.equal((await run(['get', 'db/password', '--version', older])).code, 4);
  assert.match(older2.refused.join(), /s3:GetObjectVersion/);
});

test('an author of a store puts in, syncs and removes, and opens nothing but the keys of syncs', async (t) => {
  const { bucket, key, second, policy, run, older } = await setUp(t);
  const keys = ['--key', key, '--key', second];
  const { used, refused, granted } = enforce(await policy('author', '--versions', '--purge-versions'));
  for (const args of [
    ['ls'],
    ['put', 'db/new', ...keys],
    ['upload', 'dir/file', 'db/new', ...keys],
    ['sync', 'dir', 'synced', '--delete', ...keys],
    ['sync', 'dir', 'synced', '--delete', ...keys],
    ['history', 'db/password'],
    ['restore', 'db/password', '--version', older],
    ['rm', 'db/new'],
    ['rm', 'synced/**', '--purge-versions'],
  ]) {
    const { code, stderr } = await run(args);
    assert.equal(code, 0, `${args.join(' ')}: ${stderr}${refused}`);
  }
  // Of a bucket that is not public nobody asks what its block takes back.
  const unused = [...new Set(granted)].filter((each) => !used.has(each));
  assert.deepEqual(unused, ['s3:GetBucketPublicAccessBlock']);
  assert.deepEqual(refused, []);
  for (const args of [
    ['get', 'db/password'],
    ['mv', 'db/password', 'db/moved', ...keys],
    ['put', 'a', '--store', `s3://${bucket}/other`, ...keys],
    ['rm', 'other/secret', '--store', `s3://${bucket}`],
  ])
    assert.notEqual((await run(args)).code, 0, args.join(' '));
});

test('with both policies secrets are moved, rotated and packed', async (t) => {
  const { key, second, policy, run } = await setUp(t);
  const [reads, writes] = [await policy('instance'), await policy('author')];
  const { refused } = enforce({ ...reads, Statement: [...reads.Statement, ...writes.Statement] });
  const keys = ['--key', key, '--key', second];
  for (const args of [
    ['mv', 'db/**', 'moved/', ...keys],
    ['rotate', ...keys],
    ['upload', 'dir/file', 'db/new', '--shred', ...keys],
  ]) {
    const { code, stderr } = await run(args);
    assert.equal(code, 0, `${args.join(' ')}: ${stderr}${refused}`);
  }
  assert.deepEqual(refused, []);
});
