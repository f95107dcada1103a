import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { createCipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { mock, test } from 'node:test';
import {
  buildClient,
  CommitmentPolicy,
  MultiKeyringNode,
  RawAesKeyringNode,
  RawAesWrappingSuiteIdentifier,
  AlgorithmSuiteIdentifier as Suite,
} from '@aws-crypto/client-node';
import {
  KeyringNode,
  type NodeDecryptionMaterial,
  type NodeEncryptionMaterial,
} from '@aws-crypto/material-management-node';
import { readHeader, unseal } from '../../../src/bundle/envelope.ts';
import type { SealOptions } from '../../../src/bundle/seal.ts';
import { ConfigError, KeyError } from '../../../src/errors.ts';
import { localKeyName, localKeyring } from '../../../src/keyring/local.ts';
import { FRAME_BYTES_MAX, FRAME_BYTES_MIN, HEADER_BYTES_MAX } from '../../../src/limits.ts';
import { CREATED, KEY, OTHER_KEY, outcome, refusal, sealTest } from '../../support/bundles.ts';

const { keyring, keyName } = localKeyring(KEY);
const stock = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT);
const stockLenient = buildClient(CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT);

/** The keyring as docs/format.md tells a stranger to make it. */
function documentedKeyring(key: Buffer) {
  return new RawAesKeyringNode({
    keyNamespace: 'secretsfs-local',
    keyName: localKeyName(key),
    unencryptedMasterKey: Uint8Array.from(key),
    wrappingSuite: RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
    utf8Sorting: true,
  });
}

const PAIRS = {
  'secretsfs-name': 'web',
  'secretsfs-serial': '7',
  'secretsfs-created': '2026-11-05T10:20:30.456Z',
  'secretsfs-format': '1',
};

async function sealStock(
  plaintext: Buffer,
  pairs: Record<string, string>,
  suiteId = SIGNED,
): Promise<Buffer> {
  const { result } = await stock.encrypt(documentedKeyring(KEY), plaintext, {
    suiteId,
    encryptionContext: pairs,
  });
  return result;
}
const SIGNED = Suite.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY_ECDSA_P384;

test('unseal() returns what seal() sealed, and its header', async () => {
  const plaintext = randomBytes(10_000);
  const bundle = await sealTest(plaintext, { context: { team: 'infra', Zone: 'é' } });
  const opened = await unseal(bundle, { keyring });
  assert.deepEqual(opened.plaintext, plaintext);
  assert.deepEqual(opened.header, {
    name: 'web',
    serial: 7,
    created: CREATED.toISOString(),
    context: { team: 'infra', Zone: 'é' },
    encryptedDataKeys: [{ providerId: 'secretsfs-local', keyName }],
    frameBytes: 16_384,
    headerBytes: opened.header.headerBytes,
  });
  assert.deepEqual(readHeader(bundle), opened.header);
});

for (const length of [
  0,
  1,
  FRAME_BYTES_MIN - 1,
  FRAME_BYTES_MIN,
  FRAME_BYTES_MAX,
  2 * FRAME_BYTES_MAX,
  2 * FRAME_BYTES_MAX + 5,
]) {
  test(`a plaintext of ${length} bytes comes back`, async () => {
    const plaintext = randomBytes(length);
    const bundle = await sealTest(plaintext);
    assert.equal(bundle.readUInt8(0), 2);
    assert.equal(bundle.readUInt16BE(1), 0x0578);
    assert.ok(readHeader(bundle).frameBytes <= FRAME_BYTES_MAX);
    assert.deepEqual((await unseal(bundle, { keyring })).plaintext, plaintext);
  });
}

test('seal() takes a view of a larger array and leaves it as it was', async () => {
  const large = new Uint8Array(100).map((_, i) => i);
  const bundle = await sealTest(large.subarray(10, 20));
  assert.deepEqual((await unseal(bundle, { keyring })).plaintext, Buffer.from(large.subarray(10, 20)));
  assert.deepEqual(
    large,
    new Uint8Array(100).map((_, i) => i),
  );
});

