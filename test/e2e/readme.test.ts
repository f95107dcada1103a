/** README.md does what it says: its commands are run as they stand there, and print what it shows. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { follow } from '../support/follow.ts';
import { awsEnv, freePort, startMoto } from '../support/moto.ts';
import { REPOSITORY } from '../support/paths.ts';
import { Bench, must, run } from '../support/program.ts';
import { patient } from '../support/slowness.ts';
import { stepsOf } from '../support/steps.ts';

async function noMountIsLeft(t: TestContext, directory: string): Promise<void> {
  const { stdout } = await run('findmnt', ['-rno', 'TARGET', '-t', 'fuse.secretsfs']);
  const left = stdout.split('\n').filter((mountpoint) => mountpoint.startsWith(directory));
  assert.deepEqual(left, [], t.name);
}

// scripts/test is what runs the tests; the demo takes half a minute, and builds dist/ below those that use it.
if (process.env['SECRETSFS_SOAK'] !== undefined) {
  test('the demo of README.md runs', async () => {
    const [demo, everything, ...more] = stepsOf('demo').map(({ command }) => command.replace(/ +#.*/, ''));
    assert.deepEqual([demo, everything, more], ['sudo scripts/demo', 'sudo scripts/test', []]);
    const env = { ...process.env, DEMO_PORT: String(await freePort()) };
    const printed = await must('scripts/demo', [], { cwd: REPOSITORY, env, timeoutMs: patient(180_000) });
    assert.match(printed, /meanwhile: \d+ reads, 0 failed/);
  });
}

test('the five-minute start of README.md prints what it shows', async (t) => {
  const bench = await Bench.create(t);
  const steps = stepsOf('start');
  assert.ok(steps.length >= 15, `${steps.length} steps were found`);
  await follow(bench, steps);
  await noMountIsLeft(t, bench.directory);
});

test('the store of README.md keeps, hands out, rotates and packs as it shows', async (t) => {
  const bench = await Bench.create(t);
  const steps = stepsOf('store');
  assert.ok(steps.length >= 9, `${steps.length} steps were found`);
  await follow(bench, steps);
});

test("the production set-up of README.md works against the AWS protocol, with Debian's aws", async (t) => {
  // Its own, so that names can be those of README.
  const moto = await startMoto({ own: true });
  t.after(() => moto.stop());
  const bench = await Bench.create(t, {
    ...awsEnv(moto.url, { SECRETSFS_FORCE_PATH_STYLE: 'true' }),
    AWS_DEFAULT_REGION: 'eu-west-1',
  });
  const mountpoint = bench.path('mnt');
  const here = (text: string) => text.replaceAll('/srv/web-secrets', mountpoint);
  const steps = stepsOf('aws').map(({ command, shown }) => {
    const [, file] = /^cat > (\S+)/.exec(command) ?? [];
    // What a reader would put in place of the example's key.
    const own = file === undefined ? '' : `\nsed -i "s|arn:aws:kms:[^\\"]*|$KEY|" ${file}`;
    return { command: `${here(command)}${own}`, shown: shown.map(here) };
  });
  assert.ok(steps.length >= 18, `${steps.length} steps were found`);
  // awscli 2.9 does not know AWS_ENDPOINT_URL.
  await follow(bench, steps, 'aws() { /usr/bin/aws --endpoint-url "$AWS_ENDPOINT_URL" "$@"; }');
  await noMountIsLeft(t, bench.directory);
});
