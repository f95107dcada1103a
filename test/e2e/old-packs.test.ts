/** Packs of sneaker and kms-secrets, of every era, in the commands that open bundles; KMS has the key that they had. */
import assert from 'node:assert/strict';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { after, before, type TestContext, test } from 'node:test';
import { awsEnv } from '../support/moto.ts';
import {
  OLD_CONTEXT,
  OLD_KEY_ID,
  OLD_OTHER_KEY_ID,
  OLD_VECTORS,
  oldFile,
  oldKms,
} from '../support/old-vectors.ts';
import { Bench, must } from '../support/program.ts';

const kms = oldKms();
let server: Awaited<ReturnType<typeof kms.listen>>;
before(async () => {
  server = await kms.listen();
});
after(() => server?.stop());

const packs = OLD_VECTORS.filter(({ name }) => name.endsWith('.pack'));
const pairs = (context: object) => Object.entries(context).map(([key, value]) => `--context=${key}=${value}`);

async function create(t: TestContext): Promise<Bench> {
  // The variable that everybody who has such files has set: the key to encrypt with today.
  const bench = await Bench.create(t, { ...awsEnv(server.url), KMS_KEY_ID: 'alias/of-today' });
  for (const { name } of packs) await writeFile(bench.path(name), oldFile(name));
  return bench;
}

const FORMATS = ['--formats', 'sneaker,kms-secrets'];

test('nothing of them is opened that was not told by --formats, and none in the place of a name', async (t) => {
  const bench = await create(t);
  const asked = kms.calls.length;
  for (const [name, format, other] of [
    ['c-2015-04-21.pack', 'sneaker', 'kms-secrets'],
    ['a-2015-02-05.pack', 'kms-secrets', 'sneaker'],
  ] as const) {
    for (const args of [
      ['unpack', name, 'out.tar'],
      ['verify', name],
    ]) {
      const opening = [...args, ...pairs(OLD_CONTEXT), '--accept-key', OLD_KEY_ID];
      const untold = await bench.secretsfs(opening);
      assert.equal(untold.code, 6);
      assert.match(untold.stderr, new RegExp(`bundle-format.*--formats ${format}\\b`, 's'));
      const told = await bench.secretsfs([...opening, '--formats', `${other},kms`]);
      assert.equal(told.code, 6);
      assert.match(told.stderr, new RegExp(`--formats ${other},kms,${format}\\b`));
      const named = await bench.secretsfs([...opening, ...FORMATS, '--name', 'web']);
      assert.equal(named.code, 6);
      assert.match(named.stderr, /bundle-name.*leave --name out/s);
      await assert.rejects(readFile(bench.path('out.tar')));
    }
  }
  assert.equal(kms.calls.length, asked);
});

test('they unpack, piped into tar and into a directory, and nobody names a key', async (t) => {
  const bench = await create(t);
  assert.equal(packs.length, 5);
  for (const { name, context, how, era } of packs) {
    const tar = Buffer.from(await bench.must(['unpack', name, '-', ...pairs(context), ...FORMATS]), 'latin1');
    assert.ok(tar.equals(oldFile('pack.tar')), name);
    const facts = JSON.parse(
      await bench.must(['unpack', name, `${name}.d/`, '--json', ...pairs(context), ...FORMATS]),
    );
    const format = how === 'tar' ? 'kms-secrets' : 'sneaker';
    assert.deepEqual(facts, { format, era, key: OLD_KEY_ID, out: `${name}.d/`, dryRun: false });
    assert.deepEqual(await readFile(bench.path(`${name}.d/db/password`)), oldFile('secret'));
  }
  await mkdir(bench.path('x'));
  const program = `"${process.execPath}" "${bench.program}" unpack c-2015-04-21.pack - ${[...pairs(OLD_CONTEXT), ...FORMATS].join(' ')}`;
  await must('bash', ['-c', `${program} | tar x -C x`], { env: bench.env, cwd: bench.directory });
  assert.deepEqual(await readFile(bench.path('x/db/password')), oldFile('secret'));
});

