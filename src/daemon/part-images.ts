/**
 * Images of single bundles in the store of a mount of several: what its generations are composed of. Each is a file as a
 * generation is, complete, written by nobody any more, and never served by itself.
 */
import type { RamfsStore } from '../store/ramfs.ts';
import { type Candidate, closeCandidate, makeCandidate, refused } from './candidate.ts';

export class PartImages {
  readonly #store: RamfsStore;
  readonly #nextId: () => number;

  /** `nextId`: numbers that no generation has. */
  constructor(store: RamfsStore, nextId: () => number) {
    this.#store = store;
    this.#nextId = nextId;
  }

  /** Room for the next image of a part, after `previous`. The caller closes its descriptors by keep(), or by drop(). */
  candidate(previous: number | undefined): Candidate {
    return makeCandidate(this.#store, this.#nextId(), previous);
  }

  /** It is complete. Throws MountError generation-refused where somebody can still write to it; it is gone then. */
  async keep(candidate: Candidate): Promise<void> {
    const { id } = candidate;
    closeCandidate(candidate);
    if (!this.#store.publish(id)) {
      await this.#store.wipe(id);
      throw refused('a process still writes to it');
    }
    // Its changes are of the part alone: nobody is told of them.
    await this.#store.removeChanges(id);
  }

  /** For reading; the caller closes it. */
  open(id: number): number {
    return this.#store.openPrevious(id);
  }

  /** Overwrites and removes it. */
  async drop(id: number): Promise<void> {
    await this.#store.wipe(id);
  }
}
