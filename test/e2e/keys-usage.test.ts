/** `keys usage` and `keys delete` over everything that people have in buckets and directories, with aws as the second client. */
import assert from 'node:assert/strict';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { after, before, type TestContext, test } from 'node:test';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import { awsEnv, createBucket, createKey, type Moto, motoS3, startMoto } from '../support/moto.ts';
import { Bench, must } from '../support/program.ts';

const NOBODY = 65_534;

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

interface Use {
  readonly location: string;
  readonly version: string | null;
  readonly current: boolean;
  readonly what: string;
  readonly only: boolean | null;
}

async function setUp(t: TestContext, url = moto.url) {
  const bench = await Bench.create(t, awsEnv(url));
  await mkdir(bench.path('dir'));
  await writeFile(bench.path('dir/secret'), 'content');
  const env = awsEnv(moto.url);
  return {
    bench,
    aws: async (...args: string[]) => {
      const all = [...args, '--region', 'eu-west-1', '--output', 'json'];
      return JSON.parse((await must('aws', all, { env, cwd: bench.directory })) || 'null');
    },
    pack: (out: string, ...keys: string[]) =>
      bench.must(['pack', '--dir', 'dir', ...keys.flatMap((key) => ['--key', key]), out, '--force']),
    usage: async (key: string, ...places: string[]) => {
      const asked = ['keys', 'usage', key, ...places.flatMap((place) => ['--in', place])];
      return JSON.parse(await bench.must([...asked, '--json']));
    },
  };
}

const found = (uses: readonly Use[]) =>
  uses
    .map(
      ({ location, current, what, only }) =>
        `${location.replace(/^.*\//, '')} ${what} ${current ? 'current' : 'older'} ${only}`,
    )
    .sort();

test('keys usage finds bundles and their older versions, what aws encrypted, S3 itself sealed, and what was deleted', async (t) => {
  const { bench, aws, pack, usage } = await setUp(t);
  const bucket = await createBucket(moto.url, { versioned: true });
  const [key, other] = [await createKey(moto.url), await createKey(moto.url)];
  await pack(`s3://${bucket}/prod/web.enc`, key);
  await pack(`s3://${bucket}/prod/web.enc`, other);
  await pack(`s3://${bucket}/prod/both.enc`, other, key);
  await pack(`s3://${bucket}/prod/theirs.enc`, other);
  await pack(`s3://${bucket}/prod/gone.enc`, key);
  await aws('s3api', 'delete-object', '--bucket', bucket, '--key', 'prod/gone.enc');
  await writeFile(bench.path('plain'), 'a password');
  const put = (name: string, ...more: string[]) =>
    aws('s3api', 'put-object', '--bucket', bucket, '--key', `prod/${name}`, '--body', name, ...more);
  await writeFile(bench.path('plain.txt'), 'no secret');
  await put('plain.txt');
  await writeFile(bench.path('sealed.txt'), 'no secret');
  await put('sealed.txt', '--server-side-encryption', 'aws:kms', '--ssekms-key-id', key);
  const { CiphertextBlob } = await aws('kms', 'encrypt', '--key-id', key, '--plaintext', 'fileb://plain');
  await writeFile(bench.path('binary.kms'), Buffer.from(CiphertextBlob, 'base64'));
  await put('binary.kms');
  await writeFile(bench.path('text.kms'), CiphertextBlob);
  await put('text.kms');
  const bound = await aws(
    'kms',
    'encrypt',
    '--key-id',
    key,
    '--plaintext',
    'fileb://plain',
    '--encryption-context',
    'a=b',
  );
  await writeFile(bench.path('bound.kms'), bound.CiphertextBlob);
  await put('bound.kms');

  const all = await usage(key, `s3://${bucket}/prod`);
  assert.deepEqual(found(all.uses), [
    'binary.kms kms current true',
    'both.enc bundle current false',
    'gone.enc bundle older true',
    'sealed.txt sse current true',
    'text.kms kms current true',
    'web.enc bundle older true',
  ]);
  assert.ok(all.uses.every(({ version }: Use) => version !== null));
  // Without its context nobody can tell whose it is.
  assert.deepEqual(
    all.unseen.map(({ location }: Use) => location),
    [`s3://${bucket}/prod/bound.kms`],
  );
  assert.equal(all.unused, false);
  const asked = ['keys', 'usage', key, '--in', `s3://${bucket}/prod/bound`, '--context', 'a=b', '--json'];
  const inContext = JSON.parse(await bench.must(asked));
  assert.deepEqual([found(inContext.uses), inContext.unseen], [['bound.kms kms current true'], []]);
  assert.deepEqual(found((await usage(other, `s3://${bucket}/prod/theirs`)).uses), [
    'theirs.enc bundle current true',
  ]);
  // The whole bucket, every bucket, and a store of the settings.
  const more = await usage(key, `s3://${bucket}`);
  assert.deepEqual(more.uses, all.uses);
  const everywhere = await usage(key, 's3://');
  assert.deepEqual(everywhere.uses, all.uses);
  const byStore = await bench.must(['keys', 'usage', key, '--store', `s3://${bucket}/prod`, '--json']);
  assert.deepEqual(JSON.parse(byStore).uses, all.uses);
  const text = await bench.must(['keys', 'usage', key, '--in', `s3://${bucket}/prod`]);
  assert.match(text, /both\.enc\S* +bundle +both +current +arn:aws:kms:\S+ \(Enabled\)/);
  assert.match(text, /6 uses of arn.*, 5 that nothing else can open, 1 not seen\n$/);
});

