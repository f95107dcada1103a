/** What must never go live does not: each refusal has its own code, and the old generation is served throughout. */
import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { writeArchive } from '../../src/bundle/archive.ts';
import { BUNDLE } from '../../src/bundle/kind.ts';
import { parseHeader } from '../../src/bundle/message.ts';
import type { SealOptions } from '../../src/bundle/seal.ts';
import { localKeyring } from '../../src/keyring/local.ts';
import { KEY, OTHER_KEY, sealTest } from '../support/bundles.ts';
import { startFaultProxy } from '../support/fault-proxy.ts';
import { awsEnv, createBucket, createKey, type Moto, startMoto } from '../support/moto.ts';
import { VECTORS } from '../support/paths.ts';
import { Bench, type Daemon, eventually } from '../support/program.ts';
import { member, tarOf } from '../support/tars.ts';

const GOOD = 'the good content';
const NOW = Date.now();

async function tar(content: string): Promise<Buffer> {
  const data = Buffer.from(content);
  return writeArchive([{ kind: 'file', path: 'secret', mode: 0o600, uid: 0, gid: 0, data }]);
}

async function sealed(content: string, options: Partial<SealOptions> = {}): Promise<Buffer> {
  return sealTest(await tar(content), { serial: NOW + 1, context: { env: 'prod' }, ...options });
}

interface Candidates {
  readonly bench: Bench;
  readonly daemon: Daemon;
  /** Puts a bundle in place and asks for it by hand: the code of the refusal, or the outcome. */
  try(bytes: Buffer): Promise<string>;
  content(): Promise<string>;
}

async function mounted(t: TestContext): Promise<Candidates> {
  const bench = await Bench.create(t);
  await mkdir(bench.path('mnt'));
  await writeFile(bench.path('key'), KEY, { mode: 0o400 });
  const put = async (bytes: Buffer) => {
    await writeFile(bench.path('new'), bytes);
    await rename(bench.path('new'), bench.path('web.enc'));
  };
  await put(await sealed(GOOD, { serial: NOW }));
  const daemon = await bench.mount(['web.enc', 'mnt', '--key', 'local:key', '--context', 'env=prod']);
  return {
    bench,
    daemon,
    content: () => readFile(bench.path('mnt/secret'), 'utf8'),
    async try(bytes) {
      await put(bytes);
      const { code, stdout, stderr } = await bench.secretsfs(['remount', 'web', '--json']);
      if (code === 0) return JSON.parse(stdout).outcome;
      const { error } = JSON.parse(stderr);
      assert.equal(error.exitCode, code);
      assert.notEqual(error.hint, undefined, `no hint: ${error.message}`);
      return error.code;
    },
  };
}

test('each kind of bad bundle is refused with a code of its own, and the right one after them all goes live', async (t) => {
  const mount = await mounted(t);
  const good = await sealed(GOOD);
  const other = parseHeader(await sealed('other'), BUNDLE).encryptedDataKeys[0];
  const own = parseHeader(good, BUNDLE).encryptedDataKeys[0];
  assert.ok(own !== undefined && other !== undefined);
  const swapped = Buffer.from(good);
  other.providerInfo.copy(swapped, swapped.indexOf(own.providerInfo));
  other.encryptedDataKey.copy(swapped, swapped.indexOf(own.encryptedDataKey));
  const unsigned = await readFile(path.join(VECTORS, 'bundle', 'suite-0478.bundle'));

  const candidates: [string, Buffer, string][] = [
    ['not a bundle', Buffer.from('hello'), 'bundle-invalid'],
    ['empty', Buffer.alloc(0), 'bundle-invalid'],
    ['a plain tar', await tar('x'), 'bundle-invalid'],
    ['a truncated tail', good.subarray(0, -1), 'bundle-truncated'],
    ['a truncated header', good.subarray(0, 100), 'bundle-truncated'],
    ['a swapped data key', swapped, 'data-key-refused'],
    ['an unsigned suite', unsigned, 'bundle-suite'],
    ['another key', await sealed('x', { keyring: localKeyring(OTHER_KEY).keyring }), 'key-not-accepted'],
    ['another name', await sealed('x', { name: 'db' }), 'bundle-name'],
    ['another context', await sealed('x', { context: { env: 'dev' } }), 'bundle-context'],
    ['a lower serial', await sealed('x', { serial: NOW - 1 }), 'bundle-serial-low'],
    ['the same serial with other content', await sealed('x', { serial: NOW }), 'bundle-serial-reused'],
    ['a serial from the future', await sealed('x', { serial: NOW + 7_200_000 }), 'bundle-serial-future'],
    [
      'a hard link inside',
      await sealTest(tarOf(member({ name: 'a' }), member({ name: 'b', typeflag: '1', linkname: 'a' })), {
        serial: NOW + 1,
        context: { env: 'prod' },
      }),
      'archive-refused',
    ],
    [
      'no tar inside',
      await sealTest(Buffer.alloc(2048, 7), { serial: NOW + 1, context: { env: 'prod' } }),
      'archive-invalid',
    ],
  ];
  for (const [what, bytes, code] of candidates) {
    assert.equal(await mount.try(bytes), code, what);
    assert.equal(await mount.content(), GOOD, what);
    const [status] = JSON.parse(await mount.bench.must(['status', '--json']));
    assert.equal(status.state, 'failing');
    assert.equal(status.error.code, code);
    assert.equal(status.live.id, 1);
  }
  assert.match(await mount.try(await sealed('renewed', { serial: NOW + 2 })), /^(activated|unchanged)$/);
  assert.equal(await mount.content(), 'renewed');
  const [status] = JSON.parse(await mount.bench.must(['status', '--json']));
  assert.equal(status.state, 'live');
  assert.equal(status.error, null);
});

