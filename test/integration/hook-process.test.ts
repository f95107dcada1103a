/** Programs of hooks, as real processes. As root: they are started as other users too. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { chmod, chown, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { runProgram } from '../../src/daemon/hook-process.ts';
import { signalPidfile } from '../../src/daemon/hook-signal.ts';
import { LINES_MAX } from '../../src/hooks/output.ts';
import { keepDescriptors } from '../../src/system/files.ts';
import { account } from '../../src/system/users.ts';
import { eventually } from '../support/program.ts';
import { rootDirectory } from '../support/root-directory.ts';

const LONG_MS = 60_000;

async function run(
  argv: readonly [string, ...string[]],
  options: {
    user?: string;
    stdin?: Buffer;
    timeoutMs?: number;
    signal?: AbortSignal;
    onLine?: (line: string) => void;
  } = {},
) {
  const lines: string[] = [];
  const end = await runProgram({
    argv,
    user: await account(options.user ?? 'root'),
    environment: { SECRETSFS_GENERATION: '7' },
    stdin: options.stdin ?? Buffer.from('told\n'),
    timeoutMs: options.timeoutMs ?? LONG_MS,
    signal: options.signal ?? new AbortController().signal,
    onLine: (stream, line) => {
      lines.push(`${stream} ${line}`);
      options.onLine?.(line);
    },
  });
  return { lines, ...end };
}

const isRunning = (pid: number) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

const DESCRIBE = `
import json, os, sys
status = dict(line.rstrip().split(":\\t") for line in open("/proc/self/status") if ":\\t" in line)
mask = os.umask(0)
fds = [fd for fd in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + fd)]
print(json.dumps({
  "env": dict(os.environ), "fds": sorted(fds), "cwd": os.getcwd(), "umask": mask, "ids": [os.getuid(), os.getgid()],
  "groups": os.getgroups(), "session": os.getsid(0) == os.getpid(), "stdin": sys.stdin.read(),
  "again": open("/dev/stdin").read(), "caps": [status[name] for name in ("CapInh", "CapAmb")], "bounding": status["CapBnd"],
  "noNewPrivs": status["NoNewPrivs"],
}))`;

for (const user of ['root', 'nobody'] as const) {
  test(`a program that runs as ${user} has what it should have, and nothing of ours`, async () => {
    // As a supervisor does when it starts.
    keepDescriptors();
    process.env['NODE_OPTIONS'] = '--no-warnings';
    process.env['SECRETSFS_LEAK'] = 'x';
    const { lines, code } = await run(['/usr/bin/python3', '-I', '-c', DESCRIBE], { user });
    assert.equal(code, 0, lines.join('\n'));
    const seen = JSON.parse((lines[0] ?? '').replace(/^stdout /, ''));
    const who = await account(user);
    assert.deepEqual(seen.env, {
      PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      LANG: 'C',
      HOME: who.home,
      USER: user,
      LOGNAME: user,
      SECRETSFS_GENERATION: '7',
      // Python's own, for LANG=C.
      ...(seen.env.LC_CTYPE === undefined ? {} : { LC_CTYPE: seen.env.LC_CTYPE }),
    });
    assert.deepEqual(seen.fds, ['0', '1', '2']);
    assert.deepEqual([seen.cwd, seen.umask, seen.session], ['/', 0o077, true]);
    assert.deepEqual(seen.ids, [who.uid, who.gid]);
    assert.deepEqual(seen.groups, [who.gid]);
    assert.deepEqual([seen.stdin, seen.again], ['told\n', 'told\n']);
    assert.deepEqual(seen.caps, ['0000000000000000', '0000000000000000']);
    assert.equal(seen.bounding === '0000000000000000', user !== 'root');
    assert.equal(seen.noNewPrivs, '1');
  });
}

test('a program that takes too long is killed with all that it started', async () => {
  let pid = 0;
  const { isLate, signal } = await run(['/bin/sh', '-c', 'sleep 300 & echo $!; trap "" TERM; wait; wait'], {
    timeoutMs: 1_500,
    onLine: (line) => {
      pid = Number(line);
    },
  });
  assert.deepEqual([isLate, signal], [true, 'SIGKILL']);
  assert.ok(pid > 1);
  await eventually(async () => assert.ok(!isRunning(pid)));
});

test('a signal from above ends it, also before it began', async () => {
  const abort = new AbortController();
  const running = run(['/bin/sh', '-c', 'echo on; sleep 300'], {
    signal: abort.signal,
    onLine: () => abort.abort(),
  });
  assert.equal((await running).signal, 'SIGKILL');
  assert.equal((await run(['/bin/sleep', '300'], { signal: abort.signal })).signal, 'SIGKILL');
});

test('what it left behind is not waited for', async (t) => {
  let pid = 0;
  t.after(() => process.kill(pid, 'SIGKILL'));
  const { code } = await run(['/bin/sh', '-c', 'sleep 300 & echo $!'], {
    onLine: (line) => {
      pid = Number(line);
    },
  });
  assert.equal(code, 0);
  assert.ok(isRunning(pid));
});

test('one that does not read what it is told makes nobody wait', async () => {
  assert.equal((await run(['/bin/true'], { stdin: Buffer.alloc(64 * 1024 * 1024, 'x') })).code, 0);
});

test('a flood of output is read to its end, and little of it is passed on, escaped', async () => {
  const flood = await run(['/usr/bin/seq', '200000']);
  assert.equal(flood.code, 0);
  assert.equal(flood.lines.length, LINES_MAX);
  assert.equal(flood.dropped, 200_000 - LINES_MAX);
  const escaped = await run(['/usr/bin/printf', '\\033]0;title\\007\\nlast']);
  assert.deepEqual(escaped.lines, ['stdout \\u001b]0;title\\u0007', 'stdout last']);
  assert.deepEqual((await run(['/bin/sh', '-c', 'echo no >&2; exit 3'])).lines, ['stderr no']);
});

test('a signal goes to the process that wrote the pidfile, and to no other', async (t) => {
  const directory = await rootDirectory(t);
  const pidfile = path.join(directory, 'pid');
  const ended = (child: ChildProcess) =>
    new Promise((resolve) => child.once('exit', (_code, signal) => resolve(signal)));
  const start = () => {
    const child = spawn('/bin/sleep', ['300']);
    t.after(() => child.kill('SIGKILL'));
    return child;
  };
  const refused = (pattern: RegExp, avoid = '/nowhere') =>
    assert.throws(() => signalPidfile(pidfile, 'SIGTERM', avoid), { name: 'HookFailure', message: pattern });

  refused(/ENOENT/);
  const service = start();
  await writeFile(pidfile, `${service.pid}\n`);
  // As if the number had been another process's when it was written.
  await utimes(pidfile, Date.now() / 1000, Date.now() / 1000 - 3600);
  refused(/began after the file was written/);
  await utimes(pidfile, Date.now() / 1000, Date.now() / 1000);
  refused(/ELOOP/, directory);
  await chmod(directory, 0o777);
  refused(/is writable by everybody/);
  await chmod(directory, 0o755);
  await chown(pidfile, 1, 1);
  refused(/belongs to uid 1/);
  await chown(pidfile, 0, 0);
  assert.equal(service.signalCode, null);
  const gone = ended(service);
  signalPidfile(pidfile, 'SIGTERM', '/nowhere');
  assert.equal(await gone, 'SIGTERM');
  refused(/does not run/);
  for (const text of ['', '0', '1', '-5', 'x', `${process.pid}`, '12 13', '9'.repeat(40)]) {
    await writeFile(pidfile, text);
    refused(/names no process/);
  }
});
