/** Whatever the bytes: a format, none, or a SecretsfsError; and what sneaker would write is always read back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ciphertextsIn } from '../../src/bundle/ciphertexts.ts';
import {
  joinSneaker,
  recogniseCiphertext,
  recognisePack,
  splitSneaker,
} from '../../src/bundle/old-format.ts';
import { openSneaker, sealSneaker } from '../../src/bundle/sneaker.ts';
import { SecretsfsError } from '../../src/errors.ts';
import { outcome } from '../support/bundles.ts';
import { OLD_KEY_ID, OLD_VECTORS, oldFile } from '../support/old-vectors.ts';
import { member, tarOf } from '../support/tars.ts';

const bytesOf = (options: fc.IntArrayConstraints) =>
  fc.uint8Array(options).map((bytes) => Buffer.from(bytes));
const key = { plaintext: Buffer.alloc(32, 7), keyId: OLD_KEY_ID };

test('what is sealed opens, and with one bit other does not', () => {
  fc.assert(
    fc.property(
      bytesOf({ maxLength: 300 }),
      bytesOf({ minLength: 1, maxLength: 300 }),
      bytesOf({ minLength: 12, maxLength: 12 }),
      fc.nat(),
      (plaintext, wrappedKey, nonce, flip) => {
        const bytes = sealSneaker(plaintext, { ...key, wrappedKey, nonce });
        const old = splitSneaker(bytes);
        assert.ok(old);
        assert.deepEqual(old.wrappedKey, wrappedKey);
        assert.deepEqual(openSneaker(old, key), { plaintext, era: 'C' });
        const sealed = Buffer.from(old.sealed);
        const at = flip % (sealed.length * 8);
        sealed[at >> 3] = (sealed[at >> 3] ?? 0) ^ (1 << (at & 7));
        assert.throws(() => openSneaker({ ...old, sealed }, key));
      },
    ),
  );
});

test('splitting is the reverse of joining', () => {
  fc.assert(
    fc.property(
      bytesOf({ minLength: 1, maxLength: 6144 }),
      bytesOf({ minLength: 16, maxLength: 99 }),
      (a, b) => {
        assert.deepEqual(splitSneaker(joinSneaker(a, b)), { format: 'sneaker', wrappedKey: a, sealed: b });
      },
    ),
  );
});

test('any bytes, and old files with bytes exchanged, cut and added, are a format or none', async () => {
  const files = OLD_VECTORS.filter(({ how }) => how !== 'pair').map(({ name }) => oldFile(name));
  const damaged = fc
    .tuple(fc.constantFrom(...files), fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }), fc.nat())
    .map(([file, changes, end]) => {
      const bytes = Buffer.from(file);
      for (const [at, value] of changes) bytes[at % Math.min(bytes.length, 2000)] = value;
      return end % 3 === 0 ? bytes.subarray(0, end % bytes.length) : bytes;
    });
  await fc.assert(
    fc.asyncProperty(fc.oneof(bytesOf({ maxLength: 2000 }), damaged), async (bytes) => {
      assert.match(
        await outcome(async () => {
          const old = await recognisePack(bytes);
          if (old !== undefined) openSneaker(old, key);
        }),
        /^(accepted|bundle-invalid|bundle-corrupt)$/,
      );
    }),
    { numRuns: 500 },
  );
});

test('any tar, and damaged ones, are the ciphertexts of a directory or not', async () => {
  const file = fc.record({
    name: fc.constantFrom('a.kms', 'b/c.pem.kms', 'README', '.kms'),
    data: bytesOf({ maxLength: 600 }),
  });
  const damaged = fc
    .tuple(fc.array(file, { maxLength: 4 }), fc.nat(), fc.nat(255), fc.boolean())
    .map(([files, at, value, isDamaged]) => {
      const tar = tarOf(...files.map(member));
      if (isDamaged) tar[at % tar.length] = value;
      return { files, tar, isDamaged };
    });
  await fc.assert(
    fc.asyncProperty(damaged, async ({ files, tar, isDamaged }) => {
      const found = await ciphertextsIn(tar).catch((error: unknown) => {
        assert.ok(error instanceof SecretsfsError);
        return 'refused' as const;
      });
      if (isDamaged || found === 'refused') return;
      const all = files.every(({ name }) => /[^/]\.kms$/.test(name));
      if (!all || files.length === 0) assert.equal(found, undefined);
      else
        assert.deepEqual(
          found?.map(({ path }) => `${path}.kms`),
          files.map(({ name }) => name),
        );
    }),
    { numRuns: 300 },
  );
});

test('a ciphertext in base64, however it is broken into lines, is the same bytes', () => {
  fc.assert(
    fc.property(
      bytesOf({ minLength: 1, maxLength: 6144 }),
      fc.integer({ min: 1, max: 100 }),
      (blob, width) => {
        const text = blob.toString('base64').replace(new RegExp(`(.{${width}})`, 'g'), '$1\n');
        const found = recogniseCiphertext(Buffer.from(`${text}\n`));
        assert.deepEqual(found?.blob, blob);
      },
    ),
  );
});

test('any text is a ciphertext or not', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 300 }), fc.boolean(), (text, inJson) => {
      const bytes = Buffer.from(inJson ? JSON.stringify({ CiphertextBlob: text }) : text);
      const found = recogniseCiphertext(bytes);
      assert.ok(found === undefined ? bytes.length === 0 : found.blob.length > 0);
    }),
  );
});
