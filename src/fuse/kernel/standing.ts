/** What stands at a path in each generation: at the one of an inode, or at a name in a directory. One object for all requests. */
import { Buffer } from 'node:buffer';
import type { Generation } from '../../generation/generation.ts';
import { NO_SUCH_GENERATION, NO_SUCH_NAME, type Standing } from '../../vfs/consistency.ts';
import type { Vfs } from '../../vfs/vfs.ts';

const NOTHING = Buffer.alloc(0);

export class PathStanding implements Standing {
  readonly #vfs: Vfs;
  #ino = 0;
  #name: Uint8Array = NOTHING;
  #start = 0;
  #end = 0;

  constructor(vfs: Vfs) {
    this.#vfs = vfs;
  }

  /** Where the inode stands or stood. */
  ofInode(ino: number): this {
    this.#ino = ino;
    this.#end = this.#start;
    return this;
  }

  /** A name, from `start` to `end`, not empty, in a directory; valid as long as `name` stays as it is. */
  ofName(directory: number, name: Uint8Array, start: number, end: number): this {
    this.#ino = directory;
    this.#name = name;
    this.#start = start;
    this.#end = end;
    return this;
  }

  inoIn(id: number): number {
    const generation = this.#vfs.generation(id);
    if (generation === undefined) return NO_SUCH_GENERATION;
    const node = this.nodeIn(generation);
    return node < 0 ? NO_SUCH_NAME : generation.ino(node);
  }

  /** The same as a node, or -1. */
  nodeIn(generation: Generation): number {
    const node = this.#vfs.counterpart(this.#ino, generation);
    if (node < 0 || this.#start === this.#end) return node;
    return generation.child(node, this.#name, this.#start, this.#end);
  }
}
