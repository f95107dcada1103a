/**
 * What a secret of kms-secrets was until 18 April 2015, two objects PATH.kms and PATH.aes, becomes one of ours at PATH: that is
 * written first, and the two are removed only then.
 */
import { SourceError } from '../errors.ts';
import type { SecretStore, StoredObject } from './store.ts';

/** A secret to rotate: one object, or two. */
export interface RotationTarget extends StoredObject {
  /** Of two, `path` is that of the secret, which is no object yet. */
  readonly halves?: readonly [wrappedKey: StoredObject, sealed: StoredObject];
}

/**
 * Each object that is a secret of its own, and each pair as one. What has the path of a pair is no target besides: a rotation
 * that ended between the two steps left it so, and what else it may be (thereAreBoth) must not look like that.
 */
export function targetsOf(objects: readonly StoredObject[]): RotationTarget[] {
  const byPath = new Map(objects.map((object) => [object.path, object]));
  const pairAt = (path: string) => {
    const [wrappedKey, sealed] = [byPath.get(`${path}.kms`), byPath.get(`${path}.aes`)];
    return wrappedKey && sealed && ([wrappedKey, sealed] as const);
  };
  const targets: RotationTarget[] = [];
  for (const object of objects) {
    const [, path = object.path, kind] = /^(.+)\.(kms|aes)$/s.exec(object.path) ?? [];
    const halves = kind === undefined ? undefined : pairAt(path);
    if (halves === undefined && pairAt(object.path) === undefined) targets.push(object);
    else if (halves !== undefined && kind === 'aes') targets.push({ ...object, path, halves });
  }
  return targets;
}

export async function removeHalves(
  store: SecretStore,
  { halves }: Pick<RotationTarget, 'halves'>,
): Promise<void> {
  // The key last: without it the other is nothing.
  for (const half of halves?.toReversed() ?? []) await store.remove(half.path, { etag: half.etag });
}

/** Which of them is meant nobody can say but who wrote them. */
export function thereAreBoth(path: string): SourceError {
  return new SourceError(
    'source-invalid',
    `there is a secret, and two halves of another, ${path}.kms and ${path}.aes`,
    {
      hint: 'get opens the former: remove what is not wanted with secretsfs rm',
    },
  );
}
