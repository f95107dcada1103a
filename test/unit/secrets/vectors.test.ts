/** A secret that was sealed once must open for ever: test/vectors/secret. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { localKeyring } from '../../../src/keyring/local.ts';
import { openSecret } from '../../../src/secrets/secret.ts';
import { refusal } from '../../support/bundles.ts';
import { VECTORS } from '../../support/paths.ts';

const { keyring, keyName } = localKeyring(readFileSync(path.join(VECTORS, 'bundle', 'key')));
const sealed = readFileSync(path.join(VECTORS, 'secret', 'v1.secret'));
const location = 's3://vectors/prod/db/password';

test('the frozen secret opens to its content', async () => {
  const { header, plaintext } = await openSecret(sealed, { keyring, location });
  assert.equal(plaintext.toString(), 'correct horse battery staple\n');
  assert.deepEqual(header, {
    location,
    created: '2026-11-23T07:30:00.000Z',
    context: { team: 'infra', Zone: 'é' },
    hash: '0123456789abcdef'.repeat(4),
    encryptedDataKeys: [{ providerId: 'secretsfs-local', keyName }],
    headerBytes: header.headerBytes,
    plaintextBytes: 29,
  });
});

test('the frozen secret is refused at another place, with the right key too', async () => {
  await assert.rejects(
    openSecret(sealed, { keyring, location: `${location}2` }),
    refusal('secret-path', /prod\/db\/password2/),
  );
});
