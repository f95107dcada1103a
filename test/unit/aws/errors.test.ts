import assert from 'node:assert/strict';
import { test } from 'node:test';
import { credentialsError } from '../../../src/aws/errors.ts';
import { kmsError } from '../../../src/aws/kms-errors.ts';
import { s3ReadError, s3WriteError } from '../../../src/aws/s3-errors.ts';
import { ConfigError, KeyError, SecretsfsError } from '../../../src/errors.ts';

const target = { bucket: 'b', key: 'k', location: 's3://b/k' };
const failure = (fields: object): Error => Object.assign(new Error('a text with SECRET in it'), fields);

test('a bug stays what it is', () => {
  const bug = new TypeError('x is not a function');
  assert.equal(kmsError(bug, 'k', 'Decrypt'), bug);
  assert.equal(s3ReadError(bug, target), bug);
  assert.equal(s3WriteError(bug, target), bug);
});

test('an error of ours passes through, from a credential provider inside the SDK too', () => {
  const ours = new ConfigError('credentials-missing', 'none');
  assert.equal(kmsError(ours, 'k', 'Decrypt'), ours);
  assert.equal(s3ReadError(ours, target), ours);
  assert.equal(s3WriteError(ours, target), ours);
  assert.equal(credentialsError(ours, {}), ours);
});

test('no text of a service gets into a message or a hint', () => {
  for (const fields of [
    { name: 'AccessDeniedException', $metadata: { httpStatusCode: 400 } },
    { name: 'AccessDenied', $metadata: { httpStatusCode: 403 } },
    { name: 'SECRET in the name', $metadata: { httpStatusCode: 418 } },
    { name: 'CredentialsProviderError' },
    { name: 'TimeoutError' },
    { code: 'ECONNRESET' },
  ]) {
    for (const error of [
      kmsError(failure(fields), 'k', 'Decrypt'),
      s3ReadError(failure(fields), target),
      s3WriteError(failure(fields), target),
      credentialsError(failure(fields), { profile: 'p' }),
    ]) {
      assert.ok(error instanceof SecretsfsError, JSON.stringify(fields));
      assert.doesNotMatch(`${error.message} ${error.hint}`, /SECRET/);
    }
  }
});

test('the cause of an error of credentials is dropped: it may hold what a credential process printed', () => {
  assert.equal(credentialsError(failure({ name: 'CredentialsProviderError' }), {}).cause, undefined);
});

test('a network error is found under others', () => {
  const inner = failure({ code: 'ENOTFOUND' });
  for (const error of [
    failure({ cause: inner }),
    failure({ errors: [inner] }),
    failure({ cause: failure({ errors: [inner] }) }),
  ]) {
    const mapped = kmsError(error, 'k', 'Decrypt');
    assert.ok(mapped instanceof KeyError);
    assert.equal(mapped.code, 'key-unreachable');
    assert.match(mapped.hint ?? '', /region/);
  }
});

test('a location cannot break out of its line', () => {
  const error = s3ReadError(failure({ name: 'NoSuchKey', $metadata: { httpStatusCode: 404 } }), {
    ...target,
    location: 's3://b/k\n\u001b[31m',
  });
  assert.ok(error instanceof SecretsfsError);
  assert.equal(error.message.split('\n').length, 1);
});
