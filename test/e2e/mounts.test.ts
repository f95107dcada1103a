/**
 * Several bundles in one mount, in the processes of a real one: two from files and one from S3. Each rotates by itself, one that
 * is broken stays at its last good and leaves the others alone, and whoever reads sees complete generations all the while.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readdir, rm, stat, writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import { ask } from '../../src/control/client.ts';
import { file } from '../support/entries.ts';
import { awsEnv, createBucket, type Moto, motoS3, startMoto } from '../support/moto.ts';
import { otherProgram } from '../support/other-program.ts';
import { eventually, run } from '../support/program.ts';
import { childrenOf, isNode, roleOf } from '../support/secret-mount.ts';
import { APP, OTHER_KEY, Several, sealed, TLS } from '../support/several.ts';

let moto: Moto;
before(async () => {
  moto = await startMoto();
});
after(() => moto?.stop());

test('two bundles from files and one from S3 are one mount, and each rotates by itself', async (t) => {
  const several = await Several.create(t, awsEnv(moto.url));
  const s3 = motoS3(moto.url);
  t.after(() => s3.destroy());
  const Bucket = await createBucket(moto.url, { versioned: true });
  const put = async (serial: number) =>
    s3.send(
      new PutObjectCommand({ Bucket, Key: 'cloud.sfs', Body: await sealed({ name: 'cloud', serial }) }),
    );
  await several.put('tls', { serial: 1 });
  await several.put('app', { serial: 11 });
  await put(21);
  const daemon = await several.mount(
    `${TLS}${APP}  cloud: { source: 's3://${Bucket}/cloud.sfs', key: local:key, forcePathStyle: true }\n`,
  );
  assert.deepEqual(await readdir(several.bench.path('mnt')), ['app', 'cloud', 'tls']);
  const inodes = async () => {
    const all = ['tls', 'app', 'cloud'].map((part) => stat(several.bench.path('mnt', part, 'serial')));
    return (await Promise.all(all)).map(({ ino }) => ino);
  };
  const serials = async () => (await several.status()).parts?.map(({ live }) => live?.serial);
  assert.deepEqual(await serials(), [1, 11, 21]);
  let before = await inodes();
  const turns: [string, number, () => Promise<unknown>][] = [
    ['tls', 2, () => several.put('tls', { serial: 2 })],
    ['app', 12, () => several.put('app', { serial: 12 })],
    ['cloud', 22, () => put(22)],
  ];
  for (const [i, [part, serial, rotate]] of turns.entries()) {
    await rotate();
    await several.serves(part, serial);
    const now = await inodes();
    // It has another inode, and the others have theirs.
    assert.deepEqual(
      now.map((ino, at) => ino === before[at]),
      [0, 1, 2].map((at) => at !== i),
      part,
    );
    before = now;
  }
  await eventually(async () => assert.deepEqual(await serials(), [2, 12, 22]));
  const status = await several.status();
  assert.deepEqual(
    [status.state, status.error, status.live?.serial, status.live?.files],
    ['live', null, 22, 3],
  );
  assert.deepEqual(
    status.parts?.map(({ directory, name, state, floor }) => [directory, name, state, floor.serial]),
    [
      ['tls', 'tls', 'live', 2],
      ['app', 'app', 'live', 12],
      ['cloud', 'cloud', 'live', 22],
    ],
  );
  const activated = daemon.lines.filter(({ event }) => event === 'activated');
  assert.deepEqual(
    activated.slice(3).map(({ part }) => part),
    ['tls', 'app', 'cloud'],
  );
  assert.match(await several.bench.must(['status']), /app\/ {8}live: serial 12/);
});

test('one that is broken stays at its last good, says so, and the others rotate', async (t) => {
  const several = await Several.create(t);
  await several.put('tls', { serial: 1 });
  await several.put('app', { serial: 11 });
  await several.mount(TLS + APP);
  const good = await sealed({ name: 'tls', serial: 3 });
  const forged = Buffer.from(good);
  forged[forged.length - 5] = (forged.at(-5) ?? 0) ^ 1;
  const broken: [string, () => Promise<unknown>][] = [
    ['bundle-corrupt', () => several.write('tls', forged)],
    ['bundle-name', () => several.put('tls', { serial: 4, name: 'app' })],
    ['key-not-accepted', () => several.put('tls', { serial: 5, key: OTHER_KEY })],
    ['bundle-serial-reused', () => several.put('tls', { serial: 1, entries: [file('other')] })],
    ['source-not-found', () => rm(several.bench.path('tls.sfs'))],
  ];
  let serial = 11;
  for (const [code, breakIt] of broken) {
    await breakIt();
    await eventually(async () => {
      const { state, error, live } = await several.part('tls');
      assert.deepEqual([code, state, live?.serial], [code, 'failing', 1]);
      assert.ok(error !== null && error.code === code, `${error?.code}, want ${code}`);
    });
    await several.put('app', { serial: ++serial });
    await several.serves('app', serial);
    assert.equal(await several.read('tls', 'serial'), 'tls 1');
    const status = await several.status();
    assert.equal(status.state, 'failing');
    assert.match(status.error?.message ?? '', /^tls: /);
    assert.equal((await several.part('app')).state, 'live');
  }
  await several.put('tls', { serial: 6 });
  await several.serves('tls', 6);
  await eventually(async () => assert.equal((await several.status()).state, 'live'));
});

test('an unsealer that writes a hostile image is refused by name, what is live stays, and the others rotate', async (t) => {
  const several = await Several.create(t);
  const { bench } = several;
  bench.program = await otherProgram(bench.path('subverted'), [
    {
      file: 'unsealer.mjs',
      from: /writeAll\(candidateFd,\[metadata\.subarray\(0,HEADER_BYTES\)\],0\);/,
      // Over what it wrote: the second file's contents where nothing is, or 2^32 bytes more, in agreement with the sum.
      to: `$&
        const over = (at, value) => writeAll(candidateFd, [Buffer.from([value, 0, 0, 0])], at);
        if (metadata.includes('overlapping')) over(128 + 64 * 2 + 4 * 13, 1);
        if (metadata.includes('huge')) for (const at of [32, 128 + 64 * 2 + 4 * 6]) over(at + 4, 1);`,
    },
  ]);
  await several.put('tls', { serial: 1 });
  await several.put('app', { serial: 11 });
  const daemon = await several.mount(TLS + APP);
  let serial = 11;
  for (const [name, why] of [
    ['overlapping', /invalid place of contents/],
    ['huge', /invalid size/],
  ] as const) {
    await several.put('tls', { serial: serial - 5, entries: [file(name)] });
    await eventually(async () => {
      const { state, error, live } = await several.part('tls');
      assert.deepEqual([state, live?.serial, error?.code], ['failing', 1, 'composer-failed']);
      assert.match(error?.message ?? '', /^cannot compose "tls": its image /);
      assert.match(error?.message ?? '', why);
    });
    await several.put('app', { serial: ++serial });
    await several.serves('app', serial);
    assert.equal(await several.read('tls', 'serial'), 'tls 1');
  }
  assert.equal(daemon.count('bug'), 0);
  await several.put('tls', { serial: 20 });
  await several.serves('tls', 20);
});

test('a mount waits for what is required, and begins without what is not, whose directory is empty until it comes', async (t) => {
  const several = await Several.create(t);
  await several.put('tls', { serial: 1 });
  const refused = await several.begin(TLS + APP);
  assert.equal(await refused.ended, 4);
  assert.match(refused.text, /app: cannot/);
  const optional = APP.replace('}', ', required: false }');
  await several.mount(TLS + optional);
  assert.deepEqual(await readdir(several.bench.path('mnt', 'app')), []);
  assert.equal(await several.read('tls', 'serial'), 'tls 1');
  const { state, live, error } = await several.part('app');
  assert.deepEqual([state, live, error?.code], ['failing', null, 'source-not-found']);
  await several.put('app', { serial: 11 });
  await several.serves('app', 11);
  assert.equal(await several.read('tls', 'serial'), 'tls 1');
});

test('a remount is of all of them or of one, and a rollback of one alone', async (t) => {
  const several = await Several.create(t);
  await several.put('tls', { serial: 5 });
  await several.put('app', { serial: 11 });
  await several.mount(TLS + APP);
  const remount = (...args: string[]) => several.bench.secretsfs(['remount', ...args]);
  await several.put('tls', { serial: 6 });
  assert.equal((await remount('web')).code, 0);
  assert.equal(await several.read('tls', 'serial'), 'tls 6');
  await several.put('app', { serial: 12 });
  const one = await remount('web/app');
  assert.equal(one.code, 0);
  assert.match(one.stdout, /^web\/app: (serial 12 is live|nothing changed; serial 12)/);
  const unknown = await remount('web/none');
  assert.deepEqual([unknown.code, /part-unknown|no such part/.test(unknown.stderr)], [8, true]);
  for (const command of ['status', 'unmount', 'upgrade']) {
    const { code, stderr } = await several.bench.secretsfs([command, 'web/tls']);
    assert.equal(code, 2, stderr);
    assert.match(
      stderr,
      /cannot take one bundle of a mount alone: "web\/tls" \(usage\)\n.*hint: name the mount, web: /,
    );
  }
  await several.put('tls', { serial: 4 });
  const both = await remount('web', '--allow-rollback');
  assert.deepEqual([both.code, /several bundles/.test(both.stderr)], [8, true]);
  assert.equal(await several.read('tls', 'serial'), 'tls 6');
  // A consent is for one of them, whoever asks for another one.
  const consent = several.bench.path('run', 'web', 'allow-rollback,app');
  await writeFile(consent, '');
  const rollback = { allowRollback: true, part: 'tls' };
  await assert.rejects(ask(several.bench.path('run'), 'web', 'remount', 30_000, rollback), {
    code: 'control-denied',
  });
  assert.ok((await stat(consent)).isFile());
  assert.equal((await remount('web/tls', '--allow-rollback')).code, 0);
  assert.equal(await several.read('tls', 'serial'), 'tls 4');
  // The record of each is its own.
  const records = (await readdir(several.bench.path('state'))).sort();
  assert.deepEqual(records, ['web,app.floor.json', 'web,tls.floor.json']);
});

test('checks and file rules are of a part, and see nothing of the others', async (t) => {
  const several = await Several.create(t);
  await several.put('tls', { serial: 1, entries: [file('open.json', '{}')] });
  await several.put('app', { serial: 11, entries: [file('open.json', '{}')] });
  await several.mount(
    `  tls: { source: tls.sfs, key: local:key, checks: { formats: [{ match: '*.json', format: json }] } }
  app: { source: app.sfs, key: local:app.key, files: [{ match: '*.json', mode: '0444' }] }\n`,
  );
  const mode = async (part: string) =>
    (await stat(several.bench.path('mnt', part, 'open.json'))).mode & 0o777;
  assert.deepEqual([await mode('tls'), await mode('app')], [0o600, 0o444]);
  await several.put('tls', { serial: 2, entries: [file('open.json', 'no')] });
  await several.put('app', { serial: 12, entries: [file('open.json', 'no')] });
  await several.serves('app', 12);
  await eventually(async () => assert.equal((await several.part('tls')).error?.code, 'check-failed'));
  assert.equal(await several.read('tls', 'open.json'), '{}');
});

test('of a config that changes what is of the mount is applied, and what is of its bundles waits', async (t) => {
  const several = await Several.create(t);
  await several.put('tls', { serial: 1 });
  await several.put('app', { serial: 11 });
  const daemon = await several.mount(TLS + APP);
  const server = async () => (await several.status()).processes?.find(({ role }) => role === 'server')?.pid;
  const before = await server();
  const hooks = `hooks: [{ name: h, run: [/bin/true], match: ['app/*'] }]\n`;
  const rest = `poll: 40s\nconsistencyWindow: 500ms\nmemoryMax: 100M\n${hooks}`;
  await several.configure(TLS, rest);
  const { settings } = await daemon.event('config-applied');
  assert.deepEqual(settings, ['memoryMax', 'consistencyWindow', 'hooks']);
  const { config, consistencyWindowMs, parts, memory, hooks: told } = await several.status();
  assert.deepEqual(config?.restartNeeded, ['poll', 'mounts']);
  assert.deepEqual([consistencyWindowMs, memory?.maxBytes, told?.[0]?.name], [500, 100 * 2 ** 20, 'h']);
  assert.deepEqual(
    parts?.map(({ directory, state }) => [directory, state]),
    [
      ['tls', 'live'],
      ['app', 'live'],
    ],
  );
  assert.notEqual(await server(), before);
  // All of them rotate on, each for itself, and by the limit of now.
  await several.put('app', { serial: 12 });
  await several.serves('app', 12);
  await daemon.event('hook-done');
  await several.configure(TLS + APP, `poll: 1s\nconsistencyWindow: 500ms\nmemoryMax: 16K\n${hooks}`);
  await daemon.event('config-applied', 2);
  assert.equal((await several.status()).config?.state, 'current');
  await several.put('tls', { serial: 2 });
  await eventually(async () => assert.equal((await several.part('tls')).error?.code, 'memory-exceeded'));
  assert.equal(await several.read('tls', 'serial'), 'tls 1');
  assert.equal(daemon.count('bug'), 0);
});

test('whoever is killed while a generation is made, and whenever: complete generations, and then the newest', async (t) => {
  const several = await Several.create(t);
  const filling = (serial: number) =>
    Array.from({ length: 40 }, (_, i) => file(`f${i}`, `${serial}`.padStart(20_000)));
  const put = (part: string, serial: number) => several.put(part, { serial, entries: filling(serial) });
  await put('tls', 1);
  await put('app', 11);
  const daemon = await several.mount(TLS + APP);
  const supervisor = daemon.child.pid ?? 0;
  const kills = new Map<string, number>();
  let over = false;
  const killing = (async () => {
    while (!over) {
      const found = childrenOf(supervisor).find(
        (pid) => isNode(pid) && ['unsealer', 'composer'].includes(roleOf(pid) ?? ''),
      );
      if (found === undefined) {
        await sleep(1);
        continue;
      }
      const role = roleOf(found) ?? '';
      await sleep(Math.random() * 120);
      // Every other one lives.
      if (Math.random() < 0.5 && isNode(found) && roleOf(found) === role) {
        process.kill(found, 'SIGKILL');
        kills.set(role, (kills.get(role) ?? 0) + 1);
      }
      await sleep(20);
    }
  })();
  const whole = async (part: string) => {
    const names = Array.from({ length: 40 }, (_, i) => `f${i}`);
    const seen = new Set<string>();
    // One process: a pass, which has all of it from one generation.
    const directory = several.bench.path('mnt', part);
    const { stdout } = await run(
      'cat',
      ['serial', ...names].map((name) => `${directory}/${name}`),
    );
    for (const serial of stdout.match(/\d+/g) ?? []) seen.add(serial);
    assert.equal(seen.size, 1, `${part}: ${[...seen]}`);
  };
  let serial = 12;
  for (; serial < 24; serial++) {
    await Promise.all([put('tls', serial), put('app', serial)]);
    for (let i = 0; i < 4; i++) {
      await Promise.all([whole('tls'), whole('app')]);
      await sleep(100);
    }
  }
  over = true;
  await killing;
  assert.ok((kills.get('unsealer') ?? 0) > 0, 'no unsealer was killed');
  await several.bench.secretsfs(['remount', 'web']);
  for (const part of ['tls', 'app']) await several.serves(part, serial - 1);
  await eventually(async () => assert.equal((await several.status()).state, 'live'));
});

test('a program that opens files of two parts gets both from one generation', async (t) => {
  const several = await Several.create(t);
  await several.put('tls', { serial: 1 });
  await several.put('app', { serial: 11 });
  await several.mount(TLS + APP, 'consistency: process\nconsistencyWindow: 10s\n');
  const reader = `
    const fs = require('node:fs');
    const read = (part) => fs.readFileSync(part + '/serial', 'utf8');
    const first = read('tls');
    fs.writeSync(1, 'first\\n');
    fs.readSync(0, Buffer.alloc(1));
    fs.writeSync(1, first + ',' + read('app') + '\\n');`;
  const child = spawn(process.execPath, ['-e', reader], {
    cwd: several.bench.path('mnt'),
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.after(() => child.kill());
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (chunk) => {
    said += chunk;
  });
  await eventually(async () => assert.equal(said, 'first\n'));
  await several.put('app', { serial: 12 });
  await several.serves('app', 12);
  child.stdin.end('x');
  await new Promise((resolve) => child.once('close', resolve));
  assert.equal(said, 'first\ntls 1,app 11\n');
});
