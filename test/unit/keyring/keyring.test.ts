import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmod, chown, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { buildClient, CommitmentPolicy } from '@aws-crypto/client-node';
import { EncryptedDataKey } from '@aws-crypto/material-management-node';
import { AwsAccess } from '../../../src/aws/access.ts';
import { type ErrorCode, KeyError, SecretsfsError } from '../../../src/errors.ts';
import { mostTelling } from '../../../src/keyring/failures.ts';
import { openUnwrapping, openWrapping } from '../../../src/keyring/keyring.ts';
import { unwrapAttempts } from '../../../src/keyring/kms-unwrap.ts';
import { readOpenedKey } from '../../../src/keyring/local.ts';
import { parseKeyArn } from '../../../src/keyring/spec.ts';

const { encrypt, decrypt } = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT);
const aws = new AwsAccess({ env: {} });
const arn = (region: string, id: string): string => `arn:aws:kms:${region}:111122223333:key/${id}`;
const MRK = 'mrk-1234abcd12ab34cd56ef1234567890ab';
const ONE = '11111111-12ab-34cd-56ef-1234567890ab';
const TWO = '22222222-12ab-34cd-56ef-1234567890ab';

let dir: string;
const keys: string[] = [];
before(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'keyring-'));
  for (let i = 0; i < 9; i++) {
    const file = path.join(dir, `key${i}`);
    await writeFile(file, randomBytes(32), { mode: 0o400 });
    keys.push(`local:${file}`);
  }
});
after(() => rm(dir, { recursive: true }));

const failsWith = (code: ErrorCode) => (error: unknown) => {
  assert.ok(error instanceof SecretsfsError, `not ours: ${error}`);
  assert.equal(error.code, code);
  return true;
};

test('each of several local keys opens what all of them wrapped', async () => {
  const { keyring } = await openWrapping(keys.slice(0, 3), aws);
  const { result, messageHeader } = await encrypt(keyring, Buffer.from('x'), {
    encryptionContext: { a: 'b' },
  });
  assert.equal(messageHeader.encryptedDataKeys.length, 3);
  for (const key of keys.slice(0, 3)) {
    const opened = await openUnwrapping([keys[8] ?? '', key], aws);
    assert.equal((await decrypt(opened.keyring, result)).plaintext.toString(), 'x');
    assert.equal(opened.accepted.length, 2);
  }
});

test('decrypt() of the library passes on that no accepted key fits', async () => {
  const { keyring } = await openWrapping(keys.slice(0, 1), aws);
  const { result } = await encrypt(keyring, Buffer.from('x'));
  const other = await openUnwrapping([keys[1] ?? '', arn('eu-west-1', ONE)], aws);
  await assert.rejects(decrypt(other.keyring, result), failsWith('key-not-accepted'));
  const local = await openUnwrapping([keys[1] ?? ''], aws);
  await assert.rejects(decrypt(local.keyring, result), failsWith('key-not-accepted'));
});

test('none, more than eight, or the same key twice is refused', async () => {
  const copy = path.join(dir, 'copy');
  const { readFile } = await import('node:fs/promises');
  await writeFile(copy, await readFile((keys[0] ?? '').slice('local:'.length)), { mode: 0o400 });
  for (const list of [[], keys, [keys[0] ?? '', keys[0] ?? ''], [keys[0] ?? '', `local:${copy}`]]) {
    await assert.rejects(openWrapping(list, aws), failsWith('usage'));
    await assert.rejects(openUnwrapping(list, aws), failsWith('usage'));
  }
  await openWrapping(keys.slice(0, 8), aws);
});

function attempts(accepted: string[], wrapped: string[], own: string | undefined): string[] {
  const edks = wrapped.map(
    (providerInfo) =>
      new EncryptedDataKey({ providerId: 'aws-kms', providerInfo, encryptedDataKey: new Uint8Array(8) }),
  );
  const arns = accepted.map((text) => parseKeyArn(text) ?? assert.fail(text));
  return unwrapAttempts(arns, edks, own).map((a) => `${a.arn.region}${a.guessed ? '?' : ''}`);
}

