/** Single secrets of a store as people handle them, with Debian's aws as the other client. */
import assert from 'node:assert/strict';
import { createCipheriv, randomBytes } from 'node:crypto';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { readSecretHeader } from '../../src/secrets/secret.ts';
import { startFaultProxy } from '../support/fault-proxy.ts';
import { createKey, type Moto, startMoto } from '../support/moto.ts';
import { refused, type StoreBench, storeBench, type, typed } from '../support/stores.ts';

let moto: Moto;
before(async () => {
  moto = await startMoto();
});
after(() => moto?.stop());

test('a secret goes in by upload and put, and comes out by get and download, byte for byte', async (t) => {
  const store = await storeBench(t, moto);
  const { bench, bucket, keyArn } = store;
  const binary = randomBytes(100_000);
  await writeFile(bench.path('tls.key'), binary);
  assert.equal(await typed(store, 'secretsfs upload tls.key web/tls.key'), 'stored "web/tls.key", 97.7 KiB');
  assert.equal(
    await typed(store, 'secretsfs upload - /web/tls.key < tls.key'),
    'replaced "web/tls.key", 97.7 KiB',
  );
  await typed(store, 'secretsfs download web/tls.key out && cmp out tls.key');
  assert.equal((await stat(bench.path('out'))).mode & 0o777, 0o600);
  await typed(store, 'secretsfs download web/tls.key - | cmp - tls.key');
  await typed(store, 'secretsfs get web/tls.key | cmp - tls.key');

  await typed(store, 'printf "s3cret pass" | secretsfs put db/password');
  assert.equal((await type(store, 'secretsfs get db/password')).stdout, 's3cret pass');
  await typed(store, 'echo "with a newline" | secretsfs put db/password');
  assert.equal((await type(store, 'secretsfs get db/password')).stdout, 'with a newline');
  await typed(store, 'printf "two\\nlines\\n" | secretsfs put db/password');
  assert.equal((await type(store, 'secretsfs get db/password')).stdout, 'two\nlines');
  await typed(store, 'echo "as it is" | secretsfs upload - db/password');
  assert.equal((await type(store, 'secretsfs get db/password')).stdout, 'as it is\n');

  const facts = JSON.parse(await typed(store, 'secretsfs download web/tls.key again --json'));
  const { etag, created, ...rest } = facts;
  assert.match(created, /^\d{4}-.*Z$/);
  assert.match(etag, /./);
  assert.deepEqual(rest, {
    ...{ path: 'web/tls.key', file: 'again', bytes: 100_000, format: 'secretsfs', keys: [keyArn] },
    dryRun: false,
  });
  const put = JSON.parse(await typed(store, 'echo x | secretsfs put new --json'));
  assert.equal(put.location, `s3://${bucket}/prod/new`);
  assert.deepEqual([put.path, put.bytes, put.keys, put.dryRun], ['new', 1, [keyArn], false]);
});

test('no key is named to open, a key of other names opens what is under older ones, and --accept-key narrows it', async (t) => {
  const store = await storeBench(t, moto);
  const other = await createKey(moto.url);
  await typed(store, 'echo old | secretsfs put a');
  await typed(store, `echo new | KMS_KEY_ID=${other} secretsfs put b`);
  for (const env of [
    '',
    'KMS_KEY_ID=',
    `KMS_KEY_ID=${other}`,
    'KMS_KEY_ID=alias/nobody',
    `KMS_KEY_ID=${other.split('/')[1]}`,
  ]) {
    assert.equal(await typed(store, `${env} secretsfs get a; ${env} secretsfs get b`), 'oldnew', env);
  }
  assert.equal(await typed(store, `secretsfs get b --accept-key ${other}`), 'new');
  await refused(store, `secretsfs get a --accept-key ${other}`, 'key-not-accepted', /--accept-key/);
});

test("sneaker's variables are understood", async (t) => {
  const store = await storeBench(t, moto);
  const { KMS_KEY_ID: key, S3_PATH: place, ...env } = store.bench.env;
  const before = {
    SNEAKER_MASTER_KEY: key,
    SNEAKER_S3_PATH: place,
    SNEAKER_MASTER_CONTEXT: 'team=infra,zone=north',
  };
  const renamed = {
    ...store,
    bench: Object.assign(Object.create(store.bench), { env: { ...env, ...before } }),
  };
  await typed(renamed, 'echo s3cret | secretsfs upload - /secret.txt');
  assert.equal(await typed(renamed, 'secretsfs download /secret.txt -'), 's3cret');
  await refused(store, 'secretsfs get secret.txt --context team=web', 'bundle-context', /"infra"/);
});

