/** --cache-dir: a start without S3, as long as KMS answers; and what is no bundle to start from. */
import assert from 'node:assert/strict';
import { chown, copyFile, mkdir, readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { after, before, type TestContext, test } from 'node:test';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import type { Status } from '../../src/control/protocol.ts';
import { EXIT_CODES } from '../../src/errors.ts';
import { startFaultProxy } from '../support/fault-proxy.ts';
import { awsEnv, createBucket, createKey, type Moto, motoS3, startMoto } from '../support/moto.ts';
import { Bench, eventually, must } from '../support/program.ts';
import { patient } from '../support/slowness.ts';

let moto: Moto;
before(async () => {
  moto = await startMoto();
});
after(() => moto.stop());

const PATIENT_MS = patient(20_000);

/** A mount of web.enc in S3 with a cache; `down` is whether S3 (not KMS) fails. */
async function setUp(t: TestContext) {
  const proxy = await startFaultProxy(moto.url);
  t.after(() => proxy.close());
  const s3 = motoS3(moto.url);
  t.after(() => s3.destroy());
  const [bucket, key] = [await createBucket(moto.url), await createKey(moto.url)];
  const bench = await Bench.create(t, awsEnv(proxy.url));
  const world = { isDown: false };
  proxy.rules = [
    ({ operation }) =>
      world.isDown && operation === undefined
        ? { kind: 'error', status: 500, code: 'InternalError' }
        : undefined,
  ];
  await mkdir(bench.path('dir'));
  await mkdir(bench.path('mnt'));
  /** Uploads it as web.enc, and returns its file. */
  const put = async (content: string, name = 'web') => {
    await writeFile(bench.path('dir/secret'), content);
    const out = `${name}-${content}.enc`;
    await bench.must(['pack', '--dir', 'dir', '--key', key, '--name', name, out]);
    const Body = await readFile(bench.path(out));
    await s3.send(new PutObjectCommand({ Bucket: bucket, Key: 'web.enc', Body }));
    return bench.path(out);
  };
  const args = [`s3://${bucket}/web.enc`, 'mnt', '--key', key, '--force-path-style', '--poll', '1s'];
  args.push('--allow-swap', '--cache-dir', 'cache', '--consistency', 'none');
  const status = async () => (JSON.parse(await bench.must(['status', '--json'])) as [Status])[0];
  return {
    ...{ bench, world, put, args, status },
    file: bench.path('cache/web.bundle'),
    live: () => readFile(bench.path('mnt/secret'), 'utf8'),
  };
}

test('a mount starts without S3 from what went live last, says that it is stale, and no longer once S3 answers', async (t) => {
  const { bench, world, put, args, status, file, live } = await setUp(t);
  const packed = await put('one');
  let daemon = await bench.mount(args);
  await daemon.event('cache-kept');
  assert.deepEqual(await readFile(file), await readFile(packed));
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  assert.equal((await status()).bundleCache?.stale, false);
  await daemon.stop();

  world.isDown = true;
  daemon = await bench.mount(args);
  assert.equal((await daemon.event('started-from-cache'))['code'], 'source-unreachable');
  assert.equal(await live(), 'one');
  const { state, bundleCache, error } = await status();
  assert.deepEqual([state, bundleCache?.stale, error?.code], ['failing', true, 'source-unreachable']);
  assert.match(
    await bench.must(['status']),
    /^ {2}stale {7}what is live is from .*web\.bundle, which a source had last 20/m,
  );
  // It is the same: it need not be written again.
  world.isDown = false;
  await eventually(async () => assert.equal((await status()).bundleCache?.stale, false), PATIENT_MS);
  assert.equal((await status()).state, 'live');
  assert.equal(daemon.count('cache-kept'), 0);
  const next = await put('two');
  await daemon.event('cache-kept', 1, PATIENT_MS);
  assert.deepEqual(await readFile(file), await readFile(next));
  assert.equal(await live(), 'two');
});

test('no start goes by a kept bundle that is older than one that was live, another, altered, or too long unconfirmed', async (t) => {
  const { bench, world, put, args, file } = await setUp(t);
  const [old, other, newest] = [await put('old'), await put('other', 'other'), await put('new')];
  let daemon = await bench.mount(args);
  await daemon.event('cache-kept');
  await daemon.stop();
  world.isDown = true;
  const start = async (...more: string[]) => {
    const { code, stderr } = await bench.secretsfs(['mount', ...args, ...more]);
    assert.equal(code, EXIT_CODES.source);
    const refused = stderr.split('\n').find((line) => line.includes('cache-refused'));
    return (JSON.parse(refused ?? '{}') as { problem?: string }).problem ?? stderr;
  };
  await copyFile(old, file);
  assert.match(await start(), /\(bundle-serial-low\)$/);
  await copyFile(other, file);
  assert.match(await start(), /\(bundle-name\)$/);
  const altered = await readFile(newest);
  altered[altered.length - 200] = (altered[altered.length - 200] ?? 0) ^ 1;
  await writeFile(file, altered);
  assert.match(await start(), /\(bundle-serial-reused\)$/);
  // Also where no serial is remembered that would tell.
  const forgotten = ['--state-dir', 'forgotten'];
  assert.match(await start(...forgotten), /\(bundle-corrupt\)$/);
  await writeFile(file, altered.subarray(0, altered.length / 2));
  assert.match(await start(...forgotten), /\(bundle-(truncated|corrupt)\)$/);
  await copyFile(newest, file);
  await utimes(file, new Date(), new Date(Date.now() - 7_200_000));
  assert.match(await start('--max-stale', '1h'), /want at most 3600 s \(--max-stale\)$/);
  // What is live stays so, however old it gets.
  daemon = await bench.mount([...args, '--max-stale', '3h']);
  assert.equal(daemon.count('started-from-cache'), 1);
  await daemon.stop();
});

test('a disk that is full costs the cache and nothing else; a directory of somebody else is refused', async (t) => {
  const { bench, put, args, live, status } = await setUp(t);
  await put('one');
  await mkdir(bench.path('cache'), { mode: 0o700 });
  await must('mount', ['-t', 'tmpfs', '-o', 'size=4k,mode=700', 'tmpfs', bench.path('cache')]);
  bench.after(() => must('umount', ['-l', bench.path('cache')]));
  await writeFile(bench.path('cache/full'), Buffer.alloc(4096));
  const daemon = await bench.mount(args);
  assert.match(String((await daemon.event('cache-not-kept'))['problem']), /no space is left/);
  assert.equal(await live(), 'one');
  assert.match((await status()).bundleCache?.problem ?? '', /no space is left/);
  await daemon.stop();
  await chown(bench.path('cache'), 1, 1);
  const refused = await bench.secretsfs(['mount', ...args]);
  assert.equal(refused.code, EXIT_CODES.config);
  assert.match(refused.stderr, /cannot keep bundles in .*must be a directory of uid 0/);
});

test('of several bundles each is kept, and starts from what is kept of it', async (t) => {
  const { bench } = await setUp(t);
  await bench.must(['keygen', 'key']);
  const parts = ['a', 'b'].map((name) => `  ${name}: { source: ${name}.enc, acceptKey: 'local:key' }`);
  const settings = [
    'mountpoint: mnt',
    'instance: both',
    'cacheDir: cache',
    'allowSwap: true',
    'mounts:',
    ...parts,
  ];
  await writeFile(bench.path('both.yaml'), `${settings.join('\n')}\n`);
  for (const name of ['a', 'b']) {
    await writeFile(bench.path('dir/secret'), name);
    await bench.must(['pack', '--dir', 'dir', '--key', 'local:key', '--name', name, `${name}.enc`]);
  }
  let daemon = await bench.mount(['--config', 'both.yaml']);
  await daemon.event('cache-kept', 2);
  await daemon.stop();
  await must('rm', [bench.path('b.enc')]);
  daemon = await bench.mount(['--config', 'both.yaml']);
  assert.equal((await daemon.event('started-from-cache'))['part'], 'b');
  assert.equal(await readFile(bench.path('mnt/b/secret'), 'utf8'), 'b');
  assert.equal(await readFile(bench.path('mnt/a/secret'), 'utf8'), 'a');
  const [{ parts: described = [] }] = JSON.parse(await bench.must(['status', '--json'])) as [Status];
  assert.deepEqual(
    described.map(({ bundleCache }) => bundleCache?.stale),
    [false, true],
  );
});