test('keys usage looks into directories and files, and tells of what it may not read', async (t) => {
  const { bench, pack, usage } = await setUp(t);
  const [key, other] = [await createKey(moto.url), await createKey(moto.url)];
  await mkdir(bench.path('bundles/a/b'), { recursive: true });
  await pack('bundles/web.enc', key);
  await pack('bundles/a/b/mail.enc', key, other);
  await pack('bundles/a/theirs.enc', other);
  const seen = await usage(key, 'bundles');
  assert.deepEqual(found(seen.uses), ['mail.enc bundle current false', 'web.enc bundle current true']);
  assert.deepEqual([seen.looked, seen.unseen], [3, []]);
  assert.deepEqual(found((await usage(key, 'bundles/web.enc')).uses), ['web.enc bundle current true']);
});

test('a key is deleted when nothing is wrapped by it, and the alarm that is printed is one', async (t) => {
  const { bench, aws, pack } = await setUp(t);
  const bucket = await createBucket(moto.url, { versioned: true });
  const [key, other] = [await createKey(moto.url), await createKey(moto.url)];
  await pack(`s3://${bucket}/web.enc`, key);
  await pack(`s3://${bucket}/web.enc`, other);
  const asked = ['keys', 'delete', key, '--days', '7', '--in', `s3://${bucket}`, '--log-group', 'trail'];
  const refused = await bench.secretsfs(asked);
  assert.deepEqual([refused.code, refused.stdout], [5, ''], refused.stderr);
  assert.match(refused.stderr, /still needed by "s3:.*web\.enc\?versionId=\S+" \(key-in-use\)/);

  const { Versions } = await aws('s3api', 'list-object-versions', '--bucket', bucket);
  const older = Versions.find(({ IsLatest }: { IsLatest: boolean }) => !IsLatest);
  await aws(
    's3api',
    'delete-object',
    '--bucket',
    bucket,
    '--key',
    'web.enc',
    '--version-id',
    older.VersionId,
  );
  const state = async () => (await aws('kms', 'describe-key', '--key-id', key)).KeyMetadata;
  assert.match(await bench.must([...asked, '--dry-run']), /^would delete/);
  assert.equal((await state()).KeyState, 'Enabled');

  const { alarm, deletionDate, looked } = JSON.parse(await bench.must([...asked, '--json']));
  assert.equal(looked, 1);
  assert.equal((await state()).KeyState, 'PendingDeletion');
  const days = (Date.parse(deletionDate) - Date.now()) / 86_400_000;
  assert.ok(days > 6.9 && days < 7.1, deletionDate);
  await aws('logs', 'create-log-group', '--log-group-name', 'trail');
  for (const command of alarm) await must('sh', ['-c', command], { env: awsEnv(moto.url) });
  const { metricFilters } = await aws('logs', 'describe-metric-filters', '--log-group-name', 'trail');
  assert.ok(metricFilters[0].filterPattern.includes(`"${key} is pending deletion*"`));
  const { MetricAlarms } = await aws('cloudwatch', 'describe-alarms');
  const { metricName, metricNamespace } = metricFilters[0].metricTransformations[0];
  assert.deepEqual([MetricAlarms[0].MetricName, MetricAlarms[0].Namespace], [metricName, metricNamespace]);

  const again = await bench.secretsfs(asked);
  assert.match(again.stderr, /to be deleted already at .*\(key-pending-deletion\)\n.*--cancel/);
  await bench.must(['keys', 'delete', key, '--cancel', '--dry-run']);
  assert.equal((await state()).KeyState, 'PendingDeletion');
  assert.match(await bench.must(['keys', 'delete', key, '--cancel']), /keys enable/);
  assert.equal((await state()).KeyState, 'Disabled');
  const nothing = await bench.secretsfs(['keys', 'delete', key, '--cancel']);
  assert.match(nothing.stderr, /it is Disabled \(key-state\)/);
});

