/** A sealed file opens as what it is, whole or not at all, and as nothing else. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { toBase64 } from '../../../src/bundle/base64.ts';
import { readHeader } from '../../../src/bundle/envelope.ts';
import { messageIn, openFile, readFileHeader, sealFile } from '../../../src/bundle/sealed-file.ts';
import { localKeyring } from '../../../src/keyring/local.ts';
import { readSecretHeader } from '../../../src/secrets/secret.ts';
import { CREATED, KEY, OTHER_KEY, outcome, refusal, sealTest } from '../../support/bundles.ts';
import { oldFile } from '../../support/old-vectors.ts';
import { VECTORS } from '../../support/paths.ts';

const frozen = readFileSync(path.join(VECTORS, 'file/v1.file'));
const frozenKey = localKeyring(readFileSync(path.join(VECTORS, 'bundle/key')));
const { keyring, accepted } = localKeyring(KEY);
const context = { team: 'infra' };
const seal = (plaintext: Uint8Array) => sealFile(plaintext, { keyring, created: CREATED, context });

test('the frozen file opens, and says what it said', async () => {
  const options = { keyring: frozenKey.keyring, accepted: [frozenKey.accepted], context };
  assert.deepEqual(await openFile(frozen, options), oldFile('secret'));
  const header = readFileHeader(frozen);
  assert.deepEqual(header.context, context);
  assert.deepEqual(header.encryptedDataKeys, [{ providerId: 'secretsfs-local', keyName: frozenKey.keyName }]);
});

test('what is sealed opens, and with one bit other, cut or longer does not', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 10_000 }), fc.nat(), async (plaintext, flip) => {
      const sealed = await seal(plaintext);
      const open = (bytes: Buffer) => openFile(bytes, { keyring, accepted: [accepted], context: {} });
      assert.deepEqual(await open(sealed), Buffer.from(plaintext));
      const other = Buffer.from(sealed);
      other[(flip >> 3) % other.length] = (other[(flip >> 3) % other.length] ?? 0) ^ (1 << (flip & 7));
      assert.notEqual(await outcome(() => open(other)), 'accepted');
      assert.notEqual(await outcome(() => open(sealed.subarray(0, flip % sealed.length))), 'accepted');
      assert.notEqual(await outcome(() => open(Buffer.concat([sealed, Buffer.alloc(1)]))), 'accepted');
    }),
    { numRuns: 15 },
  );
});

test('another key and a missing pair are refused before a key is used', async () => {
  const sealed = await seal(Buffer.from('secret'));
  const other = localKeyring(OTHER_KEY);
  await assert.rejects(
    openFile(sealed, { keyring: other.keyring, accepted: [other.accepted], context: {} }),
    refusal('key-not-accepted', /cannot accept file/),
  );
  await assert.rejects(
    openFile(sealed, { keyring, accepted: [accepted], context: { team: 'web' } }),
    refusal('bundle-context'),
  );
});

test('a file is no bundle and no secret, and a bundle is no file', async () => {
  const sealed = await seal(Buffer.from('secret'));
  assert.throws(() => readHeader(sealed), refusal('bundle-format', /it is a file/));
  assert.throws(() => readSecretHeader(sealed), refusal('bundle-format', /it is a file/));
  const bundle = await sealTest(Buffer.alloc(1024));
  assert.throws(() => readFileHeader(bundle), refusal('bundle-format', /it is a bundle/));
});

test('a message is found in base64 too, and in nothing else', async () => {
  const sealed = await seal(Buffer.from('secret'));
  assert.deepEqual(messageIn(sealed), sealed);
  assert.deepEqual(messageIn(toBase64(sealed)), sealed);
  for (const none of ['', 'AgV4!', 'AQICAHh', '-----BEGIN ', 'secret']) {
    assert.equal(messageIn(Buffer.from(none)), undefined, none);
  }
});
