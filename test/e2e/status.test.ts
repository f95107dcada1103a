/** status at a terminal and in scripts, of mounts that are only said to be there. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { widthOf } from '../../src/cli/width.ts';
import { lookDirectory } from '../../src/control/directory.ts';
import type { Status } from '../../src/control/protocol.ts';
import { type Operations, serveControl } from '../../src/control/server.ts';
import { PROGRAM } from '../support/paths.ts';
import { Bench } from '../support/program.ts';
import { FULL_STATUS } from '../support/statuses.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { Terminal } from '../support/terminal.ts';

const HEALTHY: Status = {
  ...FULL_STATUS,
  ...{ state: 'live', error: null, parts: [], hooks: [], probes: [], certificates: [] },
};

/** A mount that answers with what `status` is at the time. */
async function pretend(bench: Bench, instance: string, status: () => Status) {
  const directory = bench.path('run', instance);
  mkdirSync(directory, { recursive: true });
  const operations = { status: async () => ({ ...status(), instance }) } as unknown as Operations;
  const server = await serveControl({ directory, operations, onBug: () => undefined });
  let open = true;
  const close = async () => {
    if (open) await server.close();
    open = false;
  };
  bench.after(close);
  return close;
}

function atTerminal(bench: Bench, args: readonly string[], columns: number, env: NodeJS.ProcessEnv = {}) {
  return new Terminal((f) => bench.after(f), [process.execPath, PROGRAM, ...args], {
    ...{ columns, rows: 30, env: { ...bench.env, TERM: 'xterm', ...env } },
  });
}

/** What stands on the screen after the last whole picture. */
function lastPicture(output: string): string[] {
  const picture =
    output
      .split('\u001b[?2026h')
      .slice(1)
      .findLast((each) => each.includes('\u001b[?2026l')) ?? '';
  const [shown = ''] = picture.split('\u001b[?2026l');
  return stripVTControlCharacters(shown).split('\r\n');
}

test('status --watch follows a mount and the size of the terminal, and ends with Ctrl-C', async (t) => {
  const bench = await Bench.create(t);
  let serial = 41;
  const live = FULL_STATUS.live as NonNullable<Status['live']>;
  const close = await pretend(bench, 'web', () => ({ ...HEALTHY, live: { ...live, serial } }));
  const terminal = atTerminal(bench, ['status', '--watch'], 120);
  await terminal.until(/serial 41,.*\?2026l/s);
  assert.ok(lastPicture(terminal.output).some((line) => widthOf(line) > 60));
  serial = 43;
  await terminal.until(/serial 43,.*\?2026l/s);
  assert.ok(!lastPicture(terminal.output).join('\n').includes('serial 41'));
  const from = terminal.output.length;
  terminal.resize(40, 20);
  await terminal.until(/\.\.\. and \d+ lines more.*\?2026l/s, from);
  const narrow = lastPicture(terminal.output);
  assert.equal(narrow.length, 20);
  for (const line of narrow) assert.ok(widthOf(line) <= 40, line);
  await close();
  await terminal.until(/no mount is running.*\?2026l/s);
  assert.equal(lastPicture(terminal.output).length, 2);
  terminal.send('\x03');
  assert.equal(await terminal.ended, 0);
  assert.ok(terminal.output.startsWith('\u001b[?1049h\u001b[?25l'));
  assert.ok(terminal.output.trimEnd().endsWith('\u001b[?25h\u001b[?1049l'));
});

test('status --watch is for a terminal', async (t) => {
  const bench = await Bench.create(t);
  const piped = await bench.secretsfs(['status', '--watch']);
  assert.equal(piped.code, 2);
  assert.match(piped.stderr, /--watch is for a terminal/);
  const dumb = atTerminal(bench, ['status', '--watch'], 80, { TERM: 'dumb' });
  assert.equal(await dumb.ended, 2);
});

test('status is as wide as the terminal, and as it is in a pipe', async (t) => {
  const bench = await Bench.create(t);
  const bundle = `s3://bucket/${'deep/'.repeat(12)}tls.enc`;
  await pretend(bench, 'web', () => ({ ...HEALTHY, bundle, parts: [] }));
  const narrow = atTerminal(bench, ['status'], 40);
  assert.equal(await narrow.ended, 0);
  for (const line of stripVTControlCharacters(narrow.output).split('\r\n'))
    assert.ok(widthOf(line) <= 40, line);
  const piped = await bench.must(['status']);
  assert.ok(piped.includes(`  bundle      ${bundle} (name tls)\n`), piped);
  assert.ok(!piped.includes('\u001b'));
});

