/** Whatever the bytes, an answer or a SecretsfsError; whatever was sealed comes back, and its header says it. */
import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { test } from 'node:test';
import fc from 'fast-check';
import { localKeyring } from '../../src/keyring/local.ts';
import { openSecret, readSecretHeader } from '../../src/secrets/secret.ts';
import { KEY, outcome } from '../support/bundles.ts';
import { LOCATION, sealTestSecret } from '../support/secrets.ts';

const { keyring } = localKeyring(KEY);

const textArbitrary = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 60 })
  .filter((text) => !/\p{Cc}/u.test(text) && Buffer.from(text).toString() === text);
const secretArbitrary = fc.record({
  plaintext: fc.oneof(fc.uint8Array({ maxLength: 100 }), fc.uint8Array({ minLength: 4000, maxLength: 9000 })),
  location: fc
    .tuple(fc.constantFrom('s3://bucket/', 'file:///'), textArbitrary)
    .map(([start, rest]) => start + rest),
  context: fc.dictionary(
    textArbitrary.filter((key) => !/^(secretsfs-|aws-|aws:)/i.test(key)),
    textArbitrary,
    { maxKeys: 5, noNullPrototype: true },
  ),
  created: fc.date({ min: new Date(0), max: new Date('9999-12-31'), noInvalidDate: true }),
  hash: fc.option(
    fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('hex')),
    { nil: undefined },
  ),
});

test('any secret, sealed, read and opened, is the same secret', async () => {
  await fc.assert(
    fc.asyncProperty(secretArbitrary, async ({ plaintext, ...facts }) => {
      const sealed = await sealTestSecret(plaintext, facts);
      const { location, created, context, hash, plaintextBytes } = readSecretHeader(sealed);
      assert.deepEqual(
        { location, created, hash },
        { location: facts.location, created: facts.created.toISOString(), hash: facts.hash },
      );
      assert.deepEqual({ ...context }, { ...facts.context });
      assert.equal(plaintextBytes, plaintext.length);
      const opened = await openSecret(sealed, { keyring, location });
      assert.deepEqual(opened.plaintext, Buffer.from(plaintext));
    }),
    { numRuns: 150 },
  );
});

const ANSWER = /^(accepted|bundle-[a-z-]+|secret-path|data-key-refused)$/;

async function survives(bytes: Buffer): Promise<string> {
  assert.match(await outcome(() => readSecretHeader(bytes)), ANSWER);
  const opened = await outcome(() => openSecret(bytes, { keyring, location: LOCATION }));
  assert.match(opened, ANSWER);
  return opened;
}

test('any bytes are refused with an error of ours', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(fc.constant([]), fc.constant([2, 5, 0x78]), fc.constant([1, 0x80])),
      fc.uint8Array({ maxLength: 3000 }),
      async (start, rest) => {
        assert.notEqual(await survives(Buffer.from([...start, ...rest])), 'accepted');
      },
    ),
    { numRuns: 1000 },
  );
});

test('a secret that was cut, lengthened or overwritten anywhere is refused with an error of ours', async () => {
  const sealed = await sealTestSecret(Buffer.alloc(300, 'attack at dawn'), { context: { team: 'infra' } });
  await fc.assert(
    fc.asyncProperty(
      fc.nat(sealed.length - 1),
      fc.constantFrom('cut', 'insert', 'overwrite'),
      fc.uint8Array({ minLength: 1, maxLength: 8 }),
      async (at, what, bytes) => {
        const end = what === 'insert' ? at : at + bytes.length;
        const middle = what === 'cut' ? [] : bytes;
        const altered = Buffer.concat([sealed.subarray(0, at), Buffer.from(middle), sealed.subarray(end)]);
        const answer = await survives(altered);
        assert.equal(answer === 'accepted', altered.equals(sealed));
      },
    ),
    { numRuns: 1500 },
  );
});
