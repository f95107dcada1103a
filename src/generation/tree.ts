/**
 * Entries of an archive → their tree with the directories that no entry names, and from it the order in which an image
 * has them (format.ts).
 */
import { Buffer } from 'node:buffer';
import type { ArchiveEntry } from '../bundle/archive.ts';

export interface Draft {
  readonly name: string;
  /** undefined for a directory that only the path of something in it tells of. */
  entry: ArchiveEntry | undefined;
  /** Set for directories. */
  readonly children: Map<string, Draft> | undefined;
}

/** A draft at its place in the image. */
export interface Placed {
  readonly draft: Draft;
  readonly parent: number;
  /** Of directories. */
  firstChild: number;
}

const SURROGATE = /[\ud800-\udfff]/;

/** Throws only for what the archive's validation excludes: a duplicate, or a path through a file. */
export function draftTree(entries: Iterable<ArchiveEntry>): Draft {
  const root: Draft = { name: '', entry: undefined, children: new Map() };
  const directories = new Map<string, Draft>([['', root]]);

  function directory(path: string): Draft {
    const known = directories.get(path);
    if (known !== undefined) return known;
    const { parent, name } = split(path);
    const siblings = directory(parent).children as Map<string, Draft>;
    if (siblings.has(name)) throw new Error(`path through ${JSON.stringify(path)}, which is no directory`);
    const made: Draft = { name, entry: undefined, children: new Map() };
    siblings.set(name, made);
    directories.set(path, made);
    return made;
  }

  for (const entry of entries) {
    if (entry.kind === 'directory') {
      const draft = directory(entry.path);
      if (draft.entry !== undefined) throw new Error(`duplicate entry ${JSON.stringify(entry.path)}`);
      draft.entry = entry;
      continue;
    }
    const { parent, name } = split(entry.path);
    const siblings = directory(parent).children as Map<string, Draft>;
    if (name === '' || siblings.has(name)) throw new Error(`duplicate entry ${JSON.stringify(entry.path)}`);
    siblings.set(name, { name, entry, children: undefined });
  }
  return root;
}

/** Breadth first, children by the bytes of their names. */
export function place(root: Draft): Placed[] {
  const placed: Placed[] = [{ draft: root, parent: 0, firstChild: 0 }];
  for (let i = 0; i < placed.length; i++) {
    const at = placed[i] as Placed;
    const { children } = at.draft;
    if (children === undefined) continue;
    at.firstChild = placed.length;
    for (const name of sorted([...children.keys()])) {
      placed.push({ draft: children.get(name) as Draft, parent: i, firstChild: 0 });
    }
  }
  return placed;
}

/** UTF-16 sorts as UTF-8 does, except for what it writes with surrogates. */
function sorted(names: string[]): string[] {
  if (!names.some((name) => SURROGATE.test(name))) return names.sort();
  return names
    .map((name) => ({ name, bytes: Buffer.from(name) }))
    .sort((a, b) => Buffer.compare(a.bytes, b.bytes))
    .map(({ name }) => name);
}

function split(path: string): { parent: string; name: string } {
  const slash = path.lastIndexOf('/');
  return slash < 0
    ? { parent: '', name: path }
    : { parent: path.slice(0, slash), name: path.slice(slash + 1) };
}
