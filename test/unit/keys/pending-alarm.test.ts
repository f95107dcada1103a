import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { UsageError } from '../../../src/errors.ts';
import { parseKeyArn } from '../../../src/keyring/spec.ts';
import { pendingUseAlarm } from '../../../src/keys/pending-alarm.ts';

const KEY =
  parseKeyArn('arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab') ??
  assert.fail();

test('the alarm is of this key, in its region, and tells the topic', () => {
  const topic = 'arn:aws-us-gov:sns:us-gov-west-1:123456789012:ops';
  const [filter = '', alarm = ''] = pendingUseAlarm(KEY, { logGroup: 'trail/main', topic });
  assert.ok(filter.includes(`$.errorMessage = "${KEY.text} is pending deletion*"`));
  for (const command of [filter, alarm]) assert.match(command, /--region us-gov-west-1 /);
  assert.ok(filter.includes("--log-group-name 'trail/main'"));
  assert.ok(alarm.endsWith(`--alarm-actions ${topic}`));
  assert.doesNotMatch(pendingUseAlarm(KEY, { logGroup: 'x', topic: undefined })[1] ?? '', /alarm-actions/);
});

test('no name gets a word of its own into the commands', () => {
  fc.assert(
    fc.property(fc.string(), fc.option(fc.string(), { nil: undefined }), (logGroup, topic) => {
      try {
        const text = pendingUseAlarm(KEY, { logGroup, topic }).join(' ');
        assert.ok(!/[;&|`\\<>]/.test(text.replace(/'[^']*'/g, '')));
      } catch (error) {
        assert.ok(error instanceof UsageError && error.hint !== undefined, String(error));
      }
    }),
    {
      examples: [
        ["x'; rm -rf /; '", undefined],
        ['x', 'arn:aws:sns:eu-west-1:123456789012:a;b'],
      ],
    },
  );
});
