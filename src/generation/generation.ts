/**
 * A generation: one verified, immutable file tree. Nodes belong to one generation only, even where two generations
 * hold the same file: `ino` is what they share. File contents are views into one arena, which whoever allocated
 * it wipes; nothing here may be read after that.
 */

/** The inode number of every generation's root, as FUSE wants it. */
export const ROOT_INO = 1;

interface NodeBase {
  /** Below 2^53. Equal in two generations exactly when nothing about the entry changed, or it stayed a directory. */
  readonly ino: number;
  /** The last segment of the path; '' for the root. */
  readonly name: string;
  /** The root is its own parent, as in a mounted filesystem. */
  readonly parent: DirectoryNode;
  /** Permission bits only. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes: contents, length of a link's target, a token size for directories. */
  readonly size: number;
  /** Whole seconds, because that is what nginx compares. */
  readonly mtimeSeconds: number;
  readonly nlink: number;
}

export interface FileNode extends NodeBase {
  readonly kind: 'file';
  /** A view into the generation's arena: not to be kept, not to be written. */
  readonly data: Uint8Array;
}

export interface DirectoryNode extends NodeBase {
  readonly kind: 'directory';
  /** In the order in which a listing shows them: by name, by UTF-16 code units. */
  readonly children: ReadonlyMap<string, Node>;
}

export interface SymlinkNode extends NodeBase {
  readonly kind: 'symlink';
  readonly target: string;
}

export type Node = FileNode | DirectoryNode | SymlinkNode;

export interface Generation {
  /** Our own counter. */
  readonly id: number;
  /** The bundle's authenticated serial. */
  readonly serial: number;
  readonly activatedSeconds: number;
  readonly root: DirectoryNode;
  /** Every node, the root included. */
  readonly nodes: ReadonlyMap<number, Node>;
  readonly files: number;
  readonly directories: number;
  readonly symlinks: number;
  readonly contentBytes: number;
}

/** Hands out inode numbers that no file had before. One for the lifetime of a mount. */
export class InodeAllocator {
  #next: number;

  /** `first` is above ROOT_INO; a mount that resumes another's kernel connection starts where that one stopped. */
  constructor(first: number = ROOT_INO + 1) {
    this.#next = first;
  }

  next(): number {
    const ino = this.#next++;
    if (ino > Number.MAX_SAFE_INTEGER) throw new RangeError('out of inode numbers');
    return ino;
  }
}

/** The path of a node below its root, without a leading slash; '' for the root. */
export function pathOf(node: Node): string {
  const names: string[] = [];
  for (let at: Node = node; at.parent !== at; at = at.parent) names.push(at.name);
  return names.reverse().join('/');
}
