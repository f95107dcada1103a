/** mount.secretsfs where nothing comes to be mounted: what it says, and what it leaves in /var/log. */
import assert from 'node:assert/strict';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import { Bench, type Outcome, run } from '../support/program.ts';

/**
 * Runs it where /run and /var/log are empty but for the journal's socket, if `journal`, and in PATH is nothing. The last
 * lines of stdout are the logs that there are then.
 */
async function helper(
  t: TestContext,
  args: string,
  { journal = false, env = 'PATH=/none' } = {},
): Promise<Outcome & { logs: string[] }> {
  const bench = await Bench.create(t);
  const program = bench.path('mount.secretsfs');
  await symlink(bench.program, program);
  await mkdir(bench.path('mnt'));
  await writeFile(bench.path('good.yaml'), 'bundle: /none.enc\nacceptKey: local:/none.key\n');
  await writeFile(bench.path('bad.yaml'), 'bundel: /none.enc\n');
  const socket = 'mkdir -p /run/systemd/journal; : >/run/systemd/journal/stdout';
  const script = `set -e
cd ${bench.directory}
mount -t tmpfs none /run; mount -t tmpfs none /var/log
${journal ? socket : ''}
code=0; env ${env} ${process.execPath} ${program} ${args} || code=$?
find /var/log -type f; exit $code`;
  const outcome = await run('unshare', ['--mount', 'sh', '-c', script]);
  return { ...outcome, logs: outcome.stdout.trim().split('\n').filter(Boolean) };
}

test('without systemd-cat the log goes to the file, whether or not the journal is there', async (t) => {
  for (const journal of [true, false]) {
    const { code, stderr, logs } = await helper(t, 'web mnt -o config=$PWD/good.yaml', { journal });
    assert.equal(code, 32, stderr);
    // Of the mount itself: nothing else is in that PATH, either.
    assert.match(stderr, /unshare is missing \(driver-missing\)/);
    assert.deepEqual(logs, ['/var/log/secretsfs/web.log']);
  }
});

test('without a PATH, as mount(8) leaves it, systemd-cat is found', async (t) => {
  const { code, logs } = await helper(t, 'web mnt -o config=$PWD/good.yaml', {
    journal: true,
    env: '-u PATH',
  });
  assert.equal(code, 32);
  assert.deepEqual(logs, []);
});

test('a config that is not there, or wrong, is refused before there is a log', async (t) => {
  for (const [name, says] of [
    ['none', /cannot read config ".*none\.yaml": .*\(config-unreadable\)\nsecretsfs: hint: /],
    ['bad', /bundel: is not a setting \(config-invalid\)/],
  ] as const) {
    const { code, stderr, logs } = await helper(t, `web mnt -o config=$PWD/${name}.yaml`);
    assert.equal(code, 32, stderr);
    assert.match(stderr, says);
    assert.deepEqual(logs, []);
  }
});

test('one argument is one argument', async (t) => {
  const { code, stderr } = await helper(t, 'web');
  assert.equal(code, 1);
  assert.match(
    stderr,
    /^secretsfs: cannot mount: 1 argument given, want a source and a directory \(usage\)$/m,
  );
});
