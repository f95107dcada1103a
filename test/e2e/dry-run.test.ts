/** --dry-run of every command that changes something: nothing is changed, and what would be refused is, in the same words. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { chmod, lstat, mkdir, readdir, readFile, readlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { GetKeyPolicyCommand, ListKeysCommand, ScheduleKeyDeletionCommand } from '@aws-sdk/client-kms';
import { ListObjectVersionsCommand, PutBucketAclCommand } from '@aws-sdk/client-s3';
import { COMMANDS } from '../../src/cli/commands.ts';
import {
  awsEnv,
  createAlias,
  createBucket,
  createKey,
  type Moto,
  motoKms,
  motoS3,
  startMoto,
} from '../support/moto.ts';
import { Bench } from '../support/program.ts';

/** They look, or rule a mount that runs. Everything else changes something that stays, and says with --dry-run what. */
const LOOK_ONLY = new Set([
  ...['inspect', 'verify', 'ls', 'history', 'diff', 'get', 'version', 'keys ls', 'keys show', 'keys usage'],
  ...['policy instance', 'policy author'],
  ...['exec', 'mount', 'status', 'remount', 'hook', 'upgrade', 'unmount', 'wait', 'doctor', 'completion'],
]);

const SOMEBODY = 23_460;

let moto: Moto;
before(async () => {
  // All keys that there are must stay as they are.
  moto = await startMoto({ own: true });
});
after(() => moto.stop());

async function setUp(t: TestContext) {
  const bench = await Bench.create(t, awsEnv(moto.url));
  const bucket = await createBucket(moto.url, { versioned: true });
  const [key, other] = [await createKey(moto.url), await createKey(moto.url)];
  const alias = await createAlias(moto.url, key);
  Object.assign(bench.env, { SECRETSFS_STORE: `s3://${bucket}/team`, KMS_KEY_ID: key });
  await mkdir(bench.path('dir/sub'), { recursive: true });
  await writeFile(bench.path('dir/sub/secret'), 'content');
  await mkdir(bench.path('full/sub'), { recursive: true });
  await writeFile(bench.path('full/sub/secret'), 'older');
  await bench.must(['keygen', 'web.key']);
  await bench.must(['pack', '--dir', 'dir', '--key', 'local:web.key', 'web.enc']);
  await bench.must(['encrypt', 'dir/sub/secret', 'raw.kms']);
  for (const content of ['older', 'newer'])
    await bench.must(['put', 'db/password'], { stdin: Buffer.from(content) });
  await writeFile(bench.path('policy.json'), await bench.must(['keys', 'policy', key]));
  const history = JSON.parse(await bench.must(['history', 'db/password', '--json']));
  return { bench, bucket, key, other, alias, older: String(history[1].version) };
}

/** Everything of the directory with its modes and contents, of the bucket with its versions, and of KMS with its policies. */
async function stateOf(bench: Bench, bucket: string): Promise<string> {
  const [s3, kms] = [motoS3(moto.url), motoKms(moto.url)];
  try {
    const { Versions, DeleteMarkers } = await s3.send(new ListObjectVersionsCommand({ Bucket: bucket }));
    const { Keys = [] } = await kms.send(new ListKeysCommand({}));
    const policies = await Promise.all(
      Keys.map(
        async ({ KeyId }) =>
          (await kms.send(new GetKeyPolicyCommand({ KeyId, PolicyName: 'default' }))).Policy,
      ),
    );
    const described = await bench.must(['keys', 'ls', '--json']);
    return JSON.stringify({
      Versions,
      DeleteMarkers,
      described,
      policies,
      files: await filesOf(bench.directory),
    });
  } finally {
    s3.destroy();
    kms.destroy();
  }
}

async function filesOf(root: string): Promise<string[]> {
  const found: string[] = [];
  for (const name of (await readdir(root, { recursive: true })).sort()) {
    // What was read of headers is kept there, by whichever command.
    if (/^cache(\/|$)/.test(name)) continue;
    const at = path.join(root, name);
    const { mode, uid, mtimeMs } = await lstat(at);
    const content = (mode & 0o170000) === 0o100000 ? await readFile(at) : await readlink(at).catch(() => '');
    found.push(`${name} ${mode} ${uid} ${mtimeMs} ${createHash('sha256').update(content).digest('hex')}`);
  }
  return found;
}

