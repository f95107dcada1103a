import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { formatTable } from '../../../src/cli/table.ts';
import { createUi, formatBytes, progressLine } from '../../../src/cli/ui.ts';
import { KeyError } from '../../../src/errors.ts';

function capture(env: NodeJS.ProcessEnv = {}, tty = false) {
  const streams = { stdout: new PassThrough(), stderr: new PassThrough() };
  Object.assign(streams.stderr, { isTTY: tty, columns: 60 });
  const ui = createUi({
    ...(streams as unknown as { stdout: NodeJS.WriteStream; stderr: NodeJS.WriteStream }),
    env,
  });
  const read = (stream: PassThrough) => String(stream.read() ?? '');
  return { ui, stdout: () => read(streams.stdout), stderr: () => read(streams.stderr) };
}

test('an error is one line with its code, its hint a second one, and the exit code of its class', () => {
  const { ui, stderr } = capture();
  const error = new KeyError('key-denied', 'cannot unwrap', { hint: 'grant kms:Decrypt' });
  assert.equal(ui.fail(error, { json: false }), 5);
  assert.equal(stderr(), 'secretsfs: cannot unwrap (key-denied)\nsecretsfs: hint: grant kms:Decrypt\n');
});

test('an error as JSON has the same facts', () => {
  const { ui, stderr } = capture();
  ui.fail(new KeyError('key-denied', 'cannot unwrap'), { json: true });
  assert.deepEqual(JSON.parse(stderr()), {
    error: { code: 'key-denied', message: 'cannot unwrap', exitCode: 5 },
  });
});

test('an error as JSON gives a terminal nothing to obey', () => {
  const { ui, stderr } = capture();
  ui.fail(new KeyError('key-denied', 'a\u009bb', { hint: 'c\u202ed' }), { json: true });
  const text = stderr();
  assert.ok(!/[\u009b\u202e]/.test(text), text);
  assert.deepEqual(JSON.parse(text).error.message, 'a\u009bb');
});

test('facts as JSON give a terminal nothing to obey, and are what they were', () => {
  const { ui, stdout } = capture();
  const facts = { name: 'a\u009bb\u001b[2J', context: { '\u202ek': 'v\u2066' } };
  ui.printJson(facts);
  const text = stdout();
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  assert.ok(!/[\u001b\u0080-\u009f\u202e\u2066]/.test(text), text);
  assert.deepEqual(JSON.parse(text), facts);
});

test('a fact is one line, whatever is in it', () => {
  const { ui, stdout } = capture();
  ui.printTable([
    ['a', 'k\nforged  line'],
    ['b\r\n', 'x'],
  ]);
  ui.printText('two\nlines');
  const [first, second, ...rest] = stdout().split('\n');
  assert.deepEqual([first?.includes('k\\u000aforged'), second?.startsWith('b\\u000d\\u000a')], [true, true]);
  assert.deepEqual(rest, ['two', 'lines', '']);
});

test('a bug shows neither its message nor a stack, unless asked', () => {
  const { ui, stderr } = capture();
  assert.equal(ui.fail(new TypeError('plaintext'), { json: false }), 1);
  const text = stderr();
  assert.match(text, /internal error: "TypeError at /);
  assert.ok(!text.includes('plaintext'));
  const debug = capture({ SECRETSFS_DEBUG: '1' });
  debug.ui.fail(new TypeError('plaintext'), { json: false });
  assert.match(debug.stderr(), /plaintext/);
});

test('colours are for terminals, and not with NO_COLOR', () => {
  const error = new KeyError('key-denied', 'm');
  for (const [env, tty, coloured] of [
    [{}, false, false],
    [{}, true, true],
    [{ NO_COLOR: '1' }, true, false],
    [{ TERM: 'dumb' }, true, false],
  ] as const) {
    const { ui, stderr } = capture(env, tty);
    ui.fail(error, { json: false });
    assert.equal(stderr().includes('\u001b['), coloured);
  }
});

test('progress is shown after a second on a terminal, wiped at the end, and never elsewhere', async () => {
  const work = (report: (fraction: number) => void) =>
    new Promise<string>((resolve) => {
      report(0.5);
      setTimeout(() => resolve('done'), 1250);
    });
  const terminal = capture({}, true);
  const pipe = capture({}, false);
  const results = await Promise.all([
    terminal.ui.progress('sealing', work),
    pipe.ui.progress('sealing', work),
  ]);
  assert.deepEqual(results, ['done', 'done']);
  const shown = terminal.stderr();
  assert.match(shown, /sealing \[#+\.+\] {2}50 %/);
  assert.ok(shown.endsWith('\r\u001b[K'));
  assert.equal(pipe.stderr(), '');
});

test('a progress line fits every terminal', () => {
  for (let columns = 5; columns < 200; columns++) {
    assert.ok(progressLine('a label', 0.33, 5000, columns).length < columns);
    assert.ok(progressLine('a label', undefined, 5000, columns).length < columns);
  }
});

test('bytes and tables are for people', () => {
  assert.equal(formatBytes(0), '0 B');
  assert.equal(formatBytes(1536), '1.5 KiB');
  assert.equal(formatBytes(64 * 1024 * 1024), '64.0 MiB');
  assert.deepEqual(
    formatTable([
      ['a', 'bb'],
      ['ccc', 'd'],
    ]),
    ['a    bb', 'ccc  d'],
  );
});
