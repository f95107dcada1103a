/** Removing a secret: what is there alone, or every version of it for good. */
import { OutputError, quote, SourceError } from '../errors.ts';
import type { SecretStore, StoredVersion } from './store.ts';

export interface Removal {
  readonly path: string;
  /** What is there now; undefined where a delete marker is on top of what else there is. */
  readonly etag: string | undefined;
  /** Whether the bucket keeps what is removed as an older version. */
  readonly isKept: boolean;
  /** Versions and delete markers that go for good, the oldest first. */
  readonly purged: readonly StoredVersion[];
}

/** Of a secret of kms-secrets that was two objects. The key goes last: without it the other is nothing. */
const HALVES = ['.aes', '.kms'];

/**
 * What removing the secret at `path` comes to: one object, or the two that one of kms-secrets was. Changes nothing. Throws
 * SourceError `source-not-found`.
 */
export async function planRemoval(
  store: SecretStore,
  path: string,
  options: { readonly purge: boolean },
): Promise<readonly Removal[]> {
  const one = await planOne(store, path, options);
  if (one !== undefined) return [one];
  const halves: Removal[] = [];
  for (const half of HALVES) {
    const removal = await planOne(store, `${path}${half}`, options);
    if (removal !== undefined) halves.push(removal);
  }
  if (halves.length === HALVES.length) return halves;
  throw new SourceError('source-not-found', `cannot remove ${quote(path)}: there is no such secret`, {
    hint: 'secretsfs ls shows what there is; DIR/ is everything below DIR',
  });
}

async function planOne(
  store: SecretStore,
  path: string,
  { purge }: { readonly purge: boolean },
): Promise<Removal | undefined> {
  const there = await store.read(path, { headBytes: 1 });
  const purged: StoredVersion[] = [];
  if (purge && store.versioned) {
    for await (const version of store.versions(path)) purged.unshift(version);
  }
  if (there === undefined && purged.length === 0) return undefined;
  return { path, etag: there?.etag, isKept: there?.version !== undefined && purged.length === 0, purged };
}

/**
 * Removes exactly what was planned: what somebody wrote since stays. Of versions the newest goes last, so that where this is
 * interrupted no older one comes to light. Throws OutputError `output-changed` where something else is there now.
 */
export async function remove(store: SecretStore, { path, etag, purged }: Removal): Promise<void> {
  if (purged.length === 0) {
    if (etag !== undefined) await store.remove(path, { etag });
    return;
  }
  const there = await store.read(path, { headBytes: 1 });
  if (there?.etag !== etag) {
    throw new OutputError(
      'output-changed',
      `cannot remove ${quote(path)}: somebody else wrote it since we looked`,
      {
        hint: 'run the command again',
      },
    );
  }
  for (const { version } of purged) await store.remove(path, 'any', version);
}
