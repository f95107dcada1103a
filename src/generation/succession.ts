/**
 * Whether one generation may follow another. An inode number stands for one content for ever: the kernel keeps names,
 * attributes and pages by it, and readers their descriptors. Who made an image may be subverted; this is how the one
 * that serves it keeps numbers from being used twice, or up.
 */
import type { Generation } from './generation.ts';

/** Which rule `next` breaks, or undefined. No content is read: that those agree is the word of who made the image. */
export function whyNotSuccessor(previous: Generation, next: Generation): string | undefined {
  if (next.id <= previous.id) return 'its id is not larger';
  // A number can be lost only with a file that uses it, so they can't be used up at once.
  if (next.nextIno < previous.nextIno) return 'it gives out inode numbers again';
  if (next.nextIno - previous.nextIno >= next.nodeCount) return 'it uses up inode numbers';
  for (let node = 1; node < next.nodeCount; node++) {
    const ino = next.ino(node);
    if (ino >= previous.nextIno) continue;
    const before = previous.find(ino);
    if (before < 0) return 'it has an inode number of an earlier generation';
    if (next.ino(next.parent(node)) !== previous.ino(previous.parent(before))) return 'an inode has moved';
    if (previous.compareName(before, next, node) !== 0) return 'an inode has another name';
    if (next.isDirectory(node)) {
      if (!previous.isDirectory(before)) return 'an inode is of another kind';
      continue;
    }
    if (
      next.mode(node) !== previous.mode(before) ||
      next.uid(node) !== previous.uid(before) ||
      next.gid(node) !== previous.gid(before) ||
      next.size(node) !== previous.size(before) ||
      next.mtimeSeconds(node) !== previous.mtimeSeconds(before)
    ) {
      return 'an inode has other attributes';
    }
  }
  return undefined;
}

const OTHERS = 0o077;

/** Whether everything is root's alone, as where no bundle's modes and owners are kept. */
export function whyNotPrivate(generation: Generation): string | undefined {
  for (let node = 0; node < generation.nodeCount; node++) {
    if (generation.uid(node) !== 0 || generation.gid(node) !== 0) return 'something is not owned by root';
    // Nobody looks at a symlink's mode.
    if (!generation.isSymlink(node) && (generation.mode(node) & OTHERS) !== 0)
      return 'something is open to others';
  }
  return undefined;
}
