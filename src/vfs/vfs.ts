/**
 * The filesystem: what every driver serves, with no idea of how it is asked. Inode-based, read-only. Lookups see the live
 * generation; a superseded inode keeps its attributes and its bytes as long as a generation that has it lingers.
 *
 * Results are 0 or above, or a negative errno. Nothing that a request leads to allocates or throws.
 */
import type { Generation } from '../generation/generation.ts';
import { FILE_NAME_BYTES_MAX } from '../limits.ts';
import { ERRNO } from './errno.ts';

const DOT = 0x2e;
const BLOCK_BYTES = 4096;
const WRITE = 2;
const EXECUTE = 1;
const EXECUTABLE_BITS = 0o111;
const ANYTHING = 0o7;

/** Where an inode is. One object for all: valid until the next call of locate(). */
export interface Place {
  readonly generation: Generation;
  readonly node: number;
  /** Whether that is the live generation. */
  readonly live: boolean;
}

export interface FilesystemStatistics {
  readonly blockBytes: number;
  readonly blocks: number;
  readonly files: number;
  readonly nameBytesMax: number;
}

export interface VfsOptions {
  /** Called exactly once for each generation that is let go of. It is not read again: it may be wiped. */
  readonly onRetired?: ((generation: Generation) => void) | undefined;
}

export class Vfs {
  readonly #onRetired: (generation: Generation) => void;
  readonly #place: { generation: Generation; node: number; live: boolean };
  /** A name on its way from one generation to another. */
  readonly #name = new Uint8Array(FILE_NAME_BYTES_MAX);
  #live: Generation;
  /** Superseded, still kept; oldest first. */
  #lingering: readonly Generation[] = [];

  constructor(first: Generation, options: VfsOptions = {}) {
    this.#live = first;
    this.#onRetired = options.onRetired ?? (() => {});
    this.#place = { generation: first, node: 0, live: true };
  }

  get live(): Generation {
    return this.#live;
  }

  /** Oldest first. */
  get lingering(): readonly Generation[] {
    return this.#lingering;
  }

