/** What changed between two generations: for `status`, for hooks, for telling the kernel. */
import type { ChangeList, FileChange, Operation } from './changes.ts';
import type { Generation } from './generation.ts';

/**
 * Both must come from one line of plans: it is the inode that tells whether a file changed. So no content is read.
 * Without `before` nobody has seen anything yet: everything is counted as added, and there is nothing to tell.
 */
export function changesBetween(before: Generation | undefined, after: Generation): ChangeList {
  const counts = { added: 0, changed: 0, removed: 0, unchanged: 0 };
  const operations: Operation[] = [];
  const directories: number[] = [];
  const superseded: number[] = [];
  const files: FileChange[] = [];
  if (before === undefined) {
    counts.added = after.nodeCount - 1;
    return { counts, superseded, directories, operations, files };
  }

  function sameAttributes(a: number, b: number): boolean {
    return (
      before?.mode(a) === after.mode(b) && before.uid(a) === after.uid(b) && before.gid(a) === after.gid(b)
    );
  }

  /** Everything below a directory is unlinked before it. */
  function removeBelow(old: Generation, directory: number, prefix: string): void {
    const first = old.firstChild(directory);
    for (let node = first; node < first + old.childCount(directory); node++) {
      counts.removed += 1;
      remove(old, node, `${prefix}${old.name(node)}`);
    }
  }

  function remove(old: Generation, node: number, path: string): void {
    if (!old.isDirectory(node)) {
      operations.push({ kind: 'unlink', path });
      files.push({ path, change: 'removed' });
      return;
    }
    removeBelow(old, node, `${path}/`);
    operations.push({ kind: 'rmdir', path });
  }

  function add(node: number, path: string): void {
    operations.push({ kind: 'rename', path, ino: after.ino(node) });
    counts.added += addBelow(node, path);
  }

  /** Returns how many nodes are below one, and lists the files of them; itself, if it is one. */
  function addBelow(node: number, path: string): number {
    if (!after.isDirectory(node)) {
      files.push({ path, change: 'added' });
      return 0;
    }
    const first = after.firstChild(node);
    const end = first + after.childCount(node);
    let nodes = end - first;
    for (let child = first; child < end; child++) nodes += addBelow(child, `${path}/${after.name(child)}`);
    return nodes;
  }

  function compare(old: Generation, a: number, b: number, path: string): void {
    const isDirectory = after.isDirectory(b);
    if (old.ino(a) === after.ino(b) && old.isDirectory(a) === isDirectory) {
      if (sameAttributes(a, b)) counts.unchanged += 1;
      else counts.changed += 1;
      if (isDirectory) compareListings(old, a, b, `${path}/`);
      return;
    }
    counts.changed += 1;
    // rename(2) replaces one file or symlink by another, and nothing else.
    if (old.isDirectory(a) || isDirectory) {
      remove(old, a, path);
      add(b, path);
      return;
    }
    operations.push({ kind: 'rename', path, ino: after.ino(b) });
    files.push({ path, change: 'changed' });
  }

  /** Both listings are in the order of names. `prefix` is '' or ends in a slash. */
  function compareListings(old: Generation, oldDirectory: number, directory: number, prefix: string): void {
    if (
      old.mtimeSeconds(oldDirectory) !== after.mtimeSeconds(directory) ||
      !sameAttributes(oldDirectory, directory)
    ) {
      directories.push(after.ino(directory));
    }
    let a = old.firstChild(oldDirectory);
    let b = after.firstChild(directory);
    const aEnd = a + old.childCount(oldDirectory);
    const bEnd = b + after.childCount(directory);
    while (a < aEnd || b < bEnd) {
      const order = a === aEnd ? 1 : b === bEnd ? -1 : old.compareName(a, after, b);
      if (order < 0) {
        counts.removed += 1;
        remove(old, a, prefix + old.name(a));
      } else if (order > 0) {
        counts.added += 1;
        add(b, prefix + after.name(b));
      } else {
        // Most names did not change, and their paths need not be made.
        if (old.ino(a) === after.ino(b) && old.isFile(a) && after.isFile(b)) counts.unchanged += 1;
        else compare(old, a, b, prefix + after.name(b));
      }
      if (order <= 0) a += 1;
      if (order >= 0) b += 1;
    }
  }

  compareListings(before, 0, 0, '');
  for (let node = 0; node < before.nodeCount; node++) {
    const ino = before.ino(node);
    if (after.find(ino) < 0) superseded.push(ino);
  }
  return { counts, superseded, directories, operations, files };
}