test('seal() refuses what no bundle may be called or carry', async () => {
  const bad: [Partial<SealOptions>, RegExp][] = [
    [{ name: '../x' }, /"\.\.\/x"/],
    [{ serial: 0 }, /0 as a serial/],
    [{ serial: 1.5 }, /1\.5/],
    [{ serial: 2 ** 53 }, /9007199254740992/],
    [{ context: { 'secretsfs-name': 'x' } }, /"secretsfs-name=x"/],
    [{ context: { 'aws-crypto-public-key': 'x' } }, /"aws-crypto-public-key=x"/],
  ];
  for (const [options, message] of bad) {
    await assert.rejects(sealTest(Buffer.alloc(1), options), refusal('usage', message));
  }
});

test('seal() refuses more keys than a reader accepts', async () => {
  const nine = new MultiKeyringNode({
    generator: keyring,
    children: Array.from({ length: 8 }, () => keyring),
  });
  await assert.rejects(sealTest(Buffer.alloc(1), { keyring: nine }), refusal('bundle-too-many-keys', /9/));
});

test('the stock decrypt of the AWS Encryption SDK opens our bundle, given only the keyring', async () => {
  const plaintext = randomBytes(FRAME_BYTES_MAX + 77);
  const bundle = await sealTest(plaintext, { context: { team: 'infra', Zone: 'é' } });
  const opened = await stock.decrypt(documentedKeyring(KEY), bundle);
  assert.deepEqual(opened.plaintext, plaintext);
  const { 'aws-crypto-public-key': _, ...context } = opened.messageHeader.encryptionContext;
  assert.deepEqual({ ...context }, { ...PAIRS, team: 'infra', Zone: 'é' });
});

test('unseal() opens what the stock encrypt made with our suite and our pairs', async () => {
  const plaintext = randomBytes(123_456);
  const bundle = await sealStock(plaintext, { ...PAIRS, team: 'infra' });
  const opened = await unseal(bundle, { keyring });
  assert.deepEqual(opened.plaintext, plaintext);
  assert.deepEqual(opened.header.context, { team: 'infra' });
});

test('a bundle under several keys opens with any of them', async () => {
  const other = localKeyring(OTHER_KEY);
  const both = new MultiKeyringNode({ generator: keyring, children: [other.keyring] });
  const bundle = await sealTest(Buffer.from('x'), { keyring: both });
  assert.deepEqual(
    readHeader(bundle).encryptedDataKeys.map((key) => key.keyName),
    [keyName, other.keyName],
  );
  for (const one of [keyring, other.keyring]) {
    assert.equal((await unseal(bundle, { keyring: one })).plaintext.toString(), 'x');
  }
});

test('unseal() refuses a key that the bundle is not sealed under', async () => {
  const bundle = await sealTest(Buffer.from('x'));
  const other = localKeyring(OTHER_KEY);
  await assert.rejects(
    unseal(bundle, { keyring: other.keyring }),
    refusal('data-key-refused', new RegExp(keyName)),
  );
});

test('unseal() refuses a message that is only committed, as the SDK makes them by default', async () => {
  const bundle = await sealStock(
    Buffer.from('x'),
    PAIRS,
    Suite.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY,
  );
  await assert.rejects(unseal(bundle, { keyring }), refusal('bundle-suite', /0x0478.*unsigned/));
});

test('unseal() refuses a message of version 1, signed or not, and names its suite', async () => {
  const { result } = await stockLenient.encrypt(documentedKeyring(KEY), 'x', { encryptionContext: PAIRS });
  await assert.rejects(
    unseal(result, { keyring }),
    refusal('bundle-suite', /version 1.*0x0378.*without key commitment/),
  );
});

