/** The store that a command's settings name. */
import type { AwsAccess } from '../aws/access.ts';
import type { SettingName, Settings } from '../daemon/config.ts';
import { UsageError } from '../errors.ts';
import { createStore } from '../secrets/open.ts';
import type { ServerSideEncryption } from '../secrets/server-side-encryption.ts';
import type { SecretStore } from '../secrets/store.ts';
import type { Context } from './command.ts';
import { AWS_SETTINGS } from './mount-settings.ts';

/** Of a command that reads a store. */
export const STORE_SETTINGS: readonly SettingName[] = ['store', ...AWS_SETTINGS];
/** Of one that writes to it. */
export const STORE_WRITING_SETTINGS: readonly SettingName[] = [
  ...STORE_SETTINGS,
  'sse',
  'sseKey',
  'allowPublic',
];

/** Touches neither network nor disk. `aws` is the caller's to destroy. Throws UsageError. */
export function openStore({ settings }: Pick<Context, 'settings'>, aws: AwsAccess): SecretStore {
  if (settings.store === undefined) {
    throw new UsageError('no store given', {
      hint: '--store s3://BUCKET/PREFIX or a directory; SECRETSFS_STORE, store of the config, or S3_PATH',
    });
  }
  return createStore(settings.store, aws, { sse: encryptionOf(settings), allowPublic: settings.allowPublic });
}

function encryptionOf({ sse, sseKey }: Settings): ServerSideEncryption | undefined {
  if (sse === 'AES256' && sseKey !== undefined) {
    throw new UsageError('cannot use a key of KMS with AES256', { hint: '--sse aws:kms, or no --sse-key' });
  }
  if (sse === undefined && sseKey === undefined) return undefined;
  return { algorithm: sse ?? 'aws:kms', keyId: sseKey };
}
