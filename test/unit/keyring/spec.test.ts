import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UsageError } from '../../../src/errors.ts';
import { kmsAcceptedKey } from '../../../src/keyring/kms.ts';
import {
  inRegion,
  isSameKey,
  parseAcceptedKey,
  parseKeyArn,
  parseKeySpec,
} from '../../../src/keyring/spec.ts';

const ID = '1234abcd-12ab-34cd-56ef-1234567890ab';
const MRK = 'mrk-1234abcd12ab34cd56ef1234567890ab';
const arn = (region: string, id: string = MRK, account = '111122223333', partition = 'aws'): string =>
  `arn:${partition}:kms:${region}:${account}:key/${id}`;
const parsed = (text: string) => parseKeyArn(text) ?? assert.fail(text);

for (const text of [
  ID,
  MRK,
  'alias/my-key_1',
  'alias/aws/s3',
  arn('eu-west-1'),
  arn('cn-north-1', ID, '111122223333', 'aws-cn'),
  arn('us-gov-west-1', ID, '111122223333', 'aws-us-gov'),
  arn('us-isob-east-1', ID, '111122223333', 'aws-iso-b'),
  'arn:aws:kms:ap-southeast-2:111122223333:alias/my-key',
]) {
  test(`parseKeySpec() takes ${text}`, () => {
    const spec = parseKeySpec(text);
    assert.equal(spec.kind, 'kms');
    assert.equal(spec.kind === 'kms' && spec.keyId, text);
    assert.equal(spec.kind === 'kms' && spec.arn !== undefined, text.startsWith('arn:'));
  });
}

test('parseKeySpec() takes a local path as it is', () => {
  assert.deepEqual(parseKeySpec('local:/etc/a b:c'), { kind: 'local', path: '/etc/a b:c' });
  assert.deepEqual(parseAcceptedKey('local:k'), { kind: 'local', path: 'k' });
});

for (const text of [
  '',
  'local:',
  'local:a\0b',
  '/etc/key',
  'alias/',
  'alias/a b',
  `${ID} `,
  ID.slice(1),
  ID.toUpperCase(),
  'mrk-1234',
  'arn:',
  'arn:aws:s3:::bucket',
  arn('eu-west-1', 'nonsense'),
  arn('', ID),
  arn('eu-west-1/x', ID),
  arn('eu-west-1', ID, '1111'),
  arn('eu-west-1', ID, '111122223333', 'gcp'),
  `${arn('eu-west-1')}\n`,
  `arn:aws:kms:eu-west-1:111122223333:role/${ID}`,
]) {
  test(`parseKeySpec() refuses ${JSON.stringify(text)} with a hint`, () => {
    assert.throws(
      () => parseKeySpec(text),
      (e: unknown) => e instanceof UsageError && e.hint !== undefined,
    );
  });
}

for (const text of [ID, MRK, 'alias/x', 'arn:aws:kms:eu-west-1:111122223333:alias/x']) {
  test(`parseAcceptedKey() refuses ${text} and says how to find the ARN`, () => {
    assert.throws(
      () => parseAcceptedKey(text),
      (e: unknown) => e instanceof UsageError && /keys show/.test(e.hint ?? ''),
    );
  });
}

test('replicas of a multi-Region key are the same key, and nothing else is', () => {
  const key = parsed(arn('eu-west-1'));
  assert.ok(isSameKey(key, parsed(arn('eu-west-1'))));
  assert.ok(isSameKey(key, parsed(arn('us-east-1'))));
  assert.ok(!isSameKey(key, parsed(arn('us-east-1', MRK, '999999999999'))));
  assert.ok(!isSameKey(key, parsed(arn('us-east-1', MRK.replace(/b$/, 'c')))));
  assert.ok(!isSameKey(key, parsed(arn('cn-north-1', MRK, '111122223333', 'aws-cn'))));
  assert.ok(!isSameKey(parsed(arn('eu-west-1', ID)), parsed(arn('us-east-1', ID))), 'not a multi-Region key');
  const alias = parsed('arn:aws:kms:eu-west-1:111122223333:alias/x');
  assert.ok(!isSameKey(alias, alias));
  assert.deepEqual(inRegion(key, 'us-east-1'), parsed(arn('us-east-1')));
});

test('an accepted key knows its own data keys by provider and ARN', () => {
  const spec = parseAcceptedKey(arn('eu-west-1'));
  assert.ok(spec.kind === 'kms');
  const accepted = kmsAcceptedKey(spec);
  assert.equal(accepted.description, arn('eu-west-1'));
  assert.ok(accepted.accepts({ providerId: 'aws-kms', keyName: arn('us-east-1') }));
  assert.ok(!accepted.accepts({ providerId: 'aws-kms-hierarchy', keyName: arn('us-east-1') }));
  assert.ok(!accepted.accepts({ providerId: 'aws-kms', keyName: 'alias/x' }));
  assert.ok(!accepted.accepts({ providerId: 'aws-kms', keyName: arn('us-east-1', ID) }));
});