test('what could not be seen keeps a key: versions, an object, the bucket, grants', async (t) => {
  const { bench, aws, pack } = await setUp(t, proxy.url);
  const bucket = await createBucket(moto.url, { versioned: true });
  const [key, other] = [await createKey(moto.url), await createKey(moto.url)];
  t.after(() => {
    proxy.rules = [];
  });
  const denied = { kind: 'error', status: 403, code: 'AccessDenied' } as const;
  await pack(`s3://${bucket}/web.enc`, other);
  await pack(`s3://${bucket}/mail.enc`, other);
  const asked = ['keys', 'delete', key, '--days', '30', '--in', `s3://${bucket}`, '--json'];
  const isGet = (method: string, path: string, name: string) => method === 'GET' && path.includes(name);
  for (const [hidden, isHidden] of [
    ['s3:ListBucketVersions', (path: string) => isGet('GET', path, 'versions')],
    ['s3:GetObjectVersion', (path: string) => isGet('GET', path, '/mail.enc')],
    ['s3:GetEncryptionConfiguration', (path: string) => isGet('GET', path, 'encryption')],
  ] as const) {
    proxy.rules = [({ method, path }) => (method === 'GET' && isHidden(path) ? denied : undefined)];
    const seen = JSON.parse(await bench.must(['keys', 'usage', key, '--in', `s3://${bucket}`, '--json']));
    assert.equal(seen.unseen.length, 1, hidden);
    assert.match(seen.unseen[0].hint, new RegExp(hidden));
    assert.equal(seen.looked, 2);
    const { code, stderr } = await bench.secretsfs(asked);
    assert.equal(code, 5, stderr);
    assert.equal(JSON.parse(stderr).error.code, 'key-usage-unseen', hidden);
  }
  proxy.rules = [
    ({ operation }) =>
      operation === 'ListGrants' ? { ...denied, status: 400, code: 'AccessDeniedException' } : undefined,
  ];
  assert.equal(JSON.parse((await bench.secretsfs(asked)).stderr).error.code, 'key-usage-unseen');
  proxy.rules = [];
  const grantee = 'arn:aws:iam::123456789012:role/db';
  await aws(
    'kms',
    'create-grant',
    '--key-id',
    key,
    '--grantee-principal',
    grantee,
    '--operations',
    'Decrypt',
  );
  const granted = JSON.parse((await bench.secretsfs(asked)).stderr).error;
  assert.equal(granted.code, 'key-in-use');
  assert.match(granted.message, /grant \S+ to arn:aws:iam::123456789012:role\/db/);
  assert.equal((await aws('kms', 'describe-key', '--key-id', key)).KeyMetadata.KeyState, 'Enabled');
});

test('a bucket that encrypts with the key needs it for what is to come', async (t) => {
  const { aws, usage } = await setUp(t);
  const bucket = await createBucket(moto.url);
  const key = await createKey(moto.url);
  const ApplyServerSideEncryptionByDefault = { SSEAlgorithm: 'aws:kms', KMSMasterKeyID: key };
  const configuration = JSON.stringify({ Rules: [{ ApplyServerSideEncryptionByDefault }] });
  await aws(
    's3api',
    'put-bucket-encryption',
    '--bucket',
    bucket,
    '--server-side-encryption-configuration',
    configuration,
  );
  assert.deepEqual(
    (await usage(key, `s3://${bucket}`)).uses.map(({ what }: Use) => what),
    ['bucket'],
  );
});

test('a place in which there is nothing keeps a key: it looks like a slip in its name', async (t) => {
  const { bench, pack } = await setUp(t);
  const bucket = await createBucket(moto.url);
  const key = await createKey(moto.url);
  await pack(`s3://${bucket}/prod/web.enc`, key);
  await mkdir(bench.path('empty'));
  for (const place of [`s3://${bucket}/prdo`, 'empty']) {
    const refusal = await bench.secretsfs(['keys', 'delete', key, '--days', '7', '--in', place]);
    assert.deepEqual([refusal.code, /key-usage-unseen/.test(refusal.stderr)], [5, true], refusal.stderr);
  }
});

