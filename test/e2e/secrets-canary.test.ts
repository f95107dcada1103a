/**
 * No command leaves a content, a key or a credential where others can look (support/canary.ts). Every command of the program is
 * run here, or stands in ELSEWHERE. There is no level of logs to choose: what a command says, it says always.
 */
import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { DecryptCommand } from '@aws-sdk/client-kms';
import { COMMANDS } from '../../src/cli/commands.ts';
import { Canary } from '../support/canary.ts';
import { createKey, type Moto, motoKms, startMoto } from '../support/moto.ts';
import { REPOSITORY } from '../support/paths.ts';
import { rootDirectory } from '../support/root-directory.ts';
import { canary, SecretMount, secretFile } from '../support/secret-mount.ts';
import { storeBench } from '../support/stores.ts';

/** Commands that can't run under strace, and the tests that look at what they leave. */
const ELSEWHERE: Readonly<Record<string, { readonly file: string; readonly tests: readonly string[] }>> = {
  mount: {
    file: 'test/e2e/secrecy-traces.test.ts',
    tests: [
      'a pull opens no file for writing outside the store but the record of serials',
      'neither plaintext nor keys are in a log, an argv or an environment during a pull',
    ],
  },
};

let moto: Moto;
before(async () => {
  moto = await startMoto();
});
after(() => moto?.stop());

/** Names of what was run. */
const commands = new Set<string>();

/** A store, and `in/secret`, `key` and an AWS credential, which nobody may find elsewhere. */
async function setUp(t: TestContext) {
  const [secret, key, credential] = [canary(), canary().subarray(0, 32), canary()];
  const env = { AWS_SECRET_ACCESS_KEY: credential.toString() };
  const { bench, bucket, keyArn } = await storeBench(t, moto, { versioned: true, env });
  for (const directory of ['in', 'out', 'dir', 'sealed']) await mkdir(bench.path(directory));
  await writeFile(bench.path('in/secret'), secret);
  await writeFile(bench.path('key'), key, { mode: 0o400 });
  const files = ['in/secret', 'key'];
  const watched = new Canary(bench, { secrets: [secret, key], credential, files, commands });
  return { bench, bucket, keyArn, secret, other: await createKey(moto.url), run: watched.run.bind(watched) };
}

