/** README.md does what it says: its commands are run as they stand there, and print what it shows. */
import assert from 'node:assert/strict';
import { mkdir, symlink } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import { awsEnv, startMoto } from '../support/moto.ts';
import { PROGRAM } from '../support/paths.ts';
import { Bench, run } from '../support/program.ts';
import { plain, SEPARATOR, type Step, scriptOf, stepsOf } from '../support/readme.ts';

const GROUP_SECONDS_MAX = 50;

/** Runs the steps in one bash, in the bench's directory; nothing that it started outlives it. */
async function follow(bench: Bench, steps: readonly Step[], before = ''): Promise<void> {
  await mkdir(bench.path('bin'));
  await symlink(PROGRAM, bench.path('bin/secretsfs'));
  const work = bench.path('try');
  await mkdir(work);
  bench.after(async () => {
    await bench.secretsfs(['unmount']);
  });
  const env = { ...bench.env, PATH: `${bench.path('bin')}:${process.env['PATH']}`, LC_ALL: 'C' };
  // Of its own process group, which timeout ends as a whole.
  const args = [
    '--kill-after=5',
    String(GROUP_SECONDS_MAX),
    'bash',
    '-c',
    `${before}\n${scriptOf(steps)}\nwait`,
  ];
  const { code, stdout } = await run('timeout', args, { env, cwd: work });
  const outputs = Buffer.from(stdout, 'latin1').toString().split(SEPARATOR).slice(1);
  assert.equal(code, 0, `${steps[outputs.length - 1]?.command} failed: ${outputs.at(-1)}`);
  assert.equal(outputs.length, steps.length);
  for (const [i, { command, shown }] of steps.entries()) {
    if (shown.length === 0) continue;
    const printed = (outputs[i] ?? '').replaceAll(work, '/root/try').trimEnd().split('\n');
    // For some seconds after a generation went live notifier and teller are there, and what was live before.
    const lines = printed.filter((line) => !/^ {2}(process {5}(notifier|teller)|lingering) /.test(line));
    assert.deepEqual(lines.map(plain), shown.map(plain), command);
  }
}

async function noMountIsLeft(t: TestContext, directory: string): Promise<void> {
  const { stdout } = await run('findmnt', ['-rno', 'TARGET', '-t', 'fuse.secretsfs']);
  const left = stdout.split('\n').filter((mountpoint) => mountpoint.startsWith(directory));
  assert.deepEqual(left, [], t.name);
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