test('inspect says what it can, and verify lists them', async (t) => {
  const bench = await create(t);
  for (const { name, context, how } of packs) {
    const format = how === 'tar' ? 'kms-secrets' : 'sneaker';
    const said = JSON.parse(await bench.must(['inspect', name, '--json']));
    assert.equal(said.format, format);
    assert.equal(said.verified, false);
    const verified = JSON.parse(await bench.must(['verify', name, '--json', ...pairs(context), ...FORMATS]));
    assert.deepEqual(
      verified.entries.map(({ path }: { path: string }) => path),
      ['db/password', 'tls/key.pem'],
    );
    assert.equal(verified.key, OLD_KEY_ID);
  }
  const last = 'c-2015-04-21.pack';
  assert.match(await bench.must(['inspect', last]), /neither its name nor its key/);
  assert.match(await bench.must(['verify', last, ...pairs(OLD_CONTEXT), ...FORMATS]), /it is not signed/);
  const { plaintextBytes } = JSON.parse(await bench.must(['inspect', last, '--json']));
  assert.equal(plaintextBytes, oldFile('pack.tar').length);
});

test('another context, or a key that is not the one named, is refused, and nothing is left', async (t) => {
  const bench = await create(t);
  for (const args of [
    ['--context', 'team=web'],
    [...pairs(OLD_CONTEXT), '--accept-key', OLD_OTHER_KEY_ID],
    [...pairs(OLD_CONTEXT), '--key', OLD_OTHER_KEY_ID],
  ]) {
    for (const name of ['a-2015-02-05.pack', 'c-2015-04-21.pack']) {
      const { code, stderr } = await bench.secretsfs(['unpack', name, 'out.tar', ...args, ...FORMATS]);
      assert.equal(code, 5, stderr);
      assert.match(stderr, /data-key-refused/);
      await assert.rejects(readFile(bench.path('out.tar')));
    }
  }
  await bench.must([
    'unpack',
    'c-2015-04-21.pack',
    'out.tar',
    ...pairs(OLD_CONTEXT),
    '--accept-key',
    OLD_KEY_ID,
    ...FORMATS,
  ]);
});

test('a mount that does not name their format refuses them, and says how to', async (t) => {
  const bench = await create(t);
  await mkdir(bench.path('mnt'));
  const { code, stderr } = await bench.secretsfs([
    'mount',
    'c-2015-04-21.pack',
    'mnt',
    '--accept-key',
    OLD_KEY_ID,
  ]);
  assert.equal(code, 6);
  assert.match(stderr, /pack of sneaker.*formats: .sneaker. in the config/s);
});

test('a mount that names their formats serves them, goes to the next one and to a bundle', async (t) => {
  const bench = await create(t);
  await mkdir(bench.path('mnt'));
  const put = async (name: string) => {
    await writeFile(bench.path('next'), oldFile(name));
    await rename(bench.path('next'), bench.path('live.pack'));
  };
  await put('c-2015-04-21.pack');
  await writeFile(bench.path('config'), JSON.stringify({ formats: ['sneaker', 'kms-secrets'] }));
  const args = ['live.pack', 'mnt', '--name', 'live', '--accept-key', OLD_KEY_ID, ...pairs(OLD_CONTEXT)];
  await bench.mount([...args, '--config', 'config', '--driver', 'kernel']);
  assert.deepEqual(await readFile(bench.path('mnt/db/password')), oldFile('secret'));
  assert.match(await bench.must(['status', 'live']), /serving/);
  // The same content, from a pack of another era: another serial all the same.
  const [first] = JSON.parse(await bench.must(['status', 'live', '--json']));
  await put('a-2015-02-05.pack');
  await bench.must(['remount', 'live']);
  const [second] = JSON.parse(await bench.must(['status', 'live', '--json']));
  assert.ok(second.live.serial > first.live.serial);
  assert.deepEqual(await readFile(bench.path('mnt/tls/key.pem'), 'utf8'), 'not really a key\n');
  // Packed without a context.
  await put('a-2015-02-01.pack');
  assert.equal((await bench.secretsfs(['remount', 'live'])).code, 5);
  assert.deepEqual(await readFile(bench.path('mnt/db/password')), oldFile('secret'));
});

test('checks look into them too', async (t) => {
  const bench = await create(t);
  await mkdir(bench.path('mnt'));
  const config = { formats: ['sneaker'], checks: { required: ['db/password', 'missing'] } };
  await writeFile(bench.path('config'), JSON.stringify(config));
  const args = [
    'c-2015-04-21.pack',
    'mnt',
    '--accept-key',
    OLD_KEY_ID,
    ...pairs(OLD_CONTEXT),
    '--config',
    'config',
  ];
  const { code, stderr } = await bench.secretsfs(['mount', ...args]);
  assert.equal(code, 6, stderr);
  assert.match(stderr, /check-failed/);
});
