import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { exitCodeOf, problemsOf } from '../../../src/cli/status-health.ts';
import { textOf } from '../../../src/cli/status-line.ts';
import { statusLines } from '../../../src/cli/status-text.ts';
import { formatAge } from '../../../src/cli/status-times.ts';
import { picture } from '../../../src/cli/status-watch.ts';
import { widthOf } from '../../../src/cli/width.ts';
import type { Status } from '../../../src/control/protocol.ts';
import { FULL_STATUS } from '../../support/statuses.ts';

/** As it is where stdout is no terminal. */
const NOW_MS = Date.parse('2026-11-22T03:04:05.000Z');
const describe = (status: Status, nowMs = NOW_MS, columns?: number) =>
  statusLines(status, nowMs, columns).map(textOf);

const OLD: Status = {
  instance: 'web',
  name: 'web',
  version: '1',
  pid: 1,
  started: '2026-11-22T00:00:00.000Z',
  mountpoint: '/m',
  bundle: '/b',
  driver: 'fuse-native',
  driverReason: 'as --driver says',
  state: 'live',
  live: null,
  lingering: [{ id: 2, bytes: 2048 }],
  lastCheck: null,
  error: null,
};

test('a status of a daemon that tells nothing of processes shows none', () => {
  assert.deepEqual(describe(OLD), [
    'web: live',
    '  running     version 1, pid 1, since 2026-11-22T00:00:00.000Z, 3 h 4 min ago',
    '  mountpoint  /m',
    '  bundle      /b (name web)',
    '  driver      fuse-native (as --driver says)',
    '  lingering   generation 2, 2.0 KiB: open files still hold it',
  ]);
});

test('a status shows how it serves, what lingers and why, the memory and every process', () => {
  const lines = describe({
    ...OLD,
    lingering: [{ id: 2, bytes: 2048, reason: '3 inodes are in use', heldSince: '2026-11-22T01:00:00.000Z' }],
    cache: 'none',
    fastOpen: false,
    consistency: 'process',
    consistencyWindowMs: 2000,
    resend: true,
    negotiated: { protocol: '7.45', resend: true },
    processes: [
      {
        ...{ role: 'server', pid: 7, user: 'secretsfs-server', started: '2026-11-22T00:00:00.000Z' },
        ...{ restarts: 2, anonymousBytes: 3 * 1024 * 1024 },
      },
      { role: 'agent', pid: 8, user: '1879048193', started: '2026-11-22T00:00:00.000Z', restarts: 0 },
      { role: 'prober', pid: 9, user: '0', started: 'now', restarts: 0, anonymousBytes: 1024 * 1024 },
    ],
    memory: { storeBytes: 4096, maxBytes: null, availableBytes: 1024 * 1024 },
  });
  assert.deepEqual(lines.slice(5), [
    '  serving     no page cache, each open asks the server, FUSE 7.45, the kernel sends lost requests again',
    '  consistency process: files opened within 2000 ms are of one generation',
    '  lingering   generation 2, 2.0 KiB since 2026-11-22T01:00:00.000Z, 2 h 4 min ago: 3 inodes are in use',
    '  memory      store 4.0 KiB, 1.0 MiB available, processes 4.0 MiB',
    '  process     server 7 as secretsfs-server since 2026-11-22T00:00:00.000Z, 3.0 MiB, 2 restarts',
    '  process     agent 8 as 1879048193 since 2026-11-22T00:00:00.000Z',
    '  process     prober 9 as 0 since now, 1.0 MiB',
  ]);
});

test('a status says what was asked of the kernel and what it agreed to', () => {
  const serving = (more: Partial<Status>) => describe({ ...OLD, cache: 'page', fastOpen: true, ...more })[5];
  const older = { protocol: '7.38', resend: false };
  assert.equal(serving({ resend: true }), '  serving     page cache, the kernel opens by itself');
  assert.equal(
    serving({ resend: true, negotiated: null }),
    '  serving     page cache, the kernel opens by itself',
  );
  assert.match(
    serving({ resend: true, negotiated: older }) ?? '',
    /, FUSE 7\.38, lost requests are taken over \(this kernel cannot send them again\)$/,
  );
  assert.match(serving({ resend: false, negotiated: older }) ?? '', /taken over \(--resend off\)$/);
});

