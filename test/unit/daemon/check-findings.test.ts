import assert from 'node:assert/strict';
import { test } from 'node:test';
import { boundFindings, type Finding, type Findings } from '../../../src/checks/findings.ts';
import { DEFAULT_CHECKS } from '../../../src/checks/settings.ts';
import { LINE_BYTES_MAX } from '../../../src/daemon/channel.ts';
import { checksStatus, joinChecks, logWarnings } from '../../../src/daemon/check-findings.ts';
import type { Log } from '../../../src/daemon/log.ts';

const finding = (rule: Finding['rule'], path = 'a'): Finding => ({
  level: 'warn',
  path,
  rule,
  expected: 'x',
  found: 'y',
});
const LIVE: Findings = {
  findings: [finding('pair'), finding('expiry', 'gone')],
  warnings: 2,
  certificates: ['a.crt', 'link'].map((path) => ({
    path,
    serial: '07',
    notBefore: '2026-01-01T00:00:00.000Z',
    notAfter: '2026-12-01T00:00:00.000Z',
    names: [],
  })),
  kept: ['k'],
};
const at = (day: string) => checksStatus(LIVE, Date.parse(`${day}T12:00:00Z`), DEFAULT_CHECKS);

test('status tells of dates as they are now, of a certificate once, and of all else as it was found', () => {
  assert.deepEqual(at('2026-06-01'), {
    warnings: [{ path: 'a', rule: 'pair', expected: 'x', found: 'y' }],
    certificates: ['a.crt', 'link'].map((path) => ({
      path,
      serial: '07',
      notAfter: '2026-12-01T00:00:00.000Z',
    })),
    kept: ['k'],
  });
  const rules = (day: string) => at(day).warnings?.map(({ rule, found }) => `${rule}: ${found}`);
  assert.deepEqual(rules('2026-11-15'), ['pair: y', 'expiry: one that expires 2026-12-01T00:00:00.000Z']);
  assert.deepEqual(rules('2026-12-05'), ['pair: y', 'dates: one that expired 2026-12-01T00:00:00.000Z']);
  assert.deepEqual(checksStatus(undefined, 0, DEFAULT_CHECKS), {});
});

test('the log has a line for each of the first warnings, and one for how many more there are', () => {
  const lines: unknown[] = [];
  const log = { warn: (event: string, fields: object) => lines.push([event, fields]) } as unknown as Log;
  logWarnings(log, LIVE);
  assert.deepEqual(lines[0], ['check-warning', { path: 'a', rule: 'pair', expected: 'x', found: 'y' }]);
  assert.equal(lines.length, 2);
  lines.length = 0;
  logWarnings(log, { ...LIVE, findings: Array(100).fill(finding('pem')), warnings: 1234 });
  assert.equal(lines.length, 21);
  assert.deepEqual(lines.at(-1), ['check-warning', { more: 1214 }]);
});

const DAY_MS = 24 * 3_600_000;
const START_MS = Date.parse('2026-06-01T00:00:00Z');
const isoDay = (day: number) => new Date(START_MS + day * DAY_MS).toISOString();
/** Of a part: as much of everything as there can be, with long paths. `firstDay`: when the first certificate expires. */
function full(part: string, firstDay: number) {
  const paths = Array.from({ length: 3000 }, (_, i) => `${part}/${'x'.repeat(150)}/${i}`);
  const problems = paths.map((path) => ({ ...finding('pair', path), level: 'warn' as const }));
  // The first to expire comes last.
  const certificates = paths.map((path, i) => ({
    path,
    serial: i.toString(16).padStart(6, '0'),
    notBefore: isoDay(-1),
    notAfter: isoDay(firstDay + paths.length - 1 - i),
    names: [],
  }));
  return checksStatus(boundFindings(problems, certificates, paths), START_MS, DEFAULT_CHECKS);
}

test('of several bundles status says no more than fits into a message, and something of each', () => {
  const parts = Array.from({ length: 20 }, (_, i) => `part-${i}`);
  const joined = joinChecks(parts.map((part, i) => full(part, 400 * i)));
  assert.ok(Buffer.byteLength(JSON.stringify(joined)) < LINE_BYTES_MAX * 0.8);
  for (const list of [joined.warnings?.map(({ path }) => path), joined.kept]) {
    assert.ok(list !== undefined && list.length > 20);
    const of = parts.map((part) => list.filter((path) => path.startsWith(`${part}/`)).length);
    assert.ok(Math.min(...of) >= 1 && Math.max(...of) - Math.min(...of) <= 1, of.join(' '));
  }
});

test('what is left out are the certificates that expire last, in a bundle and in several', () => {
  const [early, late] = [full('early', 0), full('late', 10_000)];
  assert.ok((early.certificates?.length ?? 0) < 3000);
  const first = isoDay(0);
  assert.ok(early.certificates?.some(({ notAfter }) => notAfter === first));
  const joined = joinChecks([late, early]).certificates ?? [];
  assert.ok(joined.length < (late.certificates?.length ?? 0) + (early.certificates?.length ?? 0));
  assert.ok(joined.filter(({ path }) => path.startsWith('early/')).length === early.certificates?.length);
});

test('of several bundles with little all is said, in their order', () => {
  const live = at('2026-06-01');
  const other = { warnings: [], certificates: [], kept: ['l', 'm'] };
  assert.deepEqual(joinChecks([live, {}, other]), { ...live, kept: ['k', 'l', 'm'] });
});
