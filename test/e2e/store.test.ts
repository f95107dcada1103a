/** The commands that look after a store, as a user types them, with the aws command as the second client. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mkdir, rename, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { startFaultProxy } from '../support/fault-proxy.ts';
import { awsEnv, createBucket, createKey, type Moto, startMoto } from '../support/moto.ts';
import { VECTORS } from '../support/paths.ts';
import { Bench, must, type Outcome } from '../support/program.ts';
import { sealTestSecret } from '../support/secrets.ts';

let moto: Moto;
before(async () => {
  moto = await startMoto();
});
after(() => moto.stop());

interface Place {
  readonly bench: Bench;
  readonly bucket: string;
  /** `aws ARGS...`, Debian's. */
  aws(...args: string[]): Promise<string>;
  /** Puts an object there with the aws command. */
  put(key: string, bytes: Buffer | string): Promise<void>;
  json<T>(...args: string[]): Promise<T>;
}

/** The store is s3://BUCKET/team, from the environment, as people have it. */
async function place(t: TestContext, options: { readonly versioned?: boolean } = {}): Promise<Place> {
  const bucket = await createBucket(moto.url, options);
  const bench = await Bench.create(t, awsEnv(moto.url, { S3_PATH: `s3://${bucket}/team` }));
  const env = {
    ...bench.env,
    XDG_CACHE_HOME: bench.path('cache'),
    SECRETSFS_FORCE_PATH_STYLE: 'true',
    AWS_DEFAULT_REGION: 'eu-west-1',
  };
  Object.assign(bench.env, env);
  const aws = (...args: string[]) =>
    must('/usr/bin/aws', ['--endpoint-url', moto.url, ...args], { env: bench.env, cwd: bench.directory });
  return {
    bench,
    bucket,
    aws,
    async put(key, bytes) {
      await writeFile(bench.path('object'), bytes);
      await aws('s3', 'cp', '--quiet', 'object', `s3://${bucket}/${key}`);
    },
    json: async <T>(...args: string[]) => JSON.parse(await bench.must([...args, '--json'])) as T,
  };
}

function assertRefused(
  { code, stdout, stderr }: Outcome,
  exit: number,
  errorCode: string,
  says: RegExp,
): void {
  assert.equal(code, exit, stderr);
  assert.equal(stdout, '');
  assert.match(stderr, says);
  assert.ok(stderr.includes(`(${errorCode})`), stderr);
  assert.match(stderr, /^secretsfs: hint: ./m);
}

interface ListedJson {
  readonly path: string;
  readonly plainBytes: number | null;
  readonly etag: string;
  readonly format: string;
  readonly version: string | null;
}
const versionOf = (each: { readonly version: string }) => each.version;

test('ls shows what the aws command put there, of every format, as a table and as JSON', async (t) => {
  const { bench, bucket, put, json, aws } = await place(t);
  const location = `s3://${bucket}/team/db/password`;
  await put('team/db/password', await sealTestSecret('hunter2', { location, context: { team: 'infra' } }));
  await put('team/web.enc', readFileSync(path.join(VECTORS, 'bundle', 'v1.bundle')));
  await put('team/notes.txt', 'not a secret\n');
  await put('other/x', 'x');
  const listed = await json<ListedJson[]>('ls');
  assert.deepEqual(
    listed.map((each) => [each.path, each.format, each.plainBytes]),
    [
      ['db/password', 'secretsfs', 7],
      ['notes.txt', 'unknown', null],
      ['web.enc', 'bundle', null],
    ],
  );
  const head = JSON.parse(await aws('s3api', 'head-object', '--bucket', bucket, '--key', 'team/db/password'));
  assert.equal(listed[0]?.etag, head.ETag);
  const table = (await bench.must(['ls', '/db/*,web*'])).split('\n');
  assert.match(table[0] ?? '', /^path +modified +size +etag +key +format$/);
  assert.match(
    table[1] ?? '',
    /^db\/password +\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ +7 B +[0-9a-f]{12} +\S+ +secretsfs$/,
  );
  assert.match(table[2] ?? '', /^web\.enc .* bundle$/);
  assert.match(await bench.must(['ls', 'db/', '--long']), /version +context\n.* - +team=infra\n/);
  const warned = await bench.secretsfs(['ls', '--store', `s3://${bucket}`, 'team/db/*']);
  assert.equal(warned.code, 0);
  assert.equal(warned.stderr, '');
});

