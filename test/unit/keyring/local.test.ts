import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { readHeader, unseal } from '../../../src/bundle/envelope.ts';
import { generateKeyFile, localKeyName, localKeyring, readKeyFile } from '../../../src/keyring/local.ts';
import { KEY, OTHER_KEY, refusal, sealTest } from '../../support/bundles.ts';

const directory = mkdtempSync(path.join(tmpdir(), 'secretsfs-keys-'));
after(() => rmSync(directory, { recursive: true }));
const at = (name: string) => path.join(directory, name);

test('generateKeyFile() makes 32 bytes that only their owner can read, whatever the umask', async () => {
  const before = process.umask(0o777);
  try {
    const keyName = await generateKeyFile(at('new'));
    process.umask(0);
    assert.notEqual(keyName, await generateKeyFile(at('other')));
    assert.equal(statSync(at('new')).mode, 0o100400);
    assert.equal(statSync(at('other')).mode, 0o100400);
    const key = await readKeyFile(at('new'));
    assert.equal(key.length, 32);
    assert.deepEqual(key, readFileSync(at('new')));
    assert.equal(localKeyName(key), keyName);
  } finally {
    process.umask(before);
  }
});

test('generateKeyFile() overwrites nothing, not even through a dangling symlink', async () => {
  writeFileSync(at('there'), 'precious');
  symlinkSync(at('nowhere'), at('link'));
  for (const name of ['there', 'link']) {
    await assert.rejects(generateKeyFile(at(name)), refusal('output-exists', new RegExp(`"${at(name)}"`)));
  }
  assert.equal(readFileSync(at('there'), 'utf8'), 'precious');
  await assert.rejects(
    generateKeyFile(at('no/such/dir')),
    refusal('output-failed', /directory does not exist/),
  );
});

test('readKeyFile() refuses every mode but 0400', async () => {
  writeFileSync(at('loose'), KEY);
  for (const mode of [0o600, 0o440, 0o404, 0o500, 0o644, 0o4400, 0o000]) {
    chmodSync(at('loose'), mode);
    if (mode === 0 && process.getuid?.() !== 0) continue;
    await assert.rejects(readKeyFile(at('loose')), (error: Error & { hint?: string }) => {
      assert.equal(error.hint, `chmod 0400 ${at('loose')}`);
      return refusal('key-permissions', new RegExp(mode.toString(8)))(error);
    });
  }
  chmodSync(at('loose'), 0o400);
  assert.deepEqual(await readKeyFile(at('loose')), KEY);
});

test('readKeyFile() refuses what is not there and what is not a key', async () => {
  await assert.rejects(readKeyFile(at('missing')), refusal('key-not-found', /does not exist/));
  await assert.rejects(readKeyFile(at('there/below')), refusal('key-not-found'));
  mkdirSync(at('dir'));
  await assert.rejects(readKeyFile(at('dir')), refusal('key-invalid', /not a regular file/));
  execFileSync('mkfifo', [at('fifo')]);
  await assert.rejects(readKeyFile(at('fifo')), refusal('key-invalid', /not a regular file/));
  for (const length of [0, 31, 33, 44]) {
    writeFileSync(at(`length-${length}`), Buffer.alloc(length), { mode: 0o400 });
    await assert.rejects(
      readKeyFile(at(`length-${length}`)),
      refusal('key-invalid', new RegExp(`is ${length} bytes`)),
    );
  }
});

test("readKeyFile() refuses another user's file", async () => {
  writeFileSync(at('theirs'), KEY, { mode: 0o400 });
  execFileSync('chown', ['65534', at('theirs')]);
  await assert.rejects(readKeyFile(at('theirs')), refusal('key-permissions', /user 65534, want root/));
});

test('a key is named after its content: 16 hex digits that are always the same', () => {
  assert.equal(localKeyName(KEY), '1febc44ae97a105a');
  assert.notEqual(localKeyName(OTHER_KEY), localKeyName(KEY));
});

test('localKeyring() works on after the key that it was made of was wiped', async () => {
  const key = Buffer.from(KEY);
  const { keyring, accepted, keyName } = localKeyring(key, '/etc/key');
  key.fill(0);
  const bundle = await sealTest(Buffer.from('x'), { keyring });
  assert.equal((await unseal(bundle, { keyring: localKeyring(KEY).keyring })).plaintext.toString(), 'x');
  assert.equal((await unseal(bundle, { keyring })).plaintext.toString(), 'x');
  assert.equal(accepted.description, `local:/etc/key (${keyName})`);
  const keys = readHeader(bundle).encryptedDataKeys;
  assert.deepEqual(keys, [{ providerId: 'secretsfs-local', keyName }]);
  assert.ok(keys.every((info) => accepted.accepts(info)));
  assert.equal(accepted.accepts({ providerId: 'aws-kms', keyName }), false);
  assert.equal(accepted.accepts({ providerId: 'secretsfs-local', keyName: localKeyName(OTHER_KEY) }), false);
});

test('localKeyring() refuses a key of another length', () => {
  assert.throws(() => localKeyring(Buffer.alloc(16)), refusal('key-invalid', /16 bytes, want 32/));
});
