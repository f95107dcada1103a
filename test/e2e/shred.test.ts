/** What is shredded, and what is not: sources go only once what was written has been read back and opened. */
import assert from 'node:assert/strict';
import { appendFileSync, writeFileSync } from 'node:fs';
import { chmod, chown, link, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { after, before, type TestContext, test } from 'node:test';
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import { awsEnv, createAlias, createBucket, createKey, type Moto, startMoto } from '../support/moto.ts';
import { Bench, must, type Outcome } from '../support/program.ts';

/** Some user without rights; no entry in a table of users is needed. */
const SOMEBODY = 12_345;

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

async function setUp(t: TestContext, env?: NodeJS.ProcessEnv): Promise<Bench> {
  const bench = await Bench.create(t, env);
  await mkdir(bench.path('dir/sub/deep'), { recursive: true });
  await writeFile(bench.path('dir/a'), 'content of a');
  await writeFile(bench.path('dir/sub/b'), 'content of b', { mode: 0o400 });
  await symlink('../a', bench.path('dir/sub/deep/link'));
  await bench.must(['keygen', 'key']);
  return bench;
}

async function assertSources(bench: Bench): Promise<void> {
  assert.equal(await readFile(bench.path('dir/a'), 'utf8'), 'content of a');
  assert.equal(await readFile(bench.path('dir/sub/b'), 'utf8'), 'content of b');
}

function refused({ code, stderr }: Outcome, exit: number, name: string): string {
  assert.equal(code, exit, stderr);
  assert.match(stderr, new RegExp(`\\(${name}\\)\\n`));
  assert.match(stderr, /^secretsfs: hint: /m);
  return stderr;
}

test('shred removes files, and says where it promises nothing; --dry-run removes none', async (t) => {
  const bench = await setUp(t);
  await writeFile(bench.path('-'), 'dash');
  const dry = await bench.must(['shred', 'dir/a', './-', '--dry-run', '--json']);
  const facts = JSON.parse(dry) as { files: string[]; bytes: number; dryRun: boolean; remains: string[] };
  assert.deepEqual(
    { ...facts, remains: [] },
    { files: ['dir/a', './-'], bytes: 16, dryRun: true, remains: [] },
  );
  await assertSources(bench);
  const { stdout, stderr } = await bench.secretsfs(['shred', 'dir/a', './-']);
  assert.equal(stdout, 'shredded 2 files, 16 B\n');
  const said = stderr
    .split('\n')
    .filter((line) => line.startsWith('secretsfs: warning: shredding promises nothing'));
  assert.equal(said.length, facts.remains.length);
  assert.deepEqual((await readdir(bench.directory)).sort(), ['dir', 'key']);
  assert.deepEqual(await readdir(bench.path('dir')), ['sub']);
});

test('of several files of which some can not be shredded none is touched, and each is said', async (t) => {
  const bench = await setUp(t);
  await link(bench.path('dir/a'), bench.path('other'));
  const names = ['dir/a', 'dir/sub', 'dir/sub/b', 'none', 'dir/sub/deep/link'];
  const stderr = refused(await bench.secretsfs(['shred', ...names]), 10, 'shred-incomplete');
  for (const said of [
    /"dir\/a": it has another name/,
    /"dir\/sub": it is a directory/,
    /"none": no such file/,
    /link": it is a symlink/,
  ])
    assert.match(stderr, said);
  assert.match(stderr, /cannot shred 4 of 5 files: none was touched/);
  await assertSources(bench);
  refused(await bench.secretsfs(['shred', 'none']), 4, 'source-not-found');
  refused(await bench.secretsfs(['shred', '-']), 2, 'usage');
});

test('the owner of a file may shred it although nobody may write to it; others may not', async (t) => {
  const bench = await setUp(t);
  await chmod(bench.directory, 0o755);
  for (const name of ['dir', 'dir/a', 'dir/sub', 'dir/sub/b'])
    await chown(bench.path(name), SOMEBODY, SOMEBODY);
  refused(await bench.secretsfs(['shred', 'dir/sub/b'], { uid: SOMEBODY + 1 }), 10, 'output-denied');
  refused(await bench.secretsfs(['shred', 'key'], { uid: SOMEBODY }), 10, 'output-denied');
  await assertSources(bench);
  await bench.must(['shred', 'dir/sub/b'], { uid: SOMEBODY });
  assert.deepEqual(await readdir(bench.path('dir/sub')), ['deep']);
});

test('pack --shred leaves a bundle that opens, and an empty directory', async (t) => {
  const bench = await setUp(t);
  const args = ['pack', '--dir', 'dir', '--key', 'local:key', '--shred', 'web.enc'];
  assert.match(
    await bench.must([...args, '--dry-run']),
    /^would pack "web", .*, and shred what was packed\n$/,
  );
  assert.deepEqual((await readdir(bench.directory)).sort(), ['dir', 'key']);
  await assertSources(bench);
  assert.match(await bench.must(args), /; shredded what was packed\n$/);
  assert.deepEqual(await readdir(bench.path('dir')), []);
  await bench.must(['unpack', 'web.enc', 'dir/', '--key', 'local:key']);
  await assertSources(bench);

  await must('tar', ['-C', bench.path('dir'), '-cf', bench.path('x.tar'), '.']);
  const facts = JSON.parse(await bench.must([...args.with(1, '--tar').with(2, 'x.tar'), '--json']));
  assert.equal(facts.shredded, 1);
  assert.deepEqual((await readdir(bench.directory)).sort(), ['dir', 'key', 'web.enc']);
});

test('pack --shred refuses what would leave a bundle that nobody can open or look at', async (t) => {
  const bench = await setUp(t);
  await writeFile(bench.path('dir/key'), await readFile(bench.path('key')), { mode: 0o400 });
  const pack = (...args: string[]) => bench.secretsfs(['pack', '--shred', ...args]);
  const own = await pack('--dir', 'dir', '--key', 'local:dir/key', 'web.enc');
  assert.match(refused(own, 2, 'usage'), /"dir\/key": it is the key/);
  refused(await pack('--dir', 'dir', '--key', 'local:key', '--name', 'x', '-'), 2, 'usage');
  refused(await pack('--tar', '-', '--key', 'local:key', 'web.enc'), 2, 'usage');
  await link(bench.path('dir/a'), bench.path('other'));
  refused(await pack('--dir', 'dir', '--key', 'local:key', 'web.enc'), 4, 'source-invalid');
  await assertSources(bench);
  assert.deepEqual((await readdir(bench.directory)).sort(), ['dir', 'key', 'other']);
});

test('pack --shred over S3 and KMS: whatever does not come back as it was sent leaves every source', async (t) => {
  const bench = await setUp(t, awsEnv(proxy.url));
  const bucket = await createBucket(moto.url);
  const alias = await createAlias(moto.url, await createKey(moto.url));
  const args = ['pack', '--dir', 'dir', '--key', alias, '--shred', `s3://${bucket}/web.enc`];
  const isGet = ({ method, path }: { method: string; path: string }) =>
    method === 'GET' && path.includes('web.enc');
  let written = false;
  const afterPut = (happen: () => void) => () => {
    if (written) happen();
    return undefined;
  };
  const watch = (request: { method: string }) => {
    if (request.method === 'PUT') written = true;
    return undefined;
  };
  const flip = { kind: 'spoil', how: 'flip', part: 0.5 } as const;
  proxy.rules = [watch, (request) => (isGet(request) && written ? flip : undefined)];
  refused(await bench.secretsfs(args), 10, 'output-unverified');
  await assertSources(bench);

  const denied = { kind: 'error', status: 400, code: 'AccessDeniedException' } as const;
  proxy.rules = [({ operation }) => (operation === 'Decrypt' ? denied : undefined)];
  assert.match(refused(await bench.secretsfs(args), 10, 'output-unverified'), /kms:Decrypt/);
  await assertSources(bench);

  written = false;
  proxy.rules = [watch, afterPut(() => appendFileSync(bench.path('dir/sub/b'), 'new'))];
  refused(await bench.secretsfs(args), 4, 'source-changed');
  assert.equal(await readFile(bench.path('dir/a'), 'utf8'), 'content of a');
  assert.match(await readFile(bench.path('dir/sub/b'), 'utf8'), /^content of b(new)+$/);

  written = false;
  proxy.rules = [watch, afterPut(() => writeFileSync(bench.path('dir/sub/added'), 'new'))];
  const { code, stderr } = await bench.secretsfs(args);
  assert.equal(code, 0, stderr);
  assert.match(stderr, /"dir\/sub" stays/);
  assert.deepEqual(await readdir(bench.path('dir'), { recursive: true }), ['sub', 'sub/added']);
});

test('upload --shred: what does not open again, or changed meanwhile, leaves the file', async (t) => {
  const bench = await setUp(t, { ...awsEnv(proxy.url), KMS_KEY_ID: await createKey(moto.url) });
  const bucket = await createBucket(moto.url);
  const args = ['upload', 'dir/a', 'x/a', '--shred', '--store', `s3://${bucket}/p`];
  const denied = { kind: 'error', status: 400, code: 'AccessDeniedException' } as const;
  proxy.rules = [({ operation }) => (operation === 'Decrypt' ? denied : undefined)];
  refused(await bench.secretsfs(args), 10, 'output-unverified');
  proxy.rules = [
    ({ method }) => {
      if (method === 'PUT') appendFileSync(bench.path('dir/a'), '!');
      return undefined;
    },
  ];
  refused(await bench.secretsfs(args), 4, 'source-changed');
  assert.equal(await readFile(bench.path('dir/a'), 'utf8'), 'content of a!');
  proxy.rules = [];
  await bench.must([...args, '--dry-run']);
  refused(await bench.secretsfs(args.with(1, '-'), { stdin: Buffer.from('x') }), 2, 'usage');
  await link(bench.path('dir/a'), bench.path('other'));
  refused(await bench.secretsfs(args), 4, 'source-invalid');
  await rm(bench.path('other'));
  await bench.must(args);
  assert.deepEqual(await readdir(bench.path('dir')), ['sub']);
  assert.equal(await bench.must(['get', 'x/a', '--store', `s3://${bucket}/p`]), 'content of a!');
});
