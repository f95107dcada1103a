/** From where a use of a key was found to what opens and replaces it there. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import type { AwsAccess } from '../aws/access.ts';
import type { Use } from '../keys/usage.ts';
import { RESERVED } from '../secrets/location.ts';
import { createStore } from '../secrets/open.ts';
import type { SecretStore } from '../secrets/store.ts';
import type { Context } from './command.ts';

/** For one bundle and one key, whatever else the settings say. */
export function opening(bundle: string, key: string, { settings, ...rest }: Context): Context {
  const { name: _name, context: _pairs, key: _key, ...others } = settings;
  return { ...rest, settings: { ...others, bundle, acceptKey: [key] } };
}

/** The bucket, or the directory that is a store already: what a secret is bound to is its whole place. */
function rootOf({ location }: Use): string {
  if (location.startsWith('s3://')) return location.replace(/^(s3:\/\/[^/]+)\/.*$/s, '$1');
  const own = path.dirname(location);
  for (let directory = own; directory !== path.dirname(directory); directory = path.dirname(directory)) {
    if (existsSync(path.join(directory, RESERVED))) return directory;
  }
  return own;
}

/** The store that it is a secret of. */
export function storeOf(use: Use, aws: AwsAccess): SecretStore {
  return createStore(rootOf(use), aws, {});
}

/** Its path in that. */
export function pathOf(use: Use): string {
  return use.location.slice(rootOf(use).length + 1);
}