test('an error has colours at a terminal, none with NO_COLOR, none in a pipe', async (t) => {
  const bench = await Bench.create(t);
  const coloured = atTerminal(bench, ['status', 'nobody'], 80);
  assert.equal(await coloured.ended, 8);
  assert.ok(coloured.output.includes('\u001b[31m'), coloured.output);
  const plain = atTerminal(bench, ['status', 'nobody'], 80, { NO_COLOR: '1' });
  assert.equal(await plain.ended, 8);
  assert.ok(!plain.output.includes('\u001b'), plain.output);
  const { stderr } = await bench.secretsfs(['status', 'nobody']);
  assert.ok(!stderr.includes('\u001b'), stderr);
});

test('a state has colours at a terminal, drawn once or over and over, and none with NO_COLOR or TERM=dumb', async (t) => {
  const bench = await Bench.create(t);
  await pretend(bench, 'web', () => HEALTHY);
  const green = '\u001b[32mweb: live\u001b[0m';
  for (const [env, isColoured] of [
    [{}, true],
    [{ NO_COLOR: '1' }, false],
    [{ TERM: 'dumb' }, false],
  ] as const) {
    const once = atTerminal(bench, ['status'], 80, env);
    assert.equal(await once.ended, 0);
    assert.equal(once.output.includes(green), isColoured, once.output);
    assert.equal(once.output.includes('\u001b'), isColoured, once.output);
  }
  for (const [env, isColoured] of [
    [{}, true],
    [{ NO_COLOR: '1' }, false],
  ] as const) {
    const watched = atTerminal(bench, ['status', '--watch'], 80, env);
    await watched.until(/web: live.*\?2026l/s);
    assert.equal(watched.output.includes(green), isColoured);
    watched.send('\x03');
    assert.equal(await watched.ended, 0);
  }
});

test('status --check says what is wrong, and ends with its code', async (t) => {
  const bench = await Bench.create(t);
  const none = await bench.secretsfs(['status', '--check']);
  assert.equal(none.code, 8);
  let now = HEALTHY;
  await pretend(bench, 'web', () => now);
  assert.deepEqual(await bench.secretsfs(['status', '--check']), {
    code: 0,
    stdout: 'web: all is well\n',
    stderr: '',
  });
  now = { ...HEALTHY, state: 'starting' };
  assert.equal((await bench.secretsfs(['status', 'web', '--check'])).code, 9);
  const error = { code: 'key-denied', message: 'cannot unwrap', since: '', attempts: 2 };
  now = { ...HEALTHY, state: 'failing', error };
  const failing = await bench.secretsfs(['status', '--check']);
  assert.deepEqual(failing, { code: 5, stdout: 'web: cannot unwrap (key-denied)\n', stderr: '' });
  const { code, stdout } = await bench.secretsfs(['status', '--check', '--json']);
  assert.equal(code, 5);
  assert.deepEqual(JSON.parse(stdout), {
    mounts: ['web'],
    problems: [{ instance: 'web', code: 'key-denied', text: 'cannot unwrap' }],
  });
});

test('a mount that was killed is said to have been, by whatever asks it', async (t) => {
  const bench = await Bench.create(t);
  mkdirSync(bench.path('run/web'), { recursive: true });
  // A socket that nobody listens on.
  const bind = 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])';
  for (const name of ['control.sock', 'status.sock'])
    execFileSync('python3', ['-c', bind, bench.path('run/web', name)]);
  for (const command of ['status', 'remount', 'unmount']) {
    const { code, stderr } = await bench.secretsfs([command, 'web']);
    assert.equal(code, 8);
    assert.match(stderr, /the mount "web" was killed \(control-not-running\)\n.*clears what it left/);
  }
  assert.match((await bench.secretsfs(['status'])).stderr, /web: it was killed/);
});

test('who has no mounts of his own is shown those of root', async (t) => {
  const directory = await temporaryDirectory(t);
  const [ofRoot, xdg] = [path.join(directory, 'root'), path.join(directory, 'xdg')];
  const look = (env: NodeJS.ProcessEnv, more = {}) => lookDirectory({ uid: 1000, env, ofRoot, ...more });
  assert.throws(() => look({}), /XDG_RUNTIME_DIR/);
  mkdirSync(ofRoot);
  assert.equal(look({}), ofRoot);
  assert.equal(look({ XDG_RUNTIME_DIR: xdg }), ofRoot);
  assert.equal(look({}, { chosen: '/chosen' }), '/chosen');
  mkdirSync(path.join(xdg, 'secretsfs'), { recursive: true });
  assert.equal(look({ XDG_RUNTIME_DIR: xdg }), path.join(xdg, 'secretsfs'));
});
