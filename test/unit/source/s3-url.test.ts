import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UsageError } from '../../../src/errors.ts';
import { parseS3Url } from '../../../src/source/s3-url.ts';

test('parseS3Url() takes bucket, key and version apart, and the key literally', () => {
  assert.deepEqual(parseS3Url('s3://b1x/a/b c%20+&#=.sfs'), {
    location: 's3://b1x/a/b c%20+&#=.sfs',
    bucket: 'b1x',
    key: 'a/b c%20+&#=.sfs',
  });
  assert.equal(parseS3Url('s3://bucket/k?versionId=a.B_c-9').versionId, 'a.B_c-9');
  assert.equal(parseS3Url('s3://bucket//k').key, '/k');
});

for (const text of [
  'bucket/key',
  'S3://bucket/key',
  's3://',
  's3://bucket',
  's3://bucket/',
  's3://bucket/directory/',
  's3:///key',
  's3://b/key',
  's3://-bucket/key',
  's3://buc ket/key',
  's3://bucket/key?versionid=x',
  's3://bucket/key?versionId=',
  's3://bucket/key?versionId=a&b=c',
  's3://bucket/key\n',
  `s3://bucket/${'k'.repeat(1025)}`,
]) {
  test(`parseS3Url() refuses ${JSON.stringify(text.slice(0, 60))} with a hint`, () => {
    assert.throws(
      () => parseS3Url(text),
      (e: unknown) => e instanceof UsageError && e.hint !== undefined,
    );
  });
}
