import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { UsageError } from '../../../src/errors.ts';
import {
  checkPath,
  parsePath,
  parseStoreLocation,
  placeOf,
  whyNotPath,
} from '../../../src/secrets/location.ts';

test('parseStoreLocation() has one form for what is written in several', () => {
  for (const text of ['s3://bucket/a/b', 's3://bucket/a/b/', 's3://bucket//a/b//']) {
    assert.deepEqual(parseStoreLocation(text), {
      kind: 's3',
      location: 's3://bucket/a/b',
      bucket: 'bucket',
      prefix: 'a/b',
    });
  }
  for (const text of ['s3://bucket', 's3://bucket/'])
    assert.equal(parseStoreLocation(text).location, 's3://bucket');
  for (const text of ['file:///srv/x', 'file:///srv/x/', '/srv/x', '/srv/y/../x']) {
    assert.equal(parseStoreLocation(text).location, 'file:///srv/x');
  }
  assert.equal(parseStoreLocation('x').location, `file://${path.resolve('x')}`);
  assert.equal(placeOf(parseStoreLocation('file:///'), 'a'), 'file:///a');
});

for (const text of [
  '',
  's3://',
  's3:///a',
  's3://b',
  's3://-bucket/a',
  's3://bucket/a/../b',
  's3://bucket/a//b',
  's3://bucket/a\nb',
  'S3://bucket/a',
  'https://bucket/a',
  'file://host/a',
  'file:a/b'.replace('a', '/a'),
  `s3://bucket/${'p'.repeat(1025)}`,
]) {
  test(`parseStoreLocation() refuses ${JSON.stringify(text.slice(0, 40))} with a hint`, () => {
    assert.throws(
      () => parseStoreLocation(text),
      (e: unknown) => e instanceof UsageError && e.hint !== undefined,
    );
  });
}

test('a path is at most 1,024 bytes with the prefix of its store', () => {
  const store = parseStoreLocation('s3://bucket/prefix');
  assert.equal(checkPath(store, 'p'.repeat(1017)).length, 1017);
  assert.throws(() => checkPath(store, 'p'.repeat(1018)), UsageError);
  assert.throws(() => checkPath(store, 'ä'.repeat(509)), UsageError);
});

test('a directory takes no part that no file may be called', () => {
  const store = parseStoreLocation('/srv/x');
  assert.equal(checkPath(store, `a/${'p'.repeat(255)}`).length, 257);
  assert.throws(() => checkPath(store, `a/${'p'.repeat(256)}`), UsageError);
});

test('any text is a path that stays below its store, or a UsageError', () => {
  const text = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 20 }),
    fc
      .array(fc.constantFrom('a', '.', '..', '', '.secretsfs', 'ä', '\u0000', '\ud800'), { maxLength: 5 })
      .map((s) => s.join('/')),
  );
  fc.assert(
    fc.property(text, (given) => {
      let parsed: string;
      try {
        parsed = parsePath(given);
      } catch (error) {
        assert.ok(error instanceof UsageError);
        return;
      }
      assert.equal(whyNotPath(parsed), undefined);
      assert.equal(parsePath(parsed), parsed);
      assert.equal(path.posix.join('/srv/x', parsed), `/srv/x/${parsed}`);
      assert.equal(Buffer.from(parsed).toString(), parsed);
    }),
    { numRuns: 5000 },
  );
});
