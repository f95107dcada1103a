import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import {
  buildClient,
  CommitmentPolicy,
  MultiKeyringNode,
  RawAesKeyringNode,
  RawAesWrappingSuiteIdentifier,
  AlgorithmSuiteIdentifier as Suite,
} from '@aws-crypto/client-node';
import { readHeader, unseal } from '../../../src/bundle/envelope.ts';
import type { SecretsfsError } from '../../../src/errors.ts';
import { localKeyName, localKeyring } from '../../../src/keyring/local.ts';
import { FRAME_BYTES_MAX, SECRET_BYTES_MAX, SECRET_HEAD_BYTES } from '../../../src/limits.ts';
import {
  openSecret,
  readSecretHeader,
  type SealSecretOptions,
  sealSecret,
} from '../../../src/secrets/secret.ts';
import { CREATED, KEY, OTHER_KEY, outcome, refusal, sealTest } from '../../support/bundles.ts';
import { LOCATION, sealTestSecret } from '../../support/secrets.ts';

const { keyring, keyName, accepted } = localKeyring(KEY);
const HASH = 'c0ffee00'.repeat(8);
const { encrypt, decrypt } = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT);

/** The keyring as docs/format.md tells a stranger to make it. */
const documentedKeyring = new RawAesKeyringNode({
  keyNamespace: 'secretsfs-local',
  keyName: localKeyName(KEY),
  unencryptedMasterKey: Uint8Array.from(KEY),
  wrappingSuite: RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
  utf8Sorting: true,
});

const PAIRS = {
  'secretsfs-path': LOCATION,
  'secretsfs-created': CREATED.toISOString(),
  'secretsfs-format': 'secret-1',
};

async function sealStock(
  plaintext: Buffer,
  encryptionContext: Record<string, string>,
  frameLength = 4096,
): Promise<Buffer> {
  const suiteId = Suite.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY_ECDSA_P384;
  const { result } = await encrypt(documentedKeyring, plaintext, {
    suiteId,
    encryptionContext,
    frameLength,
  });
  return result;
}

test('openSecret() returns what sealSecret() sealed, and its header', async () => {
  const plaintext = randomBytes(10_000);
  const context = { team: 'infra', Zone: 'é' };
  const sealed = await sealTestSecret(plaintext, { context, hash: HASH });
  const opened = await openSecret(sealed, { keyring, location: LOCATION, accepted: [accepted], context });
  assert.deepEqual(opened.plaintext, plaintext);
  assert.deepEqual(opened.header, {
    location: LOCATION,
    created: CREATED.toISOString(),
    context,
    hash: HASH,
    encryptedDataKeys: [{ providerId: 'secretsfs-local', keyName }],
    headerBytes: opened.header.headerBytes,
    plaintextBytes: 10_000,
  });
  assert.deepEqual(readSecretHeader(sealed), opened.header);
});

for (const length of [0, 1, 4095, 4096, 4097, FRAME_BYTES_MAX, 3 * FRAME_BYTES_MAX + 5, SECRET_BYTES_MAX]) {
  test(`the beginning of a secret of ${length} bytes says how long it is, and it comes back`, async () => {
    const plaintext = Buffer.alloc(length, 'content');
    const sealed = await sealTestSecret(plaintext);
    assert.equal(readSecretHeader(sealed.subarray(0, SECRET_HEAD_BYTES)).plaintextBytes, length);
    const opened = await openSecret(sealed, { keyring, location: LOCATION });
    assert.ok(opened.plaintext.equals(plaintext));
  });
}

test('a secret and a bundle are never opened as each other', async () => {
  const bundle = await sealTest(Buffer.from('x'));
  const secret = await sealTestSecret('x');
  const asSecret = refusal('bundle-format', /it is a bundle/);
  const asBundle = refusal('bundle-format', /it is a secret/);
  assert.throws(() => readSecretHeader(bundle), asSecret);
  await assert.rejects(openSecret(bundle, { keyring, location: LOCATION }), asSecret);
  assert.throws(() => readHeader(secret), asBundle);
  await assert.rejects(unseal(secret, { keyring }), asBundle);
});

