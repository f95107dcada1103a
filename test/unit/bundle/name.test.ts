import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseContext, validateContext, validateName } from '../../../src/bundle/name.ts';
import { seal } from '../../../src/bundle/seal.ts';
import { sealFile } from '../../../src/bundle/sealed-file.ts';
import type { SecretsfsError } from '../../../src/errors.ts';
import { CONTEXT_PAIRS_MAX, CONTEXT_TEXT_MAX } from '../../../src/limits.ts';
import { sealSecret } from '../../../src/secrets/secret.ts';
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

test('whatever is sealed, a context that no message has room for is refused in words, before a key is asked', async () => {
  const keyring = {
    onEncrypt: () => assert.fail('a key was asked'),
  } as never;
  const created = new Date(0);
  const content = Buffer.from('x');
  for (const context of [
    { k: 'v'.repeat(70_000) },
    { ['k'.repeat(70_000)]: 'v' },
    Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`k${i}`, 'v'.repeat(1_000)])),
  ]) {
    const options = { keyring, created, context };
    for (const sealed of [
      () => seal(content, { ...options, name: 'web', serial: 1 }),
      () => sealFile(content, options),
      () => sealSecret(content, { ...options, location: 's3://b/k' }),
    ])
      await assert.rejects(sealed, (error: SecretsfsError) => {
        assert.match(error.message, /cannot use context: its pairs are \d+ bytes, want at most 6144/);
        assert.deepEqual([error.code, error.hint], ['usage', 'leave some out, or make them shorter']);
        return true;
      });
  }
});
