import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describe } from '../../../src/cli/status.ts';
import type { Status } from '../../../src/control/protocol.ts';

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
      { role: 'server', pid: 7, user: 'secretsfs-server', started: '2026-11-22T00:00:00.000Z', restarts: 2 },
      { role: 'agent', pid: 8, user: '1879048193', started: '2026-11-22T00:00:00.000Z', restarts: 0 },
    ],
    memory: { storeBytes: 4096, maxBytes: null, availableBytes: 1024 * 1024 },
  });
  assert.deepEqual(lines.slice(4), [
    '  serving     no page cache, each open asks the server, FUSE 7.45, the kernel sends lost requests again',
    '  consistency process: files opened within 2000 ms are of one generation',
    '  lingering   generation 2, 2.0 KiB since 2026-11-22T01:00:00.000Z: 3 inodes are in use',
    '  memory      store 4.0 KiB, 1.0 MiB available',
    '  process     server 7 as secretsfs-server since 2026-11-22T00:00:00.000Z, 2 restarts',
    '  process     agent 8 as 1879048193 since 2026-11-22T00:00:00.000Z',
  ]);
});

test('a status says what was asked of the kernel and what it agreed to', () => {
  const serving = (more: Partial<Status>) => describe({ ...OLD, cache: 'page', fastOpen: true, ...more })[4];
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
  const lines = describe({ ...OLD, certificates, warnings, kept: ['k'] }, nowMs).slice(5);
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
