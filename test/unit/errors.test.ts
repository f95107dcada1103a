import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BundleError, isErrorCode, KeyError, quote, UsageError } from '../../src/errors.ts';

test('an error carries its code, its hint, its cause and the exit code of its class', () => {
  const cause = new Error('underneath');
  const error = new BundleError('bundle-name', 'cannot accept bundle: name is "a", want "b"', {
    hint: 'x',
    cause,
  });
  assert.equal(error.name, 'BundleError');
  assert.equal(error.code, 'bundle-name');
  assert.equal(error.hint, 'x');
  assert.equal(error.cause, cause);
  assert.equal(error.exitCode, 6);
  assert.equal(new KeyError('key-denied', 'm').exitCode, 5);
  assert.equal(new UsageError('m').exitCode, 2);
});

test('isErrorCode() knows the codes and nothing that objects inherit', () => {
  assert.equal(isErrorCode('bundle-corrupt'), true);
  assert.equal(isErrorCode('toString'), false);
  assert.equal(isErrorCode(7), false);
});

test('quote() keeps a hostile name on one line and shows what would not be seen', () => {
  assert.equal(quote('a\nb\u001b[31m'), '"a\\nb\\u001b[31m"');
  assert.equal(quote('x\u202ey\u0085'), '"x\\u202ey\\u0085"');
  assert.ok(quote('n'.repeat(5000)).length < 210);
});
