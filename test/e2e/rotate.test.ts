/** A store whose secrets get other keys, while people read it, and while whoever does it is killed. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createCipheriv, randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { after, before, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { GenerateDataKeyCommand } from '@aws-sdk/client-kms';
import {
  ListObjectVersionsCommand,
  type ListObjectVersionsCommandInput,
  type ListObjectVersionsCommandOutput,
} from '@aws-sdk/client-s3';
import { mapConcurrently } from '../../src/secrets/concurrent.ts';
import { type FaultProxy, type Rule, startFaultProxy } from '../support/fault-proxy.ts';
import {
  awsEnv,
  createAlias,
  createBucket,
  createKey,
  type Moto,
  motoKms,
  motoS3,
  replaceEnv,
  startMoto,
  unique,
} from '../support/moto.ts';
import { PROGRAM } from '../support/paths.ts';
import { Bench, type Outcome } from '../support/program.ts';
import { contentOf, StoredSecrets } from '../support/stored-secrets.ts';

const SOAK = process.env['SECRETSFS_SOAK'] !== undefined;
const COUNT = SOAK ? 5_000 : 90;
/** Writes before an interruption, at the most: five times that, and what is under way, are fewer than all. */
const WRITES_MAX = SOAK ? 800 : 6;
const INTERRUPTIONS = 5;
/** Reads of a test, where there are thousands. */
const AT_ONCE = 16;

let moto: Moto;
let restoreEnv: () => void;
let proxy: FaultProxy;
let oldKey: string;
let newKey: string;
before(async () => {
  moto = await startMoto();
  restoreEnv = replaceEnv(awsEnv(moto.url));
  proxy = await startFaultProxy(moto.url);
  [oldKey, newKey] = await Promise.all([createKey(moto.url), createKey(moto.url)]);
});
after(async () => {
  await proxy?.close();
  restoreEnv();
  await moto?.stop();
});

interface World {
  readonly bench: Bench;
  readonly secrets: StoredSecrets;
  readonly location: string;
}

async function setUp(t: TestContext, { count = 6, versioned = false } = {}): Promise<World> {
  const location = `s3://${await createBucket(moto.url, { versioned })}/${unique('store')}`;
  const bench = await Bench.create(t, { ...awsEnv(proxy.url), S3_PATH: location });
  const secrets = await StoredSecrets.make(location, { count, key: oldKey });
  bench.after(async () => secrets.destroy());
  t.after(() => {
    proxy.rules = [];
  });
  return { bench, secrets, location };
}

async function assertAll({ secrets }: World, key: string): Promise<void> {
  await mapConcurrently(secrets.paths, AT_ONCE, async (path) => {
    assert.deepEqual(await secrets.open(path), { content: contentOf(path), keys: [key] });
  });
}

async function assertVersions({ secrets, location }: World, want: number): Promise<void> {
  const counts = new Map<string, number>();
  const client = motoS3(moto.url);
  const [bucket, prefix] = location.slice('s3://'.length).split('/');
  let page: Partial<ListObjectVersionsCommandOutput> | undefined = {};
  while (page !== undefined) {
    const from: Pick<ListObjectVersionsCommandInput, 'KeyMarker' | 'VersionIdMarker'> = {
      KeyMarker: page.NextKeyMarker,
      VersionIdMarker: page.NextVersionIdMarker,
    };
    const command = new ListObjectVersionsCommand({ Bucket: bucket, Prefix: `${prefix}/`, ...from });
    const next: ListObjectVersionsCommandOutput = await client.send(command);
    for (const { Key = '' } of next.Versions ?? []) counts.set(Key, (counts.get(Key) ?? 0) + 1);
    page = next.IsTruncated === true ? next : undefined;
  }
  client.destroy();
  assert.deepEqual(counts, new Map(secrets.paths.toSorted().map((path) => [`${prefix}/${path}`, want])));
}