test('a secret that has all pairs of a bundle too is neither', async () => {
  const both = { ...PAIRS, 'secretsfs-name': 'web', 'secretsfs-serial': '7' };
  const asSecret = await sealStock(Buffer.from('x'), both);
  assert.throws(() => readSecretHeader(asSecret), refusal('bundle-format', /unknown "secretsfs-/));
  const asBundle = await sealStock(Buffer.from('x'), { ...both, 'secretsfs-format': '1' });
  assert.throws(() => readHeader(asBundle), refusal('bundle-format', /unknown "secretsfs-path"/));
});

test('openSecret() refuses a secret that lies elsewhere than it was sealed for, before it asks a key', async () => {
  const sealed = await sealTestSecret('x');
  for (const location of [
    's3://bucket/prefix/db/passwords',
    's3://bucket/prefix/db/passwor',
    's3://other/prefix/db/password',
    'file:///prefix/db/password',
    '',
  ]) {
    const options = { keyring: localKeyring(OTHER_KEY).keyring, location };
    await assert.rejects(openSecret(sealed, options), refusal('secret-path', /sealed for "s3:\/\/bucket/));
  }
});

test('openSecret() refuses keys that are not accepted and a context that is not there, before it asks a key', async () => {
  const sealed = await sealTestSecret('x', { context: { team: 'infra' } });
  const other = localKeyring(OTHER_KEY);
  const options = { keyring: other.keyring, location: LOCATION };
  await assert.rejects(
    openSecret(sealed, { ...options, accepted: [other.accepted] }),
    refusal('key-not-accepted', new RegExp(`secret.*${keyName}`)),
  );
  for (const context of [{ team: 'web' }, { zone: 'a' }, { team: 'infra', zone: 'a' }] as Record<
    string,
    string
  >[]) {
    await assert.rejects(openSecret(sealed, { ...options, context }), refusal('bundle-context', /secret/));
  }
});

test('openSecret() refuses the wrong key, an altered path and an altered content', async () => {
  const sealed = await sealTestSecret('attack at dawn');
  await assert.rejects(
    openSecret(sealed, { keyring: localKeyring(OTHER_KEY).keyring, location: LOCATION }),
    refusal('data-key-refused', /./),
  );
  const moved = Buffer.from(sealed);
  moved.write('passwore', moved.indexOf('password'));
  await assert.rejects(
    openSecret(moved, { keyring, location: LOCATION.replace('password', 'passwore') }),
    refusal('data-key-refused', /./),
  );
  const { headerBytes } = readSecretHeader(sealed);
  for (const at of [headerBytes - 1, headerBytes + 30, sealed.length - 1]) {
    const altered = Buffer.from(sealed);
    altered.writeUInt8(altered.readUInt8(at) ^ 1, at);
    await assert.rejects(
      openSecret(altered, { keyring, location: LOCATION }),
      refusal('bundle-corrupt', /secret/),
    );
  }
});

test('sealSecret() refuses what no secret may have', async () => {
  const bad: [Partial<SealSecretOptions>, RegExp][] = [
    [{ context: { 'secretsfs-path': 'x' } }, /reserved/],
    [{ context: { 'aws-crypto-public-key': 'x' } }, /reserved/],
    [{ location: 'db/password' }, /"db\/password"/],
    [{ location: 's3://' }, /"s3:\/\/"/],
    [{ location: 's3://bucket/a\nb' }, /no place/],
    [{ location: 's3://bucket/a\u009bb' }, /no place/],
    [{ location: `s3://bucket/${'a'.repeat(1300)}` }, /no place/],
  ];
  for (const [options, message] of bad) {
    await assert.rejects(sealTestSecret('x', options), refusal('usage', message));
  }
  const nine = new MultiKeyringNode({
    generator: keyring,
    children: Array.from({ length: 8 }, () => keyring),
  });
  await assert.rejects(
    sealTestSecret('x', { keyring: nine }),
    refusal('bundle-too-many-keys', /secret.* 9 /),
  );
});

test('sealSecret() refuses more than a secret may hold', async () => {
  const large = Buffer.alloc(SECRET_BYTES_MAX + 1);
  const options = { keyring, location: LOCATION, created: CREATED };
  await assert.rejects(sealSecret(large, options), refusal('bundle-too-large', /67108865.*67108864/));
});

test('openSecret() refuses more than a secret may hold', async () => {
  const large = await sealStock(Buffer.alloc(SECRET_BYTES_MAX + 1), PAIRS, 2 ** 27);
  await assert.rejects(
    openSecret(large, { keyring, location: LOCATION }),
    refusal('bundle-too-large', /secret/),
  );
});

test('readSecretHeader() says which pair is missing or malformed', async () => {
  const bad: [string, string | undefined, RegExp][] = [
    ['secretsfs-format', undefined, /no secretsfs-format/],
    ['secretsfs-format', 'secret-2', /secretsfs-format is "secret-2", want "secret-1"/],
    ['secretsfs-path', undefined, /no secretsfs-path/],
    ['secretsfs-path', 'db/password', /secretsfs-path is "db\/password"/],
    ['secretsfs-path', 's3://b/\u0007', /secretsfs-path is/],
    ['secretsfs-created', undefined, /no secretsfs-created/],
    ['secretsfs-created', 'yesterday', /secretsfs-created is "yesterday"/],
    ['secretsfs-hash', HASH.toUpperCase(), /secretsfs-hash is/],
    ['secretsfs-hash', 'c0ffee', /secretsfs-hash is/],
    ['secretsfs-other', 'x', /unknown "secretsfs-other"/],
  ];
  for (const [key, value, message] of bad) {
    const { [key]: _, ...others } = PAIRS as Record<string, string>;
    const pairs = value === undefined ? others : { ...others, [key]: value };
    const sealed = await sealStock(Buffer.from('x'), pairs);
    assert.throws(() => readSecretHeader(sealed), refusal('bundle-format', message));
  }
});

test('the stock decrypt of the AWS Encryption SDK opens our secret, and ours opens what its encrypt made', async () => {
  const plaintext = randomBytes(20_000);
  const opened = await decrypt(documentedKeyring, await sealTestSecret(plaintext, { hash: HASH }));
  assert.deepEqual(opened.plaintext, plaintext);
  const { 'aws-crypto-public-key': _, ...context } = opened.messageHeader.encryptionContext;
  assert.deepEqual({ ...context }, { ...PAIRS, 'secretsfs-hash': HASH });
  // In five frames: readable, but its beginning does not say how long it is.
  const stock = await sealStock(plaintext, PAIRS);
  assert.equal(readSecretHeader(stock).plaintextBytes, undefined);
  const { header, plaintext: back } = await openSecret(stock, { keyring, location: LOCATION });
  assert.deepEqual(back, plaintext);
  assert.equal(header.plaintextBytes, 20_000);
});

test('the beginning of a secret is read as the whole is, or said to be too short', async () => {
  const sealed = await sealTestSecret('attack at dawn', { context: { team: 'infra' } });
  const whole = readSecretHeader(sealed);
  const shown = whole.headerBytes + 24;
  for (let length = 1; length < sealed.length; length++) {
    const head = sealed.subarray(0, length);
    if (length < whole.headerBytes)
      assert.equal(await outcome(() => readSecretHeader(head)), 'bundle-truncated');
    else
      assert.deepEqual(readSecretHeader(head), {
        ...whole,
        plaintextBytes: length < shown ? undefined : whole.plaintextBytes,
      });
  }
});

test('the command that a hint offers runs nothing of what a header says', async () => {
  const location = "s3://bucket/a$(touch x)'; touch y #";
  const sealed = await sealSecret(Buffer.from('x'), { keyring, location, created: CREATED });
  await assert.rejects(openSecret(sealed, { keyring, location: LOCATION }), (error) => {
    const { hint = '' } = error as SecretsfsError;
    assert.ok(hint.includes(`--sealed-for 's3://bucket/a$(touch x)'\\''; touch y #', and`), hint);
    return true;
  });
});
