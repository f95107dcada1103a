/** Sealing and opening 64 MiB, against bare AES-256-GCM: what signature, commitment, frames and format cost. */
import assert from 'node:assert/strict';
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { buildDecrypt, CommitmentPolicy } from '@aws-crypto/client-node';
import { unseal } from '../../src/bundle/envelope.ts';
import { localKeyring } from '../../src/keyring/local.ts';
import { KEY, sealTest } from '../support/bundles.ts';
import { atLeast, type Benchmark, interleaved, type Result, timed } from './measure.ts';

const MEBIBYTES = 64;
const BYTES = MEBIBYTES * 1024 * 1024;
const RUNS = 9;
/** The issue that asked for this benchmark. */
const RATIO_MIN = 0.25;

export const sealing: Benchmark = {
  name: 'sealing',
  async run() {
    const plaintext = randomBytes(BYTES);
    const key = randomBytes(32);
    const nonce = randomBytes(12);
    const { keyring } = localKeyring(KEY);
    const { decrypt } = buildDecrypt(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT);
    const bundle = await sealTest(plaintext);

    function encrypt(): { ciphertext: Buffer; tag: Buffer } {
      const cipher = createCipheriv('aes-256-gcm', key, nonce);
      const ciphertext = cipher.update(plaintext);
      cipher.final();
      return { ciphertext, tag: cipher.getAuthTag() };
    }
    const { ciphertext, tag } = encrypt();
    function decipher(): Buffer {
      const bare = createDecipheriv('aes-256-gcm', key, nonce).setAuthTag(tag);
      const bytes = bare.update(ciphertext);
      bare.final();
      return bytes;
    }
    const open = async () => (await unseal(bundle, { keyring, plaintextBytesMax: BYTES })).plaintext;
    assert.ok(plaintext.equals(decipher()) && plaintext.equals(await open()), 'what was sealed comes back');

    const ms = await interleaved(RUNS, {
      encrypt: () => timed(encrypt),
      seal: () => timed(() => sealTest(plaintext)),
      decrypt: () => timed(decipher),
      unseal: () => timed(open),
      stock: () => timed(() => decrypt(keyring, bundle)),
    });
    const speed = (name: string, took: number, floor?: number, bound?: number): Result => ({
      name: `${name} ${MEBIBYTES} MiB`,
      value: BYTES / 1e6 / (took / 1000),
      unit: 'MB/s',
      statistic: `median of ${RUNS}`,
      ...(floor === undefined ? {} : { ratio: { value: floor / took, to: 'node:crypto' } }),
      ...(floor === undefined || bound === undefined ? {} : { targets: [atLeast(floor / took, bound, '×')] }),
    });
    return [
      speed('node:crypto encrypt', ms.encrypt),
      speed('seal()', ms.seal, ms.encrypt, RATIO_MIN),
      speed('node:crypto decrypt', ms.decrypt),
      speed('unseal()', ms.unseal, ms.decrypt, RATIO_MIN),
      speed('@aws-crypto decrypt()', ms.stock, ms.decrypt),
    ];
  },
};
