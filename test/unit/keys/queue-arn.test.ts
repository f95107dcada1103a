import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { UsageError } from '../../../src/errors.ts';
import { queueArn } from '../../../src/keys/queue-arn.ts';

for (const [url, arn] of [
  ['https://sqs.eu-west-1.amazonaws.com/123456789012/web', 'arn:aws:sqs:eu-west-1:123456789012:web'],
  ['https://eu-west-1.queue.amazonaws.com/123456789012/web', 'arn:aws:sqs:eu-west-1:123456789012:web'],
  [
    'https://sqs.us-gov-west-1.amazonaws.com/123456789012/a-b_C.fifo',
    'arn:aws:sqs:us-gov-west-1:123456789012:a-b_C.fifo',
  ],
  ['https://sqs-fips.us-east-1.amazonaws.com/123456789012/web', 'arn:aws:sqs:us-east-1:123456789012:web'],
  ['https://sqs.cn-north-1.amazonaws.com.cn/123456789012/web', 'arn:aws:sqs:cn-north-1:123456789012:web'],
  ['https://sqs.eu-west-1.api.aws/123456789012/web', 'arn:aws:sqs:eu-west-1:123456789012:web'],
] as const) {
  test(`queueArn() reads ${url}`, () => assert.equal(queueArn(url, 'aws'), arn));
}

test('queueArn() refuses what tells no region or no account, and never names what was not written', () => {
  const part = fc.constantFrom(
    'https://',
    'sqs.',
    'eu-west-1',
    '.amazonaws.com',
    '/',
    '123456789012',
    'web',
    '*',
    '.queue',
    ' ',
  );
  fc.assert(
    fc.property(
      fc.array(part, { maxLength: 10 }).map((all) => all.join('')),
      (url) => {
        try {
          const [, , service, region = '?', account = '?', name = '?'] = queueArn(url, 'aws').split(':');
          assert.equal(service, 'sqs');
          for (const each of [region, account]) assert.ok(url.includes(each));
          assert.ok(url.endsWith(`/${name}`) && !/[*?$]/.test(name));
        } catch (error) {
          assert.ok(error instanceof UsageError && error.hint !== undefined, String(error));
        }
      },
    ),
    { numRuns: 3000, examples: [['https://127.0.0.1:5000/123456789012/web']] },
  );
});