test('a secret that was copied to another place is listed with a warning', async (t) => {
  const { bench, bucket, put, aws } = await place(t);
  await put('team/a', await sealTestSecret('x', { location: `s3://${bucket}/team/a` }));
  await aws('s3', 'cp', '--quiet', `s3://${bucket}/team/a`, `s3://${bucket}/team/b`);
  const { stderr, stdout } = await bench.secretsfs(['ls']);
  assert.equal(stdout.split('\n').length, 4);
  assert.match(stderr, /warning: sealed for another place.*1 secret, such as "b"/);
});

test('what ls can not list, it says with a hint', async (t) => {
  const { bench, bucket } = await place(t);
  assertRefused(
    await bench.secretsfs(['ls', 'db/*']),
    4,
    'source-not-found',
    /cannot find "db\/\*".*nothing matches/,
  );
  assertRefused(await bench.secretsfs(['ls', '../x']), 2, 'usage', /"\.\.\/x"/);
  assertRefused(
    await bench.secretsfs(['ls', '--store', `s3://${bucket}-none/x`]),
    4,
    'source-not-found',
    /no bucket/,
  );
  assertRefused(await bench.secretsfs(['ls', '--store', 'nowhere']), 4, 'source-not-found', /no directory/);
  const env = { ...bench.env, S3_PATH: '' };
  assertRefused(await bench.secretsfs(['ls'], { env }), 2, 'usage', /no store given/);
  const empty = await bench.secretsfs(['ls']);
  assert.deepEqual([empty.code, empty.stdout], [0, '']);
  assert.match(empty.stderr, /there is no secret in "s3:.*secretsfs put PATH/);
  const upload = ['put', 'a', '--key', 'alias/x', '--store', `s3://${bucket}-none/x`];
  assertRefused(
    await bench.secretsfs(upload, { stdin: Buffer.from('x') }),
    4,
    'source-not-found',
    /cannot put to "s3:.*no bucket/,
  );
});

test('a directory store that was moved opens by its old place alone', async (t) => {
  const { bench } = await place(t);
  await bench.must(['keygen', 'key']);
  await mkdir(bench.path('old'));
  const key = ['--key', 'local:key'];
  await bench.must(['put', 'db/a', '--store', 'old', ...key], { stdin: Buffer.from('content') });
  await rename(bench.path('old'), bench.path('new'));
  const moved = ['get', 'db/a', '--store', 'new', ...key];
  const outcome = await bench.secretsfs(moved);
  assertRefused(outcome, 6, 'secret-path', /sealed for/);
  const [, old = ''] = /--sealed-for (\S+), .* a symlink at its old place/.exec(outcome.stderr) ?? [];
  assert.equal(await bench.must([...moved, '--sealed-for', old]), 'content');
  await symlink('new', bench.path('old'));
  assert.equal(await bench.must(['get', 'db/a', '--store', 'old', ...key]), 'content');
});

test('SNEAKER_S3_PATH names the store as well, and so does a directory', async (t) => {
  const { bench, bucket, put } = await place(t);
  await put('sneaker/a', 'x');
  const env = { ...bench.env, S3_PATH: '', SNEAKER_S3_PATH: `s3://${bucket}/sneaker/` };
  assert.match(await bench.must(['ls'], { env }), /^a .* unknown$/m);
  await mkdir(bench.path('store', 'd'), { recursive: true });
  await writeFile(bench.path('store', 'd', 'f'), await sealTestSecret('xyz'));
  for (const store of ['store', `file://${bench.path('store')}/`]) {
    assert.match(await bench.must(['ls', '--store', store, 'd/*']), /^d\/f .* 3 B .* secretsfs$/m);
  }
  await bench.must(['rm', '--store', 'store', 'd/f', '--purge-versions']);
  assert.equal(await bench.must(['ls', '--store', 'store']), '');
  assertRefused(
    await bench.secretsfs(['history', '--store', 'store', 'd/f']),
    2,
    'usage',
    /keeps no versions/,
  );
});

test('rm removes what it names, all or nothing of it, and nothing with --dry-run', async (t) => {
  const { bench, bucket, put, aws, json } = await place(t);
  for (const key of ['a', 'b', 'ab', 'a/c']) await put(`team/${key}`, key);
  assert.equal(await bench.must(['rm', '--dry-run', 'a', '/b']), 'would remove "a"\nwould remove "b"\n');
  assertRefused(await bench.secretsfs(['rm', 'a', 'nope']), 4, 'source-not-found', /cannot remove "nope"/);
  assertRefused(await bench.secretsfs(['rm', 'a', 'x*']), 4, 'source-not-found', /"x\*".* nothing matches/);
  assertRefused(await bench.secretsfs(['rm', '../x']), 2, 'usage', /\.\.\/x/);
  const keys = async () =>
    (await aws('s3', 'ls', '--recursive', `s3://${bucket}/team/`)).split('\n').length - 1;
  assert.equal(await keys(), 4);
  const { removed } = await json<{ removed: { path: string; kept: boolean }[] }>('rm', 'a', 'b', 'a');
  assert.deepEqual(
    removed.map((each) => [each.path, each.kept]),
    [
      ['a', false],
      ['b', false],
    ],
  );
  assert.deepEqual(
    (await json<ListedJson[]>('ls')).map((each) => each.path),
    ['a/c', 'ab'],
  );
});

test('rm takes patterns and lists, each secret once, and says with --dry-run what it would remove', async (t) => {
  const { bench, put } = await place(t);
  for (const key of ['a', 'ab', 'b', 'd/x', 'd/e/y', 'old.aes', 'old.kms']) await put(`team/${key}`, key);
  const dry = 'would remove "d/e/y"\nwould remove "d/x"\nwould remove "ab"\nwould remove "a"\n';
  assert.equal(await bench.must(['rm', '--dry-run', 'd/', 'a?,a', 'd/e/*']), dry);
  assert.equal(await bench.must(['rm', 'd/', 'a?,a', 'd/e/*']), dry.replaceAll('would remove', 'removed'));
  assert.equal(await bench.must(['rm', '*', 'old']), 'removed "b"\nremoved "old.aes"\nremoved "old.kms"\n');
  assertRefused(await bench.secretsfs(['rm', '**']), 4, 'source-not-found', /nothing matches/);
});

test('rm that is refused half-way says what is gone, and leaves what somebody wrote since', async (t) => {
  const { bench, put, json } = await place(t);
  for (const key of ['a', 'b']) await put(`team/${key}`, key);
  const proxy = await startFaultProxy(moto.url);
  t.after(() => proxy.close());
  proxy.rules = [
    ({ method, path }) =>
      method === 'DELETE' && /\/b($|\?)/.test(path)
        ? { kind: 'error', status: 412, code: 'PreconditionFailed' }
        : undefined,
  ];
  const env = { ...bench.env, AWS_ENDPOINT_URL: proxy.url };
  const outcome = await bench.secretsfs(['rm', '*'], { env });
  assertRefused({ ...outcome, stdout: '' }, 10, 'output-changed', /team\/b/);
  assert.equal(outcome.stdout, 'removed "a"\n');
  assert.deepEqual(
    (await json<ListedJson[]>('ls')).map((each) => each.path),
    ['b'],
  );
});

test('rm takes the two objects that a secret of kms-secrets was for one, as ls shows them', async (t) => {
  const { bench, put } = await place(t);
  for (const key of ['old.aes', 'old.kms', 'half.kms']) await put(`team/${key}`, Buffer.alloc(50, 0xaa));
  assert.match(await bench.must(['ls', 'old*']), /^old .* 22 B .* kms-secrets$/m);
  assertRefused(await bench.secretsfs(['rm', 'half']), 4, 'source-not-found', /cannot remove "half"/);
  assert.equal(await bench.must(['rm', 'old']), 'removed "old.aes"\nremoved "old.kms"\n');
  assert.match(await bench.must(['ls']), /^half\.kms/m);
});

test('in a versioned bucket rm keeps what was, history shows it, restore brings it back, and --purge-versions ends it', async (t) => {
  const { bench, bucket, put, aws, json } = await place(t, { versioned: true });
  const seal = (text: string) => sealTestSecret(text, { location: `s3://${bucket}/team/a` });
  const first = await seal('one');
  await put('team/a', first);
  await put('team/a', await seal('three'));
  await put('team/ab', 'another');
  interface Version {
    readonly version: string;
    readonly latest: boolean;
    readonly deleted: boolean;
    readonly plainBytes: number | null;
  }
  const before = await json<Version[]>('history', 'a');
  assert.deepEqual(
    before.map(({ latest, deleted, plainBytes }) => [latest, deleted, plainBytes]),
    [
      [true, false, 5],
      [false, false, 3],
    ],
  );
  assert.equal((await json<ListedJson[]>('ls', 'a'))[0]?.version, before[0]?.version);
  assert.match(await bench.must(['rm', 'a']), /^removed "a"; its versions are kept/);
  const gone = await json<Version[]>('history', 'a');
  assert.deepEqual(
    gone.map(({ deleted }) => deleted),
    [true, false, false],
  );
  assert.match(await bench.must(['history', 'a']), /latest, deleted/);

  const oldest = gone[2]?.version ?? '';
  assertRefused(
    await bench.secretsfs(['restore', 'a', '--version', gone[0]?.version ?? '']),
    4,
    'source-not-found',
    /no version/,
  );
  assertRefused(
    await bench.secretsfs(['restore', 'a', '--version', 'nonsense']),
    4,
    'source-not-found',
    /no version "nonsense"/,
  );
  await bench.must(['restore', 'a', '--version', oldest, '--dry-run']);
  assert.equal((await json<Version[]>('history', 'a')).length, 3);
  const restored = await json<{ version: string; from: string }>('restore', 'a', '--version', oldest);
  assert.equal(restored.from, oldest);
  await aws('s3', 'cp', '--quiet', `s3://${bucket}/team/a`, 'back');
  assert.deepEqual(readFileSync(bench.path('back')), first);
  assertRefused(
    await bench.secretsfs(['restore', 'a', '--version', restored.version]),
    10,
    'output-exists',
    /is what is there/,
  );

  const all = (await json<Version[]>('history', 'a')).map(versionOf);
  assert.match(
    await bench.must(['rm', '--dry-run', '--purge-versions', 'a']),
    /would remove "a", 4 versions for good/,
  );
  const purged = await json<{ removed: { purged: string[] }[] }>('rm', '--purge-versions', 'a');
  assert.deepEqual(purged.removed[0]?.purged, all.reverse());
  assertRefused(await bench.secretsfs(['history', 'a']), 4, 'source-not-found', /there never was/);
  const left = JSON.parse(await aws('s3api', 'list-object-versions', '--bucket', bucket));
  assert.deepEqual(
    left.Versions.map((each: { Key: string }) => each.Key),
    ['team/ab'],
  );
  assert.equal(left.DeleteMarkers, undefined);
});

test('history of a bucket without versions says that there are none', async (t) => {
  const { bench, put } = await place(t);
  await put('team/a', 'x');
  const { stdout, stderr, code } = await bench.secretsfs(['history', 'a']);
  assert.equal(code, 0);
  assert.match(stdout, /^null .* latest$/m);
  assert.match(stderr, /keeps no versions/);
});

test('what is written goes under the encryption of S3 that was asked for, and without an ACL', async (t) => {
  const { bench, bucket, put, aws, json } = await place(t, { versioned: true });
  await put('team/a', 'one');
  await put('team/a', 'two');
  const [, older] = await json<{ version: string }[]>('history', 'a');
  const key = 'arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab';
  await bench.must(['restore', 'a', '--version', older?.version ?? '', '--sse', 'aws:kms', '--sse-key', key]);
  const head = JSON.parse(await aws('s3api', 'head-object', '--bucket', bucket, '--key', 'team/a'));
  assert.deepEqual([head.ServerSideEncryption, head.SSEKMSKeyId], ['aws:kms', key]);
  assertRefused(
    await bench.secretsfs(['restore', 'a', '--version', 'x', '--sse', 'AES256', '--sse-key', key]),
    2,
    'usage',
    /AES256/,
  );
});

test('mv seals a secret for its new place, under the key that it had or another, and leaves one that opens', async (t) => {
  const { bench, bucket, json, aws } = await place(t, { versioned: true });
  const [keyArn, other] = [await createKey(moto.url), await createKey(moto.url)];
  await bench.must(['put', 'db/a', '--key', keyArn, '--context', 'team=infra'], {
    stdin: Buffer.from('hunter2'),
  });
  await bench.must(['mv', 'db/a', 'prod/', '--dry-run']);
  assert.equal(await bench.must(['get', 'db/a']), 'hunter2');
  assert.equal(await bench.must(['mv', 'db/a', 'prod/']), 'moved "db/a" to "prod/a"\n');
  assertRefused(await bench.secretsfs(['get', 'db/a']), 4, 'source-not-found', /db\/a/);
  assert.equal(await bench.must(['get', 'prod/a', '--accept-key', keyArn]), 'hunter2');
  const moved = await json<{ location: string }>('mv', 'prod/a', 'prod/b', '--key', other);
  assert.equal(moved.location, `s3://${bucket}/team/prod/b`);
  assert.equal(
    await bench.must(['get', 'prod/b', '--accept-key', other, '--context', 'team=infra']),
    'hunter2',
  );
  const [listed] = await json<(ListedJson & { sealedFor: string; context: object })[]>('ls', 'prod/b');
  assert.deepEqual([listed?.sealedFor, listed?.context], [moved.location, { team: 'infra' }]);

  await bench.must(['put', 'c', '--key', keyArn], { stdin: Buffer.from('c') });
  assertRefused(await bench.secretsfs(['mv', 'c', 'prod/b']), 10, 'output-exists', /prod\/b/);
  assertRefused(await bench.secretsfs(['mv', 'c', '/c']), 2, 'usage', /that is where it is/);
  assertRefused(await bench.secretsfs(['mv', 'none', 'x']), 4, 'source-not-found', /"none"/);
  assertRefused(await bench.secretsfs(['mv', 'c', '../x']), 2, 'usage', /\.\.\/x/);
  assert.equal(await bench.must(['get', 'c']), 'c');
  await bench.must(['mv', 'c', 'prod/b', '--force']);
  assert.equal(await bench.must(['get', 'prod/b']), 'c');
  // By any other client it is moved, too, but does not open.
  await aws('s3', 'mv', '--quiet', `s3://${bucket}/team/prod/b`, `s3://${bucket}/team/e`);
  assertRefused(await bench.secretsfs(['mv', 'e', 'f']), 6, 'secret-path', /sealed for/);
});

test('mv moves what patterns match below a prefix, each under what it has below the fixed part of its pattern', async (t) => {
  const { bench, json } = await place(t);
  const keyArn = await createKey(moto.url);
  for (const at of ['prod/db/a', 'prod/db/b', 'prod/web/a', 'c'])
    await bench.must(['put', at, '--key', keyArn], { stdin: Buffer.from(at) });
  const paths = async () => (await json<ListedJson[]>('ls')).map((each) => each.path);
  const before = await paths();
  for (const [args, message] of [
    [['prod/*/a', 'old'], /"old": several can't have one path/],
    [['c', 'prod/db/a', 'old'], /several can't have one path/],
    [['prod/db/a,c', 'old'], /several can't have one path/],
    [['prod/db/*', 'prod/web/*', 'old/'], /"prod\/db\/a" would go there, too/],
    [['prod/**', 'c', 'prod/db/a', 'prod/'], /that is where it is/],
    [['prod/**', ''], /is empty/],
    [['c'], /no TO given/],
  ] as const)
    assertRefused(await bench.secretsfs(['mv', ...args]), 2, 'usage', message);
  assertRefused(await bench.secretsfs(['mv', 'c', 'x*', 'old/']), 4, 'source-not-found', /nothing matches/);
  assertRefused(await bench.secretsfs(['mv', 'prod/web/*', 'prod/db/']), 10, 'output-exists', /prod\/db\/a/);
  assert.deepEqual(await paths(), before);

  const dry = 'would move "prod/db/a" to "old/db/a"\nwould move "prod/db/b" to "old/db/b"\n';
  assert.equal(await bench.must(['mv', 'prod/d*/**', 'old/', '--dry-run']), dry);
  assert.deepEqual(await paths(), before);
  assert.equal(await bench.must(['mv', 'prod/d*/**', 'old/']), dry.replaceAll('would move', 'moved'));
  assert.equal(await bench.must(['get', 'old/db/a']), 'prod/db/a');
  const { moved } = await json<{ moved: { from: string; to: string }[] }>(
    'mv',
    'old/db/*,c',
    'prod/',
    '--force',
  );
  assert.deepEqual(
    moved.map(({ from, to }) => `${from} ${to}`),
    ['old/db/a prod/a', 'old/db/b prod/b', 'c prod/c'],
  );
  assert.deepEqual(await paths(), ['prod/a', 'prod/b', 'prod/c', 'prod/web/a']);
});

test('mv leaves what somebody wrote to the old path meanwhile, and says that both are there', async (t) => {
  const { bench } = await place(t);
  const keyArn = await createKey(moto.url);
  await bench.must(['put', 'a', '--key', keyArn], { stdin: Buffer.from('x') });
  const proxy = await startFaultProxy(moto.url);
  t.after(() => proxy.close());
  proxy.rules = [
    ({ method }) =>
      method === 'DELETE' ? { kind: 'error', status: 412, code: 'PreconditionFailed' } : undefined,
  ];
  const moved = await bench.secretsfs(['mv', 'a', 'b'], {
    env: { ...bench.env, AWS_ENDPOINT_URL: proxy.url },
  });
  assertRefused(moved, 10, 'output-changed', /"a": somebody else wrote it since it was moved to "b"/);
  for (const path of ['a', 'b']) assert.equal(await bench.must(['get', path]), 'x');
});
