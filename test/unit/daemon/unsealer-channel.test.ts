import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import * as z from 'zod';
import { DEFAULT_CHECKS } from '../../../src/checks/settings.ts';
import { LINE_BYTES_MAX } from '../../../src/daemon/channel.ts';
import {
  parseResult,
  parseTask,
  UNSEALER_TASK_VERSION,
  type UnsealerResult,
  type UnsealerTask,
  unseal,
} from '../../../src/daemon/unsealer-channel.ts';
import type { MountError } from '../../../src/errors.ts';
import { FakeChild, settled } from '../../support/fake-child.ts';

const OPENED = {
  outcome: 'opened',
  revision: 'V1 "etag"',
  sha256: 'a'.repeat(64),
  serial: 7,
  created: '2026-11-05T10:20:30.456Z',
  uploaded: null,
  files: 1,
  directories: 1,
  symlinks: 0,
  contentBytes: 3,
  findings: [{ level: 'warn', path: 'a.crt', rule: 'pair', expected: 'x', found: 'y' }],
  warnings: 1,
  certificates: [
    {
      path: 'a.crt',
      serial: '0abc',
      notBefore: '2026-11-05T10:20:30.000Z',
      notAfter: '2027-11-05T10:20:30.000Z',
      names: ['a.test', '*.b.test', '2001:DB8:0:0:0:0:0:1'],
    },
  ],
  kept: ['b'],
  counts: { added: 1, changed: 0, removed: 0, unchanged: 0 },
};
const FAILED = { outcome: 'failed', code: 'bundle-corrupt', message: 'broken', hint: 'pack', revision: 'r2' };

const parse = (value: object) => parseResult(JSON.parse(JSON.stringify(value)));

test('each of the three outcomes is read as it was written', () => {
  for (const result of [OPENED, FAILED, { outcome: 'unchanged', revision: 'r1' }]) {
    assert.deepEqual(parse(result), result);
  }
  const { hint: _hint, revision: _revision, ...bare } = FAILED;
  assert.deepEqual(parse(bare), bare);
});

test('a result with a field that is missing, unknown, of another kind or out of range is none', () => {
  for (const name of Object.keys(OPENED))
    assert.equal(parse({ ...OPENED, [name]: undefined }), undefined, name);
  const wrong: Record<string, unknown>[] = [
    { more: 1 },
    { outcome: 'activated' },
    { revision: '' },
    { revision: 'x'.repeat(5000) },
    { revision: 'a\nb' },
    { revision: '\u001b[2J' },
    { revision: 7 },
    { sha256: 'A'.repeat(64) },
    { sha256: 'a'.repeat(65) },
    { serial: 0 },
    { serial: 1.5 },
    { serial: 2 ** 53 },
    { serial: '7' },
    { created: 'yesterday' },
    { created: `2026-11-05T10:20:30Z\n${'x'.repeat(100)}` },
    { files: -1 },
    { files: 1e9 },
    { directories: null },
    { contentBytes: 2 ** 40 },
    { counts: { added: 1, changed: 0, removed: 0 } },
    { counts: { ...OPENED.counts, more: 1 } },
    { counts: { ...OPENED.counts, added: -1 } },
    { warnings: -1 },
    { findings: [{ ...OPENED.findings[0], level: 'refuse' }] },
    { findings: [{ ...OPENED.findings[0], rule: 'x' }] },
    { findings: [{ ...OPENED.findings[0], path: '' }] },
    { findings: [{ ...OPENED.findings[0], more: 1 }] },
    { findings: Array(101).fill(OPENED.findings[0]) },
    { certificates: Array(2001).fill(OPENED.certificates[0]) },
    { certificates: [{ ...OPENED.certificates[0], serial: 'abc' }] },
    { certificates: [{ ...OPENED.certificates[0], serial: '0ABC' }] },
    { certificates: [{ ...OPENED.certificates[0], serial: '' }] },
    { certificates: [{ ...OPENED.certificates[0], notAfter: 'tomorrow' }] },
    { certificates: [{ ...OPENED.certificates[0], names: ['a b'] }] },
    { certificates: [{ ...OPENED.certificates[0], names: Array(21).fill('a') }] },
    { kept: [''] },
    { kept: Array(1001).fill('a') },
  ];
  for (const change of wrong)
    assert.equal(parse({ ...OPENED, ...change }), undefined, JSON.stringify(change));
  for (const text of ['{}', '{"__proto__":{"outcome":"unchanged","revision":"r"}}']) {
    assert.equal(parseResult(JSON.parse(text)), undefined, text);
  }
});