function refused({ code, stdout, stderr }: Outcome, exit: number, name: string): string {
  assert.equal(code, exit, `${stdout}${stderr}`);
  assert.match(stderr, new RegExp(`\\(${name}\\)\\n`));
  assert.match(stderr, /^secretsfs: hint: /m);
  return stderr;
}

test(`interrupted at random ${INTERRUPTIONS} times: every secret opens at every instant, none is rotated twice, none is lost`, async (t) => {
  const world = await setUp(t, { count: COUNT, versioned: true });
  const { bench, secrets } = world;
  const reader = secrets.startReading();
  const args = [bench.program, 'rotate', '--key', newKey, '--concurrency', SOAK ? '32' : '6'];
  let puts = 0;
  proxy.rules = [
    ({ method }) => {
      puts += method === 'PUT' ? 1 : 0;
      return undefined;
    },
  ];
  let isSeen = 0;
  for (let i = 0; i < INTERRUPTIONS; i++) {
    const until = puts + 1 + Math.floor(Math.random() * WRITES_MAX);
    const child = spawn(process.execPath, args, { env: bench.env, stdio: 'ignore' });
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
    while (puts < until && child.exitCode === null) await sleep(1);
    await sleep(Math.random() * 6);
    if (child.exitCode === null) isSeen += 1;
    child.kill(i % 2 === 0 ? 'SIGKILL' : 'SIGINT');
    const code = await ended;
    assert.equal(code, i % 2 === 0 ? null : 10);
    t.diagnostic(`interrupted after ${puts} writes`);
  }
  assert.equal(isSeen, INTERRUPTIONS);
  const { code, stdout, stderr } = await bench.secretsfs(['rotate', '--key', newKey, '--json'], {
    timeoutMs: 900_000,
  });
  assert.equal(code, 0, stderr);
  const { rotated, already, failed, left } = JSON.parse(stdout);
  assert.ok(rotated > 0 && already > 0);
  assert.deepEqual([rotated + already, failed, left], [COUNT, [], 0]);
  assert.match(stderr, /continuing the rotation that began/);
  assert.match(stderr, /older versions, if the bucket keeps any, stay readable/);
  const reads = await reader.stop();
  assert.ok(reads > 20);
  t.diagnostic(
    `${rotated} rotated by the last, ${already} before; ${reads} secrets read and opened meanwhile`,
  );
  await assertAll(world, newKey);
  await assertVersions(world, 2);
  assert.deepEqual(await readdir(bench.path('state/rotations')), []);
});

test('KMS_KEY_ID=new secretsfs rotate does what it did; with nothing new there are new data keys', async (t) => {
  const world = await setUp(t);
  const { bench, secrets } = world;
  const alias = await createAlias(moto.url, newKey);
  assert.equal(
    await bench.must(['rotate'], { env: { ...bench.env, KMS_KEY_ID: alias } }),
    'rotated 6 secrets\n',
  );
  await assertAll(world, newKey);
  const etags = async () => {
    const found: string[] = [];
    for await (const { etag } of secrets.store.list()) found.push(etag);
    return found;
  };
  const before = await etags();
  assert.equal(await bench.must(['rotate', 'app-1/*,app-2/**', '--key', newKey]), 'rotated 2 secrets\n');
  const now = await etags();
  assert.equal(now.filter((etag, i) => etag !== before[i]).length, 2);
  // What was written is known: the listing is all that is asked for.
  proxy.seen.length = 0;
  assert.equal(JSON.parse(await bench.must(['ls', '--json'])).length, 6);
  assert.deepEqual(
    proxy.seen.map(({ path }) => /list-type=2/.test(path)),
    [true],
  );
  await assertAll(world, newKey);
});