test('readHeader() says which secretsfs-* pair is missing or malformed', async () => {
  const bad: [string, string | undefined, RegExp][] = [
    ['secretsfs-format', undefined, /no secretsfs-format/],
    ['secretsfs-format', '2', /secretsfs-format is "2", want "1"/],
    ['secretsfs-name', undefined, /no secretsfs-name/],
    ['secretsfs-name', 'a/b', /secretsfs-name is "a\/b"/],
    ['secretsfs-name', 'n'.repeat(65), /secretsfs-name is/],
    ['secretsfs-serial', undefined, /no secretsfs-serial/],
    ['secretsfs-created', undefined, /no secretsfs-created/],
    ['secretsfs-created', 'yesterday', /secretsfs-created is "yesterday"/],
    ['secretsfs-created', '2026-13-01T00:00:00Z', /secretsfs-created is/],
    ['secretsfs-created', '2026-11-05T10:20:30+01:00', /secretsfs-created is/],
    ['secretsfs-other', 'x', /unknown "secretsfs-other"/],
    ...['0', '-1', '07', '1.0', '1e3', ' 7', '9007199254740992', '99999999999999999999', '٧'].map(
      (serial): [string, string, RegExp] => ['secretsfs-serial', serial, /secretsfs-serial is/],
    ),
  ];
  for (const [key, value, message] of bad) {
    const { [key]: _, ...others } = PAIRS as Record<string, string>;
    const bundle = await sealStock(
      Buffer.from('x'),
      value === undefined ? others : { ...others, [key]: value },
    );
    assert.throws(() => readHeader(bundle), refusal('bundle-format', message));
  }
});

test('readHeader() needs the header and no more', async () => {
  const bundle = await sealTest(randomBytes(100_000));
  const header = readHeader(bundle);
  assert.deepEqual(readHeader(bundle.subarray(0, header.headerBytes)), header);
  assert.throws(
    () => readHeader(bundle.subarray(0, header.headerBytes - 1)),
    refusal('bundle-truncated', /header/),
  );
});

test('readHeader() tells what a thing that is not a bundle is', () => {
  const tar = Buffer.alloc(1024);
  tar.write('ustar', 257);
  const cases: [Buffer, RegExp][] = [
    [Buffer.alloc(0), /it is empty/],
    [tar, /a plain tar/],
    [Buffer.from([0x1f, 0x8b, 8, 0]), /gzip/],
    [Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), /zstd/],
    [Buffer.from('\xfd7zXZ\0', 'latin1'), /xz/],
    [Buffer.from('AgV4AAAA'), /a bundle in base64/],
    [Buffer.from([1, 2, 2, 0, 0x78]), /a KMS ciphertext/],
    [Buffer.from('AQICAHg='), /a KMS ciphertext in base64/],
    [Buffer.from([0, 0, 0, 200, 1, 2, 2, 0]), /a pack of sneaker/],
    [Buffer.from('-----BEGIN CERTIFICATE-----'), /a PEM file/],
    [Buffer.from('<Error>'), /XML or HTML/],
    [Buffer.from('hello'), /not a bundle/],
    [Buffer.from([0]), /not a bundle/],
    [Buffer.from([1]), /not a bundle/],
  ];
  for (const [bytes, message] of cases) {
    assert.throws(() => readHeader(bytes), refusal('bundle-invalid', message));
  }
});

/** Where the parts of a header are. */
function offsets(bundle: Buffer) {
  const context = 1 + 2 + 32;
  const keys = context + 2 + bundle.readUInt16BE(context);
  return { context, keys, end: readHeader(bundle).headerBytes };
}

test('a header may claim neither many data keys, nor none, nor to be large', async () => {
  const bundle = await sealTest(Buffer.from('x'));
  const { context, keys, end } = offsets(bundle);
  const patched = (patch: (bytes: Buffer) => void) => {
    const bytes = Buffer.concat([bundle, Buffer.alloc(2 * HEADER_BYTES_MAX)]);
    patch(bytes);
    return () => readHeader(bytes);
  };
  const u16 = (value: number, at: number) => patched((bytes) => bytes.writeUInt16BE(value, at));
  assert.throws(u16(0, keys), refusal('bundle-invalid', /no encrypted data key/));
  assert.throws(u16(9, keys), refusal('bundle-too-many-keys', /has 9/));
  assert.throws(u16(0xffff, keys), refusal('bundle-too-many-keys', /has 65535/));
  assert.throws(u16(0xffff, context), refusal('bundle-invalid', /longer than 65536/));
  assert.throws(u16(0xffff, context + 2), refusal('bundle-invalid', /malformed/));
  // Content type, frame length, commitment and tag are the header's last 53 bytes.
  assert.throws(
    patched((bytes) => bytes.writeUInt8(1, end - 53)),
    refusal('bundle-invalid', /content type is 1/),
  );
  for (const length of [0, 1, FRAME_BYTES_MIN - 1]) {
    assert.throws(
      patched((bytes) => bytes.writeUInt32BE(length, end - 52)),
      refusal('bundle-invalid', /frame length/),
    );
  }
});

