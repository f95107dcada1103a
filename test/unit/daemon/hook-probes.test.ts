import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HookProbes, type Look } from '../../../src/daemon/hook-probes.ts';
import type { ProbeAnswer } from '../../../src/hooks/probe-state.ts';
import { VirtualTime } from '../../support/virtual-time.ts';

const SETTINGS = [{ address: 'a:1', servername: 'n', certificate: 'web.crt' }];
const serves = (serial: string): ProbeAnswer => ({ serial, error: null });

function probesOf(answer: () => ProbeAnswer | Promise<ProbeAnswer>, settings = SETTINGS) {
  const time = new VirtualTime(0);
  const log: string[] = [];
  const askedMs: number[] = [];
  const note = (event: string, fields: Record<string, unknown> = {}) =>
    log.push(`${event} ${fields['probe']}`);
  const probes = new HookProbes('web', settings, {
    log: { info: note, warn: note, error: note },
    nowMs: () => time.nowMs,
    timers: time,
    probe: async () => {
      askedMs.push(time.nowMs);
      return answer();
    },
  });
  const expect = (serial: string, uploaded: string | null = null) => {
    const certificates = [{ path: 'web.crt', serial }];
    probes.expect({ generation: 1, serial: 1, first: false, changed: [], certificates, uploaded });
  };
  /** Lets time pass until it has an answer. */
  const look = async (options: Partial<Look> = {}, passMs = 60_000) => {
    const looking = probes.look({ withinMs: 10_000, isOver: () => false, ...options });
    await time.pass(passMs);
    return looking;
  };
  return { time, log, askedMs, probes, expect, look };
}

test('it looks again and again, more and more slowly, until the certificate is served', async () => {
  const { time, log, askedMs, expect, look, probes } = probesOf(() =>
    serves(time.nowMs < 3000 ? '01' : '02'),
  );
  time.nowMs = 0;
  expect('02');
  assert.equal(await look(), 'served');
  assert.deepEqual(askedMs, [0, 50, 150, 350, 750, 1550, 3150]);
  assert.deepEqual(log, ['probe-served a:1 n']);
  assert.equal(probes.status()[0]?.propagationMs, 3150);
});

test('at its time limit it says what is wrong, once', async () => {
  const { log, askedMs, probes, expect, look } = probesOf(() => serves('01'));
  expect('02');
  assert.equal(await look(), 'wrong');
  assert.ok(Math.max(...askedMs) < 10_000);
  assert.equal(probes.describe(), 'the agent says that a:1 n serves serial 01, want 02');
  await probes.lookAround();
  await probes.lookAround();
  assert.deepEqual(log, ['probe-wrong a:1 n']);
});

test('nobody there, nothing known, something newer, a first look: each ends it as it should', async () => {
  const away = probesOf(() => ({ serial: null, error: 'ECONNREFUSED' }));
  away.expect('02');
  assert.equal(await away.look(), 'unreachable');
  assert.deepEqual(away.log, ['probe-unreachable a:1 n']);
  assert.match(away.probes.describe(), /^the agent says that a:1 n can't be reached: ECONNREFUSED$/);

  const unknown = probesOf(() => serves('01'));
  assert.equal(await unknown.look(), 'unknown');
  assert.equal(unknown.askedMs.length, 1);

  const superseded = probesOf(() => serves('01'));
  superseded.expect('02');
  assert.equal(await superseded.look({ isOver: () => superseded.askedMs.length >= 3 }), 'wrong');
  assert.equal(superseded.askedMs.length, 3);
  assert.deepEqual(superseded.log, [], 'it is no failure');

  const once = probesOf(() => serves('01'));
  once.expect('02');
  assert.equal(await once.look({ once: true }), 'wrong');
  assert.equal(once.askedMs.length, 1);
});

test('an answer that was asked for before an activation says nothing of what is expected after it', async () => {
  let answer: (answer: ProbeAnswer) => void = () => undefined;
  const { probes, expect } = probesOf(
    () =>
      new Promise((resolve) => {
        answer = resolve;
      }),
  );
  expect('01');
  const looking = probes.lookAround();
  expect('02');
  answer(serves('01'));
  await looking;
  assert.equal(probes.status()[0]?.verdict, 'unknown');
});

test('the propagation is counted from the upload, where that is known', async () => {
  const { probes, expect, look, time } = probesOf(() => serves('02'));
  time.nowMs = Date.parse('2026-01-01T00:00:10Z');
  expect('02', '2026-01-01T00:00:07.500Z');
  assert.equal(await look({}, 0), 'served');
  assert.equal(probes.status()[0]?.propagationMs, 2500);
});
