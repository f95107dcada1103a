/** Serials that never go back: over restarts too, but where an operator says so; and reseal, the way a fleet goes back. */
import assert from 'node:assert/strict';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { awsEnv, createBucket, createKey, type Moto, startMoto } from '../support/moto.ts';
import { Bench } from '../support/program.ts';

let moto: Moto;
before(async () => {
  moto = await startMoto();
});
after(() => moto.stop());

/** old.enc.tar with "old" and web.enc.tar with "new" in the file a, of the name web. */
async function twoBundles(bench: Bench, key: string): Promise<void> {
  await mkdir(bench.path('dir'));
  await mkdir(bench.path('mnt'));
  for (const [content, out] of [
    ['old', 'old.enc.tar'],
    ['new', 'web.enc.tar'],
  ] as const) {
    await writeFile(bench.path('dir', 'a'), content);
    await bench.must(['pack', '--dir', 'dir', '--name', 'web', '--key', key, out]);
  }
}

const content = async (bench: Bench): Promise<string> => {
  await bench.must(['unpack', 'web.enc.tar', 'out/', '--key', 'local:key', '--force']);
  return readFile(bench.path('out', 'a'), 'utf8');
};

test('an older bundle is refused after a restart, taken where an operator allows it, and that lowers the floor', async (t) => {
  const bench = await Bench.create(t);
  await bench.must(['keygen', 'key']);
  await twoBundles(bench, 'local:key');
  const mount = ['web.enc.tar', 'mnt', '--key', 'local:key'];
  let daemon = await bench.mount(mount);
  assert.equal(daemon.count('floor-missing'), 1);
  await daemon.stop();

  await copyFile(bench.path('web.enc.tar'), bench.path('new.enc.tar'));
  await copyFile(bench.path('old.enc.tar'), bench.path('web.enc.tar'));
  const refused = await bench.secretsfs(['mount', ...mount]);
  assert.match(refused.stderr, /its serial is \d+, want at least \d+/);

  await copyFile(bench.path('new.enc.tar'), bench.path('web.enc.tar'));
  daemon = await bench.mount(mount);
  assert.equal(daemon.count('floor-missing'), 0);
  await copyFile(bench.path('old.enc.tar'), bench.path('web.enc.tar'));
  const remounted = await bench.secretsfs(['remount']);
  assert.match(remounted.stderr, /--allow-rollback/);
  assert.equal(await readFile(bench.path('mnt', 'a'), 'utf8'), 'new');
  await bench.must(['remount', '--allow-rollback']);
  assert.equal(await readFile(bench.path('mnt', 'a'), 'utf8'), 'old');
  assert.equal(daemon.count('floor-lowered'), 1);
  await daemon.stop();

  daemon = await bench.mount(mount);
  assert.equal(await readFile(bench.path('mnt', 'a'), 'utf8'), 'old');
});

test('minSerial refuses what is older on an instance that remembers nothing', async (t) => {
  const bench = await Bench.create(t);
  await bench.must(['keygen', 'key']);
  await twoBundles(bench, 'local:key');
  const { serial } = JSON.parse(await bench.must(['inspect', 'web.enc.tar', '--json']));
  const args = ['mnt', '--name', 'web', '--key', 'local:key', '--min-serial', `${serial}`];
  const refused = await bench.secretsfs(['mount', 'old.enc.tar', ...args]);
  assert.match(refused.stderr, new RegExp(`want at least ${serial}`));
  await bench.mount(['web.enc.tar', ...args]);
  // Not by a rollback either: it is what the instance was told.
  await copyFile(bench.path('old.enc.tar'), bench.path('web.enc.tar'));
  const remounted = await bench.secretsfs(['remount', '--allow-rollback']);
  assert.match(remounted.stderr, new RegExp(`want at least ${serial}`));
});

test('reseal gives old content a serial that a mount takes', async (t) => {
  const bench = await Bench.create(t);
  await bench.must(['keygen', 'key']);
  await bench.must(['keygen', 'other']);
  await twoBundles(bench, 'local:key');
  await bench.mount(['web.enc.tar', 'mnt', '--key', 'local:key']);
  const { serial } = JSON.parse(await bench.must(['inspect', 'web.enc.tar', '--json']));
  const said = JSON.parse(
    await bench.must(['reseal', 'old.enc.tar', 'web.enc.tar', '--key', 'local:key', '--json']),
  );
  assert.ok(said.serial > serial && said.from.serial < serial, JSON.stringify(said));
  await bench.must(['remount']);
  assert.equal(await readFile(bench.path('mnt', 'a'), 'utf8'), 'old');

  // Under another key, which is the only one then.
  await bench.must([
    ...['reseal', 'old.enc.tar', 'other.enc.tar'],
    ...['--accept-key', 'local:key', '--key', 'local:other'],
  ]);
  const wrong = await bench.secretsfs(['verify', 'other.enc.tar', '--key', 'local:key']);
  assert.match(wrong.stderr, /it is wrapped under/);
  await bench.must(['verify', 'other.enc.tar', '--key', 'local:other']);
});

test('reseal keeps every key of the bundle, or says which one it can not keep', async (t) => {
  const bench = await Bench.create(t);
  await bench.must(['keygen', 'key']);
  await bench.must(['keygen', 'other']);
  await mkdir(bench.path('dir'));
  await writeFile(bench.path('dir', 'a'), 'both');
  const both = ['--key', 'local:key', '--key', 'local:other'];
  await bench.must(['pack', '--dir', 'dir', '--name', 'web', ...both, 'old.enc.tar']);
  const one = await bench.secretsfs(['reseal', 'old.enc.tar', 'web.enc.tar', '--key', 'local:key']);
  assert.match(one.stderr, /it is sealed for the key file "[^"]+" too/);
  await bench.must(['reseal', 'old.enc.tar', 'web.enc.tar', ...both]);
  assert.equal(await content(bench), 'both');
  await bench.must(['verify', 'web.enc.tar', '--key', 'local:other']);
});

test('a version in S3 is resealed over the newest one', async (t) => {
  const bench = await Bench.create(t, awsEnv(moto.url, { SECRETSFS_FORCE_PATH_STYLE: 'true' }));
  const key = await createKey(moto.url);
  const url = `s3://${await createBucket(moto.url, { versioned: true })}/web.enc.tar`;
  await twoBundles(bench, key);
  await bench.must(['pack', '--dir', 'dir', '--key', key, '--context', 'stage=prod', url]);
  const daemon = await bench.mount([url, 'mnt', '--accept-key', key, '--poll', '1s']);
  const status = JSON.parse(await bench.must(['status', '--json']))[0];
  const version = String(status.live.revision).split(' ')[0];
  await writeFile(bench.path('dir', 'a'), 'newest');
  await bench.must(['pack', '--dir', 'dir', '--key', key, url]);
  await daemon.event('activated', 2);
  await bench.must(['reseal', `${url}?versionId=${version}`, url, '--accept-key', key]);
  await daemon.event('activated', 3);
  assert.equal(await readFile(bench.path('mnt', 'a'), 'utf8'), 'new');
  const header = JSON.parse(await bench.must(['inspect', url, '--json']));
  assert.deepEqual(header.context, { stage: 'prod' });
});