test('certificates are shown with the days that are left, the first to end first, and what was warned of', () => {
  const nowMs = Date.parse('2026-11-22T00:00:00Z');
  const until = (days: number) => new Date(nowMs + days * 24 * 3_600_000).toISOString();
  const certificates = [40, 3, -1, 50, 60, 70, 80].map((days) => ({
    path: `c${days}`,
    serial: '0a',
    notAfter: until(days),
  }));
  const warnings = [{ path: 'a\nb', rule: 'pair', expected: 'x', found: 'y' }];
  const lines = describe({ ...OLD, certificates, warnings, kept: ['k'] }, nowMs).slice(6);
  assert.deepEqual(lines, [
    '  certificate "c-1", serial 0a, until 2026-11-21T00:00:00.000Z: expired',
    '  certificate "c3", serial 0a, until 2026-11-25T00:00:00.000Z: 3 days left',
    '  certificate "c40", serial 0a, until 2027-01-01T00:00:00.000Z: 40 days left',
    '  certificate "c50", serial 0a, until 2027-01-11T00:00:00.000Z: 50 days left',
    '  certificate "c60", serial 0a, until 2027-01-21T00:00:00.000Z: 60 days left',
    '  certificate and 2 more: --json has all',
    '  kept        "k": its live version, the new one is refused',
    '  warning     "a\\nb" (pair): found y, want x',
  ]);
});

test('a status says what is live, how old it is, and when the next look is', () => {
  const lines = describe(FULL_STATUS, Date.parse('2026-11-01T00:02:00.000Z'));
  for (const line of [
    '  generation  3, serial 42, active since 2026-11-01T00:00:05.500Z, 1 min ago',
    '  sealed      2026-11-01T00:00:01.000Z, 1 min ago',
    '  revision    r',
    '              since 2026-11-01T00:01:00.000Z, 1 min ago, 1 attempt',
  ])
    assert.ok(lines.includes(line), `${line}\n${lines.join('\n')}`);
  const nextCheck = '2026-11-22T03:04:17.000Z';
  assert.deepEqual(describe({ ...OLD, nextCheck }).at(-1), `  next check  ${nextCheck}, in 12 s`);
  assert.match(describe({ ...OLD, nextCheck: '2026-11-22T03:04:00.000Z' }).at(-1) ?? '', /, now$/);
});

test('a status fits terminals of 40, 80 and 200 columns, and says the same on each', () => {
  const certificates = [
    { path: `${'deep/'.repeat(30)}\u4e2d\u6587.pem`, serial: '0a', notAfter: '2027-01-01T00:00:00.000Z' },
  ];
  const status: Status = {
    ...FULL_STATUS,
    parts: [],
    certificates,
    error: {
      code: 'key-denied',
      message: 'cannot unwrap',
      hint: `grant kms:Decrypt on ${'arn:'.repeat(30)}`,
      since: '',
      attempts: 3,
    },
  };
  const wide = describe(status);
  for (const columns of [20, 40, 80, 200]) {
    const lines = describe(status, NOW_MS, columns);
    for (const line of lines) assert.ok(widthOf(line) <= columns, `${columns}: ${line}`);
    assert.equal(lines.join('').replaceAll(' ', ''), wide.join('').replaceAll(' ', ''));
  }
  assert.deepEqual(
    describe(
      { ...OLD, lastCheck: { at: '2026-11-22T03:00:00.000Z', outcome: 'unchanged' } },
      NOW_MS,
      40,
    ).slice(-2),
    ['  last check  2026-11-22T03:00:00.000Z,', '              4 min ago: unchanged'],
  );
});

test('what is wrong with a mount is named by codes, the worst first', () => {
  const codes = (status: Status) => problemsOf(status, NOW_MS).map(({ code }) => code);
  assert.deepEqual(codes(OLD), []);
  assert.deepEqual(codes({ ...OLD, state: 'starting' }), ['wait-timeout']);
  assert.deepEqual(codes(FULL_STATUS), ['source-not-found', 'hook-failed', 'hook-failed']);
  const error = { code: 'key-denied', message: 'm', since: '', attempts: 1 };
  const [past, ahead] = ['2026-11-22T03:04:05.000Z', '2026-11-22T03:04:06.000Z'];
  const certificates = [past, ahead].map((notAfter) => ({ path: 'a', serial: '1', notAfter }));
  const config = {
    ...{ path: 'c', loadedAt: '', state: 'refused' as const, restartNeeded: [] },
    error: { code: 'config-invalid', message: 'm' },
  };
  assert.deepEqual(codes({ ...OLD, error, certificates, config, successorProblem: 'x' }), [
    ...['key-denied', 'check-clock', 'config-invalid', 'upgrade-refused'],
  ]);
});

