import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Finding, Findings } from '../../../src/checks/findings.ts';
import { DEFAULT_CHECKS } from '../../../src/checks/settings.ts';
import { checksStatus, logWarnings } from '../../../src/daemon/check-findings.ts';
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
