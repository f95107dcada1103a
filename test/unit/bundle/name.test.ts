import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseContext, validateContext, validateName } from '../../../src/bundle/name.ts';
import { CONTEXT_PAIRS_MAX, CONTEXT_TEXT_MAX } from '../../../src/limits.ts';
import { refusal } from '../../support/bundles.ts';

test('validateName() accepts letters, digits, dot, underscore and dash, 64 at most', () => {
  for (const name of ['a', '0', 'web', 'web-prod.2026_1', 'A'.repeat(64)])
    assert.equal(validateName(name), name);
});

test('validateName() refuses what would be a path, an option, nothing, or too long', () => {
  for (const name of ['', '.', '..', '.a', '-a', '_a', 'a/b', 'a b', 'a\n', 'é', 'a\0', 'A'.repeat(65)]) {
    assert.throws(
      () => validateName(name),
      refusal('usage', /cannot use ".*" as the name of a bundle/s),
      name,
    );
  }
});

test('parseContext() takes pairs one by one and in comma lists', () => {
  assert.deepEqual(parseContext([]), {});
  assert.deepEqual(parseContext(['a=1,b=2', 'c=x=y', '__proto__=z', 'é=ü']), {
    a: '1',
    b: '2',
    c: 'x=y',
    ['__proto__']: 'z',
    é: 'ü',
  });
});

test('parseContext() names the pair that it refuses', () => {
  const bad: [string[], RegExp][] = [
    [['a'], /"a": want key=value/],
    [[''], /"": want key=value/],
    [['a=1,'], /"": want key=value/],
    [['=1'], /"=1": key is empty/],
    [['a='], /"a=": value is empty/],
    [['a=1', 'a=1'], /"a=1": key is given twice/],
    [['secretsfs-name=x'], /"secretsfs-name=x": keys that begin with "secretsfs-"/],
    [['Secretsfs-x=x'], /reserved/],
    [['aws-crypto-public-key=x'], /"aws-"/],
    [['aws:x=x'], /"aws:"/],
    [[`k=${'v'.repeat(CONTEXT_TEXT_MAX + 1)}`], /value is 1025 bytes/],
    [[`${'k'.repeat(CONTEXT_TEXT_MAX + 1)}=v`], /key is 1025 bytes/],
    [['a=\ud800'], /not plain text/],
    [['a=\0'], /not plain text/],
    [Array.from({ length: CONTEXT_PAIRS_MAX + 1 }, (_, i) => `k${i}=v`), /33 context pairs: at most 32/],
    [Array.from({ length: 8 }, (_, i) => `k${i}=${'v'.repeat(1000)}`), /8016 bytes, want at most 6144/],
  ];
  for (const [args, message] of bad) assert.throws(() => parseContext(args), refusal('usage', message));
});

test('validateContext() holds for pairs that came from elsewhere', () => {
  validateContext({ a: 'b' });
  assert.throws(() => validateContext({ 'secretsfs-x': 'y' }), refusal('usage', /reserved/));
});
