/** Whole trees of secrets: into a store and only what changed, out of it as a bundle, and what differs between them. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { after, before, type TestContext, test } from 'node:test';
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import { awsEnv, createBucket, createKey, type Moto, startMoto, unique } from '../support/moto.ts';
import { Bench, must, type Outcome } from '../support/program.ts';

const CANARY = 'c4n4ry-content';

let moto: Moto;
let proxy: FaultProxy;
let key: string;
before(async () => {
  moto = await startMoto();
  proxy = await startFaultProxy(moto.url);
  key = await createKey(moto.url);
});
after(async () => {
  await proxy?.close();
  await moto?.stop();
});

async function setUp(t: TestContext): Promise<{ readonly bench: Bench; readonly location: string }> {
  const location = `s3://${await createBucket(moto.url)}/${unique('store')}`;
  const bench = await Bench.create(t, { ...awsEnv(proxy.url), S3_PATH: location, KMS_KEY_ID: key });
  await mkdir(bench.path('dir/sub'), { recursive: true });
  await writeFile(bench.path('dir/a'), `${CANARY} a`);
  await writeFile(bench.path('dir/sub/b'), `${CANARY} b`);
  await writeFile(bench.path('dir/empty'), '');
  return { bench, location };
}

function refused({ code, stdout, stderr }: Outcome, exit: number, name: string): string {
  assert.equal(code, exit, `${stdout}${stderr}`);
  assert.match(stderr, new RegExp(`\\(${name}\\)\\n`));
  assert.match(stderr, /^secretsfs: hint: /m);
  return stderr;
}

async function written(work: () => Promise<unknown>): Promise<number> {
  proxy.seen.length = 0;
  await work();
  return proxy.seen.filter(({ method }) => method === 'PUT' || method === 'DELETE').length;
}

test('sync writes what changed and nothing else, also after a rotation; --delete removes, --dry-run says', async (t) => {
  const { bench } = await setUp(t);
  const run = (...args: string[]) => bench.must(['sync', 'dir', 'gpg/home/', ...args]);
  const dry =
    '+ a\n+ empty\n+ sub/b\nwould be added 3, would be changed 0, would be removed 0, unchanged 0\n';
  assert.equal(await written(async () => assert.equal(await run('--dry-run'), dry)), 0);
  assert.equal(
    await written(async () =>
      assert.match(await run(), /^\+ a\n.*\nadded 3, changed 0, removed 0, unchanged 0\n$/s),
    ),
    4,
  );
  assert.equal(await bench.must(['get', 'gpg/home/sub/b']), `${CANARY} b`);
  assert.equal(
    await written(async () => assert.equal(await run(), 'added 0, changed 0, removed 0, unchanged 3\n')),
    0,
  );
  const other = await createKey(moto.url);
  await bench.must(['rotate', '--key', other]);
  assert.equal(await written(() => run('--key', other)), 0);
  // The key of sync is one of --key's, or --accept-key says which.
  refused(await bench.secretsfs(['sync', 'dir', 'gpg/home']), 5, 'key-not-accepted');
  assert.equal(await written(() => run('--accept-key', other)), 0);
  bench.env['KMS_KEY_ID'] = other;

  await writeFile(bench.path('dir/a'), `${CANARY} A`);
  await rm(bench.path('dir/sub'), { recursive: true });
  await symlink('a', bench.path('dir/link'));
  const { stdout, stderr } = await bench.secretsfs(['sync', 'dir', 'gpg/home']);
  assert.match(stdout, /^~ a\nadded 0, changed 1, removed 0, unchanged 1; 1 not in the directory: --delete/);
  assert.match(stderr, /"dir\/link" is a symlink/);
  await bench.must(['put', 'gpg/home-other/x'], { stdin: Buffer.from('x') });
  const facts = JSON.parse(await run('--delete', '--json'));
  assert.deepEqual([facts.added, facts.changed, facts.removed, facts.unchanged], [[], [], ['sub/b'], 2]);
  const listed = (await bench.must(['ls'])).split('\n').map((line) => line.split(' ')[0]);
  assert.deepEqual(listed.slice(1, -1), [
    'gpg/home-other/x',
    'gpg/home/.secretsfs-sync-key',
    'gpg/home/a',
    'gpg/home/empty',
  ]);
});

test('what sync and rotate wrote ls knows, and asks for the listing alone', async (t) => {
  const { bench } = await setUp(t);
  // Beside them is the key of sync itself.
  const read = async () => {
    proxy.seen.length = 0;
    assert.equal(JSON.parse(await bench.must(['ls', '--json'])).length, 4);
    return proxy.seen.filter(
      ({ path, method }) => method !== 'PUT' && /\/gpg\/home\/(a|empty|sub)/.test(path),
    ).length;
  };
  await bench.must(['sync', 'dir', 'gpg/home']);
  assert.equal(await read(), 0);
  await bench.must(['rotate']);
  assert.equal(await read(), 0);
  // It would ask otherwise.
  await rm(bench.path('cache'), { recursive: true });
  assert.equal(await read(), 3);
});

test('equal contents at two paths have different hashes, and a header taken from elsewhere counts for nothing', async (t) => {
  const { bench } = await setUp(t);
  await writeFile(bench.path('dir/sub/b'), `${CANARY} a`);
  await bench.must(['sync', 'dir', 'x']);
  await mkdir(bench.path('local'));
  const local = ['--store', 'local'];
  await bench.must(['sync', 'dir', 'x', ...local]);
  await bench.must(['sync', 'dir', 'y', ...local]);
  await rm(bench.path('local/x/a'));
  await must('cp', [bench.path('local/y/a'), bench.path('local/x/a')]);
  assert.match(await bench.must(['sync', 'dir', 'x', ...local]), /^~ a\nadded 0, changed 1/);
});

test('an empty directory empties a prefix only with --force', async (t) => {
  const { bench } = await setUp(t);
  await bench.must(['sync', 'dir', 'x']);
  await mkdir(bench.path('none'));
  const sync = ['sync', 'none', 'x', '--delete'];
  for (const args of [sync, [...sync, '--dry-run']])
    assert.match(
      refused(await bench.secretsfs(args), 2, 'usage'),
      /no files, and --delete would remove all below "x"/,
    );
  assert.match(await bench.must([...sync, '--force']), /removed 3, unchanged 0\n$/);
});

test('pack PATTERN… OUT makes a bundle of secrets under a key of its own, and diff finds what differs', async (t) => {
  const { bench, location } = await setUp(t);
  await bench.must(['sync', 'dir', 'app']);
  await bench.must(['put', 'other'], { stdin: Buffer.from('x') });
  const own = await createKey(moto.url);
  const pack = ['pack', 'app/a,app/sub/**', 'app/empty', 'web.enc', '--key', own];
  assert.match(await bench.must(pack), /^packed "web", serial \d+: 3 files, /);
  await bench.must(['unpack', 'web.enc', 'out/', '--accept-key', own]);
  assert.equal(await bench.must(['diff', 'dir', 'out/app']), '0 different, 3 the same\n');
  assert.equal(await bench.must(['diff', 'dir', `${location}/app`]), '0 different, 3 the same\n');

  // The key of sync is nobody's to hand out.
  const all = ['pack', 'app/**', 'all.enc', '--key', own];
  assert.match(await bench.must(all), /^packed "all", serial \d+: 3 files, /);
  const env = await bench.must(['exec', 'app/**', '--', 'env']);
  assert.match(env, /^SUB_B=/m);
  assert.doesNotMatch(env, /SYNC_KEY/);

  await writeFile(bench.path('dir/a'), `${CANARY} longer`);
  await rm(bench.path('dir/empty'));
  await writeFile(bench.path('dir/new'), CANARY);
  const differing = await bench.must(['diff', `${location}/app/`, 'dir']);
  assert.equal(differing, '~ a  16 B -> 21 B\n- empty  0 B\n+ new  14 B\n3 different, 1 the same\n');
  await bench.must(['pack', '--dir', 'dir', `s3://${location.slice(5).split('/')[0]}/dir.enc`]);
  const json = await bench.must([
    'diff',
    `s3://${location.slice(5).split('/')[0]}/dir.enc`,
    `${location}/app`,
    '--json',
    '--accept-key',
    key,
  ]);
  assert.ok(!json.includes('c4n4ry') && !differing.includes('c4n4ry'));
  assert.deepEqual(
    JSON.parse(json).differences.map(({ what }: { what: string }) => what),
    ['changed', 'added', 'removed'],
  );

  const again = (...args: string[]) => bench.secretsfs(['pack', ...args]);
  refused(await again('app/**', 'x.enc', '--shred'), 2, 'usage');
  refused(await again('app/**', 'x.enc', '--dir', 'dir'), 2, 'usage');
  refused(await again('nothing/*', 'x.enc'), 4, 'source-not-found');
  refused(await bench.secretsfs(['diff', 'none', 'dir']), 4, 'source-not-found');
  refused(await bench.secretsfs(['sync', 'none', 'x']), 4, 'source-not-found');
  refused(await bench.secretsfs(['sync', 'dir', '../x']), 2, 'usage');
});

test('sync that is interrupted says what is done, and goes on when it is run again', async (t) => {
  const { bench } = await setUp(t);
  const files = 100;
  for (let i = 0; i < files; i++) await writeFile(bench.path(`dir/file-${i}`), `${i}`);
  const child = spawn(process.execPath, [bench.program, 'sync', 'dir', 'p'], {
    ...{ cwd: bench.directory, env: bench.env, stdio: ['ignore', 'pipe', 'pipe'] },
  });
  bench.after(async () => child.kill('SIGKILL'));
  let isSent = false;
  proxy.rules = [
    ({ method, path }) => {
      // A second one would end it at once.
      if (!isSent && method === 'PUT' && path.includes('/file-')) isSent = child.kill('SIGINT');
      return undefined;
    },
  ];
  t.after(() => {
    proxy.rules = [];
  });
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  proxy.rules = [];
  assert.equal(code, 10, stderr);
  const [, left] = /interrupted: (\d+) .* \(output-failed\)\n.*hint: the same command/s.exec(stderr) ?? [];
  const done = stdout.match(/^\+ /gm)?.length ?? 0;
  assert.ok(done > 0 && Number(left) > 0, stdout);
  assert.equal(done + Number(left), files + 3);
  const rest = JSON.parse(await bench.must(['sync', 'dir', 'p', '--json']));
  assert.deepEqual([rest.added.length, rest.unchanged, rest.left], [Number(left), done, 0]);
});

test('diff says what is not there, and warns of a prefix with nothing below it', async (t) => {
  const { bench, location } = await setUp(t);
  assert.match(
    refused(await bench.secretsfs(['diff', 'dir', 'nowhere']), 4, 'source-not-found'),
    /"nowhere"/,
  );
  const { code, stderr } = await bench.secretsfs(['diff', 'dir', `${location}/none/`]);
  assert.equal(code, 0, stderr);
  assert.match(stderr, /there is nothing below "s3:/);
});

test('diff refuses a store that is given as a directory, and names it as one', async (t) => {
  const { bench } = await setUp(t);
  await mkdir(bench.path('store'));
  await bench.must(['upload', 'dir/a', 'a', '--store', 'store']);
  const stderr = refused(await bench.secretsfs(['diff', 'dir', 'store']), 2, 'usage');
  const [, hint = ''] = /hint: (\S+) compares its secrets/.exec(stderr) ?? [];
  assert.match(await bench.must(['diff', 'dir', hint]), /2 different, 1 the same/);
});