test('--dry-run says what would be done, and --from-key leaves what is under other keys', async (t) => {
  const world = await setUp(t);
  const { bench } = world;
  const third = await createKey(moto.url);
  await bench.must(['rotate', 'app-1/**', '--key', third]);
  const from = ['rotate', '--key', newKey, '--from-key', oldKey];
  assert.equal(await bench.must([...from, '--dry-run']), 'would rotate 5 secrets, 1 are under other keys\n');
  assert.deepEqual(await readdir(bench.path('state/rotations')), []);
  const facts = JSON.parse(await bench.must([...from, '--json']));
  assert.deepEqual([facts.rotated, facts.otherKeys, facts.total, facts.keys], [5, 1, 6, [newKey]]);
  const keys = await Promise.all(world.secrets.paths.map((path) => world.secrets.keysOf(path)));
  assert.deepEqual(keys.flat(), [newKey, third, newKey, newKey, newKey, newKey]);
});

test('--purge-versions removes what the old key still opens', async (t) => {
  const world = await setUp(t, { versioned: true });
  const { bench } = world;
  const { stderr } = await bench.secretsfs(['rotate', '--key', newKey]);
  assert.match(stderr, /--purge-versions removes them/);
  const purged = await bench.secretsfs(['rotate', '--key', newKey, '--purge-versions']);
  assert.equal(purged.stdout, 'rotated 6 secrets, 12 older versions removed\n');
  assert.equal(purged.stderr, '');
  await assertVersions(world, 1);
  await assertAll(world, newKey);
});

test('a secret that does not open is left and said, the others are done, and the same command goes on with it', async (t) => {
  const world = await setUp(t);
  const { bench, secrets } = world;
  const [path = ''] = secrets.paths;
  const good = await secrets.store.read(path);
  const spoilt = Buffer.from(good?.bytes ?? '');
  spoilt[spoilt.length - 200] = (spoilt[spoilt.length - 200] ?? 0) ^ 1;
  const { etag } = await secrets.store.write(path, spoilt, { etag: good?.etag ?? '' });
  const args = ['rotate', '--key', newKey];
  const stderr = refused(await bench.secretsfs(args), 10, 'rotation-incomplete');
  assert.match(stderr, new RegExp(`"${path}" is as it was: .*\\(bundle-corrupt\\)`));
  assert.match(stderr, /1 of 6 secrets are as they were/);
  await secrets.store.write(path, good?.bytes ?? Buffer.alloc(0), { etag });
  assert.equal(await bench.must(args), 'rotated 1 secret, 5 were done before\n');
  await assertAll(world, newKey);
});

test('what sneaker and kms-secrets left becomes ours, halves too, and nothing is left of those', async (t) => {
  const world = await setUp(t, { count: 1 });
  const { bench, secrets, location } = world;
  const kms = motoKms(moto.url);
  const sealOld = async (path: string) => {
    const EncryptionContext = { Path: `${location}/${path}` };
    const answer = await kms.send(
      new GenerateDataKeyCommand({ KeyId: oldKey, NumberOfBytes: 32, EncryptionContext }),
    );
    const nonce = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', answer.Plaintext ?? '', nonce).setAAD(Buffer.from(oldKey));
    const sealed = [nonce, cipher.update(contentOf(path)), cipher.final(), cipher.getAuthTag()];
    return { wrapped: Buffer.from(answer.CiphertextBlob ?? ''), sealed: Buffer.concat(sealed) };
  };
  const { store } = secrets;
  const one = await sealOld('one');
  const length = Buffer.alloc(4);
  length.writeUInt32BE(one.wrapped.length);
  await store.write('one', Buffer.concat([length, one.wrapped, one.sealed]), 'absent');
  for (const name of ['two', 'dir/three', 'both']) {
    const { wrapped, sealed } = await sealOld(name);
    await store.write(`${name}.kms`, wrapped, 'absent');
    await store.write(`${name}.aes`, sealed, 'absent');
  }
  await bench.must(['rotate', 'two.*', '--key', newKey]);
  // As it is when the program is killed before the halves go.
  const { wrapped, sealed } = await sealOld('two');
  await store.write('two.kms', wrapped, 'absent');
  await store.write('two.aes', sealed, 'absent');
  const both = await store.read('one');
  await store.write('both', both?.bytes ?? Buffer.alloc(0), 'absent');
  const args = ['rotate', 'one,two.*,dir/**,both.*', '--key', newKey];
  assert.match(
    refused(await bench.secretsfs(args), 10, 'rotation-incomplete'),
    /"two" is as it was: there is a secret, and two halves/,
  );
  assert.match(
    refused(await bench.secretsfs(args), 10, 'rotation-incomplete'),
    /"both" is as it was: there is a secret, and two halves/,
  );
  for (const path of ['one', 'two', 'dir/three'])
    assert.deepEqual(await secrets.open(path), { content: contentOf(path), keys: [newKey] });
  const left: string[] = [];
  for await (const { path } of store.list()) left.push(path);
  const kept = ['both', 'both.aes', 'both.kms', 'dir/three', 'one', 'two', 'two.aes', 'two.kms'];
  assert.deepEqual(left, [...secrets.paths, ...kept].sort());
});

