/** Every era of sneaker and kms-secrets: what was written then opens, and nothing that is not exactly that. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import {
  describePack,
  describeSneaker,
  joinPair,
  joinSneaker,
  recogniseCiphertext,
  recognisePack,
  splitSneaker,
  type WrappedAndSealed,
} from '../../../src/bundle/old-format.ts';
import { openSneaker, sealSneaker, storedSecretContexts } from '../../../src/bundle/sneaker.ts';
import { refusal } from '../../support/bundles.ts';
import {
  contextOf,
  OLD_CONTEXT,
  OLD_KEY_ID,
  OLD_VECTORS,
  oldFile,
  oldKms,
  recogniseVector,
} from '../../support/old-vectors.ts';
import { member, tarOf } from '../../support/tars.ts';

const kms = oldKms();

for (const vector of OLD_VECTORS) {
  test(`${vector.name}, ${vector.how} of era ${vector.era}, opens; with another context, path or key it does not`, async () => {
    const old = await recogniseVector(vector);
    assert.ok(old);
    assert.equal(old.format, vector.how === 'object' ? 'sneaker' : 'kms-secrets');
    const key = kms.unwrap(old.wrappedKey, contextOf(vector));
    assert.ok(key);
    const { plaintext, era } = openSneaker(old, key);
    assert.deepEqual(plaintext, oldFile(vector.opensTo));
    assert.equal(era, vector.era);

    assert.equal(kms.unwrap(old.wrappedKey, { ...contextOf(vector), other: 'pair' }), undefined);
    if (vector.place !== null) {
      const moved = { ...vector.context, Path: `${vector.place}2` };
      assert.equal(kms.unwrap(old.wrappedKey, moved), undefined);
    }
    const otherKey = { ...key, plaintext: randomBytes(32) };
    assert.throws(() => openSneaker(old, otherKey), refusal('bundle-corrupt', /does not fit/));
    for (const at of [0, 12, old.sealed.length - 1]) {
      const sealed = Buffer.from(old.sealed);
      sealed[at] = (sealed[at] ?? 0) ^ 1;
      assert.throws(() => openSneaker({ ...old, sealed }, key), refusal('bundle-corrupt'));
    }
    assert.throws(
      () => openSneaker({ ...old, sealed: old.sealed.subarray(1) }, key),
      refusal('bundle-corrupt'),
    );
  });
}

test("a data key's ARN is bound wherever it was bound then", async () => {
  const bound: string[] = [];
  for (const vector of OLD_VECTORS) {
    const old = await recogniseVector(vector);
    const key = old && kms.unwrap(old.wrappedKey, contextOf(vector));
    assert.ok(key);
    try {
      openSneaker(old, { ...key, keyId: `${key.keyId}0` });
    } catch {
      bound.push(vector.name);
    }
  }
  assert.deepEqual(bound, [
    'a-2015-02-05',
    'b-2015-04-17',
    'b-2015-04-18',
    'b-2015-04-18.pack',
    'c-2015-04-21',
    'c-2015-04-21.pack',
  ]);
});

test('one object that does not bind its key was never written, and does not open', async () => {
  const vector = OLD_VECTORS.find(({ name }) => name === 'a-2015-02-04');
  const pair = vector && (await recogniseVector(vector));
  assert.ok(pair);
  const asObject = splitSneaker(joinSneaker(pair.wrappedKey, pair.sealed)) as WrappedAndSealed;
  const key = kms.unwrap(pair.wrappedKey, contextOf(vector));
  assert.ok(key);
  assert.throws(() => openSneaker(asObject, key), refusal('bundle-corrupt'));
});

test('a data key of another length is refused', () => {
  const old = { format: 'sneaker', wrappedKey: Buffer.alloc(9), sealed: Buffer.alloc(99) } as const;
  assert.throws(
    () => openSneaker(old, { plaintext: Buffer.alloc(16), keyId: OLD_KEY_ID }),
    refusal('bundle-corrupt', /16 bytes, want 32/),
  );
});

test("what is written is today's format", () => {
  const plaintext = randomBytes(2_500_000);
  const key = { plaintext: randomBytes(32), keyId: OLD_KEY_ID };
  const wrappedKey = kms.wrap(OLD_KEY_ID, key.plaintext, OLD_CONTEXT);
  const nonce = randomBytes(12);
  const bytes = sealSneaker(plaintext, { ...key, wrappedKey, nonce });
  assert.equal(bytes.length, 4 + wrappedKey.length + 12 + plaintext.length + 16);
  const old = splitSneaker(bytes);
  assert.ok(old);
  assert.deepEqual(old.wrappedKey, wrappedKey);
  assert.deepEqual(old.sealed.subarray(0, 12), nonce);
  const opened = openSneaker(old, key);
  assert.equal(opened.era, 'C');
  assert.ok(opened.plaintext.equals(plaintext));
});

test('contexts of a stored secret: the path always, but for what is older than paths', () => {
  const place = 's3://bucket/prefix/a';
  assert.deepEqual(storedSecretContexts('sneaker', { Path: 'forged' }, place), [{ Path: place }]);
  assert.deepEqual(storedSecretContexts('kms-secrets', {}, place), [{ Path: place }, {}]);
  assert.deepEqual(storedSecretContexts('kms-secrets', { a: 'b' }, place), [
    { a: 'b', Path: place },
    { a: 'b' },
    {},
  ]);
});

test('what is no pack is not taken for one', async () => {
  const file = (name: string, data: Buffer) => member({ name, data });
  const none: readonly Buffer[] = [
    Buffer.alloc(0),
    Buffer.alloc(3),
    Buffer.alloc(10_240),
    Buffer.from('-----BEGIN CERTIFICATE-----\n'),
    oldFile('pack.tar'),
    oldFile('raw.kms'),
    Buffer.concat([Buffer.from([0, 0, 0x18, 1]), Buffer.alloc(7000)]),
    Buffer.concat([Buffer.from([0, 0, 0, 10]), Buffer.alloc(25)]),
    tarOf(file('key.kms', Buffer.alloc(9))),
    tarOf(
      file('key.kms', Buffer.alloc(9)),
      file('secrets.tar.aes', Buffer.alloc(99)),
      file('more', Buffer.alloc(1)),
    ),
    oldFile('a-2015-02-05.pack').subarray(0, 700),
  ];
  for (const bytes of none) assert.equal(await recognisePack(bytes), undefined);
  assert.ok(
    await recognisePack(tarOf(file('key.kms', Buffer.alloc(9)), file('secrets.tar.aes', Buffer.alloc(99)))),
  );
});

test('a list tells the size of a plaintext from the head of an object', () => {
  const bytes = oldFile('c-2015-04-21');
  assert.deepEqual(describeSneaker(bytes.subarray(0, 4), bytes.length), { plaintextBytes: 14 });
  for (const none of [oldFile('pack.tar'), oldFile('raw.kms'), Buffer.alloc(3), Buffer.alloc(99)]) {
    assert.equal(describeSneaker(none, none.length), undefined);
  }
  assert.equal(describeSneaker(bytes, 40), undefined);
});

test('inspect tells packs by their first block', () => {
  for (const { name, how } of OLD_VECTORS.filter(({ how }) => how !== 'pair')) {
    const bytes = oldFile(name);
    const format = how === 'tar' ? 'kms-secrets' : 'sneaker';
    assert.equal(describePack(bytes.subarray(0, 512), bytes.length)?.format, format, name);
  }
  for (const none of ['pack.tar', 'raw.kms']) assert.equal(describePack(oldFile(none), 10_240), undefined);
});

test('half a pair is said to be one', async () => {
  assert.throws(
    () => joinPair(Buffer.alloc(0), Buffer.alloc(99)),
    refusal('bundle-invalid', /\.kms has 0 bytes/),
  );
  assert.throws(
    () => joinPair(Buffer.alloc(99), Buffer.alloc(15)),
    refusal('bundle-invalid', /\.aes has 15/),
  );
  const half = tarOf(
    member({ name: 'key.kms', data: Buffer.alloc(9) }),
    member({ name: 'secrets.tar.aes', data: Buffer.alloc(1) }),
  );
  await assert.rejects(recognisePack(half), refusal('bundle-invalid'));
});

test('a KMS ciphertext is read as bytes, as base64 and as the aws command prints it', () => {
  const blob = oldFile('raw.kms');
  const read = (bytes: Buffer) => {
    const found = recogniseCiphertext(bytes);
    return found && [found.encoding, found.blob.equals(blob)];
  };
  assert.deepEqual(read(blob), ['binary', true]);
  assert.deepEqual(read(oldFile('raw.base64')), ['base64', true]);
  assert.deepEqual(read(oldFile('raw.json')), ['json', true]);
  assert.deepEqual(read(Buffer.from(`${blob.toString('base64').replace(/(.{7})/g, '$1\r\n')}\n`)), [
    'base64',
    true,
  ]);
  assert.equal(recogniseCiphertext(Buffer.alloc(0)), undefined);
  assert.equal(recogniseCiphertext(Buffer.alloc(6145, 200)), undefined);
  assert.equal(recogniseCiphertext(Buffer.alloc(6144, 200))?.encoding, 'binary');
  assert.equal(recogniseCiphertext(Buffer.from('{"a":1}'))?.encoding, 'binary');
});