test('a header with a pair twice, or with text that is not UTF-8, is refused', async () => {
  const bundle = await sealTest(Buffer.from('x'), { context: { aa: 'v1', ab: 'v2' } });
  const twice = Buffer.from(bundle);
  twice.write('aa', twice.indexOf('ab'));
  assert.throws(() => readHeader(twice), refusal('bundle-invalid', /"aa" twice/));
  const garbled = Buffer.from(bundle);
  garbled.writeUInt8(0xff, garbled.indexOf('v2'));
  assert.throws(() => readHeader(garbled), refusal('bundle-invalid', /not UTF-8/));
});

test('unseal() refuses frames that claim to be huge, without making room for them', async () => {
  const bundle = await sealTest(Buffer.from('x'));
  const { end } = offsets(bundle);
  const huge = Buffer.from(bundle);
  // The final frame: marker, sequence, IV, then its length.
  huge.writeUInt32BE(0xffffffff, end + 4 + 4 + 12);
  const before = process.memoryUsage().arrayBuffers;
  await assert.rejects(unseal(huge, { keyring }), refusal('bundle-corrupt', /longer than a frame/));
  const hugeFrames = Buffer.from(huge);
  hugeFrames.writeUInt32BE(0xffffffff, end - 52);
  await assert.rejects(unseal(hugeFrames, { keyring }), refusal('bundle-truncated'));
  await assert.rejects(
    unseal(hugeFrames, { keyring, plaintextBytesMax: 2 ** 33 }),
    refusal('bundle-truncated'),
  );
  assert.ok(process.memoryUsage().arrayBuffers - before < 1024 * 1024);
});

test('unseal() refuses more plaintext than it is allowed to make', async () => {
  const bundle = await sealTest(Buffer.alloc(1000));
  await assert.rejects(
    unseal(bundle, { keyring, plaintextBytesMax: 999 }),
    refusal('bundle-too-large', /1000.*999/),
  );
  assert.equal((await unseal(bundle, { keyring, plaintextBytesMax: 1000 })).plaintext.length, 1000);
});

test('unseal() refuses anything after the end', async () => {
  const bundle = await sealTest(Buffer.from('x'));
  for (const tail of [Buffer.alloc(1), bundle, Buffer.alloc(100_000)]) {
    const longer = Buffer.concat([bundle, tail]);
    await assert.rejects(unseal(longer, { keyring }), refusal('bundle-corrupt', /follow its end/));
  }
});

test('unseal() refuses a flipped bit in every byte of a small bundle', async () => {
  const bundle = await sealTest(Buffer.from('attack at dawn'));
  for (let at = 0; at < bundle.length; at++) {
    for (const bit of [1 << (at % 8), 0x80]) {
      const altered = Buffer.from(bundle);
      altered.writeUInt8(altered.readUInt8(at) ^ bit, at);
      assert.match(
        await outcome(() => unseal(altered, { keyring })),
        /^(bundle-|data-key-)/,
        `byte ${at}, bit ${bit}`,
      );
    }
  }
});

test('unseal() refuses a small bundle cut short at every length, and says so', async () => {
  const bundle = await sealTest(Buffer.from('attack at dawn'));
  for (let length = 1; length < bundle.length; length++) {
    assert.equal(
      await outcome(() => unseal(bundle.subarray(0, length), { keyring })),
      'bundle-truncated',
      `${length}`,
    );
  }
});

