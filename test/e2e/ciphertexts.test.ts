/** A directory and a prefix of KMS ciphertexts in a mount, written by us and by Debian's aws command. */
import assert from 'node:assert/strict';
import { chmod, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { after, before, type TestContext, test } from 'node:test';
import { DeleteObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { awsCli } from '../support/aws-cli.ts';
import { awsEnv, createBucket, createKey, type Moto, motoS3, startMoto } from '../support/moto.ts';
import { Bench, eventually } from '../support/program.ts';

let moto: Moto;
let key: string;
before(async () => {
  moto = await startMoto();
  key = await createKey(moto.url);
});
after(() => moto?.stop());

async function create(t: TestContext): Promise<Bench> {
  const bench = await Bench.create(t, awsEnv(moto.url, { SECRETSFS_FORCE_PATH_STYLE: 'true' }));
  // As provisioning data are: ciphertext that everybody may read.
  await chmod(bench.directory, 0o755);
  await mkdir(bench.path('app.d'));
  await mkdir(bench.path('mnt'));
  await writeFile(
    bench.path('config'),
    JSON.stringify({ formats: ['kms'], context: ['app=web'], poll: '1s' }),
  );
  await bench.must(['encrypt', '-', 'app.d/x.pem.kms', '--key', key, '--context', 'app=web'], {
    stdin: Buffer.from('a certificate\n'),
  });
  return bench;
}

for (const driver of ['kernel', 'fuse-native']) {
  test(`${driver}: files of a directory appear opened, a data key unwrapped, and a new one by itself`, async (t) => {
    const bench = await create(t);
    await bench.must(['datakey', 'create', 'app.d/data.key.kms', '--key', key, '--context', 'app=web']);
    await writeFile(bench.path('plain'), 'from aws');
    const base64 = await awsCli(
      [
        ...['kms', 'encrypt', '--key-id', key, '--encryption-context', 'app=web'],
        ...['--plaintext', 'fileb://plain', '--query', 'CiphertextBlob', '--output', 'text'],
      ],
      { env: bench.env, cwd: bench.directory },
    );
    await mkdir(bench.path('app.d/sub'));
    await writeFile(bench.path('app.d/sub/password.kms'), base64);
    const args = [
      'app.d/',
      'mnt',
      '--name',
      'app',
      '--accept-key',
      key,
      '--config',
      'config',
      '--driver',
      driver,
    ];
    const daemon = await bench.mount([...args, ...(driver === 'kernel' ? [] : ['--allow-swap'])]);
    assert.deepEqual((await readdir(bench.path('mnt'))).sort(), ['data.key', 'sub', 'x.pem']);
    assert.equal(await readFile(bench.path('mnt/x.pem'), 'utf8'), 'a certificate\n');
    assert.equal(await readFile(bench.path('mnt/sub/password'), 'utf8'), 'from aws');
    const dataKey = await bench.must(['decrypt', 'app.d/data.key.kms', '-', '--context', 'app=web']);
    assert.equal((await readFile(bench.path('mnt/data.key'))).toString('latin1'), dataKey);

    await bench.must(['encrypt', '-', 'app.d/x.pem.kms', '--key', key, '--context', 'app=web', '--force'], {
      stdin: Buffer.from('blackbird\n'),
    });
    await eventually(async () => {
      assert.equal(await readFile(bench.path('mnt/x.pem'), 'utf8'), 'blackbird\n');
    }, 30_000);
    // One that KMS refuses leaves all of them as they are, and is named.
    await bench.must(['encrypt', '-', 'app.d/bad.kms', '--key', key, '--context', 'app=other'], {
      stdin: Buffer.from('x'),
    });
    const { code, stderr } = await bench.secretsfs(['remount', 'app']);
    assert.equal(code, 5, stderr);
    assert.match(stderr, /bad\.kms: cannot decrypt/);
    assert.equal(await readFile(bench.path('mnt/x.pem'), 'utf8'), 'blackbird\n');
    await rm(bench.path('app.d/bad.kms'));
    await rm(bench.path('app.d/sub/password.kms'));
    await bench.must(['remount', 'app']);
    assert.deepEqual((await readdir(bench.path('mnt'))).sort(), ['data.key', 'x.pem']);
    assert.equal(daemon.text.includes('blackbird'), false);
  });
}

test('a prefix in S3 is mounted like a directory, and checks refuse what is in it', async (t) => {
  const bench = await create(t);
  const bucket = await createBucket(moto.url);
  const put = async (name: string) =>
    motoS3(moto.url).send(
      new PutObjectCommand({
        Bucket: bucket,
        Key: `app/${name}`,
        Body: await readFile(bench.path('app.d/x.pem.kms')),
      }),
    );
  await put('tls/x.txt.kms');
  const checks = { required: ['tls/x.txt'] };
  await writeFile(
    bench.path('config'),
    JSON.stringify({ formats: ['kms'], context: ['app=web'], poll: '1s', checks }),
  );
  const args = [
    `s3://${bucket}/app/`,
    'mnt',
    '--accept-key',
    key,
    '--config',
    'config',
    '--driver',
    'kernel',
  ];
  await bench.mount(args);
  assert.equal(await readFile(bench.path('mnt/tls/x.txt'), 'utf8'), 'a certificate\n');
  await put('y.kms');
  await eventually(
    async () => assert.deepEqual((await readdir(bench.path('mnt'))).sort(), ['tls', 'y']),
    30_000,
  );
  await motoS3(moto.url).send(new DeleteObjectCommand({ Bucket: bucket, Key: 'app/tls/x.txt.kms' }));
  const { code, stderr } = await bench.secretsfs(['remount', 'app']);
  assert.equal(code, 6, stderr);
  assert.match(stderr, /check-failed/);
});

test('a directory is mounted only where formats: names kms', async (t) => {
  const bench = await create(t);
  const { code, stderr } = await bench.secretsfs(['mount', 'app.d/', 'mnt', '--accept-key', key]);
  assert.equal(code, 3);
  assert.match(stderr, /it is a directory.*formats: \[kms\]/s);
});