test('every command that changes something takes --dry-run, and changes nothing then', async (t) => {
  const { bench, bucket, key, other, alias, older } = await setUp(t);
  const admin = 'arn:aws:iam::123456789012:role/admin';
  const local = ['--key', 'local:web.key'];
  const calls: Readonly<Record<string, readonly (readonly string[])[]>> = {
    pack: [
      ['--dir', 'dir', 'new.enc'],
      ['--dir', 'dir', '--shred', 'new.enc'],
      ['--dir', 'dir', `s3://${bucket}/new.enc`],
      ['db/**', 'new.enc'],
    ],
    unpack: [
      ['web.enc', 'new.tar', ...local],
      ['web.enc', 'new/', ...local],
      ['web.enc', 'full', '--force', ...local],
      ['web.enc', '-', ...local],
    ],
    reseal: [
      ['web.enc', 'web.enc', ...local],
      ['web.enc', `s3://${bucket}/web.enc`, ...local],
    ],
    encrypt: [['dir/sub/secret', 'new.kms']],
    decrypt: [['raw.kms', 'new']],
    reencrypt: [['raw.kms', 'raw.kms']],
    'datakey create': [['new.kms']],
    rm: [['db/password'], ['db/password', '--purge-versions']],
    mv: [['db/password', 'new']],
    restore: [['db/password', '--version', older]],
    keygen: [['new.key']],
    rotate: [[], ['--purge-versions']],
    sync: [
      ['dir', 'db'],
      ['dir', 'db', '--delete'],
    ],
    shred: [['dir/sub/secret']],
    upload: [
      ['dir/sub/secret', 'new'],
      ['dir/sub/secret', 'db/password', '--shred'],
    ],
    download: [
      ['db/password', 'new'],
      ['db/password', '-'],
    ],
    put: [['db/password']],
    'keys create': [['--alias', 'new', '--admin', admin, '--iam']],
    'keys alias': [
      ['new', key],
      [alias, other, '--replace'],
      [alias, '--remove'],
    ],
    'keys rotation': [
      ['on', key],
      ['now', key],
    ],
    'keys policy': [[key, '--set', 'policy.json']],
    'keys disable': [[key]],
    'keys enable': [[key]],
    'keys retire': [[key, '--to', other, '--in', `s3://${bucket}`, '--purge-versions']],
    'keys delete': [[other, '--days', '7', '--in', `s3://${bucket}`]],
  };
  const changing = COMMANDS.map(({ name }) => name).filter((name) => !LOOK_ONLY.has(name));
  assert.deepEqual(changing.toSorted(), Object.keys(calls).toSorted());
  const before = await stateOf(bench, bucket);
  for (const [name, variants] of Object.entries(calls)) {
    for (const args of variants) {
      const call = [...name.split(' '), ...args, '--dry-run'];
      const { code, stdout, stderr } = await bench.secretsfs(call, { stdin: Buffer.from('value') });
      assert.equal(code, 0, `${call.join(' ')}: ${stderr}`);
      assert.match(stdout + stderr, /\bwould\b/, call.join(' '));
      assert.equal(await stateOf(bench, bucket), before, `${call.join(' ')} changed something`);
    }
  }
});

