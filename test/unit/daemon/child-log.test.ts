import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import fc from 'fast-check';
import { relayLog } from '../../../src/daemon/child-log.ts';
import { settled } from '../../support/fake-child.ts';
import { FakeLog } from '../../support/fake-log.ts';

const WHO = { process: 'server', pid: 7 };

function setUp() {
  const stderr = new PassThrough();
  const log = new FakeLog();
  const clock = { nowMs: 0 };
  relayLog(stderr, { role: 'server', pid: 7 }, log, () => clock.nowMs);
  return { stderr, log, clock };
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
  for (let i = 0; i < 100; i++) stderr.write('x'.repeat(50_000));
  stderr.write('\nnext\n');
  await settled();
  assert.deepEqual(
    log.lines.map(({ fields }) => (fields as { text: string }).text),
    ['x'.repeat(500), 'next'],
  );
});

test('one that talks and talks is heard a hundred times, then five times a second, and what is lost is counted', async () => {
  const { stderr, log, clock } = setUp();
  stderr.write('a\n'.repeat(1000));
  await settled();
  assert.equal(log.lines.length, 100);
  clock.nowMs = 1000;
  stderr.write('b\n'.repeat(1000));
  await settled();
  assert.deepEqual(log.events.slice(100), ['child-output-lost', ...Array(5).fill('child-output')]);
  assert.deepEqual(log.lines[100]?.fields, { lines: 900, ...WHO });
  stderr.end();
  await settled();
  assert.deepEqual(log.lines.at(-1)?.fields, { lines: 995, ...WHO });
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
