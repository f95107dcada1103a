/**
 * Lists of changes in the store, kept for a supervisor that takes over: which inodes the kernel may hold of what lingers, and what of
 * the last one was not told.
 *
 * Invariant: that of the live generation is there, and every one that is newer than something that lingers; no other.
 */
import type { RamfsStore } from '../store/ramfs.ts';

export class KeptChanges {
  readonly #store: Pick<RamfsStore, 'removeChanges'>;
  #ids: readonly number[];

  /** `ids`: of those that there are. */
  constructor(store: Pick<RamfsStore, 'removeChanges'>, ids: readonly number[]) {
    this.#store = store;
    this.#ids = ids;
  }

  /** That of a generation that is live from now on. */
  add(id: number): void {
    this.#ids = [...this.#ids, id];
  }

  /** Overwrites and removes what nobody would ask for. */
  async settle(live: number | undefined, lingering: readonly { readonly id: number }[]): Promise<void> {
    const isKept = (id: number) => id === live || lingering.some((each) => each.id < id);
    const gone = this.#ids.filter((id) => !isKept(id));
    this.#ids = this.#ids.filter(isKept);
    for (const id of gone) await this.#store.removeChanges(id);
  }
}
