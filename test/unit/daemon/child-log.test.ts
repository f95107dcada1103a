import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { AUDIT, ChildLog } from '../../../src/daemon/child-log.ts';
import { settled } from '../../support/fake-child.ts';
import { FakeLog } from '../../support/fake-log.ts';
import { FakeTimers } from '../../support/fake-timers.ts';
import { patient } from '../../support/slowness.ts';

const WHO = { process: 'server', pid: 7 };

function setUp() {
  const stderr = new PassThrough();
  const log = new FakeLog();
  const timers = new FakeTimers();
  const childLog = new ChildLog(log, { timers, nowMs: () => timers.nowMs });
  childLog.relay(stderr, { role: 'server', pid: 7 });
  return { stderr, log, timers, childLog };
}

test('a line of ours keeps its event and its plain fields; role and pid are the supervisor’s', async () => {
  const { stderr, log } = setUp();
  const line = {
    level: 30,
    time: 'x',
    process: 'supervisor',
    pid: 1,
    event: 'unknown-request',
    opcode: 9,
    deep: {},
  };
  stderr.write(`${JSON.stringify(line)}\n`);
  await settled();
  assert.deepEqual(log.lines, [{ level: 'warn', event: 'unknown-request', fields: { opcode: 9, ...WHO } }]);
});

test('an event that is not a child’s to tell is text, and so is what is no JSON', async () => {
  const { stderr, log } = setUp();
  const lines = ['{"event":"ready"}', '{"event":"toString"}', '[1]', 'null', 'FATAL ERROR: out of memory'];
  stderr.write(`${lines.join('\n')}\n\n`);
  await settled();
  assert.deepEqual(
    log.lines,
    lines.map((text) => ({ level: 'warn', event: 'child-output', fields: { text, ...WHO } })),
  );
});

test('lines are put together however they are cut; the last one needs no end', async () => {
  const { stderr, log } = setUp();
  for (const byte of Buffer.from('one\nzw\u00f6lf\nlast')) stderr.write(Buffer.from([byte]));
  stderr.end();
  await settled();
  assert.deepEqual(
    log.lines.map(({ fields }) => (fields as { text: string }).text),
    ['one', 'zwölf', 'last'],
  );
});

test('a line that never ends takes no memory, and is cut', async () => {
  const { stderr, log } = setUp();
  for (let i = 0; i < 3; i++) stderr.write('x'.repeat(50_000));
  stderr.write('\nnext\n');
  await settled();
  assert.deepEqual(
    log.lines.map(({ fields }) => (fields as { text: string }).text),
    ['x'.repeat(500), 'next'],
  );
});

test('one that talks and talks is heard a hundred times, then five times a second, and what is lost is counted', async () => {
  const { stderr, log, timers } = setUp();
  stderr.write('a\n'.repeat(1000));
  await settled();
  assert.equal(log.lines.length, 100);
  stderr.write('b\n'.repeat(1000));
  timers.pass(1000);
  await settled();
  assert.deepEqual(log.events.slice(100), ['child-output-lost', ...Array(5).fill('child-output')]);
  assert.deepEqual(log.lines[100]?.fields, { lines: 900, ...WHO });
  stderr.end();
  timers.pass(1000);
  await settled();
  assert.deepEqual(log.lines.at(-1)?.fields, { lines: 995, ...WHO });
});

test('nothing is read of one that has said all that it may: in lines, empty ones, or one without an end', async () => {
  for (const much of ['a\n'.repeat(100), '\n'.repeat(100), 'x'.repeat(200_000)]) {
    const { stderr, log, timers } = setUp();
    stderr.write(much);
    await settled();
    const { length } = log.lines;
    stderr.write('\nnext\n');
    await settled();
    assert.deepEqual([log.lines.length, stderr.readableFlowing], [length, false]);
    timers.pass(1000);
    await settled();
    assert.match(JSON.stringify(log.lines.slice(length)), /"next"/);
  }
});

