/** KMS without an envelope: over moto, and over a KMS that still has the key of 2015. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import { DecryptCommand, EncryptCommand } from '@aws-sdk/client-kms';
import { AwsAccess } from '../../src/aws/access.ts';
import { openOldPack, openOldSecret } from '../../src/keyring/old-object.ts';
import { ofOwnAccount, reencryptOfOwnAccount } from '../../src/keyring/own-account.ts';
import { RawKms } from '../../src/keyring/raw-kms.ts';
import { type KmsSpec, parseKeySpec } from '../../src/keyring/spec.ts';
import { refusal } from '../support/bundles.ts';
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import {
  awsEnv,
  createAlias,
  createKey,
  type Moto,
  motoKms,
  replaceEnv,
  startMoto,
} from '../support/moto.ts';
import {
  OLD_CONTEXT,
  OLD_KEY_ID,
  OLD_OTHER_KEY_ID,
  OLD_VECTORS,
  oldFile,
  oldKms,
  recogniseVector,
} from '../support/old-vectors.ts';
import { StubKms } from '../support/stub-kms.ts';

const context = { purpose: 'test', Zone: 'é' };
const kmsKey = (text: string): KmsSpec => {
  const spec = parseKeySpec(text);
  assert.ok(spec.kind === 'kms');
  return spec;
};

let moto: Moto;
let proxy: FaultProxy;
let restore: () => void;
let aws: AwsAccess;
let kms: RawKms;
let keyArn: string;
let otherArn: string;

before(async () => {
  moto = await startMoto();
  proxy = await startFaultProxy(moto.url);
  restore = replaceEnv(awsEnv(proxy.url));
  aws = new AwsAccess({ env: process.env });
  kms = new RawKms(aws);
  keyArn = await createKey(moto.url);
  otherArn = await createKey(moto.url);
});
after(async () => {
  aws?.destroy();
  restore?.();
  await proxy?.close();
  await moto?.stop();
});

test('what it encrypts KMS decrypts, and the reverse, without naming the key', async () => {
  const plaintext = randomBytes(4096);
  const alias = await createAlias(moto.url, keyArn);
  for (const key of [keyArn, alias]) {
    const { blob, keyId } = await kms.encrypt(plaintext, kmsKey(key), context);
    assert.equal(keyId, keyArn);
    const answer = await motoKms(moto.url).send(
      new DecryptCommand({ CiphertextBlob: blob, EncryptionContext: context }),
    );
    assert.deepEqual(Buffer.from(answer.Plaintext ?? []), plaintext);
  }
  const { CiphertextBlob = new Uint8Array() } = await motoKms(moto.url).send(
    new EncryptCommand({ KeyId: keyArn, Plaintext: plaintext, EncryptionContext: context }),
  );
  assert.deepEqual(await kms.decrypt(CiphertextBlob, { context, keys: [] }), { plaintext, keyId: keyArn });
  const named = { context, keys: [kmsKey(otherArn), kmsKey(keyArn)] };
  assert.deepEqual(await kms.decrypt(CiphertextBlob, named), { plaintext, keyId: keyArn });
});

test('another context or other bytes are refused, with a hint that names the context', async () => {
  const { blob } = await kms.encrypt(Buffer.from('secret'), kmsKey(keyArn), context);
  await assert.rejects(kms.decrypt(blob, { context: {}, keys: [] }), (error) => {
    assert.match((error as { hint?: string }).hint ?? '', /--context/);
    return refusal('data-key-refused', /^cannot decrypt with its key: KMS answered/)(error);
  });
  blob[blob.length - 1] = (blob.at(-1) ?? 0) ^ 1;
  await assert.rejects(kms.decrypt(blob, { context, keys: [] }), refusal('data-key-refused'));
});

test('a key that is named is the only one that may have encrypted it', async () => {
  const { blob } = await kms.encrypt(Buffer.from('secret'), kmsKey(keyArn), context);
  proxy.seen.length = 0;
  await assert.rejects(kms.decrypt(blob, { context, keys: [kmsKey(otherArn)] }));
  assert.ok(proxy.seen.length > 0);
});

test('encrypted anew within KMS, under another key and context', async () => {
  const { blob } = await kms.encrypt(Buffer.from('secret'), kmsKey(keyArn), context);
  const anew = await kms.reencrypt(blob, { context }, { key: kmsKey(otherArn), context: { a: 'b' } });
  assert.equal(anew.keyId, otherArn);
  assert.equal(anew.sourceKeyId, keyArn);
  const opened = await kms.decrypt(anew.blob, { context: { a: 'b' }, keys: [] });
  assert.deepEqual(opened, { plaintext: Buffer.from('secret'), keyId: otherArn });
  await assert.rejects(
    kms.reencrypt(blob, { context: {} }, { key: kmsKey(otherArn), context: {} }),
    refusal('data-key-refused', /^cannot encrypt anew with/),
  );
});

test('data keys: one that only KMS has seen, and one to seal with', async () => {
  const unseen = await kms.createDataKey(kmsKey(keyArn), context, 24);
  assert.equal((await kms.decrypt(unseen.blob, { context, keys: [] })).plaintext.length, 24);
  const seen = await kms.generateDataKey(kmsKey(keyArn), context);
  assert.deepEqual((await kms.decrypt(seen.blob, { context, keys: [] })).plaintext, seen.plaintext);
  assert.equal(seen.plaintext.length, 32);
});

test('no such key, a key that is to be deleted: said in words', async () => {
  const none = `${keyArn.slice(0, -12)}000000000000`;
  await assert.rejects(
    kms.encrypt(Buffer.from('x'), kmsKey(none), {}),
    refusal('key-not-found', /cannot encrypt with/),
  );
});

test('what a key of another account encrypted is opened, and put under ours, only if that is said', async () => {
  const theirs = `arn:aws:kms:eu-west-1:999999999999:key/${OLD_KEY_ID.split('/')[1]}`;
  const stub = new StubKms(
    new Map([
      [theirs, randomBytes(32)],
      [keyArn, randomBytes(32)],
    ]),
  );
  const server = await stub.listen();
  const restoreStub = replaceEnv(awsEnv(server.url));
  const access = new AwsAccess({ env: process.env });
  try {
    const raw = new RawKms(access);
    const own = ofOwnAccount(raw);
    const to = { key: kmsKey(keyArn), context: {} };
    const ours = stub.wrap(keyArn, Buffer.from('ours'), context);
    assert.equal((await own.decrypt(ours, { context, keys: [] })).plaintext.toString(), 'ours');
    assert.equal((await reencryptOfOwnAccount(raw, ours, { context }, to)).sourceKeyId, keyArn);
    const planted = stub.wrap(theirs, Buffer.from('planted'), context);
    const refused = refusal('key-not-accepted', /no key of the account/);
    await assert.rejects(own.decrypt(planted, { context, keys: [] }), refused);
    await assert.rejects(reencryptOfOwnAccount(raw, planted, { context }, to), refused);
    const opened = await own.decrypt(planted, { context, keys: [kmsKey(theirs)] });
    assert.equal(opened.plaintext.toString(), 'planted');
    const anew = await reencryptOfOwnAccount(raw, planted, { context, key: kmsKey(theirs) }, to);
    assert.equal(stub.unwrap(anew.blob, {})?.plaintext.toString(), 'planted');
  } finally {
    access.destroy();
    restoreStub();
    await server.stop();
  }
});

test('files of every era open, and without their key, context or place they do not', async () => {
  const stub = oldKms();
  const server = await stub.listen();
  const restoreStub = replaceEnv(awsEnv(server.url));
  const access = new AwsAccess({ env: process.env });
  try {
    const old = { kms: new RawKms(access), keys: [kmsKey(OLD_KEY_ID)] };
    for (const vector of OLD_VECTORS) {
      const { name, how, era, opensTo, context } = vector;
      const found = await recogniseVector(vector);
      assert.ok(found);
      const open = (changed: Partial<Parameters<typeof openOldSecret>[1]> = {}) => {
        const formats = vector.place === null ? (['kms-secrets'] as const) : [];
        const place = vector.place ?? 's3://bucket/other';
        const options = { ...old, context, place, formats, ...changed };
        if (name.endsWith('.pack')) return openOldPack(found, options);
        return openOldSecret(how === 'pair' ? found : { bytes: oldFile(name) }, options);
      };
      const opened = await open();
      assert.deepEqual(opened, { plaintext: oldFile(opensTo), era, format: found.format, keyId: OLD_KEY_ID });
      // What had a context, or none, or a place, has no other.
      await assert.rejects(open({ context: { ...context, a: 'b' } }), refusal('data-key-refused'));
      if (vector.place !== null) {
        await assert.rejects(open({ place: `${vector.place}2` }), refusal('data-key-refused'));
      }
      if (how === 'pair' && vector.place === null)
        await assert.rejects(open({ formats: ['sneaker', 'kms'] }), refusal('data-key-refused'));
      await assert.rejects(open({ keys: [kmsKey(OLD_OTHER_KEY_ID)] }), refusal('data-key-refused'));
    }
    const place = 's3://bucket/raw';
    const formats = ['kms'] as const;
    const raw = await openOldSecret(
      { bytes: oldFile('raw.base64') },
      { ...old, keys: [], context: OLD_CONTEXT, place, formats },
    );
    assert.deepEqual(raw?.plaintext, oldFile('secret'));
    const large = { bytes: Buffer.alloc(7000, 200) };
    assert.equal(await openOldSecret(large, { ...old, context: {}, place, formats }), undefined);
    // Every call named the key, but the one that was to name none.
    const unnamed = stub.calls.filter(({ input }) => input['KeyId'] === undefined);
    assert.equal(unnamed.length, 1);
  } finally {
    access.destroy();
    restoreStub();
    await server.stop();
  }
});
