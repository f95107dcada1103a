/** The main job, as in README: upload, mount, serve, renew; with the AWS protocol and with local files. */
import assert from 'node:assert/strict';
import { mkdir, readFile, rename } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import {
  awsEnv,
  createAlias,
  createBucket,
  createKey,
  freePort,
  type Moto,
  startMoto,
} from '../support/moto.ts';
import { Bench, eventually, must } from '../support/program.ts';
import { makeCertificate, servedSerial, startNginx } from '../support/tls.ts';

let moto: Moto;
before(async () => {
  moto = await startMoto();
});
after(() => moto.stop());

/** Debian's aws, the second client. */
const AWS = '/usr/bin/aws';

test('nginx serves a certificate that was packed to S3 under a KMS key, and its renewal after a reload', async (t) => {
  const bench = await Bench.create(t, awsEnv(moto.url, { SECRETSFS_FORCE_PATH_STYLE: 'true' }));
  const key = await createKey(moto.url);
  const alias = await createAlias(moto.url, key);
  const bucket = await createBucket(moto.url, { versioned: true });
  const url = `s3://${bucket}/prod/web.enc.tar`;
  await mkdir(bench.path('secrets'));
  await mkdir(bench.path('mnt'));

  await makeCertificate(bench.path('secrets'), '0A01');
  await bench.must(['pack', '--dir', 'secrets', '--key', alias, url]);
  const daemon = await bench.mount([url, 'mnt', '--accept-key', key, '--poll', '1s']);
  const port = await freePort();
  const nginx = await startNginx(bench, bench.path('mnt'), port);
  assert.equal(await servedSerial(port), '0A01');

  await makeCertificate(bench.path('secrets'), '0B02');
  await bench.must(['pack', '--dir', 'secrets', '--key', alias, url]);
  // Nobody tells it: the poll notices.
  await daemon.event('activated', 2);
  nginx.reload();
  await eventually(async () => assert.equal(await servedSerial(port), '0B02'));

  const status = JSON.parse(await bench.must(['status', 'web', '--json']))[0];
  assert.equal(status.state, 'live');
  assert.equal(status.live.id, 2);
  assert.equal(status.error, null);
  assert.equal(await bench.must(['unmount', 'web']), `web: unmounted ${bench.path('mnt')}\n`);
  assert.equal(await daemon.ended, 0);
});

test("Debian's aws fetches what pack wrote, and what it uploads can be opened", async (t) => {
  const bench = await Bench.create(t, awsEnv(moto.url, { SECRETSFS_FORCE_PATH_STYLE: 'true' }));
  const key = await createKey(moto.url);
  const bucket = await createBucket(moto.url);
  await mkdir(bench.path('secrets'));
  await makeCertificate(bench.path('secrets'), '0C03');
  const packed = await bench.must([
    'pack',
    '--dir',
    'secrets',
    '--key',
    key,
    '--json',
    `s3://${bucket}/web.enc.tar`,
  ]);
  // moto's clients need the endpoint by flag: awscli 2.9 does not know AWS_ENDPOINT_URL.
  const aws = (...args: string[]) =>
    must(AWS, ['--endpoint-url', moto.url, ...args], { env: bench.env, cwd: bench.directory });

  assert.match(
    await aws('s3', 'ls', `s3://${bucket}/`),
    new RegExp(` ${JSON.parse(packed).bytes} web\\.enc\\.tar`),
  );
  await aws('s3', 'cp', `s3://${bucket}/web.enc.tar`, 'fetched.enc.tar');
  const inspected = JSON.parse(await bench.must(['inspect', '--json', 'fetched.enc.tar']));
  assert.equal(inspected.name, 'web');
  assert.equal(inspected.encryptedDataKeys[0].keyName, key);
  const described = JSON.parse(
    await aws('kms', 'describe-key', '--key-id', inspected.encryptedDataKeys[0].keyName),
  );
  assert.equal(described.KeyMetadata.Arn, key);

  await aws('s3', 'cp', 'fetched.enc.tar', `s3://${bucket}/copy/web.enc.tar`);
  await bench.must(['unpack', `s3://${bucket}/copy/web.enc.tar`, 'out/', '--accept-key', key]);
  assert.deepEqual(await readFile(bench.path('out/web.key')), await readFile(bench.path('secrets/web.key')));
});

test('a local bundle that is replaced goes live by itself, and SIGHUP and remount make it happen now', async (t) => {
  const bench = await Bench.create(t);
  await mkdir(bench.path('secrets'));
  await mkdir(bench.path('mnt'));
  await bench.must(['keygen', 'key']);
  const pack = async (serial: string, out = 'web.enc.tar') => {
    await makeCertificate(bench.path('secrets'), serial);
    await bench.must(['pack', '--dir', 'secrets', '--key', 'local:key', '--name', 'web', out]);
  };
  await pack('0D01');
  const daemon = await bench.mount(['web.enc.tar', 'mnt', '--key', 'local:key']);
  const port = await freePort();
  const nginx = await startNginx(bench, bench.path('mnt'), port);

  await pack('0D02', 'new.enc.tar');
  await rename(bench.path('new.enc.tar'), bench.path('web.enc.tar'));
  await daemon.event('activated', 2);
  nginx.reload();
  await eventually(async () => assert.equal(await servedSerial(port), '0D02'));

  await pack('0D03');
  assert.match(await bench.must(['remount']), /serial \d+ is live/);
  nginx.reload();
  await eventually(async () => assert.equal(await servedSerial(port), '0D03'));
  assert.match(
    await bench.must(['remount', 'mnt']),
    /^web: nothing changed; serial \d+ is live, generation \d+, since \S+Z, \d+ (s|min) ago$/m,
  );

  await pack('0D04');
  daemon.child.kill('SIGHUP');
  await daemon.event('activated', 4);
  assert.equal(await daemon.stop(), 0);
});
