import assert from 'node:assert/strict';
import { test } from 'node:test';
import { aheadOf, credentialFacts } from '../../../src/doctor/aws-cloud.ts';

const AT = Date.parse('2026-11-23T10:00:00Z');
const DATE = 'Mon, 23 Nov 2026 10:00:00 GMT';

test('aheadOf() says only what whole seconds can tell', () => {
  assert.equal(aheadOf(DATE, AT + 200, AT + 900), 0);
  assert.equal(aheadOf(DATE, AT - 500, AT + 100), 0);
  assert.equal(aheadOf(DATE, AT + 61_000, AT + 62_000), 60_000);
  assert.equal(aheadOf(DATE, AT - 62_000, AT - 60_000), -60_000);
  assert.equal(aheadOf('soon', AT, AT), undefined);
  assert.equal(aheadOf(undefined, AT, AT), undefined);
});

const KEYS = { accessKeyId: 'a', secretAccessKey: 'b', expiration: new Date(AT) };
const facts = (mark: string | undefined, more: object = {}, env = {}, roleArn?: string) =>
  credentialFacts(
    { ...KEYS, ...more, ...(mark === undefined ? {} : { $source: { [mark]: 'x' } }) },
    { env, roleArn },
  );
const SESSION = { sessionToken: 't' };

test('credentialFacts() names the source, and whether a mount can renew what expires', () => {
  assert.deepEqual(facts('CREDENTIALS_ENV_VARS'), {
    source: 'the environment, a key that does not expire',
    expiresMs: undefined,
    renewed: true,
    fromInstance: false,
  });
  const env = { AWS_CREDENTIAL_EXPIRATION: 'x' };
  assert.deepEqual(facts('CREDENTIALS_ENV_VARS', SESSION, env), {
    source: 'the environment',
    expiresMs: AT,
    renewed: false,
    fromInstance: false,
  });
  // Nothing says when.
  assert.equal(facts('CREDENTIALS_ENV_VARS', SESSION).expiresMs, undefined);
  assert.deepEqual(facts('CREDENTIALS_IMDS', SESSION), {
    source: "the instance's role",
    expiresMs: AT,
    renewed: true,
    fromInstance: true,
  });
  assert.equal(facts('CREDENTIALS_SSO', SESSION).renewed, false);
  assert.equal(facts('CREDENTIALS_PROFILE_PROCESS', SESSION).renewed, true);
  assert.equal(facts(undefined, SESSION).source, "AWS's standard chain");
  assert.equal(
    facts('CREDENTIALS_ENV_VARS', SESSION, {}, 'arn:aws:iam::1:role/r').source,
    'the role arn:aws:iam::1:role/r',
  );
});