test('the own region is asked first, then its geography, then the others in their order', () => {
  const all = [
    arn('us-east-1', ONE),
    arn('ap-south-1', ONE),
    arn('eu-central-1', ONE),
    arn('eu-west-1', TWO),
  ];
  assert.deepEqual(attempts(all, all, 'eu-west-1'), ['eu-west-1', 'eu-central-1', 'us-east-1', 'ap-south-1']);
  assert.deepEqual(attempts(all, all, undefined), ['us-east-1', 'ap-south-1', 'eu-central-1', 'eu-west-1']);
});

test('only data keys of accepted keys are attempted', () => {
  assert.deepEqual(
    attempts([arn('eu-west-1', ONE)], [arn('eu-west-1', TWO), arn('us-east-1', ONE)], 'eu-west-1'),
    [],
  );
  assert.deepEqual(
    attempts([arn('eu-west-1', ONE)], ['alias/x', 'rubbish', arn('eu-west-1', ONE)], 'eu-west-1'),
    ['eu-west-1'],
  );
});

test('a multi-Region key is tried in the own region, as named, and as wrapped', () => {
  assert.deepEqual(attempts([arn('us-east-1', MRK)], [arn('us-west-2', MRK)], 'eu-west-1'), [
    'eu-west-1?',
    'us-east-1',
    'us-west-2',
  ]);
  assert.deepEqual(attempts([arn('eu-west-1', MRK)], [arn('us-west-2', MRK)], 'eu-west-1'), [
    'eu-west-1',
    'us-west-2',
  ]);
});

test('a forged header cannot send us to every region that it names', () => {
  const forged = Array.from({ length: 8 }, (_, i) => arn(`ev-nowhere-${i}`, MRK));
  assert.deepEqual(attempts([arn('eu-west-1', MRK)], forged, 'eu-west-1'), ['eu-west-1', 'ev-nowhere-0']);
});

test('mostTelling() prefers what will not pass by itself, and counts the rest', () => {
  const error = mostTelling([
    new KeyError('key-unreachable', 'far'),
    new KeyError('key-denied', 'denied', { hint: 'grant it' }),
    new KeyError('key-throttled', 'slow'),
  ]);
  assert.equal(error.code, 'key-denied');
  assert.equal(error.message, 'denied (and 2 more: key-throttled, key-unreachable)');
  assert.equal(error.hint, 'grant it');
  assert.ok(error instanceof KeyError);
});

test('key files that somebody else opened are used through their descriptors alone', async (t) => {
  const file = path.join(dir, 'handed');
  await writeFile(file, randomBytes(32), { mode: 0o400 });
  const { keyring } = await openWrapping([`local:${file}`], aws);
  const sealed = await encrypt(keyring, 'plaintext');
  const handle = await open(file, 'r');
  t.after(() => handle.close());
  await rm(file);
  await assert.rejects(openUnwrapping([`local:${file}`], aws), failsWith('key-not-found'));
  const opener = { files: new Map([[file, handle.fd]]), ownerUid: process.getuid?.() ?? 0 };
  const { keyring: unwrapping } = await openUnwrapping([`local:${file}`], aws, opener);
  assert.equal((await decrypt(unwrapping, sealed.result)).plaintext.toString(), 'plaintext');
});

test('a key descriptor is checked as a path is: kind, mode, owner, length', async (t) => {
  const file = path.join(dir, 'checked');
  const openOf = async (name: string) => {
    const handle = await open(name, 'r');
    t.after(() => handle.close());
    return handle.fd;
  };
  await writeFile(file, randomBytes(32), { mode: 0o400 });
  const fd = await openOf(file);
  assert.equal(readOpenedKey(fd, file, process.getuid?.() ?? 0).length, 32);
  await chmod(file, 0o440);
  assert.throws(() => readOpenedKey(fd, file, 0), failsWith('key-permissions'));
  await chmod(file, 0o400);
  if (process.getuid?.() === 0) {
    await chown(file, 4321, 0);
    assert.throws(() => readOpenedKey(fd, file, 0), failsWith('key-permissions'));
    assert.equal(readOpenedKey(fd, file, 4321).length, 32);
  }
  const directory = await openOf(dir);
  assert.throws(() => readOpenedKey(directory, dir, 0), failsWith('key-invalid'));
  await writeFile(`${file}-long`, randomBytes(33), { mode: 0o400 });
  const long = await openOf(`${file}-long`);
  assert.throws(() => readOpenedKey(long, 'long', process.getuid?.() ?? 0), failsWith('key-invalid'));
});