test('a directory whose files may be listed and not looked at keeps a key', async (t) => {
  const { bench, pack } = await setUp(t);
  const [key, other] = [await createKey(moto.url), await createKey(moto.url)];
  await mkdir(bench.path('place/closed'), { recursive: true });
  await pack('place/open', other);
  await pack('place/closed/wrapped', key);
  await chmod(bench.directory, 0o755);
  await chmod(bench.path('place/open'), 0o644);
  await chmod(bench.path('place/closed'), 0o744);
  const asked = (...command: string[]) =>
    bench.secretsfs(['keys', ...command, '--in', 'place', '--json'], { uid: NOBODY });
  const { stdout, stderr } = await asked('usage', key);
  const { unused, uses, unseen } = JSON.parse(stdout || assert.fail(stderr));
  assert.deepEqual([unused, uses], [false, []]);
  const names = unseen.map(({ location }: { location: string }) => location.replace(/^.*\//, ''));
  assert.deepEqual(names, ['wrapped']);
  const refusal = await asked('delete', key, '--days', '7');
  assert.equal(JSON.parse(refusal.stderr).error.code, 'key-usage-unseen');
});

test('of more objects than S3 lists at once none is missed', async (t) => {
  const { bench, pack, usage } = await setUp(t);
  const bucket = await createBucket(moto.url, { versioned: true });
  const key = await createKey(moto.url);
  await pack('web.enc', key);
  await pack(`s3://${bucket}/zz-last.enc`, key);
  const s3 = motoS3(moto.url);
  const names = Array.from({ length: 1100 }, (_, i) => `a object+${i}&ü`);
  for (let i = 0; i < names.length; i += 50) {
    const some = names
      .slice(i, i + 50)
      .map((Key) => s3.send(new PutObjectCommand({ Bucket: bucket, Key, Body: 'x' })));
    await Promise.all(some);
  }
  s3.destroy();
  const seen = await usage(key, `s3://${bucket}`, bench.path('web.enc'));
  assert.deepEqual([seen.looked, seen.unseen], [1102, []]);
  assert.deepEqual(found(seen.uses), ['web.enc bundle current true', 'zz-last.enc bundle current true']);
});

test('what a person gets wrong with usage and delete says what, and what to do', async (t) => {
  const { bench } = await setUp(t, proxy.url);
  const key = await createKey(moto.url);
  t.after(() => {
    proxy.rules = [];
  });
  const del = ['keys', 'delete', key];
  for (const [args, exit, code, says, hint] of [
    [['keys', 'usage', key], 2, 'usage', /no place given/, /--in s3:/],
    [['keys', 'usage', key, '--in', 'S3://x'], 2, 'usage', /neither S3 nor a file/, /s3:\/\/BUCKET/],
    [['keys', 'usage', key, '--in', 'missing'], 4, 'source-not-found', /no such file/, /--in/],
    [[...del, '--in', '.'], 2, 'usage', /no --days given/, /7 to 30/],
    [[...del, '--in', '.', '--days', '6'], 2, 'usage', /in "6" days/, /7 to 30/],
    [[...del, '--in', '.', '--days', '31'], 2, 'usage', /in "31" days/, /7 to 30/],
    [[...del, '--days', '7', '--cancel'], 2, 'usage', /both/, /--cancel/],
    [[...del, '--days', '7'], 2, 'usage', /no place given/, /--in/],
    [
      [...del, '--days', '7', '--in', '.', '--log-group', "a'b"],
      2,
      'usage',
      /log group/,
      /describe-log-groups/,
    ],
    [[...del, '--days', '7', '--in', '.', '--alarm-topic', 'ops'], 2, 'usage', /topic/, /list-topics/],
    [[...del, '--cancel'], 5, 'key-state', /it is Enabled/, /nothing to take back/],
    [
      ['keys', 'delete', 'alias/none', '--days', '7', '--in', '.'],
      5,
      'key-not-found',
      /no such key/,
      /--region/,
    ],
  ] as const) {
    const { code: ended, stdout, stderr } = await bench.secretsfs([...args, '--json']);
    const { error } = JSON.parse(stderr);
    assert.deepEqual([ended, stdout, error.code], [exit, '', code], stderr);
    assert.match(error.message, says);
    assert.match(error.hint, hint);
  }
  // A bucket that is not there is nothing that was seen.
  const gone = JSON.parse(
    await bench.must(['keys', 'usage', key, '--in', 's3://no-such-bucket-here', '--json']),
  );
  assert.match(gone.unseen[0].why, /there is no bucket "no-such-bucket-here"/);
  assert.equal(gone.unused, false);
  const bucket = await createBucket(moto.url);
  proxy.rules = [
    ({ path }) => (path.includes(bucket) ? { kind: 'error', status: 400, code: 'ExpiredToken' } : undefined),
  ];
  const expired = await bench.secretsfs(['keys', 'usage', key, '--in', `s3://${bucket}`, '--json']);
  assert.deepEqual([expired.code, JSON.parse(expired.stderr).error.code], [3, 'credentials-expired']);
});
