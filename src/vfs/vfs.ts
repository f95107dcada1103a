/**
 * The filesystem: what every driver serves, with no idea of how it is asked. Inode-based, read-only. New lookups and
 * opens see the live generation; what is open stays with the generation it was opened in.
 *
 * Methods throw VfsError and nothing else.
 */

import { type DirectoryNode, type Generation, type Node, pathOf } from '../generation/generation.ts';
import { FILE_NAME_BYTES_MAX, PATH_BYTES_MAX } from '../limits.ts';
import { VfsError } from './errno.ts';
import { HandleTable } from './handles.ts';

const S_IFMT = { file: 0o100000, directory: 0o040000, symlink: 0o120000 } as const;
const O_ACCMODE = 0o3;
const O_TRUNC = 0o1000;
const BLOCK_BYTES = 4096;
/** What st_blocks counts in. */
const STAT_BLOCK_BYTES = 512;

export interface Attributes {
  readonly ino: number;
  /** With the bits of the file type. */
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  /** Of 512 bytes. */
  readonly blocks: number;
  /** Also stands for atime and ctime. */
  readonly mtimeSeconds: number;
}

export interface DirectoryEntry {
  readonly name: string;
  readonly attributes: Attributes;
  /** Where to go on after this entry. */
  readonly nextOffset: number;
}

export interface FilesystemStatistics {
  readonly blockBytes: number;
  readonly blocks: number;
  readonly files: number;
  readonly nameBytesMax: number;
}

export interface Credentials {
  readonly uid: number;
  readonly gid: number;
  readonly groups?: readonly number[];
}

export interface VfsOptions {
  /**
   * Called exactly once for each superseded generation, when its last handle is gone or `retire` let go of it. Its
   * contents are not read again: they may be wiped.
   */
  readonly onRetired?: ((generation: Generation) => void) | undefined;
}

export class Vfs {
  readonly #handles = new HandleTable();
  readonly #onRetired: (generation: Generation) => void;
  /** Superseded, still pinned by handles; oldest first. */
  readonly #lingering = new Set<Generation>();
  #live: Generation;

  constructor(first: Generation, options: VfsOptions = {}) {
    this.#live = first;
    this.#onRetired = options.onRetired ?? (() => {});
  }

  get live(): Generation {
    return this.#live;
  }

