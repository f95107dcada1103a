/** A start that waits for the world, says for what, and does not wait for what is a mistake. */
import assert from 'node:assert/strict';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import { EXIT_CODES } from '../../src/errors.ts';
import { type Fault, type Rule, startFaultProxy } from '../support/fault-proxy.ts';
import { awsEnv, createBucket, createKey, motoS3, startMoto } from '../support/moto.ts';
import { listenAsSystemd } from '../support/notify-listener.ts';
import { Bench, eventually } from '../support/program.ts';
import { patient } from '../support/slowness.ts';

const PATIENT_MS = patient(40_000);

/** A directory, a key and a bundle of them that is not where it is looked for. */
async function packed(bench: Bench): Promise<void> {
  await mkdir(bench.path('mnt'));
  await mkdir(bench.path('dir'));
  await writeFile(bench.path('dir/secret'), 'content');
  await bench.must(['keygen', 'key']);
  await bench.must(['pack', '--dir', 'dir', '--key', 'local:key', '--name', 'web', 'there.enc']);
}

for (const driver of ['kernel', 'fuse-native']) {
  test(`with ${driver}, a mount that systemd started waits for its bundle, and says so`, async (t) => {
    const bench = await Bench.create(t);
    await packed(bench);
    const systemd = await listenAsSystemd(bench);
    const env = { ...bench.env, NOTIFY_SOCKET: systemd.path };
    const args = ['web.enc', 'mnt', '--key', 'local:key', '--driver', driver, '--allow-swap'];
    const daemon = bench.startMount(args, env);
    await eventually(async () =>
      assert.match(systemd.said(), /^STATUS=waits: .*no such file.*\(source-not-found\)$/m),
    );
    assert.match(systemd.said(), /^EXTEND_TIMEOUT_USEC=\d+$/m);
    assert.doesNotMatch(systemd.said(), /READY/);
    await rename(bench.path('there.enc'), bench.path('web.enc'));
    await daemon.event('ready');
    await eventually(async () => assert.match(systemd.said(), /^READY=1$/m));
    assert.match(systemd.said(), /^STATUS=serial \d+ at /m);
    assert.equal(await readFile(bench.path('mnt/secret'), 'utf8'), 'content');
    assert.equal(await daemon.stop(), 0);
  });
}

test('one that nobody is told of does not wait, one that was told how long no longer, and no mistake is waited for', async (t) => {
  const bench = await Bench.create(t);
  await packed(bench);
  const mount = (...more: string[]) =>
    bench.secretsfs(['mount', 'web.enc', 'mnt', '--key', 'local:key', '--allow-swap', ...more]);
  assert.equal((await mount()).code, EXIT_CODES.source);
  const late = await mount('--timeout-start', '1s');
  assert.equal(late.code, EXIT_CODES.timeout);
  assert.match(late.stderr, /nothing to serve after 1 s: cannot read .*no such file/);
  assert.equal(
    (await mount('--timeout-start', 'infinity', '--queue', 'https://sqs/queue')).code,
    EXIT_CODES.config,
  );
  await rename(bench.path('mnt'), bench.path('elsewhere'));
  assert.equal((await mount('--timeout-start', 'infinity')).code, EXIT_CODES.mount);
});

test('a mount that waits ends when it is told to, and waits for a bundle that is not refused', async (t) => {
  const bench = await Bench.create(t);
  await packed(bench);
  await writeFile(bench.path('web.enc'), 'no bundle');
  const args = ['web.enc', 'mnt', '--key', 'local:key', '--timeout-start', 'infinity', '--allow-swap'];
  let daemon = bench.startMount(args);
  await daemon.event('start-waits');
  assert.equal(await daemon.stop(), 0);
  daemon = bench.startMount(args);
  await daemon.event('start-waits');
  await rename(bench.path('there.enc'), bench.path('web.enc'));
  await daemon.event('ready');
});

/** What stands in the way, one after the other, and how the mount names it. */
const TROUBLES: readonly { readonly rule: Rule; readonly code: string }[] = [
  {
    rule: ({ path }) => (path.startsWith('/latest/') ? answer(404) : undefined),
    code: 'credentials-missing',
  },
  {
    rule: ({ path }) => (path.includes('web.enc') ? error(503, 'InternalError') : undefined),
    code: 'source-unreachable',
  },
  {
    rule: ({ path }) => (path.includes('web.enc') ? error(403, 'AccessDenied') : undefined),
    code: 'source-denied',
  },
  {
    rule: ({ operation }) => (operation === 'Decrypt' ? error(400, 'AccessDeniedException') : undefined),
    code: 'key-denied',
  },
];
const error = (status: number, code: string): Fault => ({ kind: 'error', status, code });
const answer = (status: number): Fault => ({ kind: 'answer', status, headers: {}, body: '' });

test('a mount waits for the metadata service, S3 and KMS, whichever is not there yet', async (t) => {
  const moto = await startMoto();
  t.after(() => moto.stop());
  const proxy = await startFaultProxy(moto.url);
  t.after(() => proxy.close());
  const [bucket, key] = [await createBucket(moto.url), await createKey(moto.url)];
  const s3 = motoS3(moto.url);
  t.after(() => s3.destroy());
  const { AWS_ACCESS_KEY_ID: _, AWS_SECRET_ACCESS_KEY: __, ...aws } = awsEnv(proxy.url);
  const bench = await Bench.create(t, { ...aws, AWS_EC2_METADATA_DISABLED: 'false' });
  await packed(bench);
  await bench.must(['pack', '--dir', 'dir', '--key', key, '--name', 'web', 'web.enc'], {
    env: awsEnv(moto.url),
  });
  const Body = await readFile(bench.path('web.enc'));
  await s3.send(new PutObjectCommand({ Bucket: bucket, Key: 'web.enc', Body }));
  const systemd = await listenAsSystemd(bench);
  proxy.rules = TROUBLES.map(({ rule }) => rule);
  const args = [
    `s3://${bucket}/web.enc`,
    'mnt',
    '--key',
    key,
    '--force-path-style',
    '--poll',
    '1s',
    '--allow-swap',
  ];
  const daemon = bench.startMount(args, { ...bench.env, NOTIFY_SOCKET: systemd.path });
  for (const { code } of TROUBLES) {
    const said = new RegExp(`^STATUS=waits: .*\\(${code}\\)$`, 'm');
    await eventually(async () => assert.match(systemd.said(), said), PATIENT_MS);
    proxy.rules = proxy.rules.slice(1);
  }
  await daemon.event('ready', 1, PATIENT_MS);
  assert.equal(await readFile(bench.path('mnt/secret'), 'utf8'), 'content');
});