const GROUPS: Readonly<Record<string, (t: TestContext) => Promise<void>>> = {
  async 'commands that put secrets into a store and take them out'(t) {
    const { secret, other, run } = await setUp(t);
    const local = '--store dir --key local:key';
    const stdin = secret;
    await run('upload in/secret a');
    await run('upload - b', { stdin: Buffer.concat([secret, Buffer.from([0])]) });
    await run('put c --json', { stdin });
    await run('get a', { shows: 'stdout' });
    await run('download a out/a', { makes: ['out/a'] });
    await run('download a -', { shows: 'stdout' });
    await run('exec a c -- true', { shows: 'environment' });
    await run(`upload in/secret a ${local}`);
    await run(`get a ${local}`, { shows: 'stdout' });
    await run('upload out/a d --shred', { removes: ['out/a'] });
    // Where it fails, with the content in hand or at hand.
    await run('upload in/secret a --create', { code: 10 });
    await run('put a --if-match x', { stdin, code: 10 });
    await run('put e --key alias/nobody', { stdin, code: 5 });
    await run('put e --key local:in/secret', { stdin, code: 5 });
    await run('exec b -- true', { code: 2 });
    await run('exec a -- no-such-program', { code: 2 });
    await run(`get a --accept-key ${other}`, { code: 5 });
    await run('download a out/a', { makes: ['out/a'] });
    await run('download a out/a', { code: 10 });
    await run('download a no/such/directory/file', { code: 10 });
    await run(`get in/secret --context team=web ${local}`, { code: 4 });
  },

  async 'commands that look at a store and change what is in it'(t) {
    const { bucket, secret, other, run } = await setUp(t);
    const local = '--store dir --key local:key';
    await run('put a', { stdin: secret });
    await run('put a', { stdin: Buffer.concat([secret, Buffer.from('2')]) });
    await run('ls --long --json');
    const versions = JSON.parse(await run('history a --json'));
    await run(`restore a --version ${versions[1].version} --json`);
    await run('mv a moved/a --json');
    await run('sync in synced --json');
    await run(`diff in s3://${bucket}/prod/synced --json`);
    await run(`diff in s3://${bucket}/prod/moved --json`);
    await run('rotate --json');
    await run(`rotate moved/a --key ${other} --purge-versions`);
    await run('rotate synced/secret --format sneaker');
    await run(`put b ${local}`, { stdin: secret });
    await run(`mv b c ${local}`);
    await run(`rotate ${local}`);
    await run(`rotate ${local} --from-key local:in/secret`, { code: 5 });
    await run(`mv moved/a moved/b --accept-key ${other} --key local:in/secret`, { code: 5 });
    await run('rm moved/a --json');
    await run('rm moved/a --purge-versions');
  },

  async 'commands that seal and open bundles'(t) {
    const { bench, keyArn, secret, run } = await setUp(t);
    const accept = `--accept-key ${keyArn}`;
    await run('pack --dir in sealed/bundle --json');
    const config = { bundle: bench.path('sealed/bundle'), mountpoint: bench.path('out'), acceptKey: keyArn };
    await writeFile(bench.path('doctor.yaml'), JSON.stringify(config));
    // It opens the bundle. Everybody may write above this config: that is a problem, which has an exit code.
    await run('doctor --config doctor.yaml --json', { code: 11 });
    await run(`unpack sealed/bundle out/tree/ ${accept}`, { makes: ['out/tree/secret'] });
    await run(`unpack sealed/bundle - ${accept}`, { shows: 'stdout' });
    await run(`verify sealed/bundle ${accept} --json`);
    await run('inspect sealed/bundle --json');
    await run(`reseal sealed/bundle sealed/resealed ${accept} --json`);
    await run(`diff in sealed/bundle ${accept} --json`);
    await run('put a', { stdin: secret });
    await run('pack a sealed/stored');
    await run('pack --dir out/tree sealed/last --shred', { removes: ['out/tree/secret'] });
    await run(`verify sealed/last --accept-key local:key`, { code: 5 });
    await run(`unpack sealed/bundle in/ ${accept}`, { code: 10 });
  },

  async 'commands for single files, and for key files'(t) {
    const { bench, other, run } = await setUp(t);
    const kms = motoKms(moto.url);
    t.after(() => kms.destroy());
    const made = () => readFile(bench.path('made'));
    await run('keygen made', { makes: ['made'], learns: made });
    await run('encrypt in/secret sealed/envelope --key local:made');
    await run('encrypt in/secret sealed/file --json');
    await run('decrypt sealed/file out/file --json', { makes: ['out/file'] });
    await run('decrypt sealed/file -', { shows: 'stdout' });
    await run(`reencrypt sealed/file sealed/other --key ${other} --json`);
    const learns = async () => {
      const CiphertextBlob = await readFile(bench.path('sealed/data.kms'));
      return Buffer.from((await kms.send(new DecryptCommand({ CiphertextBlob }))).Plaintext ?? []);
    };
    await run('datakey create sealed/data.kms --json', { learns });
    await run('decrypt sealed/data.kms out/data', { makes: ['out/data'] });
    await run('shred out/file out/data made --json', { removes: ['out/file', 'out/data', 'made'] });
    await run('decrypt sealed/file in/secret', { code: 10 });
    await run('decrypt in/secret out/file', { code: 5 });
    await run('reencrypt in/secret sealed/again', { code: 5 });
    await run('completion bash');
    await run('version --json');
  },

  async 'commands that manage keys'(t) {
    const { bench, bucket, keyArn, secret, other, run } = await setUp(t);
    const place = `--in s3://${bucket}`;
    await run('put a', { stdin: secret });
    await run('put old', { stdin: secret });
    await run('rotate old --format sneaker');
    await run('pack --dir in sealed/bundle');
    const alias = `canary-${path.basename(bench.directory)}`;
    const { policy } = JSON.parse(await run(`keys create --alias ${alias} --iam --json`));
    await writeFile(bench.path('policy'), JSON.stringify(policy));
    await run('keys ls --all --json');
    await run(`keys show alias/${alias} --json`);
    await run(`keys alias ${alias} ${other} --replace --json`);
    await run(`keys rotation on ${other} --json`);
    await run(`keys policy ${other} --set policy --json`);
    await run(`keys policy ${other} --set in/secret`, { code: 2 });
    await run(`keys disable ${other} --json`);
    await run(`keys enable ${other} --json`);
    await run(`keys usage ${keyArn} ${place} --in sealed --json`);
    await run(`keys retire ${keyArn} --to ${other} ${place} --in sealed --json`, { code: 5 });
    await run(`keys delete ${keyArn} --days 7 ${place} --json`, { code: 5 });
    await run('policy instance --bundle s3://bundles/web.enc --key alias/web --json', { code: 2 });
    for (const role of ['instance', 'author'])
      await run(`policy ${role} --bundle s3://bundles/web.enc --key ${other} --json`);
  },

  async 'commands that speak to a mount'(t) {
    const etc = await rootDirectory(t);
    const config = path.join(etc, 'web.yaml');
    await writeFile(config, JSON.stringify({ hooks: [{ name: 'one', run: ['/bin/cat'] }] }));
    const secret = canary();
    const mount = await SecretMount.start(t, {
      entries: secretFile(secret),
      args: ['--config', config],
    });
    const files = ['key', 'mnt/secret'];
    const watched = new Canary(mount.bench, { secrets: [secret, mount.key], files, commands });
    await watched.run('wait web --json');
    await watched.run('status web --json');
    await mount.put(secretFile(secret));
    await watched.run('remount web --json');
    await watched.run('hook run one web --json');
    await watched.run('upgrade web --supervisor --json');
    await watched.run('unmount web --json', { removes: ['mnt/secret'] });
  },
};

test('no command leaves a content or a key where it is not meant to be', { concurrency: 3 }, async (t) => {
  const groups = Object.entries(GROUPS).map(([title, group]) => t.test(title, group));
  await Promise.all(groups);
});

test('each command is run above, or by a test that is there', async () => {
  for (const [name, { file, tests }] of Object.entries(ELSEWHERE)) {
    const text = await readFile(path.join(REPOSITORY, file), 'utf8');
    for (const title of tests) assert.ok(text.includes(`test('${title}'`), `${name}: ${title}`);
  }
  const known = COMMANDS.map(({ name }) => name).sort();
  assert.deepEqual([...commands, ...Object.keys(ELSEWHERE)].sort(), known);
});