  get lingering(): readonly Generation[] {
    return [...this.#lingering];
  }

  /** Handles that are open, in all generations or in one. */
  openHandles(generation?: Generation): number {
    return generation === undefined ? this.#handles.size : this.#handles.pinned(generation);
  }

  /** Makes `next` live: one pointer, so that no request sees half of it. */
  activate(next: Generation): void {
    const previous = this.#live;
    if (next === previous) return;
    this.#live = next;
    if (this.#handles.pinned(previous) > 0) this.#lingering.add(previous);
    else this.#onRetired(previous);
  }

  /** Lets go of a superseded generation that handles still pin: their reads answer ESTALE. Known already: nothing. */
  retire(generation: Generation): void {
    if (!this.#lingering.delete(generation)) return;
    this.#handles.makeStale(generation);
    this.#onRetired(generation);
  }

  lookup(parentIno: number, name: string): Attributes {
    return attributesOf(this.#child(this.#liveDirectory(parentIno), name));
  }

  /** The inode at an absolute path of the live generation. Symlinks are not followed: that is the kernel's work. */
  resolve(path: string): number {
    if (path.length > PATH_BYTES_MAX) throw new VfsError('ENAMETOOLONG');
    let node: Node = this.#live.root;
    for (const name of path.split('/')) {
      if (name === '') continue;
      if (node.kind !== 'directory') throw new VfsError('ENOTDIR');
      node = this.#child(node, name);
    }
    return node.ino;
  }

  getattr(ino: number): Attributes {
    return attributesOf(this.#node(ino));
  }

  /** What is open, as it was when it was opened. */
  fgetattr(fh: number): Attributes {
    return attributesOf(this.#handles.any(fh).node);
  }

  readlink(ino: number): string {
    const node = this.#node(ino);
    if (node.kind !== 'symlink') throw new VfsError('EINVAL');
    return node.target;
  }

  /** `mask` as in access(2): 4 read, 2 write, 1 execute, or-ed; 0 asks for existence. */
  access(ino: number, mask: number, who: Credentials): void {
    const node = this.#node(ino);
    if ((mask & 2) !== 0) throw new VfsError('EROFS');
    if (who.uid === 0) {
      const executable = node.kind !== 'file' || (node.mode & 0o111) !== 0;
      if ((mask & 1) !== 0 && !executable) throw new VfsError('EACCES');
      return;
    }
    const inGroup = who.gid === node.gid || (who.groups?.includes(node.gid) ?? false);
    const shift = who.uid === node.uid ? 6 : inGroup ? 3 : 0;
    if (((node.mode >> shift) & mask) !== mask) throw new VfsError('EACCES');
  }

  /** `flags` as in open(2). A superseded inode opens as what its path holds now, or is ESTALE. */
  open(ino: number, flags: number): number {
    if ((flags & O_ACCMODE) !== 0 || (flags & O_TRUNC) !== 0) throw new VfsError('EROFS');
    const node = this.#current(ino);
    if (node.kind === 'directory') throw new VfsError('EISDIR');
    if (node.kind === 'symlink') throw new VfsError('ELOOP');
    return this.#handles.add({ kind: 'file', node, generation: this.#live });
  }

  /**
   * Up to `length` bytes at `offset`, none at or past the end. The view is into the generation itself: copy it before
   * the handle can be released, never write to it.
   */
  read(fh: number, offset: number, length: number): Uint8Array {
    const { data } = this.#handles.file(fh).node;
    if (!(offset >= 0) || !(length >= 0)) throw new VfsError('EINVAL');
    return data.subarray(Math.min(offset, data.length), Math.min(offset + length, data.length));
  }

  release(fh: number): void {
    this.#release(fh);
  }

  opendir(ino: number): number {
    const node = this.#current(ino);
    if (node.kind !== 'directory') throw new VfsError('ENOTDIR');
    return this.#handles.add({ kind: 'directory', node, generation: this.#live, listing: undefined });
  }

  /** Up to `limit` entries from `offset` (0, or a nextOffset), of the listing as it was at opendir; "." and ".." first. */
  readdir(fh: number, offset: number, limit: number = Number.POSITIVE_INFINITY): DirectoryEntry[] {
    const handle = this.#handles.directory(fh);
    const { node } = handle;
    handle.listing ??= [...node.children.values()];
    const { listing } = handle;
    const end = Math.min(listing.length + 2, offset + limit);
    const entries: DirectoryEntry[] = [];
    for (let i = offset; i < end; i++) {
      const at = i === 0 ? node : i === 1 ? node.parent : (listing[i - 2] as Node);
      const name = i === 0 ? '.' : i === 1 ? '..' : at.name;
      entries.push({ name, attributes: attributesOf(at), nextOffset: i + 1 });
    }
    return entries;
  }

  releasedir(fh: number): void {
    this.#release(fh);
  }

  /** Nothing is free, because nothing can be written. */
  statfs(): FilesystemStatistics {
    const { contentBytes, nodes } = this.#live;
    return {
      blockBytes: BLOCK_BYTES,
      blocks: Math.ceil(contentBytes / BLOCK_BYTES),
      files: nodes.size,
      nameBytesMax: FILE_NAME_BYTES_MAX,
    };
  }

  #release(fh: number): void {
    const unpinned = this.#handles.remove(fh);
    if (unpinned !== undefined && this.#lingering.delete(unpinned)) this.#onRetired(unpinned);
  }

  #child(directory: DirectoryNode, name: string): Node {
    if (name === '.') return directory;
    if (name === '..') return directory.parent;
    const child = directory.children.get(name);
    if (child !== undefined) return child;
    // Counting bytes is for names that don't exist anyway.
    throw new VfsError(Buffer.byteLength(name) > FILE_NAME_BYTES_MAX ? 'ENAMETOOLONG' : 'ENOENT');
  }

  #liveDirectory(ino: number): DirectoryNode {
    const node = this.#live.nodes.get(ino);
    if (node === undefined) throw new VfsError('ESTALE');
    if (node.kind !== 'directory') throw new VfsError('ENOTDIR');
    return node;
  }

  /** The node of an inode, the live one if there is one, else the newest that something still has open. */
  #node(ino: number): Node {
    const live = this.#live.nodes.get(ino);
    if (live !== undefined) return live;
    for (const generation of this.lingering.toReversed()) {
      const node = generation.nodes.get(ino);
      if (node !== undefined) return node;
    }
    throw new VfsError('ESTALE');
  }

  /** The live node that stands where the inode stands or stood. */
  #current(ino: number): Node {
    const node = this.#node(ino);
    if (this.#live.nodes.get(ino) === node) return node;
    try {
      return this.#live.nodes.get(this.resolve(pathOf(node))) as Node;
    } catch {
      throw new VfsError('ESTALE');
    }
  }
}

function attributesOf(node: Node): Attributes {
  return {
    ino: node.ino,
    mode: S_IFMT[node.kind] | node.mode,
    nlink: node.nlink,
    uid: node.uid,
    gid: node.gid,
    size: node.size,
    blocks: Math.ceil(node.size / STAT_BLOCK_BYTES),
    mtimeSeconds: node.mtimeSeconds,
  };
}
