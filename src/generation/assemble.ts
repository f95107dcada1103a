/**
 * Generations back to entries, so that a new one can have parts of what is live: files that a candidate must not replace,
 * and the other sub-directories of a mount of several bundles.
 */
import { Buffer } from 'node:buffer';
import type { ArchiveEntry } from '../bundle/archive.ts';
import { symlinksStayInside } from '../bundle/tree.ts';
import type { Generation } from './generation.ts';

export interface EntriesOptions {
  /** A directory that is left out, with all that is in it: a path. */
  readonly without?: string | undefined;
}

/**
 * What a generation has, parents first, the root left out. Contents are copies, the caller's to wipe. Throws RangeError
 * where the image ends before its contents do.
 */
export function* entriesOf(
  generation: Generation,
  { without }: EntriesOptions = {},
): Generator<ArchiveEntry> {
  const left = without === undefined ? -1 : findPath(generation, without);
  const out = new Set<number>(left > 0 ? [left] : []);
  for (let node = 1; node < generation.nodeCount; node++) {
    if (out.has(node) || out.has(generation.parent(node))) out.add(node);
    else yield entryOf(generation, node);
  }
}

/** One of them, above 0. */
export function entryOf(generation: Generation, node: number): ArchiveEntry {
  const base = {
    path: generation.path(node),
    mode: generation.mode(node) & 0o777,
    uid: generation.uid(node),
    gid: generation.gid(node),
  };
  if (generation.isDirectory(node)) return { ...base, kind: 'directory' };
  if (generation.isSymlink(node)) return { ...base, kind: 'symlink', target: generation.target(node) };
  const data = Buffer.alloc(generation.size(node));
  for (let at = 0; at < data.length; ) {
    const read = generation.read(node, at, data.length - at, data, at);
    if (read <= 0) throw new RangeError('an image that ends before its contents');
    at += read;
  }
  return { ...base, kind: 'file', data };
}

/** The node at a path, no symlink followed; -1 where there is none. '' is the root. */
export function findPath(generation: Generation, path: string): number {
  let node = 0;
  for (const name of path === '' ? [] : path.split('/')) {
    const bytes = Buffer.from(name);
    node = generation.child(node, bytes, 0, bytes.length);
    if (node < 0) return -1;
  }
  return node;
}

/**
 * `candidate` with `kept` in place of what it has at their paths, and the directories that those need. Undefined where a
 * path leads through what is no directory there, or a directory stands in its place: then it can't be told apart from
 * the rest; and where a symlink of one would lead out through those of the other.
 */
export function assemble(
  candidate: readonly ArchiveEntry[],
  kept: readonly ArchiveEntry[],
): ArchiveEntry[] | undefined {
  const entries = new Map(candidate.map((entry) => [entry.path, entry]));
  for (const entry of kept) {
    for (let slash = entry.path.indexOf('/'); slash > 0; slash = entry.path.indexOf('/', slash + 1)) {
      const path = entry.path.slice(0, slash);
      const there = entries.get(path);
      if (there === undefined) entries.set(path, { kind: 'directory', path, mode: 0o755, uid: 0, gid: 0 });
      else if (there.kind !== 'directory') return undefined;
    }
    if (entries.get(entry.path)?.kind === 'directory') return undefined;
    entries.set(entry.path, entry);
  }
  const assembled = [...entries.values()];
  return symlinksStayInside(assembled) ? assembled : undefined;
}
