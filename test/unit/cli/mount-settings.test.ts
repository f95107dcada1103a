import assert from 'node:assert/strict';
import { test } from 'node:test';
import { acceptedKeys, noticingOptions } from '../../../src/cli/mount-settings.ts';

const ARN = 'arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000';
const S3 = 's3://bucket/web.enc';

test('a bundle is the one source, with the flat settings and the region of the key as a likely one', () => {
  const options = noticingOptions({ bundle: S3, region: 'r', roleArn: 'role', externalId: 'x' }, [ARN]);
  assert.equal(options.sources.length, 1);
  assert.equal(options.sources[0]?.bundle, S3);
  assert.deepEqual(options.sources[0]?.aws, options.aws);
  assert.equal(options.aws.likelyRegion, 'eu-west-1');
  assert.deepEqual([options.pollMs, options.spreadMs, options.unsealsPerMinute], [30_000, 1_000, 10]);
});

test('what a source says goes before the flat settings; an external id stays with its role', () => {
  const source = [{ bundle: 'web.enc' }, { bundle: S3, region: 'other', roleArn: 'theirs' }];
  const { sources, aws } = noticingOptions({ source, region: 'r', roleArn: 'role', externalId: 'x' }, [ARN]);
  assert.ok(sources[0]?.bundle.startsWith('/'));
  assert.deepEqual(sources[0]?.aws, aws);
  const { region, roleArn, externalId } = sources[1]?.aws ?? {};
  assert.deepEqual([region, roleArn, externalId], ['other', 'theirs', undefined]);
});

test('where no key that is named can open, it says where that was written, and that an ARN can', () => {
  const key = ['alias/app'];
  const asWritten = () => 'key';
  const said = (env: NodeJS.ProcessEnv) => () => acceptedKeys({ key }, { asWritten, env });
  assert.throws(said({ KMS_KEY_ID: 'alias/app' }), {
    code: 'usage',
    message: /^KMS_KEY_ID is "alias\/app", and/,
  });
  assert.throws(said({ KMS_KEY_ID: 'other' }), { code: 'usage', message: /^the key is "alias\/app", and/ });
  assert.throws(() => acceptedKeys({ key: ['no key'] }), { code: 'usage', message: /names no key/ });
  assert.deepEqual(acceptedKeys({ key: ['alias/app', ARN] }), [ARN]);
});

test('beside a queue polling is the safety net, unless it is said how often', () => {
  const queue = 'https://sqs/1/q';
  assert.equal(noticingOptions({ bundle: S3, queue }, [ARN]).pollMs, 300_000);
  assert.equal(noticingOptions({ bundle: S3, topic: 'arn', poll: 7_000 }, [ARN]).pollMs, 7_000);
});

test('keys that cost nothing have no limit, and a queue needs a bucket, and no second one', () => {
  assert.equal(noticingOptions({ bundle: S3, unsealLimit: 3 }, [ARN, 'local:/k']).unsealsPerMinute, 3);
  assert.equal(noticingOptions({ bundle: S3, unsealLimit: 3 }, ['local:/k']).unsealsPerMinute, undefined);
  assert.throws(() => noticingOptions({ bundle: 'file', queue: 'q' }, []), { code: 'config-invalid' });
  assert.throws(() => noticingOptions({ bundle: S3, queue: 'q', topic: 't' }, []), { code: 'usage' });
});
