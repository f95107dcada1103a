/** The looks at the local bundles of a mount (identity-watch.ts), told as the agent's are: of a part, of its sources in order. */
import type { FileLane } from '../system/file-lane.ts';
import { watchIdentity } from './identity-watch.ts';
import { isLocalFile } from './location.ts';
import type { PartOptions } from './mount-options.ts';
import type { Parts } from './parts.ts';
import type { Looked } from './rotation-ports.ts';

export class BundleWatches {
  readonly #lane: FileLane;
  readonly #parts: Pick<Parts, 'known' | 'noteLook'>;
  #watches: { close(): void }[] = [];

  constructor(lane: FileLane, parts: Pick<Parts, 'known' | 'noteLook'>) {
    this.#lane = lane;
    this.#parts = parts;
  }

  /** From now on these, and no others. What is not what was fetched last is told at once. */
  watch(parts: readonly Pick<PartOptions, 'sources'>[]): void {
    this.close();
    const known = this.#parts.known();
    parts.forEach(({ sources }, part) => {
      sources.forEach(({ bundle: location }, source) => {
        if (!isLocalFile(location)) return;
        const changed = () => this.#parts.noteLook(part, changedAt(source));
        this.#watches.push(watchIdentity(location, known[part]?.[source]?.revision, this.#lane, changed));
      });
    });
  }

  /** Nothing is told any more. */
  close(): void {
    for (const watch of this.#watches.splice(0)) watch.close();
  }
}

function changedAt(source: number): Looked[] {
  const unasked = Array.from({ length: source }, (): Looked => ({ outcome: 'unasked' }));
  return [...unasked, { outcome: 'changed', revision: undefined }];
}
