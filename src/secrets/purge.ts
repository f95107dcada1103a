/** Removes the versions below the one that is live, for good: what they are sealed with may still open them. */
import type { SecretStore } from './store.ts';

/** How many older versions, delete markers included, of the one that was written as `version` are removed. */
export async function purgeBelow(
  store: SecretStore,
  path: string,
  version: string | undefined,
): Promise<number> {
  let isBelow = false;
  let removed = 0;
  for await (const each of store.versions(path)) {
    // What somebody put on top of ours meanwhile is theirs.
    if (isBelow) {
      await store.remove(path, 'any', each.version);
      removed += 1;
    }
    isBelow ||= each.version === version;
  }
  return removed;
}
