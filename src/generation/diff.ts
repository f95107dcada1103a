/** What changed between two generations: for `status`, for hooks, for telling the kernel. */
import { type DirectoryNode, type Generation, type Node, pathOf } from './generation.ts';

export interface Changes {
  /** Paths without a leading slash, in listing order, of entries of every kind. */
  readonly added: readonly string[];
  readonly removed: readonly string[];
  /** Other bytes, target, kind, mode or owner. A directory whose listing alone changed is not among them. */
  readonly changed: readonly string[];
  readonly unchangedCount: number;
}

/**
 * Both must come from one line of `buildGeneration` calls: it is the inode that tells whether a file changed. So no
 * content is read, and `before` may have been wiped already.
 */
export function diffGenerations(before: Generation | undefined, after: Generation): Changes {
  const added: string[] = [];
  const removed: string[] = [];
  const changed: string[] = [];
  let unchangedCount = 0;

  function everythingBelow(directory: DirectoryNode, list: string[]): void {
    for (const child of directory.children.values()) {
      list.push(pathOf(child));
      if (child.kind === 'directory') everythingBelow(child, list);
    }
  }

  function compare(a: Node, b: Node): void {
    if (a.kind === 'directory' && b.kind === 'directory') {
      if (a.mode === b.mode && a.uid === b.uid && a.gid === b.gid) unchangedCount += 1;
      else changed.push(pathOf(b));
      compareListings(a, b);
      return;
    }
    if (a.ino === b.ino) {
      unchangedCount += 1;
      return;
    }
    changed.push(pathOf(b));
    if (a.kind === 'directory') everythingBelow(a, removed);
    if (b.kind === 'directory') everythingBelow(b, added);
  }

  function compareListings(a: DirectoryNode, b: DirectoryNode): void {
    for (const [name, child] of b.children) {
      const old = a.children.get(name);
      if (old !== undefined) compare(old, child);
      else {
        added.push(pathOf(child));
        if (child.kind === 'directory') everythingBelow(child, added);
      }
    }
    for (const [name, old] of a.children) {
      if (b.children.has(name)) continue;
      removed.push(pathOf(old));
      if (old.kind === 'directory') everythingBelow(old, removed);
    }
  }

  if (before === undefined) everythingBelow(after.root, added);
  else compareListings(before.root, after.root);
  return { added, removed, changed, unchangedCount };
}
