import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AcceptedKey, BundleHeader } from '../../../src/bundle/header.ts';
import { checkHeader, type Policy, type SerialFloor } from '../../../src/bundle/policy.ts';
import { KeyError, type SecretsfsError } from '../../../src/errors.ts';
import { SERIAL_AHEAD_MS_MAX } from '../../../src/limits.ts';
import { refusal } from '../../support/bundles.ts';

const NOW_MS = Date.parse('2026-11-05T10:00:00Z');
const HEADER: BundleHeader = {
  name: 'web',
  serial: 1000,
  created: '2026-11-05T09:00:00Z',
  context: { team: 'infra' },
  encryptedDataKeys: [
    { providerId: 'aws-kms', keyName: 'arn:aws:kms:eu-west-1:1:key/a' },
    { providerId: 'secretsfs-local', keyName: '0123456789abcdef' },
  ],
  frameBytes: 4096,
  headerBytes: 500,
};
const accepting = (keyName: string): AcceptedKey => ({
  description: `local:/k (${keyName})`,
  accepts: (key) => key.keyName === keyName,
});
const check = (policy: Partial<Policy>, header: Partial<BundleHeader> = {}) =>
  checkHeader({ ...HEADER, ...header }, { nowMs: NOW_MS, ...policy });

test('checkHeader() accepts what fulfils everything that is demanded', () => {
  check({});
  check({
    name: 'web',
    accepted: [accepting('none'), accepting('0123456789abcdef')],
    context: { team: 'infra' },
    floor: { serial: 999, sha256: 'aa' },
    sha256: 'bb',
  });
});

test('checkHeader() refuses another name', () => {
  assert.throws(() => check({ name: 'db' }), refusal('bundle-name', /name is "web", want "db"/));
  assert.throws(() => check({ name: 'WEB' }), refusal('bundle-name'));
});

test('checkHeader() refuses a bundle under no accepted key, and lists both sides', () => {
  assert.throws(
    () => check({ accepted: [accepting('x'), accepting('y')] }),
    refusal(
      'key-not-accepted',
      /aws-kms "arn:aws:kms:eu-west-1:1:key\/a", secretsfs-local "0123456789abcdef", want "local:\/k \(x\)" or "local:\/k \(y\)"/,
    ),
  );
  assert.throws(() => check({ accepted: [] }), refusal('key-not-accepted', /no key is accepted/));
  assert.throws(() => check({ accepted: [] }), KeyError);
});

test('checkHeader() refuses a context that lacks a required pair or has another value', () => {
  assert.throws(
    () => check({ context: { env: 'prod' } }),
    refusal('bundle-context', /has no "env", want "prod"/),
  );
  assert.throws(
    () => check({ context: { team: 'x' } }),
    refusal('bundle-context', /"team" is "infra", want "x"/),
  );
  assert.throws(() => check({ context: { toString: 'x' } }), refusal('bundle-context', /has no "toString"/));
});

test('checkHeader() refuses a serial that went back', () => {
  const floor = { serial: 1001, sha256: 'aa' };
  assert.throws(
    () => check({ floor, sha256: 'aa' }),
    refusal('bundle-serial-low', /serial is 1000, want at least 1001/),
  );
});

test('checkHeader() says of a serial that went back what can be done where its floor is from', () => {
  const hint = (from: SerialFloor['from']): string => {
    try {
      check({ floor: { serial: 1001, from } });
    } catch (error) {
      return (error as SecretsfsError).hint ?? '';
    }
    return assert.fail('it was accepted');
  };
  const hints = [undefined, 'setting', 'live', { file: '/s/web.floor.json' }] as const;
  const [plain = '', setting = '', live = '', recorded = ''] = hints.map(hint);
  for (const each of [plain, setting, live, recorded]) assert.match(each, /secretsfs reseal/);
  assert.match(setting, /minSerial/);
  assert.match(live, /remount --allow-rollback takes/);
  assert.match(recorded, /remove its record, "\/s\/web\.floor\.json"/);
  for (const each of [plain, setting, recorded]) assert.doesNotMatch(each, /remount/);
});

test('checkHeader() accepts an equal serial only with the same ciphertext', () => {
  const floor = { serial: 1000, sha256: 'aa' };
  check({ floor, sha256: 'aa' });
  check({ floor });
  assert.throws(() => check({ floor, sha256: 'bb' }), refusal('bundle-serial-reused', /serial is 1000/));
});

test('checkHeader() lets a serial be an hour ahead of the clock and no more', () => {
  const most = NOW_MS + SERIAL_AHEAD_MS_MAX;
  check({}, { serial: most });
  assert.throws(() => check({}, { serial: most + 1 }), refusal('bundle-serial-future', /an hour ahead/));
  assert.throws(() => check({}, { serial: Number.MAX_SAFE_INTEGER }), refusal('bundle-serial-future'));
});
