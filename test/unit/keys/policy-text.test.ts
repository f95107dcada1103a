import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { UsageError } from '../../../src/errors.ts';
import { parsePolicyText } from '../../../src/keys/policy-text.ts';

const STATEMENT = { Effect: 'Allow', Principal: { AWS: '*' }, Action: 'kms:*', Resource: '*' };

test('a policy is taken as it is, with one statement or several', () => {
  for (const Statement of [STATEMENT, [STATEMENT], [STATEMENT, { Effect: 'Deny' }]]) {
    const document = { Version: '2012-10-17', Statement };
    assert.deepEqual(parsePolicyText(Buffer.from(JSON.stringify(document)), 'x'), document);
  }
});

test('whatever bytes they are, they are a document with statements or refused with a hint', () => {
  const texts = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc.json().map((text) => Buffer.from(text)),
    fc
      .record({ Statement: fc.oneof(fc.jsonValue(), fc.array(fc.record({ Effect: fc.string() }))) })
      .map((document) => Buffer.from(JSON.stringify(document))),
  );
  fc.assert(
    fc.property(texts, (bytes) => {
      try {
        const { Statement } = parsePolicyText(bytes, 'x') as { Statement: object | object[] };
        const all = [Statement].flat();
        assert.ok(all.length > 0 && all.every((each) => 'Effect' in each));
      } catch (error) {
        assert.ok(error instanceof UsageError && error.hint !== undefined, String(error));
      }
    }),
    { numRuns: 2000 },
  );
});

test('a policy over 32 KiB, which KMS would refuse, is refused', () => {
  const large = JSON.stringify({ Statement: STATEMENT, Id: 'x'.repeat(33_000) });
  assert.throws(() => parsePolicyText(Buffer.from(large), 'x'), /more than 32768 bytes/);
});
