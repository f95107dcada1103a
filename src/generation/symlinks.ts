/**
 * Whether the symlinks of an image lead out of its tree, others followed on the way, as the kernel would. `..` first and names then
 * can't, where each link by itself does not (validate.ts): so only those are walked that go up again after a name, which may be
 * another symlink. A loop that has none of these is left to the kernel, which answers ELOOP; a server follows nothing.
 *
 * Invariant: each link is walked once, and only so many bytes of targets are: a server does this between two requests.
 */
import { Buffer } from 'node:buffer';
import { PARTS_MAX, SYMLINK_WALK_BYTES_MAX, SYMLINKS_FOLLOWED_MAX } from '../limits.ts';
import type { Generation } from './generation.ts';

const DOT = 0x2e;
const SLASH = 0x2f;

/** Where following a symlink ends: at a node, or so many names below one, where nothing is. */
interface Place {
  readonly node: number;
  readonly missing: number;
  readonly followed: number;
}

interface Walk {
  readonly places: Map<number, Place | 'being followed'>;
  /** Bytes of targets that may still be walked. */
  room: number;
}

/**
 * Also true of a walk that does not end within as many symlinks as Linux follows, and of more to walk than all archives of a mount
 * may have.
 */
export function leadsOut(tree: Generation): boolean {
  if (tree.symlinks === 0) return false;
  const walk: Walk = { places: new Map(), room: PARTS_MAX * SYMLINK_WALK_BYTES_MAX };
  for (let node = 0; node < tree.nodeCount; node++) {
    if (!tree.isSymlink(node) || !goesUpAgain(targetOf(tree, node))) continue;
    if (follow(tree, node, walk, 1) === undefined) return true;
  }
  return false;
}

function targetOf(tree: Generation, link: number): Buffer {
  const target = Buffer.alloc(tree.targetLength(link));
  tree.copyTarget(link, target, 0);
  return target;
}

/** All targets of an image are looked at so. */
function goesUpAgain(target: Buffer): boolean {
  let named = false;
  for (let start = 0; start < target.length; ) {
    const end = endOf(target, start);
    if (isUp(target, start, end)) {
      if (named) return true;
    } else if (isName(target, start, end)) named = true;
    start = end + 1;
  }
  return false;
}

function follow(tree: Generation, link: number, walk: Walk, depth: number): Place | undefined {
  const { places } = walk;
  const known = places.get(link);
  if (known !== undefined) return known === 'being followed' ? undefined : known;
  if (depth > SYMLINKS_FOLLOWED_MAX) return undefined;
  places.set(link, 'being followed');
  const target = targetOf(tree, link);
  walk.room -= target.length;
  if (walk.room < 0) return undefined;
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
      const place = follow(tree, child, walk, depth + 1);
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
    const end = endOf(target, start);
    if (isUp(target, start, end) || isName(target, start, end)) yield [start, end];
    start = end + 1;
  }
}

function endOf(target: Buffer, start: number): number {
  let end = start;
  while (end < target.length && target[end] !== SLASH) end++;
  return end;
}

/** Of what is not `..`. */
function isName(target: Buffer, start: number, end: number): boolean {
  return end > start && !(end - start === 1 && target[start] === DOT);
}

function isUp(target: Buffer, start: number, end: number): boolean {
  return end - start === 2 && target[start] === DOT && target[start + 1] === DOT;
}
