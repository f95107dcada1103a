/** Secrets for tests, sealed with the key of bundles for tests. */
import { Buffer } from 'node:buffer';
import { localKeyring } from '../../src/keyring/local.ts';
import { type SealSecretOptions, sealSecret } from '../../src/secrets/secret.ts';
import { CREATED, KEY } from './bundles.ts';

export const LOCATION = 's3://bucket/prefix/db/password';

export function sealTestSecret(
  plaintext: Uint8Array | string,
  options: Partial<SealSecretOptions> = {},
): Promise<Buffer> {
  const { keyring } = localKeyring(KEY);
  return sealSecret(Buffer.from(plaintext), { keyring, location: LOCATION, created: CREATED, ...options });
}
