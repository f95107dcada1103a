import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { test } from 'node:test';
import { KeyError } from '../../../src/errors.ts';
import { ofOwnAccount } from '../../../src/keyring/own-account.ts';
import type { KmsSpec } from '../../../src/keyring/spec.ts';
import { refusal } from '../../support/bundles.ts';

const ID = '01234567-89ab-cdef-0123-456789abcdef';
const OWN = `arn:aws:kms:eu-west-1:123456789012:key/${ID}`;
const FOREIGN = `arn:aws:kms:eu-west-1:999999999999:key/${ID}`;

/** KMS as it answers somebody of account 123456789012 who may use anybody's keys. `sealedBy` is what the ciphertext is under. */
function fakeKms(sealedBy: string, ofId: string | undefined) {
  const asked: (string | undefined)[] = [];
  const answers: Buffer[] = [];
  return {
    asked,
    answers,
    async decrypt(_blob: Uint8Array, { keys }: { keys: readonly KmsSpec[] }) {
      const keyId = keys[0]?.keyId;
      asked.push(keyId);
      const found = keyId === undefined || keyId.startsWith('arn:') ? sealedBy : ofId;
      if (found === undefined) throw new KeyError('key-not-found', 'there is no such key');
      const plaintext = Buffer.from('content');
      answers.push(plaintext);
      return { plaintext, keyId: found };
    },
  };
}
const options = { context: {}, keys: [] };

test('a key of the own account is asked by its id once, and then believed', async () => {
  const kms = fakeKms(OWN, OWN);
  const own = ofOwnAccount(kms);
  for (let i = 0; i < 3; i++) {
    const { plaintext, keyId } = await own.decrypt(Buffer.alloc(1), options);
    assert.equal(plaintext.toString(), 'content');
    assert.equal(keyId, OWN);
  }
  assert.deepEqual(kms.asked, [undefined, ID, undefined, undefined]);
});

test('a key of another account is refused, also where the own one has one of the same id, and nothing is left', async () => {
  for (const ofId of [undefined, OWN]) {
    const kms = fakeKms(FOREIGN, ofId);
    await assert.rejects(
      ofOwnAccount(kms).decrypt(Buffer.alloc(1), options),
      refusal('key-not-accepted', /999999999999/),
    );
    assert.ok(kms.answers.length > 0 && kms.answers.every((answer) => answer.every((byte) => byte === 0)));
  }
});

test('a key that was named is asked as it was named', async () => {
  const kms = fakeKms(FOREIGN, undefined);
  const keys = [{ kind: 'kms', keyId: FOREIGN }] as const;
  const { keyId } = await ofOwnAccount(kms).decrypt(Buffer.alloc(1), { ...options, keys });
  assert.equal(keyId, FOREIGN);
  assert.deepEqual(kms.asked, [FOREIGN]);
});