test('new keys that encrypt and do not decrypt are found out before anything is replaced', async (t) => {
  const { bench, secrets } = await setUp(t);
  const denied = { kind: 'error', status: 400, code: 'AccessDeniedException' } as const;
  proxy.rules = [
    ({ operation, body }) => (operation === 'Decrypt' && body.includes(newKey) ? denied : undefined),
  ];
  assert.match(refused(await bench.secretsfs(['rotate', '--key', newKey]), 5, 'key-denied'), /kms:Decrypt/);
  for (const path of secrets.paths) assert.deepEqual(await secrets.keysOf(path), [oldKey]);
});

test('what a person can get wrong is said, with what to do, and changes nothing', async (t) => {
  const { bench, secrets, location } = await setUp(t);
  const kms =
    (code: string): Rule =>
    ({ operation }) =>
      operation === 'GenerateDataKey' ? { kind: 'error', status: 400, code } : undefined;
  const s3 =
    (code: string, status: number): Rule =>
    ({ operation }) =>
      operation === undefined ? { kind: 'error', status, code } : undefined;
  const key = ['--key', newKey];
  const missing = newKey.replace(/.$/, (last) => (last === '0' ? '1' : '0'));
  const cases: [args: string[], rule: Rule | undefined, exit: number, code: string, says: RegExp][] = [
    [[], undefined, 2, 'usage', /no key given/],
    [[...key, '--concurrency', '0'], undefined, 2, 'usage', /want a number from 1 to 256/],
    [[...key, '../x'], undefined, 2, 'usage', /"\.\.\/x"/],
    [[...key, 'nothing/**'], undefined, 4, 'source-not-found', /nothing matches/],
    [['--key', missing], undefined, 5, 'key-not-found', /kms|key/],
    [key, kms('KMSInvalidStateException'), 5, 'key-state', /key/],
    [key, kms('AccessDeniedException'), 5, 'key-denied', /GenerateDataKey/],
    [key, kms('ExpiredTokenException'), 3, 'credentials-expired', /expired/],
    [key, s3('AccessDenied', 403), 4, 'source-denied', /ListBucket/],
    [[...key, '--store', 's3://no-such-bucket-anywhere/x'], undefined, 4, 'source-not-found', /bucket/],
    [[...key, '--store', bench.path('dir'), '--purge-versions'], undefined, 2, 'usage', /keeps none/],
    [
      [...key, '--state-dir', '/proc/nothing'],
      undefined,
      3,
      'config-invalid',
      /cannot keep the journal.*--state-dir/s,
    ],
    [[...key, '--state-dir', PROGRAM], undefined, 3, 'config-invalid', /not a directory/],
  ];
  for (const [args, rule, exit, code, says] of cases) {
    proxy.rules = rule === undefined ? [] : [rule];
    const stderr = refused(await bench.secretsfs(['rotate', ...args]), exit, code);
    assert.match(stderr, says, code);
  }
  const { S3_PATH, ...env } = bench.env;
  assert.match(refused(await bench.secretsfs(['rotate', ...key], { env }), 2, 'usage'), /no store given/);
  assert.equal(S3_PATH, location);
  for (const path of secrets.paths) assert.deepEqual(await secrets.keysOf(path), [oldKey]);
});
