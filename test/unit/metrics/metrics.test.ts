/** What a snapshot of a mount becomes as Prometheus' text. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { Status } from '../../../src/control/protocol.ts';
import { CALL_OUTCOMES, CallCounts, failureOutcome, operationOf } from '../../../src/metrics/calls.ts';
import { METRICS } from '../../../src/metrics/catalogue.ts';
import { renderMetrics } from '../../../src/metrics/metrics.ts';
import type { Totals } from '../../../src/metrics/snapshot.ts';
import { parseExposition, sample } from '../../support/exposition.ts';
import { FULL_STATUS, FULL_TOTALS } from '../../support/statuses.ts';

const NOTHING: Totals = {
  refreshes: { activated: 0, unchanged: 0, failed: 0 },
  failures: {},
  lastSuccessMs: null,
  lastAnswerMs: null,
  calls: [],
  served: null,
};
const options = { fileLabels: true, ownCalls: [] };

function rendered(status: Partial<Status> = {}, totals: Partial<Totals> = {}, fileLabels = true) {
  const snapshot = { status: { ...FULL_STATUS, ...status }, totals: { ...FULL_TOTALS, ...totals } };
  return parseExposition(renderMetrics(snapshot, { ...options, fileLabels }));
}

test('a mount that has everything has every metric, with the labels of the catalogue', () => {
  const families = rendered();
  assert.deepEqual([...families.keys()], Object.keys(METRICS));
  for (const [name, { type, labels }] of Object.entries(METRICS)) {
    const family = families.get(name);
    assert.equal(family?.type, type);
    for (const each of family?.samples ?? []) {
      const own = Object.keys(each.labels).filter((label) => label !== 'le');
      assert.deepEqual(own, labels, name);
    }
  }
});

test('each value is in its base unit', () => {
  const families = rendered();
  const value = (name: string, labels?: Record<string, string>) => sample(families, name, labels);
  assert.equal(value('secretsfs_activated_time_seconds'), Date.parse('2026-11-01T00:00:05.500Z') / 1000);
  assert.equal(value('secretsfs_propagation_seconds'), 3.5);
  assert.equal(value('secretsfs_lingering_bytes'), 300);
  assert.equal(value('secretsfs_lingering_since_time_seconds'), Date.parse('2026-11-01T00:00:03Z') / 1000);
  assert.equal(value('secretsfs_resident_bytes'), 8192);
  assert.equal(value('secretsfs_state', { state: 'failing' }), 1);
  assert.equal(value('secretsfs_state', { state: 'live' }), 0);
  assert.equal(value('secretsfs_source_state', { source: '1', state: 'refused' }), 1);
  assert.equal(value('secretsfs_part_failing', { part: 'app', reason: 'source-not-found' }), 1);
  assert.equal(value('secretsfs_part_serial', { part: 'app' }), 7);
  assert.equal(value('secretsfs_part_floor_serial', { part: 'app' }), 6);
  assert.equal(value('secretsfs_part_source_state', { part: 'app', source: '0', state: 'failed' }), 1);
  // Of several, what is worst.
  assert.deepEqual([value('secretsfs_stale'), value('secretsfs_cache_kept')], [1, 0]);
  assert.equal(value('secretsfs_cache_confirmed_time_seconds'), Date.parse('2026-11-01T00:00:02Z') / 1000);
  assert.equal(value('secretsfs_refresh_failures_total', { reason: 'bundle-serial-low' }), 2);
  assert.equal(value('secretsfs_last_success_time_seconds'), 1_793_500_000.25);
  assert.equal(value('secretsfs_process_restarts_total', { role: 'server' }), 4);
  assert.equal(value('secretsfs_process_restarts_total', { role: 'successor' }), undefined);
  assert.equal(value('secretsfs_probe_propagation_seconds', { hook: 'reload' }), 1.5);
  assert.equal(value('secretsfs_probe_verdict', { verdict: 'wrong' }), 1);
  assert.equal(value('secretsfs_probe_serial_info', { served: 'other', expected: '0a' }), 1);
  assert.equal(value('secretsfs_hook_failures_total', { hook: 'reload' }), 2);
  assert.equal(value('secretsfs_aws_calls_total', { process: 'unsealer', operation: 'Decrypt' }), 3);
  const first = Date.parse('2027-01-01T00:00:00Z') / 1000;
  assert.equal(value('secretsfs_certificate_first_not_after_time_seconds'), first);
  assert.equal(value('secretsfs_certificate_not_after_time_seconds', { path: 'a.pem' }), first);
});

test('a served serial is told where it is the expected one, and has no label of its own else', () => {
  const [probe] = FULL_STATUS.probes ?? [];
  assert.ok(probe);
  const served = (servedSerial: string | null, expectedSerial: string | null = '0a') =>
    rendered({ probes: [{ ...probe, servedSerial, expectedSerial }] })
      .get('secretsfs_probe_serial_info')
      ?.samples.map(({ labels }) => labels['served']);
  assert.deepEqual(served('0a'), ['0a']);
  assert.deepEqual(served('09'), ['other']);
  assert.deepEqual(served('09', null), ['other']);
  assert.deepEqual(served(null), ['']);
});

test('buckets add up, and end with what the count says', () => {
  const families = rendered();
  const name = 'secretsfs_request_duration_seconds';
  const buckets = ['0.001', '0.01', '+Inf'].map((le) =>
    sample(families, `${name}_bucket`, { operation: 'open', le }),
  );
  assert.deepEqual(buckets, [4, 6, 7]);
  assert.equal(sample(families, `${name}_count`), 7);
  assert.equal(sample(families, `${name}_sum`), 0.5);
});

test('what is not known has no sample', () => {
  const { instance, name, version, pid, started, mountpoint, bundle, driver, driverReason } = FULL_STATUS;
  const status: Status = {
    ...{ instance, name, version, pid, started, mountpoint, bundle, driver, driverReason },
    ...{ state: 'starting', live: null, lingering: [], lastCheck: null, error: null },
  };
  const families = parseExposition(renderMetrics({ status, totals: NOTHING }, options));
  assert.deepEqual(
    [...families.keys()],
    [
      'secretsfs_info',
      'secretsfs_start_time_seconds',
      'secretsfs_state',
      'secretsfs_resident_bytes',
      'secretsfs_lingering_generations',
      'secretsfs_lingering_bytes',
      'secretsfs_refreshes_total',
    ],
  );
});

test('a bundle that was there before the mount tells no propagation', () => {
  const families = rendered({ started: '2026-11-01T00:00:02.001Z' });
  assert.equal(sample(families, 'secretsfs_propagation_seconds'), undefined);
  assert.equal(sample(rendered(), 'secretsfs_propagation_seconds'), 3.5);
});

test('no file is told by name where that is not asked for, and no message ever', () => {
  const snapshot = { status: FULL_STATUS, totals: FULL_TOTALS };
  const text = renderMetrics(snapshot, { ...options, fileLabels: false });
  for (const { path } of FULL_STATUS.certificates ?? []) assert.ok(!text.includes(path), path);
  assert.match(renderMetrics(snapshot, options), /path="a\.pem"/);
  assert.ok(!renderMetrics(snapshot, options).includes('SECRET-TEXT'));
});

test('files by name are the 200 whose certificates expire first, and no name is longer than 256 characters', () => {
  const certificates = Array.from({ length: 2000 }, (_, i) => ({
    path: `${i}/${'x'.repeat(4000)}`,
    serial: '01',
    notAfter: new Date(Date.UTC(2030, 0, 1) - i * 1000).toISOString(),
  }));
  const text = renderMetrics({ status: { ...FULL_STATUS, certificates }, totals: FULL_TOTALS }, options);
  const told = parseExposition(text).get('secretsfs_certificate_not_after_time_seconds')?.samples ?? [];
  assert.equal(told.length, 200);
  assert.match(told[0]?.labels['path'] ?? '', /^1999\//);
  assert.ok(told.every(({ labels }) => (labels['path']?.length ?? 0) <= 256));
  assert.ok(text.length < 100_000);
});

test('names come back as they were, whatever is in them, and a scrape is never spoilt', () => {
  const plain = fc.string({
    unit: fc.constantFrom('a', '"', '\\', '\n', '{', '}', ',', '=', 'é', ' '),
    minLength: 1,
  });
  const any = fc.string({ unit: 'binary', minLength: 1, maxLength: 300 });
  fc.assert(
    fc.property(fc.array(fc.oneof(plain, any), { maxLength: 8 }), (paths) => {
      const certificates = paths.map((path) => ({
        path,
        serial: '01',
        notAfter: '2027-01-01T00:00:00.000Z',
      }));
      const told =
        rendered({ certificates }).get('secretsfs_certificate_not_after_time_seconds')?.samples ?? [];
      const names = new Set(told.map(({ labels }) => labels['path']));
      const short = paths.filter((path) => /^[a"\\\n{},=é ]*$/.test(path) && path.length < 256);
      assert.ok(short.every((path) => names.has(path)));
      assert.ok(told.length <= paths.length);
    }),
  );
});

test('of a file with several certificates, the first to expire is told', () => {
  const certificates = ['2028', '2027', '2029'].map((year) => {
    return { path: 'a', serial: '01', notAfter: `${year}-01-01T00:00:00.000Z` };
  });
  const told = sample(rendered({ certificates }), 'secretsfs_certificate_not_after_time_seconds', {
    path: 'a',
  });
  assert.equal(told, Date.UTC(2027, 0, 1) / 1000);
});

test('numbers that are none are left out', () => {
  const lingering = [{ id: 1, bytes: Number.NaN }];
  assert.equal(sample(rendered({ lingering }), 'secretsfs_lingering_bytes'), undefined);
});

test('calls add up by service, operation and outcome', () => {
  const counts = new CallCounts();
  const call = { service: 's3', operation: 'HeadObject', outcome: 'ok', count: 1, seconds: 0.5 } as const;
  for (const each of [call, call, { ...call, outcome: 'denied' } as const]) counts.add(each);
  assert.deepEqual(counts.totals(), [
    { ...call, count: 2, seconds: 1 },
    { ...call, outcome: 'denied' },
  ]);
});

test('what a service says is one of few outcomes, and a command one of few operations', () => {
  const cases = [
    [undefined, 'TimeoutError', false, 'unreachable'],
    [304, '304', false, 'not-modified'],
    [404, 'NoSuchKey', false, 'not-found'],
    [400, 'NotFoundException', false, 'not-found'],
    [403, 'AccessDenied', false, 'denied'],
    [400, 'AccessDeniedException', false, 'denied'],
    [400, 'ThrottlingException', true, 'throttled'],
    [429, 'x', false, 'throttled'],
    [400, 'IncorrectKeyException', false, 'refused'],
    [503, 'x', false, 'server-error'],
  ] as const;
  for (const [status, name, throttled, expected] of cases) {
    assert.equal(failureOutcome(status, name, throttled), expected, name);
  }
  fc.assert(
    fc.property(
      fc.option(fc.integer({ min: 100, max: 999 })),
      fc.string(),
      fc.boolean(),
      (status, name, throttled) =>
        CALL_OUTCOMES.includes(failureOutcome(status ?? undefined, name, throttled)),
    ),
  );
  assert.equal(operationOf('Decrypt'), 'Decrypt');
  assert.equal(operationOf('toString'), 'other');
});
