/**
 * Images of single bundles in the store of a mount of several: what its generations are composed of. Each is a file as a
 * generation is, complete, written by nobody any more, and never served by itself.
 */
import { fstatSync } from 'node:fs';
import type { RamfsStore } from '../store/ramfs.ts';
import {
  bytesInMemory,
  type Candidate,
  closeCandidate,
  makeCandidate,
  readNextIno,
  refused,
} from './candidate.ts';

/** What is known of an image that is kept. Its unsealer is believed none of it. */
export interface KeptImage {
  /** That whoever reads all of it takes: what it leaves out reads as zeros. */
  readonly bytes: number;
  readonly nextIno: number;
}

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

  /**
   * It is complete. `nextIno`: of the image before. Throws MountError generation-refused for inode numbers that do not follow
   * that, and where somebody can still write to it; it is gone then.
   */
  async keep(
    candidate: Candidate,
    limits: { readonly nextIno: number; readonly nodesMax: number },
  ): Promise<KeptImage> {
    const { id, imageFd } = candidate;
    try {
      const nextIno = readNextIno(imageFd, limits.nextIno, limits.nodesMax);
      const bytes = Math.max(fstatSync(imageFd).size, bytesInMemory(imageFd));
      closeCandidate(candidate);
      if (!this.#store.publish(id)) throw refused('a process still writes to it');
      // Its changes are of the part alone: nobody is told of them.
      await this.#store.removeChanges(id);
      return { bytes, nextIno };
    } catch (error) {
      closeCandidate(candidate);
      await this.#store.wipe(id);
      throw error;
    }
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
