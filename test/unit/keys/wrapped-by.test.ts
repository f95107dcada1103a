/** Which keys wrap something, told by its beginning: of every format there ever was, and of nothing else. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import {
  AlgorithmSuiteIdentifier,
  buildEncrypt,
  CommitmentPolicy,
  RawAesKeyringNode,
  RawAesWrappingSuiteIdentifier,
} from '@aws-crypto/client-node';
import fc from 'fast-check';
import { localKeyring } from '../../../src/keyring/local.ts';
import { HEAD_BYTES, secondMember, type Wrapping, wrappingOf } from '../../../src/keys/wrapped-by.ts';
import { KEY, sealTest } from '../../support/bundles.ts';
import { VECTORS } from '../../support/paths.ts';
import { sealTestSecret } from '../../support/secrets.ts';

const { keyName } = localKeyring(KEY);
const old = (name: string) => readFileSync(path.join(VECTORS, 'old', name));

/** As the scan reads it: its beginning, and what is asked for after that. */
function ofWhole(bytes: Buffer): Wrapping {
  const first = wrappingOf(bytes.subarray(0, HEAD_BYTES), bytes.length);
  if (first.kind !== 'more') return first;
  const more = bytes.subarray(first.offset, first.offset + first.bytes);
  return first.offset === 0 ? wrappingOf(more, bytes.length) : secondMember(more);
}

test('a bundle and a secret name their keys, also in base64', async () => {
  const keys = [{ providerId: 'secretsfs-local', keyName }];
  const bundle = await sealTest(Buffer.alloc(100_000));
  assert.deepEqual(ofWhole(bundle), { kind: 'named', what: 'bundle', name: 'web', keys });
  assert.deepEqual(ofWhole(await sealTestSecret('x')), { kind: 'named', what: 'secret', keys });
  const small = Buffer.from((await sealTest(Buffer.alloc(100))).toString('base64'));
  assert.deepEqual(ofWhole(small), { kind: 'named', what: 'bundle', name: 'web', keys });
});

test('a bundle in base64 that is longer than a head names its keys, as a header does that is', async () => {
  const lines = (bytes: Buffer) => Buffer.from(bytes.toString('base64').replace(/.{76}/g, '$&\n'));
  const bundle = ofWhole(lines(await sealTest(Buffer.alloc(100_000))));
  assert.ok(bundle.kind === 'named' && bundle.what === 'bundle', bundle.kind);
  assert.equal(bundle.keys[0]?.keyName, keyName);

  const number = (value: number) => Buffer.from([value >> 8, value & 0xff]);
  const field = (text: string) => Buffer.concat([number(text.length), Buffer.from(text)]);
  const context = Buffer.concat([number(1), field('p'), field('x'.repeat(15_000))]);
  const keys = [number(1), field('theirs'), field('a key'), field('wrapped')];
  const head = [Buffer.from([2, 5, 0x78]), Buffer.alloc(32), number(context.length), context, ...keys];
  const found = ofWhole(lines(Buffer.concat([...head, Buffer.alloc(50_000)])));
  assert.ok(found.kind === 'named' && found.what === 'message', found.kind);
});

for (const suite of [
  AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16,
  AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA384_ECDSA_P384,
  AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY,
]) {
  test(`a message of another program, suite 0x${suite.toString(16)}, names its key`, async () => {
    const policy = suite > 0x400 ? 'REQUIRE_ENCRYPT_REQUIRE_DECRYPT' : 'FORBID_ENCRYPT_ALLOW_DECRYPT';
    const { encrypt } = buildEncrypt(CommitmentPolicy[policy]);
    const keyring = new RawAesKeyringNode({
      keyNamespace: 'theirs',
      keyName: 'a key',
      unencryptedMasterKey: new Uint8Array(32),
      wrappingSuite: RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
    });
    for (const encryptionContext of [{}, { purpose: 'test' }]) {
      const { result } = await encrypt(keyring, 'x', { suiteId: suite, encryptionContext });
      const found = ofWhole(result);
      assert.ok(found.kind === 'named' && found.what === 'message' && found.keys.length === 1, found.kind);
      assert.equal(found.keys[0]?.providerId, 'theirs');
    }
  });
}