test('a problem ends with the exit code of its class, also one of a newer daemon', () => {
  assert.equal(exitCodeOf({ code: 'key-denied', text: '' }), 5);
  assert.equal(exitCodeOf({ code: 'wait-timeout', text: '' }), 9);
  assert.equal(exitCodeOf({ code: 'of-tomorrow', text: '' }), 8);
});

test('ages have the two units that say something', () => {
  const second = 1000;
  for (const [seconds, text] of [
    [-5, '0 s'],
    [0.4, '0 s'],
    [59, '59 s'],
    [61, '1 min'],
    [3_600, '1 h'],
    [3_660, '1 h 1 min'],
    [86_400 + 59 * 60, '1 d'],
    [3 * 86_400 + 3_600, '3 d 1 h'],
  ] as const)
    assert.equal(formatAge(seconds * second), text);
});

test('a picture fills the terminal, leaves nothing of the one before, and gives it nothing to obey', () => {
  const screen = { columns: 20, rows: 3, colours: true };
  const shown = picture(['a', 'b\u001b[31m', 'c'], screen).split('\u001b[');
  assert.deepEqual(shown, ['', '?2026h', 'Ha', 'K\r\nb\\u001b[31m', 'K\r\nc', 'K', 'J', '?2026l']);
  const full = stripVTControlCharacters(picture(['a', 'b', 'c', 'd'], screen));
  assert.equal(full, 'a\r\nb\r\n... and 2 lines more');
});

test('a picture has colours where the terminal takes them, on each piece of a line that is cut', () => {
  const line = { text: 'abcdef\u001b', colour: 31 };
  const screen = { columns: 6, rows: 9, colours: true };
  assert.ok(
    picture([line], screen).includes(
      '\u001b[31mabcdef\u001b[0m\u001b[K\r\n\u001b[31m\\u001b\u001b[0m\u001b[K\u001b[J',
    ),
  );
  assert.ok(!picture([line], { ...screen, colours: false }).includes('\u001b[31m'));
});

test('red is what is wrong, yellow what will be, green a mount that is as it should be', () => {
  const coloursOf = (status: Status, columns?: number) =>
    statusLines(status, NOW_MS, columns).flatMap((line) =>
      typeof line === 'string' ? [] : [`${line.colour} ${line.text.trim().split(' ')[0]}`],
    );
  assert.deepEqual(coloursOf(OLD), ['32 web:']);
  assert.deepEqual(coloursOf({ ...OLD, state: 'starting' }), ['33 web:']);
  const error = { code: 'key-denied', message: 'm', hint: 'h', since: '', attempts: 1 };
  assert.deepEqual(coloursOf({ ...OLD, state: 'failing', error }), ['31 web:', '31 error']);
  const bundleCache = { file: '/c', stale: true, confirmed: null, problem: null };
  assert.deepEqual(coloursOf({ ...OLD, bundleCache }), ['33 web:', '33 stale']);
  const [past, soon, late] = ['2026-11-20', '2026-12-01', '2027-12-01'].map((day) => `${day}T00:00:00.000Z`);
  const certificates = [past, soon, late].map((notAfter = '', i) => ({
    path: `c${i}`,
    serial: '1',
    notAfter,
  }));
  const warnings = [{ path: 'c1', rule: 'expiry', expected: '', found: '' }];
  assert.deepEqual(coloursOf({ ...OLD, certificates, warnings }), [
    ...['32 web:', '31 certificate', '33 certificate', '33 warning'],
  ]);
  // What goes on below has the colour of its line.
  assert.deepEqual(coloursOf({ ...OLD, error: { ...error, message: 'm '.repeat(20) } }, 40).slice(1), [
    ...['31 error', '31 m', '31 (key-denied)'],
  ]);
});