test('unseal() calls a flipped bit behind the header corruption, not a wrong key', async () => {
  const bundle = await sealTest(randomBytes(3 * FRAME_BYTES_MAX));
  const { end } = offsets(bundle);
  // Commitment, header tag, first frame's IV, its content, its tag, a later frame, the signature.
  for (const at of [
    end - 40,
    end - 1,
    end + 5,
    end + 100,
    end + 16 + FRAME_BYTES_MAX,
    2_500_000,
    bundle.length - 9,
  ]) {
    const altered = Buffer.from(bundle);
    altered.writeUInt8(altered.readUInt8(at) ^ 4, at);
    assert.equal(
      await outcome(() => unseal(altered, { keyring })),
      'bundle-corrupt',
      `byte ${at} of ${bundle.length}`,
    );
  }
});

test("unseal() refuses another bundle's data key, also one of the same name and serial", async () => {
  const [one, two] = [await sealTest(Buffer.from('one')), await sealTest(Buffer.from('two'))];
  const { keys, end } = offsets(one);
  assert.equal(offsets(two).keys, keys);
  const swapped = Buffer.concat([
    one.subarray(0, keys),
    two.subarray(keys, end - 53),
    one.subarray(end - 53),
  ]);
  await assert.rejects(unseal(swapped, { keyring }), refusal('data-key-refused'));
});

test("unseal() refuses another bundle's frames or signature", async () => {
  const [one, two] = [await sealTest(Buffer.from('one')), await sealTest(Buffer.from('two'))];
  const { end } = offsets(one);
  const body = 24 + 3 + 16;
  const frames = Buffer.concat([
    one.subarray(0, end),
    two.subarray(end, end + body),
    one.subarray(end + body),
  ]);
  await assert.rejects(unseal(frames, { keyring }), refusal('bundle-corrupt', /signature/));
  const signature = Buffer.concat([one.subarray(0, end + body), two.subarray(end + body)]);
  await assert.rejects(unseal(signature, { keyring }), refusal('bundle-corrupt', /signature/));
});

/** Who may decrypt has the data key: what can be made with it, and was not signed by the author, must be refused. */
test('unseal() refuses content that the holder of the data key resealed', async () => {
  const bundle = await sealTest(Buffer.from('attack at dawn'));
  let forged: Buffer | undefined;
  await unseal(bundle, { keyring: stealing(keyring, (steal) => (forged = steal(bundle))) });
  assert.ok(forged !== undefined && !forged.equals(bundle));
  await assert.rejects(unseal(forged, { keyring }), refusal('bundle-corrupt', /signature/));
});

/** A keyring that passes the data key to `thief`, which gets a function that puts another content into the bundle. */
function stealing(inner: KeyringNode, thief: (forge: (bundle: Buffer) => Buffer) => void): KeyringNode {
  return new (class extends KeyringNode {
    override _onEncrypt(material: NodeEncryptionMaterial) {
      return Promise.resolve(material);
    }
    override async _onDecrypt(
      material: NodeDecryptionMaterial,
      keys: Parameters<KeyringNode['onDecrypt']>[1],
    ) {
      await inner.onDecrypt(material, keys.slice());
      thief((bundle) => forge(material, bundle));
      return material;
    }
  })();
}

function forge(material: NodeDecryptionMaterial, bundle: Buffer): Buffer {
  const { end } = offsets(bundle);
  const dataKey = material.getUnencryptedDataKey();
  const secret = dataKey instanceof Uint8Array ? Buffer.from(dataKey) : dataKey.export();
  const derived = Buffer.from(
    hkdfSync('sha512', secret, bundle.subarray(3, 35), Buffer.from('\x05\x78DERIVEKEY', 'latin1'), 32),
  );
  const forged = Buffer.from(bundle);
  const content = Buffer.from('attack at dusk');
  const numbers = Buffer.alloc(12);
  numbers.writeUInt32BE(1, 0);
  numbers.writeUInt32BE(content.length, 8);
  const cipher = createCipheriv('aes-256-gcm', derived, bundle.subarray(end + 8, end + 20)).setAAD(
    Buffer.concat([bundle.subarray(3, 35), Buffer.from('AWSKMSEncryptionClient Final Frame'), numbers]),
  );
  cipher.update(content).copy(forged, end + 24);
  cipher.final();
  cipher.getAuthTag().copy(forged, end + 24 + content.length);
  return forged;
}

