/**
 * The line of generations of one mount, in this process's locked memory: builds each from the one before, makes it
 * live, and gives its memory back, wiped, once nothing that is open needs it.
 */
import type { ArchiveEntry } from '../bundle/archive.ts';
import type { BundleHeader } from '../bundle/header.ts';
import type { Changes } from '../control/protocol.ts';
import { buildGeneration } from '../generation/build.ts';
import { diffGenerations } from '../generation/diff.ts';
import { type Generation, InodeAllocator } from '../generation/generation.ts';
import { LINGERING_GENERATIONS_MAX } from '../limits.ts';
import type { LockedMemory, MemoryStore } from '../store/memory.ts';
import { Vfs } from '../vfs/vfs.ts';
import type { Opened } from './rotation.ts';

/** A generation with the memory that its contents are in. */
export interface Held {
  readonly generation: Generation;
  readonly memory: LockedMemory;
}

export interface ActivationOptions {
  readonly store: MemoryStore;
  readonly nowMs: () => number;
  /** Keep packed modes and numeric owners; otherwise everything is `owner`'s alone. */
  readonly preserve: boolean;
  readonly owner: { readonly uid: number; readonly gid: number };
  readonly onRetired: (generation: Generation) => void;
}

export class Activation {
  readonly #options: ActivationOptions;
  readonly #inodes = new InodeAllocator();
  readonly #memories = new Map<Generation, LockedMemory>();
  #nextId = 1;
  #vfs: Vfs | undefined;

  constructor(options: ActivationOptions) {
    this.#options = options;
  }

  /** What a driver serves; undefined before the first generation. */
  get vfs(): Vfs | undefined {
    return this.#vfs;
  }

  /** Copies the entries' contents into memory of their own: the caller may wipe them at once. */
  build(header: BundleHeader, entries: readonly ArchiveEntry[]): Opened<Held> {
    const { store } = this.#options;
    let memory: LockedMemory | undefined;
    try {
      const generation = this.#build(header.serial, entries, (bytes) => {
        memory = store.allocate(bytes);
        return memory.buffer;
      });
      if (memory === undefined) throw new Error('a generation was built without memory');
      return { generation: { generation, memory }, serial: header.serial, created: header.created };
    } catch (error) {
      memory?.release();
      throw error;
    }
  }

  /** Makes it live in one step. Returns what changed; undefined for the first. */
  activate({ generation, memory }: Held): Changes | undefined {
    this.#memories.set(generation, memory);
    if (this.#vfs === undefined) {
      this.#vfs = new Vfs(generation, { onRetired: (retired) => this.#retire(retired) });
      return undefined;
    }
    const before = this.#vfs.live;
    this.#vfs.activate(generation);
    const { lingering } = this.#vfs;
    for (const oldest of lingering.slice(0, -LINGERING_GENERATIONS_MAX)) this.#vfs.retire(oldest);
    const { added, changed, removed, unchangedCount } = diffGenerations(before, generation);
    return {
      added: added.length,
      changed: changed.length,
      removed: removed.length,
      unchanged: unchangedCount,
    };
  }

  /** Wipes everything. What is still open after a lazy unmount gets ESTALE from here on, not zeros. */
  wipe(): void {
    const vfs = this.#vfs;
    if (vfs === undefined) return;
    vfs.activate(this.#build(0, [], (bytes) => Buffer.alloc(bytes)));
    for (const generation of vfs.lingering) vfs.retire(generation);
  }

  #build(serial: number, entries: readonly ArchiveEntry[], allocate: (bytes: number) => Buffer): Generation {
    const { nowMs, preserve, owner } = this.#options;
    const previous = this.#vfs?.live;
    const nowSeconds = Math.floor(nowMs() / 1000);
    const id = this.#nextId++;
    return buildGeneration(entries, {
      id,
      serial,
      nowSeconds,
      previous,
      inodes: this.#inodes,
      preserve,
      owner,
      allocate,
    });
  }

  #retire(generation: Generation): void {
    this.#memories.get(generation)?.release();
    this.#memories.delete(generation);
    this.#options.onRetired(generation);
  }
}