test('a dry run refuses what would be refused, in the same words', async (t) => {
  const { bench, bucket, key, older } = await setUp(t);
  const local = ['--key', 'local:web.key'];
  await mkdir(bench.path('store'));
  await writeFile(bench.path('store/file'), '');
  const refusals: readonly (readonly string[])[] = [
    ['keygen', 'web.key'],
    ['keygen', 'none/new.key'],
    ['keygen', 'web.enc/new.key'],
    ['keygen', 'new/'],
    ['keygen', 'dir/'],
    ['encrypt', 'dir/sub/secret', 'new/'],
    ['decrypt', 'raw.kms', 'new/'],
    ['pack', '--dir', 'dir', 'new/'],
    ['unpack', 'web.enc', 'raw.kms', ...local],
    ['unpack', 'web.enc', 'none/new.tar', ...local],
    ['unpack', 'web.enc', 'none/new/', ...local],
    ['unpack', 'web.enc', 'full', ...local],
    ['unpack', 'web.enc', 'store/file/', ...local],
    ['unpack', 'web.enc', 'new/', '--key', key],
    ['reseal', 'web.enc', 'raw.kms', ...local],
    ['reseal', 'web.enc', 'none/web.enc', ...local],
    ['pack', '--dir', 'dir', 'none/new.enc'],
    ['encrypt', 'dir/sub/secret', 'none/new.kms'],
    ['encrypt', 'dir/sub/secret', 'raw.kms'],
    ['decrypt', 'raw.kms', 'none/new'],
    ['datakey', 'create', 'none/new.kms'],
    ['download', 'db/password', 'raw.kms'],
    ['download', 'db/password', 'none/new'],
    ['download', 'db/password', 'dir'],
    ['download', 'db/none', 'new'],
    ['upload', 'dir/sub/secret', 'file/below', '--store', 'store'],
    ['upload', 'dir/sub/secret', 'db/password', '--create'],
    ['restore', 'db/password', '--version', 'none'],
  ];
  await alike(bench, refusals);
  const [off, going] = [await createKey(moto.url), await createKey(moto.url)];
  await bench.must(['keys', 'disable', off]);
  const kms = motoKms(moto.url);
  await kms.send(new ScheduleKeyDeletionCommand({ KeyId: going.split('/')[1], PendingWindowInDays: 7 }));
  kms.destroy();
  const rotations = ['on', 'off', 'now'].map((what) => ['keys', 'rotation', what]);
  await alike(bench, [
    ...rotations.flatMap((rotate) => [off, going].map((each) => [...rotate, each])),
    ['keys', 'disable', going],
    ['keys', 'enable', going],
  ]);
  const s3 = motoS3(moto.url);
  t.after(() => s3.destroy());
  await s3.send(new PutBucketAclCommand({ Bucket: bucket, ACL: 'public-read' }));
  await alike(bench, [
    ['upload', 'dir/sub/secret', 'new'],
    ['mv', 'db/password', 'new'],
    ['restore', 'db/password', '--version', older],
    ['sync', 'dir', 'db'],
  ]);
});

test('a dry run says what its user may not write to', async (t) => {
  const { bench } = await setUp(t);
  for (const name of ['store', 'store/db', 'store/.secretsfs']) {
    await mkdir(bench.path(name));
    await chmod(bench.path(name), 0o755);
  }
  await chmod(bench.directory, 0o755);
  const there = ['--store', 'store', '--key', String(bench.env['KMS_KEY_ID'])];
  await bench.must(['upload', 'dir/sub/secret', 'db/a', ...there]);
  await alike(
    bench,
    [
      ['keygen', 'new.key'],
      ['encrypt', 'dir/sub/secret', 'new.kms'],
      ['decrypt', 'raw.kms', 'new'],
      ['reencrypt', 'raw.kms', 'raw.kms'],
      ['datakey', 'create', 'new.kms'],
      ['download', 'db/a', 'new', ...there],
      ['upload', 'dir/sub/secret', 'db/b', ...there],
      ['mv', 'db/a', 'new', ...there],
      ['rm', 'db/a', ...there],
      ['sync', 'dir', 'synced', ...there],
    ],
    SOMEBODY,
  );
});

async function alike(bench: Bench, calls: readonly (readonly string[])[], uid?: number): Promise<void> {
  const as = uid === undefined ? {} : { uid };
  for (const call of calls) {
    const dry = await bench.secretsfs([...call, '--dry-run'], as);
    const real = await bench.secretsfs(call, as);
    assert.notEqual(real.code, 0, call.join(' '));
    assert.deepEqual([dry.code, dry.stderr], [real.code, real.stderr], call.join(' '));
  }
}