test("Debian's aws sees the object, its key and its context, and unwraps its data key", async (t) => {
  const store = await storeBench(t, moto);
  const { bench, bucket, keyArn } = store;
  await typed(store, 'printf "attack at dawn" | secretsfs put db/password --context team=infra');
  await typed(store, `aws s3 cp s3://${bucket}/prod/db/password object`);
  const object = await readFile(bench.path('object'));
  const header = readSecretHeader(object);
  assert.equal(header.location, `s3://${bucket}/prod/db/password`);
  const pair = (name: string) => {
    const at = object.indexOf(name);
    const start = at + name.length + 2;
    return object.subarray(start, start + object.readUInt16BE(start - 2)).toString();
  };
  const context = Object.fromEntries(
    ['aws-crypto-public-key', 'secretsfs-created', 'secretsfs-format', 'secretsfs-path', 'team'].map(
      (name) => [name, pair(name)],
    ),
  );
  await writeFile(bench.path('context.json'), JSON.stringify(context));
  const at = object.indexOf(keyArn) + keyArn.length;
  await writeFile(bench.path('edk'), object.subarray(at + 2, at + 2 + object.readUInt16BE(at)));
  const dataKey = await typed(
    store,
    'aws kms decrypt --ciphertext-blob fileb://edk --encryption-context file://context.json --query Plaintext --output text',
  );
  assert.equal(Buffer.from(dataKey, 'base64').length, 32);
  await refusedByAws(store, 'aws kms decrypt --ciphertext-blob fileb://edk --encryption-context team=infra');

  // What it copies back to its place opens, what it puts elsewhere does not.
  await typed(
    store,
    `aws s3 cp object s3://${bucket}/prod/db/password && aws s3 cp object s3://${bucket}/prod/db/other`,
  );
  assert.equal(await typed(store, 'secretsfs get db/password'), 'attack at dawn');
  await refused(store, 'secretsfs get db/other', 'secret-path', /--sealed-for s3:/);
  assert.equal(
    await typed(store, `secretsfs get db/other --sealed-for s3://${bucket}/prod/db/password`),
    'attack at dawn',
  );
});

async function refusedByAws(store: StoreBench, line: string): Promise<void> {
  assert.notEqual((await type(store, line)).code, 0, line);
}