test('a failure has a code that this version knows, and nothing that a terminal would obey', () => {
  for (const code of ['no-such', 'toString', '__proto__', '', 7])
    assert.equal(parse({ ...FAILED, code }), undefined);
  const foreign = `a\nb\u001b[31m\u202e${'x'.repeat(5000)}`;
  const failed = parse({ ...FAILED, message: foreign, hint: foreign }) as Extract<
    UnsealerResult,
    { outcome: 'failed' }
  >;
  for (const text of [failed.message, failed.hint ?? '']) {
    assert.match(text, /^a b\\u001b\[31m\\u202exxx/);
    assert.ok(text.length < 2100, `${text.length} characters`);
  }
  assert.equal(parse({ ...FAILED, message: 7 }), undefined);
  assert.equal(parse({ ...FAILED, revision: '\n' }), undefined);
});

test('what a finding says is fit for a log', () => {
  const foreign = { ...OPENED.findings[0], found: `a\nb\u001b[31m${'x'.repeat(5000)}` };
  const opened = parse({ ...OPENED, findings: [foreign] }) as Extract<UnsealerResult, { outcome: 'opened' }>;
  assert.match(opened.findings[0]?.found ?? '', /^a b\\u001b\[31mxxx/);
});

test('the longest honest result fits into a line', () => {
  const text = '\u0001'.repeat(2000);
  const line = JSON.stringify({ ...FAILED, message: text, hint: text, revision: '"'.repeat(4096) });
  assert.ok(line.length < LINE_BYTES_MAX, `${line.length}`);
});

const TASK: UnsealerTask = {
  location: '/b',
  bundleFile: 7,
  keepFile: null,
  knownRevision: null,
  revision: null,
  sourceAws: {},
  liveSha256: null,
  floor: null,
  name: 'web',
  context: {},
  formats: [],
  acceptedKeys: ['local:/k'],
  keyFiles: { '/k': 8 },
  supervisorUid: 0,
  bytesMax: 1,
  filesMax: 1,
  preserve: false,
  checks: DEFAULT_CHECKS,
  rules: [],
  owner: { uid: 0, gid: 0 },
  aws: { region: 'eu-west-1' },
  generationId: 1,
  memory: { availableBytes: null, heldBytes: 0, maxBytes: null },
};

test('a task names no descriptor of the channel, the candidate or the store', () => {
  const parse = (change: object) => parseTask({ version: UNSEALER_TASK_VERSION, ...TASK, ...change });
  assert.deepEqual(parse({}), TASK);
  for (const fd of [0, 3, 4, 6, -1, 7.5]) {
    assert.throws(() => parse({ bundleFile: fd }), z.ZodError);
    assert.throws(() => parse({ keyFiles: { '/k': fd } }), z.ZodError);
  }
  assert.throws(() => parse({ more: 1 }), z.ZodError);
});

test('a task of a supervisor of another version, or of one that had none, says to restart the mount', () => {
  for (const foreign of [{ ...TASK, more: 1 }, { version: UNSEALER_TASK_VERSION + 1, of: 'later' }, {}]) {
    assert.throws(
      () => parseTask(foreign),
      (error: MountError) =>
        error.code === 'unsealer-failed' &&
        /is of another version/.test(error.message) &&
        /restart the mount/.test(error.hint ?? ''),
    );
  }
});

test('the supervisor says of what version its task is', async () => {
  const child = new FakeChild();
  child.closes = true;
  const result = unseal(child, TASK, limits(60_000));
  await settled();
  assert.deepEqual(parseTask(child.heard[0] ?? {}), TASK);
  child.end();
  await assert.rejects(result);
});

const limits = (silenceMs: number) => ({
  timeoutMs: 60_000,
  silenceMs,
  signal: new AbortController().signal,
});

test('an unsealer that stands still is ended, and the attempt has failed', async () => {
  const child = new FakeChild();
  child.closes = true;
  await assert.rejects(unseal(child, TASK, limits(50)), (error: MountError) => {
    return error.code === 'unsealer-failed' && /it said nothing for/.test(error.message);
  });
  assert.equal(child.signals[0], 'SIGKILL');
});

test('one that says that it lives may take its time', async () => {
  const child = new FakeChild();
  const result = unseal(child, TASK, limits(1_000));
  for (let i = 0; i < 8; i++) {
    await sleep(200);
    child.say({ alive: true });
  }
  child.say({ outcome: 'unchanged', revision: 'r' });
  await settled();
  child.end({ code: 0, signal: undefined });
  assert.deepEqual(await result, { outcome: 'unchanged', revision: 'r' });
  assert.deepEqual(child.signals, []);
});

test('what an unsealer asked of AWS is counted once, and only what an unsealer of ours says', async () => {
  const call = { service: 'kms', operation: 'Decrypt', outcome: 'ok', count: 1, seconds: 0.1 };
  const told: unknown[] = [];
  const onCalls = (calls: readonly unknown[]) => told.push(...calls);
  const run = async (...said: Readonly<Record<string, unknown>>[]) => {
    const child = new FakeChild();
    const result = unseal(child, TASK, { ...limits(60_000), onCalls });
    for (const each of said) child.say(each);
    await settled();
    child.end({ code: 0, signal: undefined });
    return result;
  };
  const unchanged = { outcome: 'unchanged', revision: 'r' };
  assert.deepEqual(await run({ alive: true }, { calls: [call] }, unchanged), unchanged);
  assert.deepEqual(told, [call]);
  const isUnreadable = { code: 'unsealer-failed' };
  await assert.rejects(run({ calls: [call] }, { calls: [call] }, unchanged), isUnreadable);
  for (const wrong of [
    { operation: 'Made-Up' },
    { service: '' },
    { count: -1 },
    { seconds: 1e9 },
    { more: 1 },
  ]) {
    await assert.rejects(run({ calls: [{ ...call, ...wrong }] }, unchanged), isUnreadable);
  }
  assert.equal(told.length, 2);
});
