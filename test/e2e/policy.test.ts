/** `policy instance` and `policy author` as they are typed, and what they print as the aws command takes it. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import {
  awsEnv,
  createBucket,
  createKey,
  type Moto,
  startMoto,
  unique,
  withoutAws,
} from '../support/moto.ts';
import { Bench, must } from '../support/program.ts';

const KEY = 'arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab';
const OTHER_ACCOUNT = 'arn:aws:iam::999988887777:role/web';

let moto: Moto;
before(async () => {
  moto = await startMoto();
});
after(() => moto.stop());

for (const role of ['instance', 'author']) {
  test(`policy ${role} prints what IAM, KMS and S3 take`, async (t) => {
    const bench = await Bench.create(t, awsEnv(moto.url));
    const aws = (...args: string[]) =>
      must('aws', [...args, '--region', 'eu-west-1', '--output', 'json'], { env: bench.env });
    const bucket = await createBucket(moto.url);
    const key = await createKey(moto.url);
    const asked = ['policy', role, '--bundle', `s3://${bucket}/prod/web.enc.tar`, '--key', key];

    await writeFile(bench.path('role.json'), await bench.must(asked));
    const name = unique('policy');
    await aws(
      'iam',
      'create-policy',
      '--policy-name',
      name,
      '--policy-document',
      `file://${bench.path('role.json')}`,
    );

    const abroad = [...asked, '--principal', OTHER_ACCOUNT];
    await writeFile(bench.path('bucket.json'), await bench.must([...abroad, '--document', 'bucket']));
    await aws(
      's3api',
      'put-bucket-policy',
      '--bucket',
      bucket,
      '--policy',
      `file://${bench.path('bucket.json')}`,
    );
    const keyStatements = JSON.parse(await bench.must([...abroad, '--document', 'key']));
    const { Policy } = JSON.parse(
      await aws('kms', 'get-key-policy', '--key-id', key, '--policy-name', 'default'),
    );
    const whole = JSON.parse(Policy);
    whole.Statement.push(...keyStatements.Statement);
    await writeFile(bench.path('key.json'), JSON.stringify(whole));
    await aws(
      'kms',
      'put-key-policy',
      '--key-id',
      key,
      '--policy-name',
      'default',
      '--policy',
      `file://${bench.path('key.json')}`,
    );

    const all = JSON.parse(await bench.must([...abroad, '--json']));
    assert.deepEqual(all.keys, [{ key, policy: keyStatements }]);
    assert.equal(all.bucket.Statement[0].Principal.AWS, OTHER_ACCOUNT);
    assert.equal(`${all.role} ${all.name}`, `${role} web`);
  });
}

test('policy has what --bucket-key, --topic and --queue are for', async (t) => {
  const bench = await Bench.create(t, withoutAws(process.env));
  const sids = async (...args: string[]) => {
    const asked = ['policy', 'instance', '--bundle', 's3://bundles/web', '--key', KEY, ...args];
    return JSON.parse(await bench.must(asked)).Statement.map(({ Sid }: { Sid: string }) => Sid);
  };
  const least = ['OpenBundle', 'ReadBundle', 'TellMissingFromDenied'];
  assert.deepEqual(await sids(), least);
  assert.deepEqual(await sids('--bucket-key', KEY), [...least, 'BucketKey']);
  const queue = 'https://sqs.eu-west-1.amazonaws.com/123456789012/web';
  assert.deepEqual(await sids('--queue', queue), [...least, 'HearOfUploads']);
  const topic = 'arn:aws:sns:eu-west-1:123456789012:uploads';
  assert.deepEqual(await sids('--topic', topic), [...least, 'OwnQueue', 'Subscribe', 'Unsubscribe']);
});

test('policy asks nobody, and warns of what else must say so across accounts', async (t) => {
  const bench = await Bench.create(t, withoutAws(process.env));
  const args = [
    'policy',
    'instance',
    '--bundle',
    's3://bundles/web',
    '--key',
    KEY,
    '--principal',
    OTHER_ACCOUNT,
  ];
  const { code, stderr } = await bench.secretsfs(args);
  assert.equal(code, 0, stderr);
  assert.match(stderr, /the key is of account 123456789012: its policy must say what --document key prints/);
  assert.match(stderr, /the bucket is of account 123456789012/);
  const theirs = await bench.secretsfs([...args, '--expected-bucket-owner', '999988887777']);
  assert.doesNotMatch(theirs.stderr, /the bucket/);
});

test('policy says what is wrong with what it was given, and what to write', async (t) => {
  const bench = await Bench.create(t, withoutAws(process.env));
  const china = KEY.replace('arn:aws:kms:eu-west-1', 'arn:aws-cn:kms:cn-north-1');
  for (const [args, says, hint] of [
    [[], /no bundle given/, /--bundle s3:/],
    [['--bundle', 's3://bundles/web'], /no key given/, /--key/],
    [['--bundle', 's3://bundles/web', '--key', 'alias/web'], /not a key's ARN/, /keys show/],
    [['--bundle', 's3://bundles/web', '--key', 'local:key'], /no policy of AWS rules a key file/, /KMS/],
    [
      ['--bundle', 's3://bundles/web', '--key', KEY, '--key', china],
      /beside a key of the partition aws/,
      /for each/,
    ],
    [
      ['--bundle', 's3://bundles/web', '--key', KEY, '--document', 'key'],
      /does not say for whom/,
      /--principal/,
    ],
    [
      ['--bundle', 'web', '--key', KEY, '--document', 'bucket', '--principal', OTHER_ACCOUNT],
      /is in none/,
      /nothing/,
    ],
    [
      ['--bundle', 's3://bundles/web', '--key', KEY, '--document', 'all'],
      /--document is "all", want "identity" or "key" or "bucket"/,
      /--help/,
    ],
    [
      ['--bundle', 's3://bundles/web', '--key', KEY, '--queue', 'http://x/y'],
      /the ARN of the queue/,
      /sqs\.REGION/,
    ],
    [['--bundle', 's3://bundles/.../', '--key', KEY], /from/, /--name/],
  ] as const) {
    const { code, stdout, stderr } = await bench.secretsfs(['policy', 'instance', ...args]);
    assert.deepEqual([code, stdout], [2, ''], stderr);
    assert.match(stderr, says);
    assert.match(stderr.split('hint: ')[1] ?? '', hint);
  }
});