test('a bit flipped in any region of a bundle never goes live', async (t) => {
  const mount = await mounted(t);
  const good = await sealed('never');
  const codes = new Map<string, number>();
  const { headerBytes } = parseHeader(good, BUNDLE);
  const offsets = new Set<number>();
  for (let at = 0; at < good.length; at += Math.ceil(good.length / 60)) offsets.add(at);
  for (const at of [headerBytes - 1, headerBytes, headerBytes + 4, headerBytes + 20, good.length - 1])
    offsets.add(at);
  for (const at of offsets) {
    const flipped = Buffer.from(good);
    flipped[at] = (flipped[at] ?? 0) ^ 0x10;
    const code = await mount.try(flipped);
    assert.match(code, /^(bundle|key|data-key)-/, `byte ${at}: ${code}`);
    codes.set(code, (codes.get(code) ?? 0) + 1);
  }
  assert.equal(await mount.content(), GOOD);
  assert.ok((codes.get('bundle-corrupt') ?? 0) > 10, JSON.stringify([...codes]));
  // The control: unflipped it goes live, by the watcher or by hand, whichever comes first.
  assert.match(await mount.try(good), /^(activated|unchanged)$/);
  assert.equal(await mount.content(), 'never');
});

test('a watcher refuses by itself, says so once, and goes on when the bundle is right again', async (t) => {
  const { bench, daemon } = await mounted(t);
  await writeFile(bench.path('web.enc'), 'nonsense');
  const line = await daemon.event('refresh-failed');
  assert.equal(line['code'], 'bundle-invalid');
  await writeFile(bench.path('web.enc'), await sealed('renewed'));
  await daemon.event('refresh-recovered');
  assert.equal(daemon.count('refresh-failed'), 1);
  assert.equal(await readFile(bench.path('mnt/secret'), 'utf8'), 'renewed');
});

test('a mount that is told to end while it still waits for its bundle ends at once, and leaves nothing', async (t) => {
  const proxy = await startFaultProxy(moto.url);
  t.after(() => proxy.close());
  const bench = await Bench.create(t, awsEnv(proxy.url, { SECRETSFS_FORCE_PATH_STYLE: 'true' }));
  const key = await createKey(moto.url);
  await mkdir(bench.path('mnt'));
  proxy.rules = [() => ({ kind: 'stall' })];
  const daemon = bench.startMount(['s3://bucket/web.enc', 'mnt', '--accept-key', key]);
  await daemon.event('starting');
  const waiting = bench.secretsfs(['wait', 'web', '--timeout', '10']);
  await eventually(async () => assert.ok(proxy.seen.length > 0));
  assert.equal(await daemon.stop(), 0);
  assert.notEqual((await waiting).code, 0);
  assert.deepEqual(
    daemon.lines.map(({ event }) => event),
    // The first mount of this name.
    ['floor-missing', 'starting'],
  );
  assert.deepEqual(await readdir(bench.path('run')), []);
});

let moto: Moto;
before(async () => {
  moto = await startMoto();
});
after(() => moto.stop());

test('with KMS and S3 denied, throttled or gone, the old generation is served and the state says why', async (t) => {
  const proxy = await startFaultProxy(moto.url);
  t.after(() => proxy.close());
  const bench = await Bench.create(t, awsEnv(proxy.url, { SECRETSFS_FORCE_PATH_STYLE: 'true' }));
  const key = await createKey(moto.url);
  const otherKey = await createKey(moto.url);
  const bucket = await createBucket(moto.url);
  const url = `s3://${bucket}/web.enc`;
  await mkdir(bench.path('mnt'));
  await mkdir(bench.path('dir'));
  const pack = async (content: string, wrapping = key) => {
    await writeFile(bench.path('dir/secret'), content);
    await bench.must(['pack', '--dir', 'dir', '--key', wrapping, url]);
  };
  await pack(GOOD);
  await bench.mount([url, 'mnt', '--accept-key', key, '--poll', '1h']);
  const remount = async () => {
    const { code, stdout, stderr } = await bench.secretsfs(['remount', '--json']);
    assert.equal(await readFile(bench.path('mnt/secret'), 'utf8'), code === 0 ? 'renewed' : GOOD);
    return code === 0 ? JSON.parse(stdout).outcome : JSON.parse(stderr).error.code;
  };
  const kms = (status: number, code: string) => {
    proxy.rules = [
      ({ operation }) => (operation === 'Decrypt' ? { kind: 'error', status, code } : undefined),
    ];
  };
  const s3 = (status: number, code: string) => {
    proxy.rules = [
      ({ method, path: at }) =>
        method === 'GET' && at.includes(bucket) ? { kind: 'error', status, code } : undefined,
    ];
  };

  await pack('x', otherKey);
  assert.equal(await remount(), 'key-not-accepted');
  await pack('renewed');
  kms(400, 'AccessDeniedException');
  assert.equal(await remount(), 'key-denied');
  kms(400, 'DisabledException');
  assert.equal(await remount(), 'key-disabled');
  kms(400, 'ThrottlingException');
  assert.equal(await remount(), 'key-throttled');
  kms(400, 'InvalidCiphertextException');
  assert.equal(await remount(), 'data-key-refused');
  s3(403, 'AccessDenied');
  assert.equal(await remount(), 'source-denied');
  s3(404, 'NoSuchKey');
  assert.equal(await remount(), 'source-not-found');
  s3(503, 'SlowDown');
  assert.equal(await remount(), 'source-throttled');
  s3(400, 'ExpiredToken');
  assert.equal(await remount(), 'credentials-expired');
  proxy.rules = [];
  assert.equal(await remount(), 'activated');
});
