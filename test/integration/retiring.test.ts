/** What `keys retire` does with one use: it goes by what it opened, and not by what a scan of headers said. */
import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { after, before, type TestContext, test } from 'node:test';
import { AwsAccess } from '../../src/aws/access.ts';
import type { Context } from '../../src/cli/command.ts';
import { NewestVersions } from '../../src/cli/newest-versions.ts';
import { retireUse } from '../../src/cli/retiring.ts';
import { createUi } from '../../src/cli/ui.ts';
import { KmsKeys } from '../../src/keys/kms-keys.ts';
import type { Use } from '../../src/keys/usage.ts';
import { awsEnv, createKey, type Moto, replaceEnv, startMoto } from '../support/moto.ts';
import { Bench } from '../support/program.ts';

let moto: Moto;
let restoreEnv: () => void;
before(async () => {
  moto = await startMoto();
  restoreEnv = replaceEnv(awsEnv(moto.url));
});
after(async () => {
  restoreEnv();
  await moto.stop();
});

async function setUp(t: TestContext) {
  const bench = await Bench.create(t, awsEnv(moto.url));
  const aws = new AwsAccess({ env: bench.env });
  const keys = new KmsKeys(aws);
  const describe = async () => keys.describe(await createKey(moto.url));
  const [key, to, theirs] = [await describe(), await describe(), await describe()];
  await mkdir(bench.path('dir'));
  await writeFile(bench.path('dir/secret'), 'content');
  await bench.must(['pack', '--dir', 'dir', '--key', key.arn.text, 'web.enc']);
  await mkdir(bench.path('store'));
  const put = ['upload', 'dir/secret', 'db/password', '--store', bench.path('store')];
  await bench.must([...put, '--key', key.arn.text]);
  const ui = createUi({ stdout: process.stdout, stderr: process.stderr, env: {} });
  const { stdin, stdout } = process;
  const context: Context = {
    ...{ ui, env: bench.env, stdin, stdout, settings: {}, json: true },
    ...{ untrustedConfig: undefined, config: undefined, asWritten: (setting: string) => setting },
  };
  const newest = new NewestVersions({ to, aws }, context);
  const request = { key, to, aws, purge: false, dryRun: false, newest };
  const use = (at: string, what: Use['what'], others: Use['others']): Use => {
    const name = what === 'bundle' ? 'web' : null;
    return { location: bench.path(at), version: null, current: true, what, name, others, only: false };
  };
  return { bench, use, key, theirs, retire: (each: Use) => retireUse(each, request, context) };
}

test('a key that only the header of the scan named gets nothing wrapped for it', async (t) => {
  const { bench, use, theirs, retire } = await setUp(t);
  const others = [{ key: theirs.arn.text, state: 'Enabled' }];
  for (const [at, what, done] of [
    ['web.enc', 'bundle', 'resealed'],
    ['store/db/password', 'secret', 'rotated'],
  ] as const) {
    const before = await readFile(bench.path(at));
    const { outcome, why } = await retire(use(at, what, others));
    assert.equal(outcome, 'left');
    assert.match(why ?? '', /\(source-changed\); somebody wrote it meanwhile/);
    assert.deepEqual(await readFile(bench.path(at)), before);
    assert.equal((await retire(use(at, what, []))).outcome, done);
    assert.equal((await readFile(bench.path(at))).includes(theirs.arn.text), false);
  }
});

test('a ciphertext of KMS that took the place of a secret is not made one', async (t) => {
  const { bench, use, key, retire } = await setUp(t);
  await bench.must(['encrypt', 'dir/secret', 'raw.kms', '--key', key.arn.text]);
  const raw = await readFile(bench.path('raw.kms'));
  await writeFile(bench.path('store/db/password'), raw);
  const { outcome } = await retire(use('store/db/password', 'secret', []));
  assert.equal(outcome, 'left');
  assert.deepEqual(await readFile(bench.path('store/db/password')), raw);
});