test('what aws kms encrypt wrote, and what sneaker stored, comes out by get, download and exec', async (t) => {
  const store = await storeBench(t, moto);
  const { bench, bucket, keyArn } = store;
  await typed(store, 'printf "raw" > raw');
  await typed(
    store,
    `aws kms encrypt --key-id ${keyArn} --plaintext fileb://raw --query CiphertextBlob --output text > raw.b64
     base64 -d raw.b64 | aws s3 cp - s3://${bucket}/prod/raw.bin; aws s3 cp raw.b64 s3://${bucket}/prod/raw.b64`,
  );
  const formats = '--formats kms';
  await refused(store, 'secretsfs get raw.bin', 'bundle-format', /--formats kms/);
  assert.equal(
    await typed(store, `secretsfs get raw.bin ${formats}; secretsfs get raw.b64 ${formats}`),
    'rawraw',
  );

  // As sneaker does it: a data key, bound to the path; u32 length, wrapped key, nonce, ciphertext and tag.
  const generated = JSON.parse(
    await typed(
      store,
      `aws kms generate-data-key --key-id ${keyArn} --key-spec AES_256 --encryption-context Path=s3://${bucket}/prod/old`,
    ),
  );
  const wrapped = Buffer.from(generated.CiphertextBlob, 'base64');
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', Buffer.from(generated.Plaintext, 'base64'), nonce);
  cipher.setAAD(Buffer.from(generated.KeyId));
  const sealed = Buffer.concat([cipher.update('of sneaker'), cipher.final(), cipher.getAuthTag()]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(wrapped.length);
  await writeFile(bench.path('old'), Buffer.concat([length, wrapped, nonce, sealed]));
  await writeFile(bench.path('pair.kms'), wrapped);
  await writeFile(bench.path('pair.aes'), Buffer.concat([nonce, sealed]));
  await typed(store, `aws s3 cp old s3://${bucket}/prod/old`);
  assert.equal(await typed(store, 'secretsfs get old'), 'of sneaker');
  assert.equal(JSON.parse(await typed(store, 'secretsfs download old f --json')).format, 'sneaker');
  assert.equal(await typed(store, "secretsfs exec old -- sh -c 'echo $OLD'"), 'of sneaker');

  // The two objects of the spring of 2015.
  await typed(
    store,
    `aws s3 rm s3://${bucket}/prod/old
     aws s3 cp pair.kms s3://${bucket}/prod/old.kms; aws s3 cp pair.aes s3://${bucket}/prod/old.aes`,
  );
  assert.equal(await typed(store, 'secretsfs get old'), 'of sneaker');

  // Elsewhere, or with a key that is not accepted, it does not open.
  await typed(store, `aws s3 cp old s3://${bucket}/prod/moved`);
  await refused(store, 'secretsfs get moved', 'data-key-refused', /./);
  const other = await createKey(moto.url);
  const { code } = await type(store, `secretsfs get raw.bin ${formats} --accept-key ${other}`);
  assert.equal(code, 5);
  // Replaced, it is ours.
  await typed(store, 'echo ours | secretsfs put raw.bin');
  assert.equal(JSON.parse(await typed(store, 'secretsfs download raw.bin g --json')).format, 'secretsfs');
});

test('a directory is a store as a bucket is', async (t) => {
  const store = await storeBench(t, moto);
  await typed(store, 'mkdir dir && secretsfs keygen key');
  const flags = '--store dir --key local:key';
  await typed(store, `printf s3cret | secretsfs put db/password ${flags}`);
  assert.equal(await typed(store, `secretsfs get db/password ${flags}`), 's3cret');
  assert.equal(await typed(store, `secretsfs exec 'db/*' ${flags} -- printenv PASSWORD`), 's3cret');
  await typed(store, 'cp dir/db/password dir/db/other');
  await refused(store, `secretsfs get db/other ${flags}`, 'secret-path', /file:/);
});

test('a version of a secret that was replaced comes out', async (t) => {
  const store = await storeBench(t, moto, { versioned: true });
  const { version } = JSON.parse(await typed(store, 'echo one | secretsfs put a --json'));
  const { replaced } = JSON.parse(await typed(store, 'echo two | secretsfs put a --json'));
  assert.equal(replaced.version, version);
  assert.equal(await typed(store, `secretsfs get a --version ${version}; secretsfs get a`), 'onetwo');
  await refused(store, 'secretsfs get a --version nonsense', 'source-not-found', /history/);
});

test('what somebody else wrote in between is not overwritten, and --create and --if-match say what is expected', async (t) => {
  const store = await storeBench(t, moto);
  const { etag } = JSON.parse(await typed(store, 'echo one | secretsfs put a --create --json'));
  await refused(store, 'echo x | secretsfs put a --create', 'output-exists', /--create/);
  await typed(store, `echo two | secretsfs put a --if-match '${etag}'`);
  await refused(
    store,
    `echo three | secretsfs put a --if-match '${etag}'`,
    'output-changed',
    /somebody else/,
  );
  await refused(store, `echo x | secretsfs put gone --if-match '${etag}'`, 'output-changed', /it is gone/);
  // While the value is awaited, aws writes.
  await refused(
    store,
    `(sleep 3; aws s3 cp s3://${store.bucket}/prod/a /dev/null >/dev/null; echo 3 | secretsfs put a >/dev/null; echo 4) | secretsfs put a`,
    'output-changed',
    /run the command again/,
  );
  assert.equal(await typed(store, 'secretsfs get a'), '3');
  assert.equal(await typed(store, 'echo no | secretsfs put a --dry-run'), 'would have replaced "a", 2 B');
  assert.equal(await typed(store, 'secretsfs get a'), '3');
});

test('upload --shred removes the file once it was read back, and what did not come back stays', async (t) => {
  const store = await storeBench(t, moto);
  const { bench, bucket } = store;
  await writeFile(bench.path('plain'), 's3cret');
  await refused(store, 'secretsfs upload - a --shred < plain', 'usage', /shred stdin/);
  await refused(
    store,
    'ln -s plain link; secretsfs upload link a --shred',
    'output-denied|usage|source-invalid',
    /symlink/,
  );
  assert.equal(
    await typed(store, 'secretsfs upload plain a --shred --dry-run 2>/dev/null; cat plain'),
    'would have stored "a", 6 B\ns3cret',
  );
  assert.match(
    await typed(store, 'secretsfs upload plain a --shred'),
    /^(?:stored|replaced) "a", .*; shredded plain$/,
  );
  await assert.rejects(stat(bench.path('plain')), /ENOENT/);
  assert.equal(await typed(store, 'secretsfs get a'), 's3cret');
  await typed(store, 'secretsfs keygen key');
  await refused(store, 'secretsfs upload key k --key local:key --shred', 'usage', /it is the key/);
  // Who may not open what he wrote keeps his file.
  await writeFile(bench.path('plain'), 'other');
  const denied = await startFaultProxy(moto.url);
  t.after(() => denied.close());
  denied.rules = [
    ({ operation }) =>
      operation === 'Decrypt' ? { kind: 'error', status: 400, code: 'AccessDeniedException' } : undefined,
  ];
  await refused(
    store,
    `AWS_ENDPOINT_URL=${denied.url} secretsfs upload plain b --shred 2> >(grep -v warning >&2)`,
    'output-unverified',
    /nothing was shredded/,
  );
  assert.equal(
    await typed(store, `cat plain; secretsfs get b; aws s3 ls s3://${bucket}/prod/b | wc -l`),
    'otherother1',
  );
});
