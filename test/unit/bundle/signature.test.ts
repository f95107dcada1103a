/** Short messages and long ones are signed alike, by different ways: in the thread pool, and piece by piece. */
import assert from 'node:assert/strict';
import { createHook } from 'node:async_hooks';
import { createECDH, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { isPublicKey, isSignedBy, makeSigningKey, signMessage } from '../../../src/bundle/signature.ts';
import { FRAME_BYTES_MAX } from '../../../src/limits.ts';

for (const length of [0, 1, FRAME_BYTES_MAX, FRAME_BYTES_MAX + 1, 2 * FRAME_BYTES_MAX + 7]) {
  test(`a signature of ${length} bytes holds for these and this key alone`, async () => {
    const [key, other] = [await makeSigningKey(), await makeSigningKey()];
    const bytes = randomBytes(length);
    const signature = await signMessage(bytes, key);
    const seen: number[] = [];
    const isSigned = await isSignedBy(key.publicKey, bytes, signature, (done) => {
      seen.push(done);
    });
    assert.equal(isSigned, true);
    assert.deepEqual([seen.at(-1), seen.toSorted((a, b) => a - b)], [length, seen]);
    assert.equal(await isSignedBy(other.publicKey, bytes, signature), false);
    assert.equal(await isSignedBy(key.publicKey, Buffer.concat([bytes, Buffer.alloc(1)]), signature), false);
    for (const none of [Buffer.alloc(0), signature.subarray(1), randomBytes(96)])
      assert.equal(await isSignedBy(key.publicKey, bytes, none), false);
  });
}

test('what progress throws while a signature is verified is thrown', async () => {
  const key = await makeSigningKey();
  for (const length of [10, FRAME_BYTES_MAX + 1]) {
    const bytes = randomBytes(length);
    const signature = await signMessage(bytes, key);
    const stop = () => Promise.reject(new Error('stop'));
    await assert.rejects(isSignedBy(key.publicKey, bytes, signature, stop), /stop/);
  }
});

test('keys are made, and short messages signed and verified, beside everything else', async () => {
  const types = new Map<number, string>();
  const came: string[] = [];
  const hook = createHook({
    init: (id, type) => types.set(id, type),
    // Of what was calculated at once there is no callback.
    before: (id) => came.push(types.get(id) ?? ''),
  }).enable();
  const key = await makeSigningKey();
  const signature = await signMessage(Buffer.from('secret'), key);
  await isSignedBy(key.publicKey, Buffer.from('secret'), signature);
  hook.disable();
  const jobs = came.filter((type) => /^(KEYPAIRGEN|SIGN)REQUEST$/.test(type));
  assert.deepEqual(jobs, ['KEYPAIRGENREQUEST', 'SIGNREQUEST', 'SIGNREQUEST']);
});

test('a public key is a compressed point of the curve, in base64 as it should be', async () => {
  for (let i = 0; i < 20; i++) {
    const key = await makeSigningKey();
    assert.ok(isPublicKey(key.publicKey));
    // As OpenSSL compresses it, whichever of the two signs it has.
    const whole = createECDH('secp384r1');
    whole.setPrivateKey(Buffer.from(key.privateKey.export({ format: 'jwk' }).d ?? '', 'base64url'));
    assert.equal(key.publicKey, whole.getPublicKey('base64', 'compressed'));
  }
  const { publicKey } = await makeSigningKey();
  for (const none of [undefined, '', 'x', publicKey.slice(4), `${publicKey} `, 'A'.repeat(66)])
    assert.equal(isPublicKey(none), false, none);
});

test('nothing is signed by what is no point of the curve', async () => {
  const key = await makeSigningKey();
  const signature = await signMessage(Buffer.from('x'), key);
  const none = Buffer.concat([Buffer.of(2), Buffer.alloc(48, 0xff)]).toString('base64');
  assert.ok(isPublicKey(none));
  assert.equal(await isSignedBy(none, Buffer.from('x'), signature), false);
});
