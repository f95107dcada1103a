/** `keys retire`: what a key wraps comes under another, wherever it lies, until the key can be deleted. */
import assert from 'node:assert/strict';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { PutBucketVersioningCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { awsEnv, createBucket, createKey, type Moto, motoS3, startMoto } from '../support/moto.ts';
import { Bench } from '../support/program.ts';

let moto: Moto;
before(async () => {
  moto = await startMoto();
});
after(() => moto.stop());

interface Retired {
  readonly location: string;
  readonly what: string;
  readonly outcome: string;
}
const short = (retired: readonly Retired[]) =>
  retired.map(({ location, what, outcome }) => `${location.replace(/^.*\//, '')} ${what} ${outcome}`).sort();

test('bundles and secrets come under the new key, older versions go when told to, and the old key can be deleted', async (t) => {
  const bench = await Bench.create(t, awsEnv(moto.url));
  const bucket = await createBucket(moto.url, { versioned: true });
  const [key, to, third] = [await createKey(moto.url), await createKey(moto.url), await createKey(moto.url)];
  await mkdir(bench.path('dir'));
  await writeFile(bench.path('dir/secret'), 'content');
  const pack = (out: string, ...keys: string[]) =>
    bench.must([
      'pack',
      '--dir',
      'dir',
      '--context',
      'env=prod',
      ...keys.flatMap((each) => ['--key', each]),
      out,
    ]);
  const web = `s3://${bucket}/bundles/web.enc`;
  await pack(web, key);
  await pack(`s3://${bucket}/bundles/both.enc`, key, third);
  await pack(`s3://${bucket}/bundles/theirs.enc`, third);
  await pack('local.enc', key);
  const stores = [`s3://${bucket}/store`, bench.path('store')];
  await mkdir(bench.path('store'));
  const value = Buffer.from('a password\0\n');
  for (const store of stores)
    await bench.must(['upload', '-', 'db/password', '--store', store, '--key', key, '--context', 'a=b'], {
      stdin: value,
    });
  const inspect = async (location: string) => JSON.parse(await bench.must(['inspect', location, '--json']));
  const before = await inspect(web);

  const places = [`s3://${bucket}`, 'local.enc', 'store'].flatMap((place) => ['--in', place]);
  const retire = ['keys', 'retire', key, '--to', to, ...places];
  const dry = JSON.parse(await bench.must([...retire, '--dry-run', '--json']));
  const wanted = [
    'both.enc bundle resealed',
    'local.enc bundle resealed',
    'password secret rotated',
    'password secret rotated',
    'web.enc bundle resealed',
  ];
  // The versions that the retiring itself makes older ones.
  const older = ['both.enc bundle left', 'password secret left', 'web.enc bundle left'];
  assert.deepEqual(short(dry.retired), [...wanted, ...older].sort());
  const dryPurge = JSON.parse(await bench.must([...retire, '--dry-run', '--purge-versions', '--json']));
  const gone = older.map((line) => line.replace('left', 'purged'));
  assert.deepEqual(short(dryPurge.retired), [...wanted, ...gone].sort());
  assert.deepEqual(await inspect(web), before);

  const first = await bench.secretsfs([...retire, '--json']);
  assert.equal(first.code, 5, first.stderr);
  const { error } = JSON.parse(first.stderr);
  assert.equal(error.code, 'key-in-use');
  assert.deepEqual(short(JSON.parse(first.stdout).retired), [...wanted, ...older].sort());
  const opened = await inspect(web);
  assert.ok(opened.serial > before.serial);
  assert.deepEqual([opened.name, opened.context], ['web', { env: 'prod' }]);
  const keysOf = async (location: string) =>
    (await inspect(location)).encryptedDataKeys.map(({ keyName }: { keyName: string }) => keyName);
  assert.deepEqual(await keysOf(web), [to]);
  assert.deepEqual(await keysOf(`s3://${bucket}/bundles/both.enc`), [to, third]);
  assert.deepEqual(await keysOf('local.enc'), [to]);
  for (const each of [web, 'local.enc']) {
    await bench.must(['unpack', each, 'out/', '--accept-key', to, '--force']);
    assert.equal(await readFile(bench.path('out/secret'), 'utf8'), 'content');
    await rm(bench.path('out'), { recursive: true });
  }
  for (const store of stores) {
    const got = await bench.must([
      'get',
      'db/password',
      '--store',
      store,
      '--accept-key',
      to,
      '--context',
      'a=b',
    ]);
    assert.equal(got, value.toString('latin1'));
  }

  const purged = JSON.parse(await bench.must([...retire, '--purge-versions', '--json']));
  assert.deepEqual(short(purged.retired), gone);
  const usage = JSON.parse(await bench.must(['keys', 'usage', key, ...places, '--json']));
  assert.deepEqual([usage.uses, usage.unused], [[], true]);
  await bench.must(['keys', 'delete', key, '--days', '7', ...places]);
});

test('an older version stays where what is newest is damaged, was left, or was removed', async (t) => {
  const bench = await Bench.create(t, awsEnv(moto.url));
  const bucket = await createBucket(moto.url, { versioned: true });
  const [key, to] = [await createKey(moto.url), await createKey(moto.url)];
  const store = `s3://${bucket}/store`;
  await mkdir(bench.path('dir'));
  await writeFile(bench.path('dir/secret'), 'content');
  await bench.must(['keygen', 'file-key']);
  const upload = ['--store', store, '--key', key];
  for (const at of ['garbage', 'removed', 'whole']) await bench.must(['upload', 'dir/secret', at, ...upload]);
  const pack = ['pack', '--dir', 'dir', '--key', key];
  for (const at of ['garbage.enc', 'left.enc']) await bench.must([...pack, `s3://${bucket}/${at}`]);
  await bench.must([...pack, '--key', 'local:file-key', `s3://${bucket}/left.enc`]);
  await bench.must(['rm', 'removed', '--store', store]);
  const s3 = motoS3(moto.url);
  t.after(() => s3.destroy());
  for (const Key of ['store/garbage', 'garbage.enc'])
    await s3.send(new PutObjectCommand({ Bucket: bucket, Key, Body: 'garbage' }));

  const retire = ['keys', 'retire', key, '--to', to, '--in', `s3://${bucket}`, '--purge-versions'];
  const dry = JSON.parse(await bench.must([...retire, '--dry-run', '--json']));
  const { stdout } = await bench.secretsfs([...retire, '--json']);
  const wanted = [
    'garbage secret left',
    'garbage.enc bundle left',
    'left.enc bundle left',
    'left.enc bundle left',
    'removed secret left',
    'whole secret purged',
    'whole secret rotated',
  ];
  const { retired } = JSON.parse(stdout);
  assert.deepEqual(short(dry.retired), wanted);
  assert.deepEqual(short(retired), wanted);
  const why = (name: string) => retired.find((each: Retired) => each.location.endsWith(name)).why;
  assert.match(why('/garbage'), /^it is an older version, and goes only when .* \(bundle-invalid\)$/);
  assert.match(why('/removed'), /there is nothing newest \(source-not-found\)$/);
  for (const at of ['garbage', 'removed']) {
    const history = JSON.parse(await bench.must(['history', at, '--store', store, '--json']));
    assert.equal(history.length, 2);
  }
});

test('what can not be brought over is left as it is, each with what to do', async (t) => {
  const bench = await Bench.create(t, awsEnv(moto.url));
  const bucket = await createBucket(moto.url);
  const [key, to] = [await createKey(moto.url), await createKey(moto.url)];
  await mkdir(bench.path('dir'));
  await writeFile(bench.path('dir/secret'), 'content');
  await bench.must(['keygen', 'file-key']);
  await bench.must([
    'pack',
    '--dir',
    'dir',
    '--key',
    key,
    '--key',
    'local:file-key',
    `s3://${bucket}/web.enc`,
  ]);
  await bench.must(['encrypt', 'dir/secret', 'secret.kms', '--key', key]);
  const retire = ['keys', 'retire', key, '--to', to, '--in', `s3://${bucket}`, '--in', 'secret.kms'];
  const { code, stdout, stderr } = await bench.secretsfs(retire);
  assert.equal(code, 5, stderr);
  assert.match(
    stdout,
    /^bundle s3:\S*web\.enc left: it is sealed for the key file [0-9a-f]{16}, too: secretsfs reseal/m,
  );
  assert.match(stdout, /^kms \S*secret\.kms left: secretsfs reencrypt/m);
  assert.match(stderr, /2 left, 0 not seen \(key-in-use\)/);
  await bench.must(['unpack', `s3://${bucket}/web.enc`, 'out.tar', '--accept-key', key]);
});

test('a key that can not take over takes nothing over', async (t) => {
  const bench = await Bench.create(t, awsEnv(moto.url));
  const key = await createKey(moto.url);
  const gone = '00000000-0000-4000-8000-000000000000';
  for (const [to, code, hint] of [
    [key, 'usage', /another key/],
    [gone, 'key-not-found', /--region/],
    ['local:key', 'usage', /KMS/],
  ] as const) {
    const { stderr } = await bench.secretsfs(['keys', 'retire', key, '--to', to, '--in', '.', '--json']);
    const { error } = JSON.parse(stderr);
    assert.equal(error.code, code);
    assert.match(error.hint, hint);
  }
});

test('a version from before the bucket kept any is left: a write replaces its id where versions are suspended', async (t) => {
  const bench = await Bench.create(t, awsEnv(moto.url));
  const bucket = await createBucket(moto.url);
  const [key, to] = [await createKey(moto.url), await createKey(moto.url)];
  const store = ['--store', `s3://${bucket}`];
  await bench.must(['put', 'a', '--key', key, ...store], { stdin: Buffer.from('content') });
  const s3 = motoS3(moto.url);
  t.after(() => s3.destroy());
  await s3.send(
    new PutBucketVersioningCommand({ Bucket: bucket, VersioningConfiguration: { Status: 'Enabled' } }),
  );
  const retire = ['keys', 'retire', key, '--to', to, '--in', `s3://${bucket}`, '--purge-versions', '--json'];
  const { code, stdout, stderr } = await bench.secretsfs(retire);
  assert.equal(code, 5, stderr);
  const { retired } = JSON.parse(stdout) as { retired: (Retired & { version?: string; why?: string })[] };
  assert.deepEqual(short(retired), ['a secret left', 'a secret rotated']);
  const left = retired.find(({ outcome }) => outcome === 'left');
  assert.equal(left?.version, 'null');
  assert.match(left?.why ?? '', /^its version id is null, .*aws s3api delete-object --version-id null/);
  assert.equal(await bench.must(['get', 'a', ...store]), 'content');
  const history = JSON.parse(await bench.must(['history', 'a', '--json', ...store]));
  assert.equal(history.length, 2);
});
