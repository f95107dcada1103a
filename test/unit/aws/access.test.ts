import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AwsAccess } from '../../../src/aws/access.ts';
import { UsageError } from '../../../src/errors.ts';

test('a role that is none, or an external id without a role, is a usage error', () => {
  for (const options of [
    { roleArn: 'nonsense' },
    { roleArn: 'arn:aws:iam::123456789012:user/x' },
    { roleArn: 'arn:aws:iam::12:role/x' },
    { externalId: 'x' },
  ]) {
    assert.throws(
      () => new AwsAccess({ env: {}, ...options }),
      (e: unknown) => e instanceof UsageError && e.hint !== undefined,
    );
  }
  new AwsAccess({ env: {}, roleArn: 'arn:aws-cn:iam::123456789012:role/path/x', externalId: 'x' }).destroy();
});
