/**
 * Whether the symlinks of an image lead out of its tree, others followed on the way, as the kernel would. `..` first and names then
 * can't, where each link by itself does not (validate.ts): so only those are walked that go up again after a name, which may be
 * another symlink. A loop that has none of these is left to the kernel, which answers ELOOP; a server follows nothing.
 */
import { Buffer } from 'node:buffer';
import { SYMLINKS_FOLLOWED_MAX } from '../limits.ts';
import type { Generation } from './generation.ts';

const DOT = 0x2e;
const SLASH = 0x2f;

/** Where following a symlink ends: at a node, or so many names below one, where nothing is. */
interface Place {
  readonly node: number;
  readonly missing: number;
  readonly followed: number;
}

/** Also true of a walk that does not end within as many symlinks as Linux follows: no archive may have one. */
export function leadsOut(tree: Generation): boolean {
  if (tree.symlinks === 0) return false;
  const places = new Map<number, Place | 'being followed'>();
  for (let node = 0; node < tree.nodeCount; node++) {
    if (!tree.isSymlink(node) || !goesUpAgain(targetOf(tree, node))) continue;
    if (follow(tree, node, places, 1) === undefined) return true;
  }
  return false;
}

function targetOf(tree: Generation, link: number): Buffer {
  const target = Buffer.alloc(tree.targetLength(link));
  tree.copyTarget(link, target, 0);
  return target;
}

function goesUpAgain(target: Buffer): boolean {
  let names = 0;
  for (const [start, end] of segments(target)) {
    if (isUp(target, start, end)) {
      if (names > 0) return true;
    } else names++;
  }
  return false;
}

function follow(
  tree: Generation,
  link: number,
  places: Map<number, Place | 'being followed'>,
  depth: number,
): Place | undefined {
  const known = places.get(link);
  if (known !== undefined) return known === 'being followed' ? undefined : known;
  if (depth > SYMLINKS_FOLLOWED_MAX) return undefined;
  places.set(link, 'being followed');
  const target = targetOf(tree, link);
  let node = tree.parent(link);
  let missing = 0;
  let followed = 1;
  for (const [start, end] of segments(target)) {
    if (isUp(target, start, end)) {
      if (missing > 0) missing--;
      else if (node === 0) return undefined;
      else node = tree.parent(node);
      continue;
    }
    const child = missing > 0 ? -1 : tree.child(node, target, start, end);
    if (child === -1) missing++;
    else if (tree.isSymlink(child)) {
      const place = follow(tree, child, places, depth + 1);
      if (place === undefined) return undefined;
      followed += place.followed;
      ({ node, missing } = place);
    } else node = child;
    if (followed > SYMLINKS_FOLLOWED_MAX) return undefined;
  }
  const place = { node, missing, followed };
  places.set(link, place);
  return place;
}

/** From where to where in `target` each name and each `..` stands. */
function* segments(target: Buffer): Generator<readonly [start: number, end: number]> {
  for (let start = 0; start < target.length; ) {
    const slash = target.indexOf(SLASH, start);
    const end = slash === -1 ? target.length : slash;
    if (end > start && !(end - start === 1 && target[start] === DOT)) yield [start, end];
    start = end + 1;
  }
}

function isUp(target: Buffer, start: number, end: number): boolean {
  return end - start === 2 && target[start] === DOT && target[start + 1] === DOT;
}
