/** Where `mv` puts what: a plan, before anything is moved. PURE but for listing the store. */
import { quote, UsageError } from '../errors.ts';
import { parsePath } from './location.ts';
import { fixedPart, isOnePath, splitAtCommas } from './patterns.ts';
import { targetsOf } from './rotation-pair.ts';
import { selectObjects } from './select.ts';
import type { SecretStore, StoredObject } from './store.ts';
import { isSyncKey } from './sync.ts';

export interface Move {
  readonly from: string;
  readonly to: string;
}

/**
 * What `patterns` match, each once, to `to`: one path to one path, or with a slash at its end below it, under what each has below the
 * fixed part of its pattern. Throws UsageError where that is ambiguous, and SourceError for a pattern that matches nothing.
 */
export async function planMoves(
  store: SecretStore,
  patterns: readonly string[],
  to: string,
): Promise<readonly Move[]> {
  const each = patterns.flatMap(splitAtCommas);
  if (!to.endsWith('/')) return [moveOne(each, to)];
  const moves = new Map<string, Move>();
  for (const pattern of each) {
    for (const from of await pathsOf(store, pattern)) {
      if (moves.has(from)) continue;
      const move = { from, to: parsePath(`${to}${from.slice(fixedPart(pattern).length)}`) };
      moves.set(from, refuseInPlace(move));
    }
  }
  refuseCollisions(moves);
  return [...moves.values()];
}

function moveOne(patterns: readonly string[], to: string): Move {
  const [from, ...more] = patterns;
  parsePath(to);
  if (from !== undefined && more.length === 0 && isOnePath(from))
    return refuseInPlace({ from: parsePath(from), to: parsePath(to) });
  throw new UsageError(
    `cannot move ${quote(patterns.join(' '))} to ${quote(to)}: several can't have one path`,
    {
      hint: `${to}/ with a slash at its end: each goes below it`,
    },
  );
}

function refuseInPlace(move: Move): Move {
  if (move.from !== move.to) return move;
  throw new UsageError(`cannot move ${quote(move.from)}: that is where it is`, { hint: 'give another path' });
}

async function pathsOf(store: SecretStore, pattern: string): Promise<string[]> {
  if (isOnePath(pattern)) return [parsePath(pattern)];
  const objects: StoredObject[] = [];
  for await (const object of selectObjects(store, [pattern])) objects.push(object);
  // The key of a sync is not meant by a pattern: it belongs to what stays under its prefix.
  const paths = targetsOf(objects).flatMap(({ path }) => (isSyncKey(path) ? [] : [path]));
  if (paths.length > 0) return paths;
  throw new UsageError(`cannot move ${quote(pattern)}: it matches the key of a sync alone`, {
    hint: 'name it, if it is meant',
  });
}

/** Of two that would get one path, and of one that would take the place of another that is to be moved. */
function refuseCollisions(moves: ReadonlyMap<string, Move>): void {
  const taken = new Map<string, string>();
  for (const { from, to } of moves.values()) {
    const other = taken.get(to);
    const refuse = (why: string): never => {
      throw new UsageError(`cannot move ${quote(from)} to ${quote(to)}: ${why}`, {
        hint: 'move them one after another',
      });
    };
    if (other !== undefined) refuse(`${quote(other)} would go there, too`);
    if (moves.has(to)) refuse('what is there is to be moved itself');
    taken.set(to, from);
  }
}