test('what sneaker, kms-secrets and aws kms encrypt left has a ciphertext to ask KMS about', () => {
  for (const [name, what] of [
    ['c-2015-04-21', 'sneaker'],
    ['b-2015-04-18', 'sneaker'],
    ['c-2015-04-21.pack', 'sneaker'],
    ['a-2015-02-01.pack', 'kms-secrets'],
    ['a-2015-02-05.pack', 'kms-secrets'],
    ['a-2015-02-05.kms', 'kms'],
    ['raw.kms', 'kms'],
    ['raw.base64', 'kms'],
    ['raw.json', 'kms'],
  ] as const) {
    const found = ofWhole(old(name));
    assert.ok(found.kind === 'ask', `${name}: ${found.kind}`);
    assert.equal(found.what, what, name);
    assert.deepEqual([...found.blob.subarray(0, 3)], [1, 2, 2], name);
  }
});

test('of a pack of kms-secrets the key may come first, too', () => {
  const pack = old('a-2015-02-05.pack');
  const second = pack.indexOf('key.kms');
  const swapped = Buffer.concat([
    pack.subarray(second, second + 1024),
    pack.subarray(0, second),
    Buffer.alloc(1024),
  ]);
  assert.deepEqual(ofWhole(swapped), ofWhole(pack));
  assert.equal(ofWhole(pack).kind, 'ask');
});

test('what no key of KMS wraps is nothing: text, tars, pictures, the sealed half of a pair', () => {
  for (const bytes of [
    Buffer.alloc(0),
    Buffer.from('hello'),
    Buffer.from('aGVsbG8='),
    Buffer.from('-----BEGIN CERTIFICATE-----\n'),
    Buffer.from([0, 0, 1, 0, 1, 0, 16, 16, ...Buffer.alloc(600, 7)]),
    old('pack.tar'),
    old('a-2015-02-05.aes'),
    Buffer.from([0x89, 0x50, 0x4e, 0x47]),
  ]) {
    assert.equal(ofWhole(bytes).kind, 'none', bytes.toString('latin1', 0, 20));
  }
});

test('a message that is cut short in its header is damaged, and no other cut changes what it names', async () => {
  const bundle = await sealTest(Buffer.alloc(100));
  const whole = ofWhole(bundle);
  const kinds = new Set<string>();
  let named = false;
  for (let length = 4; length <= bundle.length; length++) {
    const found = ofWhole(bundle.subarray(0, length));
    kinds.add(found.kind);
    named ||= found.kind === 'named';
    if (named) assert.deepEqual(found, whole);
  }
  assert.deepEqual([...kinds].sort(), ['damaged', 'named']);
  // There is more of it than was read.
  assert.equal(wrappingOf(bundle.subarray(0, 60), 100_000).kind, 'more');
});

test('no bytes make it fail, and it names no key that the bytes do not have', async () => {
  const seeds = [
    await sealTest(Buffer.alloc(10)),
    await sealTestSecret('x'),
    old('c-2015-04-21'),
    old('a-2015-02-05.pack'),
    old('raw.json'),
  ];
  const flips = fc.array(fc.tuple(fc.nat(700), fc.nat(255)), { maxLength: 8 });
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 300 }).map((all) => Buffer.from(all)),
    fc.tuple(fc.constantFrom(...seeds), flips, fc.nat(2000)).map(([seed, changes, length]) => {
      const copy = Buffer.from(seed.subarray(0, Math.max(1, seed.length - length)));
      for (const [at, value] of changes) copy[at % copy.length] = value;
      return copy;
    }),
  );
  fc.assert(
    fc.property(bytes, (each) => {
      const found = ofWhole(each);
      if (found.kind === 'named') {
        assert.ok(found.keys.length * 6 <= each.length);
        for (const { providerId } of found.keys) assert.ok(Buffer.byteLength(providerId) <= 3 * each.length);
      }
      if (found.kind === 'ask') assert.ok(found.blob.length > 0 && found.blob.length <= each.length);
    }),
    { numRuns: 5000 },
  );
});