test('what a keyring throws, unseal() and seal() throw unchanged when it is an error of ours', async () => {
  const denied = new KeyError('key-denied', 'cannot unwrap data key: KMS denied it');
  const expired = new ConfigError('credentials-expired', 'cannot call KMS: credentials expired');
  const failing = (error: Error) =>
    new (class extends KeyringNode {
      override _onEncrypt(): Promise<NodeEncryptionMaterial> {
        return Promise.reject(error);
      }
      override _onDecrypt(): Promise<NodeDecryptionMaterial> {
        return Promise.reject(error);
      }
    })();
  const bundle = await sealTest(Buffer.from('x'));
  for (const error of [denied, expired]) {
    await assert.rejects(unseal(bundle, { keyring: failing(error) }), (thrown) => thrown === error);
    await assert.rejects(
      sealTest(Buffer.from('x'), { keyring: failing(error) }),
      (thrown) => thrown === error,
    );
  }
  await assert.rejects(
    unseal(bundle, { keyring: failing(new TypeError('boom')) }),
    refusal('data-key-refused'),
  );
});

test('unseal() asks no keyring before the whole message was found to be there', async () => {
  let asked = 0;
  const counting = new (class extends KeyringNode {
    override _onEncrypt(material: NodeEncryptionMaterial) {
      return Promise.resolve(material);
    }
    override _onDecrypt(material: NodeDecryptionMaterial) {
      asked++;
      return Promise.resolve(material);
    }
  })();
  const bundle = await sealTest(Buffer.from('x'));
  assert.equal(
    await outcome(() => unseal(bundle.subarray(0, -1), { keyring: counting })),
    'bundle-truncated',
  );
  assert.equal(asked, 0);
  assert.equal(await outcome(() => unseal(bundle, { keyring: counting })), 'data-key-refused');
  assert.equal(asked, 1);
});

test('unseal() lets others run at every MiB, while it verifies and while it decrypts', async () => {
  const bundle = await sealTest(randomBytes(2 * FRAME_BYTES_MAX + 1));
  const seen: number[] = [];
  const totals = new Set<number>();
  await unseal(bundle, {
    keyring,
    progress: async (done, total) => {
      seen.push(done - (seen.at(-1) ?? 0) > 0 ? done : Number.NaN);
      totals.add(total);
    },
  });
  assert.equal(seen.length, 6);
  assert.deepEqual([...totals], [seen.at(-1)]);
});

test('unseal() that fails after it decrypted something wipes it', async () => {
  const bundle = await sealTest(Buffer.alloc(FRAME_BYTES_MAX + 1, 's'));
  const allocated = mock.method(Buffer, 'allocUnsafeSlow');
  try {
    let atFailure = 0;
    const fail = () => {
      const [call] = allocated.mock.calls;
      if (call === undefined) return;
      atFailure = call.result?.readUInt8(0) ?? 0;
      throw new Error('stop');
    };
    await assert.rejects(unseal(bundle, { keyring, progress: fail }), /stop/);
    assert.equal(atFailure, 's'.charCodeAt(0));
    const [{ result } = { result: undefined }] = allocated.mock.calls;
    assert.ok(result?.length === FRAME_BYTES_MAX + 1 && result.every((byte) => byte === 0));
  } finally {
    allocated.mock.restore();
  }
});

test("unseal() says which of a message's proofs failed", async () => {
  const bundle = await sealTest(randomBytes(3 * FRAME_BYTES_MAX));
  const { end } = offsets(bundle);
  const cases: [number, RegExp][] = [
    [end - 40, /header does not match/],
    [end - 1, /header does not match/],
    [end + 3, /frame 1 says that it is frame/],
    [end + 100, /signature does not match/],
    [bundle.length - 1, /signature does not match/],
  ];
  for (const [at, message] of cases) {
    const altered = Buffer.from(bundle);
    altered.writeUInt8(altered.readUInt8(at) ^ 2, at);
    await assert.rejects(unseal(altered, { keyring }), refusal('bundle-corrupt', message));
  }
});
