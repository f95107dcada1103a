/** What was sealed once must open for ever, and what was refused must stay refused: test/vectors/bundle. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { readArchive, writeArchive } from '../../../src/bundle/archive.ts';
import { readHeader, unseal } from '../../../src/bundle/envelope.ts';
import { localKeyring } from '../../../src/keyring/local.ts';
import { refusal } from '../../support/bundles.ts';
import { VECTORS } from '../../support/paths.ts';

const vector = (name: string) => readFileSync(path.join(VECTORS, 'bundle', name));
const { keyring, keyName } = localKeyring(vector('key'));

test('the frozen bundle opens to the frozen tar', async () => {
  const { header, plaintext } = await unseal(vector('v1.bundle'), { keyring });
  assert.deepEqual(plaintext, vector('v1.tar'));
  assert.equal(header.name, 'vector');
  assert.equal(header.serial, 1_762_300_000_000);
  assert.equal(header.created, '2025-11-04T23:46:40.000Z');
  assert.deepEqual(header.context, { team: 'infra', Zone: 'é' });
  assert.deepEqual(header.encryptedDataKeys, [{ providerId: 'secretsfs-local', keyName }]);
});

test('the frozen tar is read as the same entries', async () => {
  const entries = await readArchive(vector('v1.tar'), { filesMax: 5, bytesMax: 20_000 });
  assert.deepEqual(
    entries.map(({ kind, path, mode, uid, gid }) => `${kind} ${path} ${mode.toString(8)} ${uid}:${gid}`),
    [
      'directory tls 750 0:0',
      'file tls/cert.pem 444 0:0',
      'file tls/key.pem 400 0:0',
      'symlink current 777 0:0',
      'file large 400 1000:300000',
    ],
  );
});

test('the frozen tar is what its entries are still written as', async () => {
  const entries = await readArchive(vector('v1.tar'), { filesMax: 5, bytesMax: 20_000 });
  assert.deepEqual(await writeArchive(entries), vector('v1.tar'));
});

for (const [name, code, message] of [
  ['suite-0478.bundle', 'bundle-suite', /0x0478.*unsigned/],
  ['format-v1.bundle', 'bundle-suite', /version 1.*0x0378/],
  ['nine-keys.bundle', 'bundle-too-many-keys', /has 9/],
] as const) {
  test(`the frozen ${name} is refused, with the right key too`, async () => {
    assert.throws(() => readHeader(vector(name)), refusal(code, message));
    await assert.rejects(unseal(vector(name), { keyring }), refusal(code, message));
  });
}
