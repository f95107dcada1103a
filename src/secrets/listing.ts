/** What there is in a store, each with what its beginning says of it. Nothing is opened, and no key is needed. */
import { SourceError } from '../errors.ts';
import { SECRET_HEAD_BYTES } from '../limits.ts';
import { mapConcurrently } from './concurrent.ts';
import { FACTS_BYTES_MAX, type Facts, factsOf } from './facts.ts';
import type { FactsCache } from './facts-cache.ts';
import { selectObjects } from './select.ts';
import type { SecretStore, StoredObject } from './store.ts';

export interface Listed extends StoredObject {
  /** undefined: it may be listed and not read. */
  readonly facts: Facts | undefined;
  /** Where the store keeps versions. */
  readonly version: string | undefined;
}

export interface ListingOptions {
  readonly cache: FactsCache;
  /** Told of names that are no paths of secrets. */
  skipped?(name: string): void;
}

/** What S3 takes from one client without slowing down, and more than one core keeps busy. */
const READS_AT_ONCE = 64;
/** Its content; its key is in .kms. */
const HALF = '.aes';

/** Of everything that the patterns match. Throws as selectObjects() and SecretStore.read(), but for what is denied. */
export async function listSecrets(
  store: SecretStore,
  patterns: readonly string[],
  { cache, ...options }: ListingOptions,
): Promise<Listed[]> {
  const selected = selectObjects(store, patterns, options);
  const listed = await mapConcurrently(selected, READS_AT_ONCE, async (object) => {
    const known = cache.get(object);
    const found = known === undefined ? await lookAt(store, object) : { ...object, ...known };
    if (found?.facts !== undefined) cache.set(found, { facts: found.facts, version: found.version });
    return found;
  });
  const there = listed.filter((each) => each !== undefined);
  if (patterns.length === 0) cache.keepOnly(new Set(there.map(({ path }) => path)));
  await cache.save();
  return joinPairs(there);
}

/** undefined where it is gone since it was listed. */
async function lookAt(store: SecretStore, object: StoredObject): Promise<Listed | undefined> {
  const { path } = object;
  try {
    for (const headBytes of [SECRET_HEAD_BYTES, FACTS_BYTES_MAX]) {
      const read = await store.read(path, { headBytes });
      if (read === undefined) return undefined;
      const { bytes, size, etag, modifiedMs, version } = read;
      const facts = factsOf(bytes, size, path);
      if (facts === undefined) continue;
      // A listing may know the time better than an answer's header, which has whole seconds.
      const seen = etag === object.etag ? object : { path, bytes: size, etag, modifiedMs };
      return { ...seen, facts, version };
    }
  } catch (error) {
    if (!(error instanceof SourceError) || error.code !== 'source-denied') throw error;
    return { ...object, facts: undefined, version: undefined };
  }
  throw new Error('a whole header was not enough');
}

/** The two objects that a secret of kms-secrets was, PATH.kms and PATH.aes, as one of PATH. */
function joinPairs(listed: readonly Listed[]): Listed[] {
  const keys = new Map(listed.filter(({ path }) => path.endsWith('.kms')).map((each) => [each.path, each]));
  const joined: Listed[] = [];
  for (const each of listed) {
    const path = each.path.slice(0, -HALF.length);
    const key = each.facts?.format === 'kms-secrets' ? keys.get(`${path}.kms`) : undefined;
    if (key === undefined) {
      joined.push(each);
      continue;
    }
    keys.delete(key.path);
    joined.push({
      ...each,
      path,
      bytes: each.bytes + key.bytes,
      modifiedMs: Math.max(each.modifiedMs, key.modifiedMs),
    });
  }
  return joined.filter(({ path }) => !path.endsWith('.kms') || keys.has(path));
}
