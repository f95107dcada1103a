/**
 * What a command loads: the SDK is a third of the program, and who asks nothing of AWS must not wait for it. And what a
 * mount leaves that is stopped before it is up.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { EXIT_CODES } from '../../src/errors.ts';
import { awsEnv } from '../support/moto.ts';
import { PROGRAM } from '../support/paths.ts';
import { Bench, Daemon, must, run } from '../support/program.ts';

/** Of our program, only what speaks to AWS loads node:https; and it loads it before anything else. */
const MARKER = 'NativeModule https';
const LIST = `data:text/javascript,process.on('exit',()=>process.stderr.write('\\n'+process.moduleLoadList.join('\\n')))`;

async function loadsAws(
  bench: Bench,
  args: readonly string[],
  wanted: number,
  env = bench.env,
): Promise<boolean> {
  const { code, stderr } = await run(process.execPath, ['--import', LIST, PROGRAM, ...args], {
    env,
    cwd: bench.directory,
  });
  assert.equal(code, wanted, `${args.join(' ')}: ${stderr}`);
  const loaded = stderr.split('\n');
  assert.ok(loaded.includes('NativeModule path'), `no list of modules: ${stderr}`);
  return loaded.includes(MARKER);
}

test('no command loads the SDK of AWS for a local bundle and a local key', async (t) => {
  const bench = await Bench.create(t);
  await mkdir(bench.path('dir'));
  await writeFile(bench.path('dir', 'a'), 'a');
  const commands = [
    ['version'],
    ['keygen', 'key'],
    ['--help'],
    ['status'],
    ['pack', '--dir', 'dir', '--key', 'local:key', 'web.enc'],
    ['inspect', 'web.enc'],
    ['verify', 'web.enc', '--key', 'local:key'],
    ['unpack', 'web.enc', 'out', '--key', 'local:key'],
  ];
  for (const args of commands)
    assert.equal(await loadsAws(bench, args, EXIT_CODES.ok), false, args.join(' '));
});

test('a bundle in S3 does load it: the test above looks for the right thing', async (t) => {
  const bench = await Bench.create(t);
  const env = awsEnv('http://127.0.0.1:9', { SECRETSFS_RUNTIME_DIR: bench.path('run') });
  assert.equal(await loadsAws(bench, ['inspect', 's3://bucket/web.enc'], EXIT_CODES.source, env), true);
});

test('a mount that is told to stop while it starts ends, and leaves nothing mounted', async (t) => {
  const bench = await Bench.create(t);
  await mkdir(bench.path('dir'));
  await mkdir(bench.path('mnt'));
  await bench.must(['keygen', 'key']);
  await bench.must(['pack', '--dir', 'dir', '--key', 'local:key', 'web.enc']);
  for (const event of ['starting', 'activated', 'ready']) {
    const child = spawn(process.execPath, [PROGRAM, 'mount', 'web.enc', 'mnt', '--key', 'local:key'], {
      cwd: bench.directory,
      env: bench.env,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const daemon = new Daemon(child);
    bench.after(() => daemon.stop());
    await daemon.event(event);
    const ended = await daemon.stop();
    assert.notEqual(ended, 'SIGKILL', `stopped at ${event}, it went on`);
    const mounts = await readFile('/proc/self/mountinfo', 'utf8');
    assert.ok(!mounts.includes(bench.path('mnt')), `stopped at ${event}, it left a mount`);
    // A prober that comes too late is no bug, and its end no news.
    assert.doesNotMatch(daemon.text, /internal error|prober-died/, `stopped at ${event}`);
  }
});

test('a mount is ready before prober and successor are started, and without a stat(1) too', async (t) => {
  const bench = await Bench.create(t);
  await mkdir(bench.path('dir'));
  await writeFile(bench.path('dir', 'a'), 'a');
  await mkdir(bench.path('mnt'));
  await mkdir(bench.path('bin'));
  // What a start needs, and stat(1) is not among it.
  for (const tool of ['getent', 'unshare', 'prlimit', 'setpriv'])
    await symlink((await must('which', [tool])).trim(), bench.path('bin', tool));
  await bench.must(['keygen', 'key']);
  await bench.must(['pack', '--dir', 'dir', '--key', 'local:key', 'web.enc']);
  for (const PATH of [bench.env['PATH'], bench.path('bin')]) {
    const args = ['web.enc', 'mnt', '--key', 'local:key', '--driver', 'kernel', '--allow-swap'];
    const child = spawn(process.execPath, [PROGRAM, 'mount', ...args], {
      cwd: bench.directory,
      env: { ...bench.env, PATH },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const daemon = new Daemon(child);
    bench.after(() => daemon.stop());
    const ready = Date.parse(String((await daemon.event('ready'))['time']));
    const [status] = JSON.parse(await bench.must(['status', 'web', '--json'])) as {
      processes: { role: string; started: string; anonymousBytes: number }[];
    }[];
    for (const { role, anonymousBytes } of status?.processes ?? [])
      assert.ok(anonymousBytes > 10_000 && anonymousBytes < 200e6, `${role}: ${anonymousBytes}`);
    const started = (role: string) =>
      Date.parse(status?.processes.find((each) => each.role === role)?.started ?? '');
    assert.ok(started('server') < ready);
    assert.ok(started('successor') >= ready);
    // Without stat(1) it is the prober that asks.
    assert.equal(started('prober') >= ready, PATH !== bench.path('bin'));
    await daemon.stop();
  }
});
