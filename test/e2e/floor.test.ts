/** Serials that never go back: over restarts too, but where an operator says so; and reseal, the way a fleet goes back. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { awsEnv, createBucket, createKey, type Moto, startMoto } from '../support/moto.ts';
import { Bench, run } from '../support/program.ts';
import { patient } from '../support/slowness.ts';

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

/** One line to a control socket, and the line that it answers. */
function askSocket(place: string, request: object): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect(place, () => socket.write(`${JSON.stringify({ v: 1, ...request })}\n`));
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    socket.on('end', () => resolve(text)).on('error', reject);
  });
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
  // Nothing runs that could be told to take it.
  assert.match(refused.stderr, /remove its record, "[^"]+\/state\/web\.floor\.json"/);
  assert.doesNotMatch(refused.stderr, /remount/);

  await copyFile(bench.path('new.enc.tar'), bench.path('web.enc.tar'));
  daemon = await bench.mount(mount);
  assert.equal(daemon.count('floor-missing'), 0);
  await copyFile(bench.path('old.enc.tar'), bench.path('web.enc.tar'));
  const remounted = await bench.secretsfs(['remount']);
  assert.match(remounted.stderr, /--allow-rollback/);
  assert.equal(await readFile(bench.path('mnt', 'a'), 'utf8'), 'new');
  // An agent can ask for all that the socket can be asked for; that is not enough.
  const said = await askSocket(bench.path('run', 'web', 'control.sock'), {
    op: 'remount',
    allowRollback: true,
  });
  assert.match(said, /"code":"control-denied"/);
  assert.equal(await readFile(bench.path('mnt', 'a'), 'utf8'), 'new');
  await bench.must(['remount', '--allow-rollback']);
  assert.equal(await readFile(bench.path('mnt', 'a'), 'utf8'), 'old');
  assert.equal(daemon.count('floor-lowered'), 1);
  assert.ok(!(await readdir(bench.path('run', 'web'))).includes('allow-rollback'));
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
  assert.match(remounted.stderr, /minSerial demands it/);
});

test('two instances of one name remember each for itself', async (t) => {
  const bench = await Bench.create(t);
  await bench.must(['keygen', 'key']);
  await twoBundles(bench, 'local:key');
  await mkdir(bench.path('other'));
  const args = ['--name', 'web', '--key', 'local:key'];
  await bench.mount(['web.enc.tar', 'mnt', ...args]);
  await bench.mount(['old.enc.tar', 'other', ...args, '--instance', 'web-old']);
  assert.deepEqual((await readdir(bench.path('state'))).sort(), ['web-old.floor.json', 'web.floor.json']);
  const record = JSON.parse(await readFile(bench.path('state', 'web-old.floor.json'), 'utf8'));
  assert.equal(record.name, 'web');
});

test('a consent is taken back where the mount does not answer the request', async (t) => {
  const bench = await Bench.create(t);
  await mkdir(bench.path('run', 'dead'), { recursive: true });
  const { code } = await bench.secretsfs(['remount', 'dead', '--allow-rollback']);
  assert.notEqual(code, 0);
  assert.deepEqual(await readdir(bench.path('run', 'dead')), []);
});

test('a state directory that hangs costs the record and a few seconds, and keeps neither mount nor process', async (t) => {
  const bench = await Bench.create(t);
  await bench.must(['keygen', 'key']);
  await twoBundles(bench, 'local:key');
  // A filesystem that answers nobody.
  await mkdir(bench.path('hung'));
  const fd = openSync('/dev/fuse', 'r+');
  const options = 'fd=3,rootmode=40000,user_id=0,group_id=0';
  const mounting = spawn('mount', ['-i', '-t', 'fuse', '-o', options, 'hung', bench.path('hung')], {
    stdio: ['ignore', 'ignore', 'inherit', fd],
  });
  assert.deepEqual(await once(mounting, 'exit'), [0, null]);
  bench.after(() => run('umount', ['-l', bench.path('hung')]));
  bench.after(async () => closeSync(fd));
  const args = [
    'old.enc.tar',
    'mnt',
    '--name',
    'web',
    '--key',
    'local:key',
    '--state-dir',
    bench.path('hung', 'state'),
  ];
  const daemon = await bench.mount(args);
  assert.match(String((await daemon.event('floor-not-kept'))['problem']), /no answer within 5 s/);
  await copyFile(bench.path('web.enc.tar'), bench.path('old.enc.tar'));
  await bench.must(['remount']);
  assert.equal(await readFile(bench.path('mnt', 'a'), 'utf8'), 'new');
  await bench.must(['unmount']);
  const still = new Promise((resolve) => setTimeout(resolve, patient(15_000), 'still there').unref());
  assert.equal(await Promise.race([daemon.ended, still]), 0);
});

test('a serial is measured by the clock as it is set now, and so is its record', async (t) => {
  const bench = await Bench.create(t);
  await bench.must(['keygen', 'key']);
  await twoBundles(bench, 'local:key');
  // Of the supervisor alone: how far its clock is behind is in a file.
  await writeFile(bench.path('behind'), '0');
  await writeFile(
    bench.path('clock.mjs'),
    `import { readFileSync } from 'node:fs';
     const real = Date.now;
     Date.now = () => real() - Number(readFileSync(${JSON.stringify(bench.path('behind'))}, 'utf8'));`,
  );
  const env = { ...bench.env, NODE_OPTIONS: `--import ${bench.path('clock.mjs')}` };
  await bench.mount(['web.enc.tar', 'mnt', '--key', 'local:key'], env);
  const HOUR_MS = 3_600_000;
  await writeFile(bench.path('behind'), `${HOUR_MS / 2}`);
  await bench.must(['reseal', 'old.enc.tar', 'web.enc.tar', '--key', 'local:key']);
  await bench.must(['remount']);
  const { recorded } = JSON.parse(await readFile(bench.path('state', 'web.floor.json'), 'utf8'));
  const behindMs = Date.now() - Date.parse(recorded);
  assert.ok(behindMs >= HOUR_MS / 2 && behindMs < HOUR_MS, `${behindMs}`);
  await writeFile(bench.path('behind'), `${2 * HOUR_MS}`);
  await bench.must(['reseal', 'old.enc.tar', 'web.enc.tar', '--key', 'local:key']);
  const refused = await bench.secretsfs(['remount']);
  assert.match(refused.stderr, /the unsealer says serial \d+/);
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
