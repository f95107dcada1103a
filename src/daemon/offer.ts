/**
 * Showing the server what is to come, and learning that it has seen it. No message reaches a server: it looks at the
 * control page at each request, and a probe is one.
 *
 * Invariant: a candidate that servers end over is shown to no third one.
 */
import { refused } from './candidate.ts';
import type { ControlPage } from './control-page.ts';
import { NoAnswer } from './helper.ts';
import { patiently } from './patience.ts';

/** Looking at a candidate: 100,000 nodes are checked in tens of milliseconds. */
export const LOAD_MS_MAX = 10_000;
/** Servers that end while they are shown a candidate, before it is taken for the reason. */
const DEATHS_MAX = 2;

type Page = Pick<ControlPage, 'candidate' | 'isSeen' | 'status' | 'show'>;

export class Offer {
  readonly #page: Page;
  readonly #probe: (timeoutMs: number) => Promise<void>;
  #deaths = 0;

  /** `probe` resolves when the server answered; throws NoAnswer. */
  constructor(page: Page, probe: (timeoutMs: number) => Promise<void>) {
    this.#page = page;
    this.#probe = probe;
  }

  /** Throws MountError generation-refused where it can't be served. It is on the page until it is live or withdrawn. */
  async make(id: number): Promise<void> {
    this.#deaths = 0;
    this.#page.show({ candidate: id });
    await this.synced(LOAD_MS_MAX);
    const { status, candidate } = this.#page;
    if (status?.candidateLoaded === id) return;
    throw refused(
      candidate === 0 ? 'servers ended over it' : (status?.refusedWhy ?? 'the server could not load it'),
    );
  }

  /** Resolves when the server goes by the page as it is now. Throws MountError. */
  async synced(timeoutMs: number): Promise<void> {
    await patiently(async () => {
      await this.#probe(timeoutMs);
      // A server that was told to go meanwhile begins with its own report.
      if (!this.#page.isSeen) throw new NoAnswer('late');
    });
  }

  /** The active server ended: it may be the candidate that it died of. */
  serverDied(): void {
    if (this.#page.candidate === 0) return;
    this.#deaths += 1;
    if (this.#deaths >= DEATHS_MAX) this.#page.show({ candidate: 0 });
  }
}