  /** Makes `next` live: one pointer, so that no request sees half of it. What was live lingers until retire(). */
  activate(next: Generation): void {
    if (next === this.#live) return;
    this.#lingering = [...this.#lingering.filter((generation) => generation !== next), this.#live];
    this.#live = next;
  }

  /** Lets go of a superseded generation. One that is live, or is not known any more: nothing. */
  retire(generation: Generation): void {
    if (!this.#lingering.includes(generation)) return;
    this.#lingering = this.#lingering.filter((each) => each !== generation);
    if (this.#place.generation === generation) this.#place.generation = this.#live;
    this.#onRetired(generation);
  }

  /** Both at once, for who is told what there is: what is in neither is retired. `lingering` is oldest first. */
  setGenerations(live: Generation, lingering: readonly Generation[]): void {
    const kept = lingering.filter((generation) => generation !== live);
    const gone = [...this.#lingering, this.#live].filter((each) => each !== live && !kept.includes(each));
    this.#live = live;
    this.#lingering = [...gone, ...kept];
    for (const generation of gone) this.retire(generation);
  }

  /** In the live generation if that has the inode, else in the newest lingering one that does. */
  locate(ino: number): Place | undefined {
    const place = this.#place;
    place.node = this.#live.find(ino);
    if (place.node >= 0) {
      place.generation = this.#live;
      place.live = true;
      return place;
    }
    for (let i = this.#lingering.length - 1; i >= 0; i--) {
      const generation = this.#lingering[i] as Generation;
      place.node = generation.find(ino);
      if (place.node >= 0) {
        place.generation = generation;
        place.live = false;
        return place;
      }
    }
    return undefined;
  }

  /**
   * The node of the live generation that a name in a directory stands for, from `start` to `end` of `name`; "." and ".."
   * too. Or -ENOENT, -ENOTDIR, -ENAMETOOLONG, and -ESTALE for a directory that is not there any more.
   */
  lookup(parentIno: number, name: Uint8Array, start: number, end: number): number {
    const live = this.#live;
    const directory = live.find(parentIno);
    if (directory < 0) return -ERRNO.ESTALE;
    return this.lookupAt(directory, name, start, end);
  }

  /** The same for a node of the live generation. */
  lookupAt(directory: number, name: Uint8Array, start: number, end: number): number {
    const live = this.#live;
    if (!live.isDirectory(directory)) return -ERRNO.ENOTDIR;
    const length = end - start;
    if (length > FILE_NAME_BYTES_MAX) return -ERRNO.ENAMETOOLONG;
    if (name[start] === DOT) {
      if (length === 1) return directory;
      if (length === 2 && name[start + 1] === DOT) return live.parent(directory);
    }
    const child = live.child(directory, name, start, end);
    return child >= 0 ? child : -ERRNO.ENOENT;
  }

  /** The node of the live generation that stands where the inode stands or stood, of whatever kind; or -ESTALE. */
  successor(ino: number): number {
    const place = this.locate(ino);
    if (place === undefined) return -ERRNO.ESTALE;
    if (place.live) return place.node;
    const node = this.#counterpart(place.generation, place.node, this.#live);
    return node >= 0 ? node : -ERRNO.ESTALE;
  }

  /** The node of `generation`, one of those here, that stands where the inode stands or stood; or -1. */
  counterpart(ino: number, generation: Generation): number {
    const node = generation.find(ino);
    if (node >= 0) return node;
    const place = this.locate(ino);
    return place === undefined ? -1 : this.#counterpart(place.generation, place.node, generation);
  }

  /** The live or a lingering one, by its id. */
  generation(id: number): Generation | undefined {
    if (id === this.#live.id) return this.#live;
    for (let i = this.#lingering.length - 1; i >= 0; i--) {
      if (this.#lingering[i]?.id === id) return this.#lingering[i];
    }
    return undefined;
  }

  /** `mask` as in access(2): 4 read, 2 write, 1 execute, or-ed; 0 asks for existence. 0, -EACCES, -EROFS or -ESTALE. */
  access(ino: number, mask: number, uid: number, gid: number, groups?: readonly number[]): number {
    const place = this.locate(ino);
    if (place === undefined) return -ERRNO.ESTALE;
    if ((mask & WRITE) !== 0) return -ERRNO.EROFS;
    const { generation, node } = place;
    const mode = generation.mode(node);
    if (uid === 0) {
      const executable = !generation.isFile(node) || (mode & EXECUTABLE_BITS) !== 0;
      return (mask & EXECUTE) !== 0 && !executable ? -ERRNO.EACCES : 0;
    }
    const owner = generation.gid(node);
    const inGroup = gid === owner || (groups?.includes(owner) ?? false);
    const shift = uid === generation.uid(node) ? 6 : inGroup ? 3 : 0;
    const wanted = mask & ANYTHING;
    return ((mode >> shift) & wanted) === wanted ? 0 : -ERRNO.EACCES;
  }

  /** Nothing is free, because nothing can be written. */
  statfs(): FilesystemStatistics {
    const { contentBytes, nodeCount } = this.#live;
    return {
      blockBytes: BLOCK_BYTES,
      blocks: Math.ceil(contentBytes / BLOCK_BYTES),
      files: nodeCount,
      nameBytesMax: FILE_NAME_BYTES_MAX,
    };
  }

  /** Name by name from the root; a generation is at most DEPTH_MAX deep. */
  #counterpart(generation: Generation, node: number, into: Generation): number {
    if (node === 0) return 0;
    const parent = this.#counterpart(generation, generation.parent(node), into);
    if (parent < 0) return -1;
    return into.child(parent, this.#name, 0, generation.copyName(node, this.#name, 0));
  }
}
