/** What a pull leaves behind where others can look: files, logs, command lines, environments. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readlinkSync, statfsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { startHolder } from '../support/holder.ts';
import { mentions } from '../support/machine.ts';
import { eventually } from '../support/program.ts';
import { canary, full, SecretMount, secretFile } from '../support/secret-mount.ts';
import { member, tarOf } from '../support/tars.ts';
import { openedForWriting, startTrace, traceArgs } from '../support/trace.ts';

const FILE_BYTES = 200_000;
/** linux/magic.h */
const RAMFS_MAGIC = 0x858458f6;
const STORE_FILE =
  /^\/proc\/self\/fd\/(\d+)\/(control|status|request|(gen|candidate|changes|facts)-\d+|(facts-\d+|(names|hooks)-told)\.new)$/;
/** Devices without a memory, and the kernel's own knobs. */
const NO_FILES = /^(\/dev\/null|\/dev\/fuse|\/proc\/(self|\d+)\/oom_score_adj)$/;

test('a pull opens no file for writing outside the store but the record of serials', async (t) => {
  const mount = await SecretMount.start(t, { notifier: true, entries: secretFile(canary(), FILE_BYTES) });
  const { bench } = mount;
  const after = bench.after.bind(bench);
  const processes = await mount.processes();
  const trace = await startTrace(
    after,
    processes.map(({ pid }) => pid),
    bench.path('trace'),
  );
  const secret = canary();
  await mount.rotate(secretFile(secret, FILE_BYTES));
  await eventually(async () =>
    assert.ok((await readFile(mount.path('secret'))).equals(full(secret, FILE_BYTES))),
  );
  const opened = await trace.stop();

  const inStore = opened.map(({ path }) => STORE_FILE.exec(path)).filter((match) => match !== null);
  assert.ok(
    inStore.some((match) => match[2]?.startsWith('candidate-')),
    JSON.stringify(opened),
  );
  for (const fd of new Set(inStore.map((match) => match[1]))) {
    const directory = `/proc/${mount.supervisor}/fd/${fd}`;
    assert.equal(statfsSync(directory).type, RAMFS_MAGIC, readlinkSync(directory));
  }
  const others = opened.filter(({ path }) => !STORE_FILE.test(path) && !NO_FILES.test(path));
  // And the record of serials, which has no secret in it.
  const record = bench.path('state/web.floor.json');
  assert.deepEqual([...new Set(others.map(({ path }) => path))], [`${record}.${mount.supervisor}`]);
  assert.ok(!(await readFile(record)).includes(secret));

  const output = bench.path('traced');
  const args = ['file', bench.path('written')];
  const before = ['strace', ...traceArgs(output)];
  await startHolder(after, secret, { directory: bench.directory, args, before });
  assert.ok(existsSync(bench.path('written')));
  assert.ok(openedForWriting(output).some(({ path }) => path === bench.path('written')));
});

/** As it is, and as programs write it. */
function forms(bytes: Buffer): Buffer[] {
  const { length } = bytes;
  return [
    bytes,
    ...['hex', 'base64', 'base64url'].map((encoding) =>
      // The last characters of base64 depend on what follows.
      Buffer.from(bytes.subarray(0, length - (length % 3)).toString(encoding as 'hex')),
    ),
  ];
}

test('neither plaintext nor keys are in a log, an argv or an environment during a pull', async (t) => {
  const mount = await SecretMount.start(t, { notifier: true, entries: secretFile(canary(), FILE_BYTES) });
  const { bench, daemon } = mount;
  const [secret, refused] = [canary(), canary()];
  const needles = [secret, refused, mount.key].flatMap(forms);
  let looks = 0;
  let over = false;
  const seen = (async () => {
    const found = [];
    while (!over) {
      found.push(...mentions(needles));
      looks += 1;
      await new Promise((resolve) => setImmediate(resolve));
    }
    return found;
  })();
  await mount.rotate(secretFile(secret, FILE_BYTES));
  // Refused after it was opened, when there is most to be said of it.
  const data = full(refused, FILE_BYTES);
  await mount.put(tarOf(member({ name: 'a', data }), member({ name: 'b', typeflag: '1', linkname: 'a' })));
  const answer = await bench.secretsfs(['remount', 'web']);
  assert.match(answer.stderr, /archive-refused/);
  await daemon.event('refresh-failed');
  over = true;
  assert.deepEqual(await seen, []);
  assert.ok(looks > 20, `${looks} looks`);
  const said = [JSON.stringify(daemon.lines), answer.stdout, answer.stderr];
  for (const text of said) {
    for (const needle of needles) assert.ok(!Buffer.from(text).includes(needle), text);
  }

  // The controls: a process that has it in argv and environment, and a log that has what it may.
  const word = secret.toString('latin1');
  const careless = spawn('sleep', ['30'], { argv0: `sleep-${word}`, env: { WORD: word } });
  bench.after(async () => careless.kill('SIGKILL'));
  assert.deepEqual(
    mentions([secret])
      .filter(({ pid }) => pid === careless.pid)
      .map(({ where }) => where),
    ['cmdline', 'environ'],
  );
  assert.ok(JSON.stringify(daemon.lines).includes(bench.path('web.enc')));
});

const ESCAPES = '\u001b[31mred\u001b[0m\r\n{"level":50,"event":"forged"}\u009b2J\u202e';

for (const [outcome, more] of [
  ['accepted', []],
  ['refused', [member({ name: `${ESCAPES}2`, typeflag: '1', linkname: 'a' })]],
] as const) {
  test(`names with newlines and escape sequences are ${outcome}, and forge no line of a log`, async (t) => {
    const mount = await SecretMount.start(t, { notifier: true, entries: secretFile(canary()) });
    const { bench, daemon } = mount;
    await mount.put(tarOf(member({ name: `dir/${ESCAPES}`, data: 'x' }), ...more));
    const { stdout, stderr } = await bench.secretsfs(['remount', 'web']);
    if (outcome === 'accepted') {
      await daemon.event('activated', 2);
      // The names are as they were packed.
      // A name that is new is there for this process once its pass is over (docs/semantics.md).
      const content = await eventually(() => readFile(mount.path(`dir/${ESCAPES}`), 'utf8'));
      assert.equal(content, 'x');
    } else {
      await daemon.event('refresh-failed');
      // It is named, in a form that can be read.
      assert.match(`${stdout}${stderr}`, /\\u001b\[31mred/);
    }
    const status = await bench.secretsfs(['status', 'web']);
    assert.equal(daemon.count('forged'), 0);
    assert.deepEqual(
      daemon.lines.filter(({ event }) => event === 'text'),
      [],
    );
    for (const text of [daemon.text, stdout, stderr, status.stdout]) {
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
      assert.doesNotMatch(text, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
    }
  });
}
