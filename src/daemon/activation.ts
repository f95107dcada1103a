/**
 * The line of generations of one mount, in this process's locked memory: builds each from the one before, makes it
 * live, and gives its memory back, wiped, once nothing that is open needs it.
 */
import type { ArchiveEntry } from '../bundle/archive.ts';

import { withAccepted } from '../checks/candidate.ts';
import type { Findings } from '../checks/findings.ts';
import type { FileRule } from '../checks/ownership.ts';
import type { Checks } from '../checks/settings.ts';
import type { Changes } from '../control/protocol.ts';
import { type Plan, planGeneration, writePlan } from '../generation/build.ts';
import { Generation, inMemory } from '../generation/generation.ts';
import { LINGERING_GENERATIONS_MAX } from '../limits.ts';
import type { LockedMemory, MemoryStore } from '../store/memory.ts';
import { PathVfs } from '../vfs/paths.ts';
import type { Opened } from './rotation-ports.ts';
import type { Sealed } from './unseal.ts';

/** A generation with the memory that its image is in. */
export interface Held {
  readonly generation: Generation;
  readonly memory: LockedMemory;
  /** Against the generation that was live when this one was built. */
  readonly counts: Changes;
  readonly findings: Findings;
}

export interface ActivationOptions {
  readonly store: MemoryStore;
  readonly nowMs: () => number;
  /** Keep packed modes and numeric owners; otherwise everything is `owner`'s alone. */
  readonly preserve: boolean;
  readonly owner: { readonly uid: number; readonly gid: number };
  readonly checks: Checks;
  /** `files:` of the config. */
  readonly rules: readonly FileRule[];
  /** Of a generation, those kept from the one before it too. */
  readonly filesMax: number;
  readonly bytesMax: number;
  /** Others' turn, while much is checked. */
  readonly yield: () => Promise<void>;
  readonly onRetired: (generation: Generation) => void;
}

export class Activation {
  readonly #options: ActivationOptions;
  readonly #memories = new Map<Generation, LockedMemory>();
  #nextId = 1;
  #vfs: PathVfs | undefined;

  constructor(options: ActivationOptions) {
    this.#options = options;
  }

  /** What a driver serves; undefined before the first generation. */
  get vfs(): PathVfs | undefined {
    return this.#vfs;
  }

  /**
   * Checks the entries and copies their contents into memory of their own: the caller may wipe them at once. Throws
   * BundleError for what the checks refuse.
   */
  async build(header: Sealed, entries: readonly ArchiveEntry[]): Promise<Omit<Opened<Held>, 'uploadedMs'>> {
    const options = { ...this.#options, nowMs: this.#options.nowMs(), live: this.#vfs?.live };
    return withAccepted(entries, options, (accepted, findings) => this.#build(header, accepted, findings));
  }

  #build(
    header: Sealed,
    entries: readonly ArchiveEntry[],
    findings: Findings,
  ): Omit<Opened<Held>, 'uploadedMs'> {
    const plan = this.#plan(header.serial, entries);
    const memory = this.#options.store.allocate(plan.bytes);
    try {
      const generation = open(plan, memory.buffer);
      const held = { generation, memory, counts: plan.changes.counts, findings };
      return { generation: held, serial: header.serial, created: header.created };
    } catch (error) {
      memory.release();
      throw error;
    }
  }

  /** Makes it live in one step. Returns what changed; undefined for the first. */
  activate({ generation, memory, counts }: Held): Changes | undefined {
    this.#memories.set(generation, memory);
    if (this.#vfs === undefined) {
      this.#vfs = new PathVfs(generation, { onRetired: (retired) => this.#retire(retired) });
      return undefined;
    }
    this.#vfs.activate(generation);
    const { lingering } = this.#vfs;
    for (const oldest of lingering.slice(0, -LINGERING_GENERATIONS_MAX)) this.#vfs.retire(oldest);
    return counts;
  }

  /** Wipes everything. What is still open after a lazy unmount gets ESTALE from here on, not zeros. */
  wipe(): void {
    const vfs = this.#vfs;
    if (vfs === undefined) return;
    const empty = this.#plan(0, []);
    vfs.activate(open(empty, Buffer.alloc(empty.bytes)));
    for (const generation of vfs.lingering) vfs.retire(generation);
  }

  #plan(serial: number, entries: readonly ArchiveEntry[]): Plan {
    const nowSeconds = Math.floor(this.#options.nowMs() / 1000);
    const id = this.#nextId++;
    return planGeneration(entries, { id, serial, nowSeconds, previous: this.#vfs?.live, preserve: true });
  }

  #retire(generation: Generation): void {
    this.#memories.get(generation)?.release();
    this.#memories.delete(generation);
    this.#options.onRetired(generation);
  }
}

/** What is planned, written into `image`. */
function open(plan: Plan, image: Buffer): Generation {
  writePlan(plan, image);
  // Names and targets are in the image now.
  plan.metadata.fill(0);
  return Generation.open(image, inMemory(image));
}