test('one that takes another’s place may say what that one left; other roles have their own', async () => {
  const { stderr, log, timers, childLog } = setUp();
  stderr.write('a\n'.repeat(200));
  await settled();
  const next = new PassThrough();
  childLog.relay(next, { role: 'server', pid: 8 });
  next.end('b\n'.repeat(200));
  const other = new PassThrough();
  childLog.relay(other, { role: 'prober', pid: 9 });
  other.end('c\n');
  await settled();
  timers.pass(0);
  const said = (text: string) =>
    log.lines.filter(({ fields }) => (fields as { text?: string }).text === text);
  assert.deepEqual([said('a').length, said('b').length, said('c').length], [100, 0, 1]);
});

test('a flood leaves the supervisor its time', { timeout: patient(60_000) }, async (t) => {
  const log = new FakeLog();
  const script = 'const lines = Buffer.alloc(65536, "\\n"); for (;;) try { fs.writeSync(2, lines) } catch {}';
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'ignore', 'pipe'] });
  const gone = new Promise((resolve) => child.once('exit', resolve));
  t.after(async () => {
    child.kill('SIGKILL');
    await gone;
  });
  let read = 0;
  child.stderr.on('data', (chunk: Buffer) => {
    read += chunk.length;
  });
  new ChildLog(log).relay(child.stderr, { role: 'server', pid: child.pid ?? 0 });
  while (read === 0) await sleep(10);
  const fromMs = performance.now();
  await sleep(2000);
  const seconds = (performance.now() - fromMs) / 1000;
  assert.ok(read < (2 + seconds) * 4 * 65_536, `${read} bytes in ${seconds} s`);
});

test('nothing that a terminal would obey, and no field that is not of the event', async () => {
  const { stderr, log } = setUp();
  const evil = 'a\u009b31m\u202eb';
  const shown = 'a\\u009b31m\\u202eb';
  stderr.write(`${evil}\n`);
  stderr.write(`${JSON.stringify({ event: 'bug', error: evil, count: 1, hint: 'run this', code: 'x' })}\n`);
  stderr.write(`${JSON.stringify({ event: 'unknown-request', opcode: evil, error: evil })}\n`);
  await settled();
  assert.deepEqual(
    log.lines.map(({ fields }) => fields),
    [{ text: shown, ...WHO }, { error: shown, count: 1, ...WHO }, { ...WHO }],
  );
});

test('whatever a child says, no line of the log is long, or under another name', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.oneof(fc.uint8Array({ maxLength: 3000 }), fc.json())), async (chunks) => {
      const { stderr, log } = setUp();
      for (const chunk of chunks) stderr.write(typeof chunk === 'string' ? `${chunk}\n` : Buffer.from(chunk));
      stderr.end();
      await settled();
      for (const { fields } of log.lines) {
        const { process, pid } = fields as typeof WHO;
        assert.deepEqual({ process, pid }, WHO);
        assert.ok(JSON.stringify(fields).length < 20_000);
      }
    }),
    { numRuns: 50 },
  );
});

const OPENED = {
  path: 'tls/web.key',
  opener: 9,
  uid: 0,
  gid: 0,
  unit: 'nginx.service',
  generation: 3,
  lost: 2,
  suppressed: 4,
  pathSha256: '00ff',
};

test('who opens what is the server’s to tell, nobody else’s', async () => {
  const { stderr, log, childLog } = setUp();
  const agent = new PassThrough();
  childLog.relay(agent, { role: 'agent', pid: 8 });
  const line = JSON.stringify({ event: 'file-opened', ...OPENED, mode: 4 });
  stderr.write(`${line}\n`);
  agent.write(`${line}\n`);
  await settled();
  assert.deepEqual(log.lines, [
    { level: 'info', event: 'file-opened', fields: { ...OPENED, ...WHO } },
    { level: 'warn', event: 'child-output', fields: { text: line, process: 'agent', pid: 8 } },
  ]);
});

test('where a server is to say it, a reload of thousands of files is heard whole', async () => {
  const { log, childLog } = setUp();
  const stderr = new PassThrough();
  childLog.relay(stderr, { role: 'server', pid: 7 }, AUDIT);
  stderr.write(`${JSON.stringify({ event: 'file-opened', ...OPENED })}\n`.repeat(5_000));
  await settled();
  assert.equal(log.lines.length, 5_000);
});
