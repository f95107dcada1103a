/** The store behind a location. */
import type { AwsAccess } from '../aws/access.ts';
import { DirectoryStore } from './directory-store.ts';
import { parseStoreLocation } from './location.ts';
import { S3Store, type S3StoreOptions } from './s3-store.ts';
import type { SecretStore } from './store.ts';

/** `text` as parseStoreLocation() takes it. Touches neither network nor disk. Throws UsageError. */
export function createStore(text: string, aws: AwsAccess, options: S3StoreOptions): SecretStore {
  const location = parseStoreLocation(text);
  return location.kind === 's3' ? new S3Store(location, aws, options) : new DirectoryStore(location);
}
