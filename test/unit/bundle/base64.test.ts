/** Base64 from bytes to bytes is base64. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { fromBase64, toBase64 } from '../../../src/bundle/base64.ts';
import { must } from '../../support/program.ts';

test('it is what Node writes, in lines, and reads back', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
      const text = toBase64(bytes);
      assert.equal(text.toString().replaceAll('\n', ''), Buffer.from(bytes).toString('base64'));
      assert.deepEqual(fromBase64(text), Buffer.from(bytes));
    }),
  );
});

test('lines are those of base64(1)', async () => {
  for (const length of [0, 1, 56, 57, 58, 114, 300]) {
    const bytes = Buffer.alloc(length, 0xb7);
    assert.equal(toBase64(bytes).toString(), await must('base64', [], { stdin: bytes }), `${length} bytes`);
  }
});

test('what no encoder writes is refused: exactly what Node would write otherwise', () => {
  const letters = fc.constantFrom(...'ABab01+/==\n- _');
  fc.assert(
    fc.property(fc.string({ unit: letters, maxLength: 14 }), (text) => {
      const plain = text.replace(/[\n ]/g, '');
      const expected = Buffer.from(plain, 'base64').toString('base64') === plain;
      assert.equal(fromBase64(Buffer.from(text)) !== undefined, expected, JSON.stringify(text));
    }),
    { numRuns: 3000 },
  );
});
