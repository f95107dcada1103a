/** A store that sneaker and kms-secrets left, and one that sneaker still reads. */
import assert from 'node:assert/strict';
import { createDecipheriv, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { mkdir, readdir, readFile, realpath, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { CreateBucketCommand, DeleteObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { sealSneaker } from '../../src/bundle/sneaker.ts';
import { awsCli } from '../support/aws-cli.ts';
import { startFaultProxy } from '../support/fault-proxy.ts';
import { awsEnv, createBucket, createKey, motoS3, startMoto } from '../support/moto.ts';
import { OLD_CONTEXT, OLD_KEY_ID, OLD_VECTORS, oldFile, oldKms } from '../support/old-vectors.ts';
import { Bench } from '../support/program.ts';

test('stored secrets of every era are listed and opened where they lie, and at another place they are not', async (t) => {
  // The bucket is called as it was then.
  const moto = await startMoto({ own: true });
  t.after(() => moto.stop());
  const kms = await oldKms().listen();
  t.after(() => kms.stop());
  const s3 = motoS3(moto.url);
  await s3.send(
    new CreateBucketCommand({
      Bucket: 'bucket',
      CreateBucketConfiguration: { LocationConstraint: 'eu-west-1' },
    }),
  );
  const bench = await Bench.create(t, {
    ...awsEnv(moto.url, { SECRETSFS_FORCE_PATH_STYLE: 'true' }),
    AWS_ENDPOINT_URL_KMS: kms.url,
    // As they had it in 2015, with the key of today.
    S3_PATH: 's3://bucket/prefix',
    KMS_KEY_ID: 'alias/of-today',
  });
  for (const { name, how, context, format } of OLD_VECTORS.filter(({ name }) => !name.endsWith('.pack')).map(
    (vector) => ({ ...vector, format: vector.how === 'pair' ? 'kms-secrets' : 'sneaker' }),
  )) {
    const suffixes = how === 'pair' ? ['.kms', '.aes'] : [''];
    const put = (place: string) =>
      Promise.all(
        suffixes.map((suffix) =>
          s3.send(
            new PutObjectCommand({
              Bucket: 'bucket',
              Key: `prefix/${place}${suffix}`,
              Body: oldFile(name + suffix),
            }),
          ),
        ),
      );
    await put('db/password');
    const { place } = OLD_VECTORS.find((vector) => vector.name === name) ?? {};
    const pairs = Object.entries(context).flatMap(([key, value]) => ['--context', `${key}=${value}`]);
    const formats = place === null ? ['--formats', 'kms-secrets'] : [];
    const get = ['get', 'db/password', ...pairs];
    assert.equal(await bench.must([...get, ...formats]), oldFile('secret').toString(), name);
    if (place === null) {
      const { code, stderr } = await bench.secretsfs(get);
      assert.equal(code, 5);
      assert.match(stderr, /data-key-refused.*--formats kms-secrets/s);
    }
    const [listed] = JSON.parse(await bench.must(['ls', '--json']));
    assert.deepEqual([listed.path, listed.format], ['db/password', format], name);
    if (name.includes('02-05') || name.startsWith('c')) {
      await put('db/other');
      const { code, stderr } = await bench.secretsfs(['get', 'db/other', ...pairs]);
      assert.equal(code, 5, stderr);
    }
    for (const place of ['db/password', 'db/other']) {
      for (const suffix of suffixes) {
        await s3.send(new DeleteObjectCommand({ Bucket: 'bucket', Key: `prefix/${place}${suffix}` }));
      }
    }
  }
  assert.match(OLD_KEY_ID, /^arn:/);
});

test('rotate --format sneaker writes what sneaker reads, and rotate brings it back', async (t) => {
  const moto = await startMoto();
  t.after(() => moto.stop());
  const [key, other] = [await createKey(moto.url), await createKey(moto.url)];
  const bucket = await createBucket(moto.url);
  const bench = await Bench.create(t, {
    ...awsEnv(moto.url, { SECRETSFS_FORCE_PATH_STYLE: 'true' }),
    SECRETSFS_STORE: `s3://${bucket}/prefix`,
  });
  const pairs = ['--context', 'team=infra', '--context', 'Zone=north'];
  await writeFile(bench.path('secret'), 'correct horse\n');
  for (const path of ['db/password', 'a'])
    await bench.must(['upload', 'secret', path, '--key', key, ...pairs]);
  const several = await bench.secretsfs(['rotate', '--format', 'sneaker', '--key', key, '--key', other]);
  assert.equal(several.code, 2);
  assert.match(await bench.must(['rotate', '--format', 'sneaker', '--key', other]), /rotated 2 secrets/);
  const listed = JSON.parse(await bench.must(['ls', '--json']));
  assert.deepEqual(
    listed.map((each: { format: string }) => each.format),
    ['sneaker', 'sneaker'],
  );

  // As sneaker does it, with Debian's aws.
  const aws = { env: bench.env, cwd: bench.directory };
  await awsCli(['s3', 'cp', `s3://${bucket}/prefix/db/password`, 'object'], aws);
  const object = await readFile(bench.path('object'));
  const length = object.readUInt32BE(0);
  await writeFile(bench.path('blob'), object.subarray(4, 4 + length));
  const context = `team=infra,Zone=north,Path=s3://${bucket}/prefix/db/password`;
  const decrypt = ['kms', 'decrypt', '--ciphertext-blob', 'fileb://blob', '--encryption-context', context];
  const { Plaintext, KeyId } = JSON.parse(await awsCli([...decrypt, '--output', 'json'], aws));
  assert.equal(KeyId, other);
  const sealed = object.subarray(4 + length);
  const decipher = createDecipheriv('aes-256-gcm', Buffer.from(Plaintext, 'base64'), sealed.subarray(0, 12));
  decipher.setAAD(Buffer.from(KeyId)).setAuthTag(sealed.subarray(-16));
  const opened = Buffer.concat([decipher.update(sealed.subarray(12, -16)), decipher.final()]);
  assert.equal(opened.toString(), 'correct horse\n');

  assert.equal(await bench.must(['get', 'a', ...pairs]), 'correct horse\n');
  await bench.must(['rotate', '--key', key, ...pairs]);
  const [back] = JSON.parse(await bench.must(['ls', '--json']));
  assert.equal(back.format, 'secretsfs');
  assert.deepEqual(back.context, OLD_CONTEXT);
  assert.equal(await bench.must(['get', 'a', ...pairs]), 'correct horse\n');
});

test('key files alone are asked of no KMS, whatever lies there', async (t) => {
  const kms = oldKms();
  const server = await kms.listen();
  t.after(() => server.stop());
  const bench = await Bench.create(t, { ...awsEnv(server.url), SECRETSFS_STORE: 'dir', KMS_KEY_ID: '' });
  await bench.must(['keygen', 'key']);
  await mkdir(bench.path('dir'));
  const place = `file://${await realpath(bench.path('dir'))}`;
  const wrap = (data: Buffer, path: string) => kms.wrap(OLD_KEY_ID, data, { Path: `${place}/${path}` });
  const seal = (path: string) => {
    const plaintext = randomBytes(32);
    const wrappedKey = wrap(plaintext, path);
    const key = { plaintext, keyId: OLD_KEY_ID, wrappedKey, nonce: randomBytes(12) };
    return { wrappedKey, object: sealSneaker(Buffer.from('theirs'), key) };
  };
  await writeFile(bench.path('dir/one'), seal('one').object);
  const { wrappedKey, object } = seal('two');
  await writeFile(bench.path('dir/two.kms'), wrappedKey);
  await writeFile(bench.path('dir/two.aes'), object.subarray(4 + wrappedKey.length));
  for (const path of ['one', 'two']) {
    assert.equal(await bench.must(['get', path]), 'theirs');
    const asked = kms.calls.length;
    const { code, stdout } = await bench.secretsfs(['get', path, '--key', 'local:key']);
    assert.notEqual(code, 0);
    assert.equal(stdout, '');
    assert.equal(kms.calls.length, asked, path);
  }
});

test('mv of a pair leaves a half that somebody replaces meanwhile', async (t) => {
  const kms = oldKms();
  const server = await kms.listen();
  t.after(() => server.stop());
  const proxy = await startFaultProxy(server.url);
  t.after(() => proxy.close());
  const bench = await Bench.create(t, { ...awsEnv(proxy.url), SECRETSFS_STORE: 'dir', KMS_KEY_ID: '' });
  await bench.must(['keygen', 'key']);
  await mkdir(bench.path('dir'));
  const plaintext = randomBytes(32);
  const Path = `file://${await realpath(bench.path('dir'))}/old`;
  const wrappedKey = kms.wrap(OLD_KEY_ID, plaintext, { Path });
  const key = { plaintext, keyId: OLD_KEY_ID, wrappedKey, nonce: randomBytes(12) };
  const aes = sealSneaker(Buffer.from('content'), key).subarray(4 + wrappedKey.length);
  const move = ['mv', 'old', 'new', '--force', '--key', 'local:key', '--accept-key', OLD_KEY_ID];
  for (const half of ['kms', 'aes']) {
    await writeFile(bench.path('dir/old.kms'), wrappedKey);
    await writeFile(bench.path('dir/old.aes'), aes);
    // Both were read when the key is asked.
    proxy.rules = [() => void writeFileSync(bench.path(`dir/old.${half}`), 'of somebody else')];
    const { code, stderr } = await bench.secretsfs(move);
    assert.equal(code, 10, stderr);
    assert.match(stderr, /somebody else wrote it.*output-changed/);
    assert.equal(await readFile(bench.path(`dir/old.${half}`), 'utf8'), 'of somebody else');
    assert.equal(await bench.must(['get', 'new', '--key', 'local:key']), 'content');
  }
  proxy.rules = [];
  await writeFile(bench.path('dir/old.kms'), wrappedKey);
  await writeFile(bench.path('dir/old.aes'), aes);
  await bench.must(move);
  assert.deepEqual((await readdir(bench.path('dir'))).sort(), ['.secretsfs', 'new']);
});

test('a ciphertext that nothing binds to its path is opened by nothing that was not told, and its key is not asked', async (t) => {
  const kms = oldKms();
  const server = await kms.listen();
  t.after(() => server.stop());
  const bench = await Bench.create(t, { ...awsEnv(server.url), SECRETSFS_STORE: 'dir', KMS_KEY_ID: '' });
  await bench.must(['keygen', 'key']);
  await mkdir(bench.path('dir'));
  await mkdir(bench.path('empty'));
  await writeFile(bench.path('dir/raw'), kms.wrap(OLD_KEY_ID, Buffer.from('of another'), {}));
  const [listed] = JSON.parse(await bench.must(['ls', 'raw', '--json']));
  assert.equal(listed.format, 'kms');
  const keys = ['--accept-key', OLD_KEY_ID];
  const ours = [...keys, '--key', 'local:key'];
  const commands = [
    ['get', 'raw', ...keys],
    ['get', 'raw', ...keys, '--formats', 'sneaker'],
    ['download', 'raw', 'out', ...keys],
    ['exec', 'raw', ...keys, '--', 'sh', '-c', 'echo $RAW'],
    ['mv', 'raw', 'moved', ...ours],
    ['rotate', 'raw', ...ours],
    ['pack', 'raw', 'out.enc', ...ours],
    ['diff', 'empty', `file://${bench.path('dir')}`, ...keys],
  ];
  for (const args of commands) {
    const { code, stdout, stderr } = await bench.secretsfs(args);
    assert.equal(code, args[0] === 'rotate' ? 10 : 6, `${args}: ${stderr}`);
    assert.doesNotMatch(stdout, /of another/);
    const wanted = args.includes('sneaker') ? '--formats sneaker,kms' : '--formats kms';
    assert.match(stderr, new RegExp(`bundle-format.*${wanted}\\b`, 's'));
  }
  await writeFile(bench.path('dir/note'), '-----BEGIN NOTHING-----\n');
  assert.match((await bench.secretsfs(['get', 'note', ...keys])).stderr, /a PEM file/);
  assert.deepEqual(kms.calls, []);

  assert.equal(await bench.must(['get', 'raw', '--formats', 'kms']), 'of another');
  const env = { ...bench.env, SECRETSFS_FORMATS: 'sneaker,kms' };
  assert.equal(await bench.must(['exec', 'raw', '--', 'sh', '-c', 'echo $RAW'], { env }), 'of another\n');
  await bench.must(['pack', 'raw', 'out.enc', ...ours, '--formats', 'kms']);
  await bench.must(['rotate', 'raw', ...ours, '--formats', 'kms']);
  assert.equal(await bench.must(['get', 'raw', '--key', 'local:key']), 'of another');
  const wrong = await bench.secretsfs(['get', 'raw', '--formats', 'zip']);
  assert.match(wrong.stderr, /--formats.*must be of sneaker, kms-secrets, kms/);
});
