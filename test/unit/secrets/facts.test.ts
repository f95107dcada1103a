import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { FACTS_BYTES_MAX, factsOf } from '../../../src/secrets/facts.ts';
import { VECTORS } from '../../support/paths.ts';
import { LOCATION, sealTestSecret } from '../../support/secrets.ts';

const secret = readFileSync(path.join(VECTORS, 'secret', 'v1.secret'));
const bundle = readFileSync(path.join(VECTORS, 'bundle', 'v1.bundle'));
const format = (head: Buffer, name = 'a', size = head.length) => factsOf(head, size, name)?.format;

test('a secret says its size, key, context and place, by its beginning', async () => {
  const sealed = await sealTestSecret('x'.repeat(10_000), { context: { team: 'infra' } });
  const facts = factsOf(sealed.subarray(0, 4096), sealed.length, 'a');
  assert.deepEqual(
    [facts?.format, facts?.plaintextBytes, facts?.context, facts?.sealedFor, facts?.keys.length],
    ['secretsfs', 10_000, { team: 'infra' }, LOCATION, 1],
  );
});

test('of a header that is longer than what was read more is asked for, and of one that is cut short not', async () => {
  const context = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`k${i}`, 'v'.repeat(180)]));
  const sealed = await sealTestSecret('x', { context });
  assert.ok(sealed.length > 5000);
  assert.equal(factsOf(sealed.subarray(0, 4096), sealed.length, 'a'), undefined);
  assert.equal(factsOf(sealed.subarray(0, FACTS_BYTES_MAX), sealed.length, 'a')?.plaintextBytes, 1);
  assert.equal(format(sealed.subarray(0, 4096)), 'damaged');
});

test('each format is told by its beginning', () => {
  assert.equal(format(secret), 'secretsfs');
  assert.equal(format(bundle), 'bundle');
  const blob = Buffer.concat([Buffer.from([1, 2, 2, 0]), Buffer.alloc(150, 7)]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(blob.length);
  const sneaker = Buffer.concat([length, blob, Buffer.alloc(12 + 33 + 16)]);
  assert.deepEqual([format(sneaker), factsOf(sneaker, sneaker.length, 'a')?.plaintextBytes], ['sneaker', 33]);
  for (const beginning of ['0101', '0102', '0a20']) {
    Buffer.from(beginning, 'hex').copy(blob);
    assert.equal(format(blob), 'kms', beginning);
  }
  assert.equal(format(Buffer.from(blob.toString('base64'))), 'kms');
  const half = Buffer.alloc(12 + 5 + 16, 0xaa);
  assert.deepEqual(
    [format(half, 'a.aes'), factsOf(half, half.length, 'a.aes')?.plaintextBytes],
    ['kms-secrets', 5],
  );
  for (const text of ['', 'hello', '{"a":1}']) assert.equal(format(Buffer.from(text)), 'unknown', text);
});

test('any bytes are of some format, cut anywhere', () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 80 }).map((b) => Buffer.from(b)),
    fc.nat(secret.length).map((end) => secret.subarray(0, end)),
    fc.tuple(fc.nat(secret.length - 1), fc.integer({ min: 1, max: 255 })).map(([at, flip]) => {
      const altered = Buffer.from(secret);
      altered[at] = (altered[at] ?? 0) ^ flip;
      return altered;
    }),
  );
  fc.assert(
    fc.property(bytes, (head) => {
      assert.notEqual(factsOf(head, head.length, 'a'), undefined);
    }),
    { numRuns: 2000 },
  );
});
