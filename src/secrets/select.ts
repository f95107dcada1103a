/** What a command is about: the objects of a store that its patterns match. */
import { quote, SourceError } from '../errors.ts';
import { compilePatterns } from './patterns.ts';
import type { SecretStore, StoredObject } from './store.ts';

/**
 * In the order of their paths; everything where there are no patterns. `skipped` as of SecretStore.list(). Throws UsageError
 * for a malformed pattern; at the end SourceError `source-not-found` for one that matched nothing.
 */
export async function* selectObjects(
  store: SecretStore,
  patterns: readonly string[],
  options: { skipped?(name: string): void } = {},
): AsyncGenerator<StoredObject> {
  const set = compilePatterns(patterns);
  for await (const object of store.list(set.prefix, options)) {
    if (set.matches(object.path)) yield object;
  }
  const [missing] = set.unmatched();
  if (missing === undefined) return;
  throw new SourceError(
    'source-not-found',
    `cannot find ${quote(missing)} in ${quote(store.location)}: nothing matches`,
    {
      hint: 'secretsfs ls shows what there is; DIR/** is everything below DIR, * stays within a name',
    },
  );
}
