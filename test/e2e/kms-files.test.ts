/** Single files straight through KMS, as use-case 3 has it, beside Debian's aws command on the same files. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { after, before, type TestContext, test } from 'node:test';
import { awsCli } from '../support/aws-cli.ts';
import { awsEnv, createAlias, createKey, type Moto, startMoto } from '../support/moto.ts';
import { OLD_VECTORS, oldFile, oldKms } from '../support/old-vectors.ts';
import { Bench, must } from '../support/program.ts';

let moto: Moto;
let key: string;
let alias: string;

before(async () => {
  moto = await startMoto();
  key = await createKey(moto.url);
  alias = await createAlias(moto.url, key);
});
after(() => moto?.stop());

const create = (t: TestContext) => Bench.create(t, awsEnv(moto.url));
const bytes = (text: string) => Buffer.from(text, 'latin1');

test('a small secret is encrypted to a file, decrypted without naming the key, and piped into a program', async (t) => {
  const bench = await create(t);
  const password = 'correct horse battery staple\n';
  await writeFile(bench.path('db-password'), password);
  await bench.must(['encrypt', 'db-password', 'db-password.kms', '--key', alias]);
  assert.equal(await bench.must(['decrypt', 'db-password.kms', '-']), password);
  const program = `"${process.execPath}" "${bench.program}" decrypt db-password.kms - | sha256sum`;
  const sum = await must('bash', ['-c', program], { env: bench.env, cwd: bench.directory });
  assert.equal(sum, await must('sha256sum', [], { stdin: Buffer.from(password) }));
  await bench.must(['decrypt', 'db-password.kms', 'again']);
  assert.equal(await readFile(bench.path('again'), 'utf8'), password);
  assert.equal((await stat(bench.path('again'))).mode & 0o777, 0o600);
});

test('what we write aws kms decrypt reads, binary and base64, with its context', async (t) => {
  const bench = await create(t);
  const secret = randomBytes(4096);
  const aws = { env: bench.env, cwd: bench.directory };
  for (const [context, options] of [
    [[], []],
    [
      ['--encryption-context', 'purpose=web,Zone=north'],
      ['--context', 'purpose=web,Zone=north'],
    ],
  ] as const) {
    await bench.must(['encrypt', '-', 's.kms', '--key', key, '--force', ...options], { stdin: secret });
    await bench.must(['encrypt', '-', 's.b64', '--key', key, '--force', '--base64', ...options], {
      stdin: secret,
    });
    await must('bash', ['-c', 'base64 -d s.b64 > s.from64'], { cwd: bench.directory });
    for (const name of ['s.kms', 's.from64']) {
      const query = ['--query', 'Plaintext', '--output', 'text'];
      const args = ['kms', 'decrypt', '--ciphertext-blob', `fileb://${name}`, ...context, ...query];
      const printed = await awsCli(args, aws);
      assert.ok(Buffer.from(printed, 'base64').equals(secret));
    }
  }
});

test('what aws kms encrypt wrote we read: binary, base64, JSON, and the recipe with base64 inside', async (t) => {
  const bench = await create(t);
  const secret = randomBytes(1500);
  await writeFile(bench.path('secret'), secret);
  const aws = { env: bench.env, cwd: bench.directory };
  const encrypt = ['kms', 'encrypt', '--key-id', alias, '--encryption-context', 'a=b'];
  const asText = ['--query', 'CiphertextBlob', '--output', 'text'];
  const base64 = await awsCli([...encrypt, '--plaintext', 'fileb://secret', ...asText], aws);
  const json = await awsCli([...encrypt, '--plaintext', 'fileb://secret', '--output', 'json'], aws);
  await writeFile(bench.path('s.base64'), base64);
  await writeFile(bench.path('s.kms'), Buffer.from(base64, 'base64'));
  await writeFile(bench.path('s.json'), json);
  for (const name of ['s.base64', 's.kms', 's.json']) {
    assert.ok(bytes(await bench.must(['decrypt', name, '-', '--context', 'a=b'])).equals(secret), name);
  }
  await must('bash', ['-c', 'base64 secret > secret.b64'], { cwd: bench.directory });
  const inner = await awsCli([...encrypt, '--plaintext', 'fileb://secret.b64', ...asText], aws);
  await writeFile(bench.path('inner'), inner);
  const options = ['--inner-base64', '--context', 'a=b'];
  assert.ok(bytes(await bench.must(['decrypt', 'inner', '-', ...options])).equals(secret));
  await bench.must(['encrypt', 'secret', 'ours', '--key', key, ...options]);
  assert.ok(bytes(await bench.must(['decrypt', 'ours', '-', ...options])).equals(secret));
  const decrypt = ['kms', 'decrypt', '--ciphertext-blob', 'fileb://ours', '--encryption-context', 'a=b'];
  const printed = await awsCli([...decrypt, '--query', 'Plaintext', '--output', 'text'], aws);
  const inside = Buffer.from(printed, 'base64').toString();
  assert.equal(inside, await readFile(bench.path('secret.b64'), 'utf8'));
});

test('what is larger takes the envelope by itself, under several keys too, in base64 too', async (t) => {
  const bench = await create(t);
  const other = await createKey(moto.url);
  await bench.must(['keygen', 'local.key']);
  const secret = randomBytes(100_000);
  for (const options of [
    ['--key', alias],
    ['--key', key, '--key', other, '--base64', '--context', 'a=b'],
    ['--key', 'local:local.key'],
  ]) {
    const facts = await bench.must(['encrypt', '-', 'large', '--force', '--json', ...options], {
      stdin: secret,
    });
    assert.equal(JSON.parse(facts).format, 'file');
    const accept = options.includes('local:local.key') ? ['--accept-key', 'local:local.key'] : [];
    assert.ok(bytes(await bench.must(['decrypt', 'large', '-', ...accept])).equals(secret));
  }
  const refused = await bench.secretsfs(['reencrypt', 'large', 'new', '--key', alias]);
  assert.equal(refused.code, 6);
  assert.match(refused.stderr, /"large" is an envelope, which KMS can't re-encrypt/);
  assert.ok(refused.stderr.includes(`secretsfs decrypt large - | secretsfs encrypt - NEW --key ${alias}`));
  const small = await bench.must(['encrypt', '-', 'two', '--json', '--key', key, '--key', other], {
    stdin: Buffer.from('x'),
  });
  assert.equal(JSON.parse(small).format, 'file');
  const { code, stderr } = await bench.secretsfs(['decrypt', 'two', '-', '--context', 'c=d']);
  assert.equal(code, 6);
  assert.match(stderr, /bundle-context/);
});

test('reencrypt goes to another key within KMS, in place and in the form that it had', async (t) => {
  const bench = await create(t);
  const other = await createKey(moto.url);
  const secret = Buffer.from('a secret that only KMS sees');
  await bench.must(['encrypt', '-', 'a', '--key', key, '--base64', '--context', 'a=b'], { stdin: secret });
  const options = ['--context', 'a=b', '--new-context', 'c=d', '--json'];
  const facts = JSON.parse(await bench.must(['reencrypt', 'a', 'a', '--key', other, ...options]));
  assert.deepEqual({ ...facts, bytes: 0 }, { out: 'a', key: other, fromKey: key, bytes: 0, dryRun: false });
  assert.match(await readFile(bench.path('a'), 'utf8'), /^[A-Za-z0-9+/=\n]+\n$/);
  assert.ok(
    bytes(await bench.must(['decrypt', 'a', '-', '--context', 'c=d', '--accept-key', other])).equals(secret),
  );
  const refused = await bench.secretsfs(['decrypt', 'a', '-', '--context', 'c=d', '--accept-key', key]);
  assert.equal(refused.code, 5);
  await bench.must(['encrypt', '-', 'large', '--key', key], { stdin: randomBytes(30_000) });
  const large = await bench.secretsfs(['reencrypt', 'large', 'large', '--key', other]);
  assert.equal(large.code, 6);
  assert.match(large.stderr, /is an envelope, which KMS can't re-encrypt/);
});

test('a data key is made wrapped, and unwraps with aws and with us', async (t) => {
  const bench = await create(t);
  const facts = await bench.must([
    'datakey',
    'create',
    'app.kms',
    '--key',
    alias,
    '--context',
    'app=web',
    '--json',
  ]);
  assert.deepEqual(JSON.parse(facts), { out: 'app.kms', key, keyBytes: 32, dryRun: false });
  const ours = bytes(await bench.must(['decrypt', 'app.kms', '-', '--context', 'app=web']));
  assert.equal(ours.length, 32);
  const decrypt = [
    'kms',
    'decrypt',
    '--ciphertext-blob',
    'fileb://app.kms',
    '--encryption-context',
    'app=web',
  ];
  const printed = await awsCli([...decrypt, '--query', 'Plaintext', '--output', 'text'], {
    env: bench.env,
    cwd: bench.directory,
  });
  assert.ok(Buffer.from(printed, 'base64').equals(ours));
});

test('what a person can do wrong is said, and nothing is overwritten', async (t) => {
  const bench = await create(t);
  await writeFile(bench.path('secret'), 'a');
  await writeFile(bench.path('empty'), '');
  await bench.must(['encrypt', 'secret', 'there', '--key', key]);
  const before = await readFile(bench.path('there'));
  const none = `${key.slice(0, -12)}000000000000`;
  for (const [args, code, message] of [
    [['encrypt', 'secret', 'there', '--key', key], 10, /"there": it exists \(output-exists\)/],
    [['encrypt', 'secret', 'x'], 2, /cannot go without a key/],
    [['encrypt', 'empty', 'x', '--key', key], 2, /it is empty/],
    [['encrypt', 'missing', 'x', '--key', key], 4, /source-not-found/],
    [['encrypt', 'secret', 'x', '--key', none], 5, /key-not-found/],
    [['decrypt', 'there', 'x', '--context', 'a=b'], 5, /data-key-refused/],
    [['decrypt', 'secret', 'x'], 5, /cannot decrypt with its key/],
    [['decrypt', 'there', 'x', '--inner-base64'], 6, /not base64/],
    [['decrypt', 'there', 'there'], 10, /output-exists/],
    [['reencrypt', 'there', 'x'], 2, /no key given/],
    [['reencrypt', 'there', 'x', '--key', 'local:k'], 2, /it is a key file/],
    [['datakey', 'create', 'there', '--key', key], 10, /output-exists/],
    [['datakey', 'create', 'x', '--key', key, '--bytes', '1025'], 2, /want 1 to 1024/],
  ] as const) {
    const outcome = await bench.secretsfs(args);
    assert.equal(outcome.code, code, `${args.join(' ')}: ${outcome.stderr}`);
    assert.match(outcome.stderr, message);
  }
  for (const args of [
    ['encrypt', 'secret', 'x', '--key', key],
    ['decrypt', 'there', 'x'],
    ['decrypt', 'there', '-'],
    ['reencrypt', 'there', 'there', '--key', key],
    ['datakey', 'create', 'x', '--key', key],
  ]) {
    assert.match(await bench.must([...args, '--dry-run']), /^would have [^\n]*\n$/, args.join(' '));
  }
  assert.ok((await readFile(bench.path('there'))).equals(before));
  await assert.rejects(stat(bench.path('x')));
});

test('files of sneaker and kms-secrets, and of 2015, decrypt', async (t) => {
  const server = await oldKms().listen();
  t.after(() => server.stop());
  const bench = await Bench.create(t, awsEnv(server.url));
  const decrypt = async (name: string, context: Readonly<Record<string, string>>) => {
    await writeFile(bench.path('in'), oldFile(name));
    const pairs = Object.entries(context).flatMap(([k, v]) => ['--context', `${k}=${v}`]);
    return bytes(await bench.must(['decrypt', 'in', '-', ...pairs]));
  };
  for (const { name, how, context, place, opensTo } of OLD_VECTORS) {
    if (how === 'pair') continue;
    const given = place === null ? context : { ...context, Path: place };
    assert.ok((await decrypt(name, given)).equals(oldFile(opensTo)), name);
  }
  const context = { team: 'infra', Zone: 'north' };
  assert.ok((await decrypt('raw.json', context)).equals(oldFile('secret')));
});
