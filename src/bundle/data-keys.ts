/** What the encrypted data keys of a message say of the keys that wrapped them. */
import type { EncryptedDataKeyInfo } from './header.ts';
import type { MessageDataKey } from './message.ts';

/** src/keyring/local.ts: its key info is the name, two lengths and a nonce. */
export const LOCAL_PROVIDER_ID = 'secretsfs-local';
export const LOCAL_KEY_NAME_LENGTH = 16;
const LOCAL_KEY_INFO_BYTES = LOCAL_KEY_NAME_LENGTH + 4 + 4 + 12;

export function describeDataKey({ providerId, providerInfo }: MessageDataKey): EncryptedDataKeyInfo {
  const local = providerId === LOCAL_PROVIDER_ID && providerInfo.length === LOCAL_KEY_INFO_BYTES;
  const name = local ? providerInfo.subarray(0, LOCAL_KEY_NAME_LENGTH) : providerInfo;
  return { providerId, keyName: name.toString('utf8') };
}
