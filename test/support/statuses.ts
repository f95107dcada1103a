/** A status in which everything is said that a status can say. */
import type { Status } from '../../src/control/protocol.ts';
import type { Totals } from '../../src/metrics/snapshot.ts';

export const FULL_STATUS: Status = {
  instance: 'web',
  name: 'tls',
  version: '1.2.3',
  pid: 1,
  started: '2026-11-01T00:00:00.000Z',
  mountpoint: '/run/secrets/web',
  bundle: 's3://bucket/tls.enc',
  driver: 'kernel',
  driverReason: '',
  state: 'failing',
  live: {
    id: 3,
    serial: 42,
    created: '2026-11-01T00:00:01.000Z',
    revision: 'r',
    sha256: '00',
    activated: '2026-11-01T00:00:05.500Z',
    uploaded: '2026-11-01T00:00:02.000Z',
    files: 2,
    bytes: 3000,
    locked: true,
  },
  lingering: [
    { id: 1, bytes: 100, heldSince: '2026-11-01T00:00:04.000Z' },
    { id: 2, bytes: 200, heldSince: '2026-11-01T00:00:03.000Z' },
  ],
  floor: { serial: 42, problem: null },
  lastCheck: null,
  error: {
    code: 'bundle-serial-low',
    message: 'SECRET-TEXT',
    since: '2026-11-01T00:01:00.000Z',
    attempts: 2,
  },
  sources: [
    { bundle: 'a', state: 'live', revision: null, lastCheck: null, error: null },
    { bundle: 'b', state: 'refused', revision: null, lastCheck: null, error: null },
  ],
  queue: { state: 'listening', messages: 7, lastMessage: null, error: null },
  warnings: [{ path: 'a', rule: 'expiry', expected: '', found: '' }],
  kept: ['k'],
  certificates: [
    { path: 'b.pem', serial: '0b', notAfter: '2027-01-02T00:00:00.000Z' },
    { path: 'a.pem', serial: '0a', notAfter: '2027-01-01T00:00:00.000Z' },
  ],
  processes: [
    { role: 'supervisor', pid: 1, user: '0', started: '', restarts: 0 },
    { role: 'server', pid: 2, user: '1', started: '', restarts: 4 },
    { role: 'successor', pid: 3, user: '1', started: '', restarts: 4 },
  ],
  successorProblem: null,
  hooks: [
    {
      name: 'reload',
      kind: 'nginx',
      state: 'idle',
      lastRun: null,
      outcome: 'failed',
      error: 'x',
      runs: 5,
      failures: 2,
    },
  ],
  probes: [
    {
      name: '127.0.0.1:443 web.test',
      hook: 'reload',
      certificate: 'a.pem',
      verdict: 'wrong',
      servedSerial: '09',
      expectedSerial: '0a',
      since: '2026-11-01T00:00:00.000Z',
      propagationMs: 1500,
      checked: '2026-11-01T00:02:00.000Z',
      error: null,
    },
  ],
  memory: { storeBytes: 8192, maxBytes: 65536 },
};

export const FULL_TOTALS: Totals = {
  refreshes: { activated: 3, unchanged: 10, failed: 2 },
  failures: { 'bundle-serial-low': 2 },
  lastSuccessMs: 1_793_500_000_250,
  lastAnswerMs: 1_793_500_001_000,
  calls: [{ service: 'kms', operation: 'Decrypt', outcome: 'ok', count: 3, seconds: 0.25 }],
  served: {
    requests: 100,
    unknownRequests: 1,
    opens: 10,
    reads: 20,
    lookups: 30,
    durations: [{ operation: 'open', boundsSeconds: [0.001, 0.01], buckets: [4, 2, 1], sumSeconds: 0.5 }],
  },
};
