/**
 * The filesystem for a driver that asks by path and by handle, as libfuse 2 does. What is open stays with the generation
 * it was opened in, and a superseded generation goes with the last handle on it.
 *
 * Methods throw VfsError and nothing else.
 */
import { Buffer } from 'node:buffer';
import type { Generation } from '../generation/generation.ts';
import { PATH_BYTES_MAX } from '../limits.ts';
import { orThrow, VfsError } from './errno.ts';
import { HandleTable } from './handles.ts';
import { Vfs, type VfsOptions } from './vfs.ts';

const O_ACCMODE = 0o3;
const O_TRUNC = 0o1000;
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

export class PathVfs extends Vfs {
  readonly #handles: HandleTable;

  constructor(first: Generation, options: VfsOptions = {}) {
    super(first, options);
    this.#handles = new HandleTable();
  }

  /** As Vfs, but what no handle pins is retired at once. */
  override activate(next: Generation): void {
    const previous = this.live;
    super.activate(next);
    if (previous !== next && this.#handles.pinned(previous) === 0) this.retire(previous);
  }

  /** As Vfs; reads of handles that still pin it answer ESTALE. */
  override retire(generation: Generation): void {
    if (this.lingering.includes(generation)) this.#handles.makeStale(generation);
    super.retire(generation);
  }

  /** The inode at an absolute path of the live generation. Symlinks are not followed: that is the kernel's work. */
  resolve(path: string): number {
    const bytes = Buffer.from(path);
    if (bytes.length > PATH_BYTES_MAX) throw new VfsError('ENAMETOOLONG');
    let node = 0;
    for (let start = 0; start < bytes.length; ) {
      const slash = bytes.indexOf('/', start);
      const end = slash < 0 ? bytes.length : slash;
      if (end > start) node = orThrow(this.lookupAt(node, bytes, start, end));
      start = end + 1;
    }
    return this.live.ino(node);
  }

  getattr(ino: number): Attributes {
    const { generation, node } = this.#locate(ino);
    return attributesOf(generation, node);
  }

  /** What is open, as it was when it was opened. */
  fgetattr(fh: number): Attributes {
    const { generation, node } = this.#handles.any(fh);
    return attributesOf(generation, node);
  }

  readlink(ino: number): string {
    const { generation, node } = this.#locate(ino);
    if (!generation.isSymlink(node)) throw new VfsError('EINVAL');
    return generation.target(node);
  }

  /** `flags` as in open(2). A superseded inode opens as what its path holds now, or is ESTALE. */
  open(ino: number, flags: number): number {
    if ((flags & O_ACCMODE) !== 0 || (flags & O_TRUNC) !== 0) throw new VfsError('EROFS');
    const node = orThrow(this.successor(ino));
    const generation = this.live;
    if (generation.isDirectory(node)) throw new VfsError('EISDIR');
    if (generation.isSymlink(node)) throw new VfsError('ELOOP');
    return this.#handles.add({ kind: 'file', generation, node });
  }

  /** Copies up to `length` bytes at `offset` into target, none at or past the end; returns how many. */
  read(fh: number, offset: number, length: number, target: Uint8Array): number {
    const { generation, node } = this.#handles.file(fh);
    if (!(offset >= 0) || !(length >= 0)) throw new VfsError('EINVAL');
    return generation.read(node, offset, length, target, 0);
  }

  release(fh: number): void {
    this.#release(fh);
  }

  opendir(ino: number): number {
    const node = orThrow(this.successor(ino));
    const generation = this.live;
    if (!generation.isDirectory(node)) throw new VfsError('ENOTDIR');
    return this.#handles.add({ kind: 'directory', generation, node });
  }

  /** Up to `limit` entries from `offset` (0, or a nextOffset), of the listing as it was at opendir; "." and ".." first. */
  readdir(fh: number, offset: number, limit: number = Number.POSITIVE_INFINITY): DirectoryEntry[] {
    const { generation, node } = this.#handles.directory(fh);
    const first = generation.firstChild(node);
    const end = Math.min(generation.childCount(node) + 2, offset + limit);
    const entries: DirectoryEntry[] = [];
    for (let i = offset; i < end; i++) {
      const at = i === 0 ? node : i === 1 ? generation.parent(node) : first + i - 2;
      const name = i === 0 ? '.' : i === 1 ? '..' : generation.name(at);
      entries.push({ name, attributes: attributesOf(generation, at), nextOffset: i + 1 });
    }
    return entries;
  }

  releasedir(fh: number): void {
    this.#release(fh);
  }

  #release(fh: number): void {
    const unpinned = this.#handles.remove(fh);
    if (unpinned !== undefined) this.retire(unpinned);
  }

  #locate(ino: number): { readonly generation: Generation; readonly node: number } {
    const place = this.locate(ino);
    if (place === undefined) throw new VfsError('ESTALE');
    return place;
  }
}

function attributesOf(generation: Generation, node: number): Attributes {
  const size = generation.size(node);
  return {
    ino: generation.ino(node),
    mode: generation.mode(node),
    nlink: generation.nlink(node),
    uid: generation.uid(node),
    gid: generation.gid(node),
    size,
    blocks: Math.ceil(size / STAT_BLOCK_BYTES),
    mtimeSeconds: generation.mtimeSeconds(node),
  };
}
