/**
 * What is known of each source of a mount, and what follows from all of it. Sources have an order. The first that has what is
 * live, or something newer, decides; one that has something older (a replica that lags) is no failure while another has what
 * is live; one that has something unacceptable is a failure wherever it stands before the one that decides.
 */
import type { SecretsfsError } from '../errors.ts';

/** What the newest revision of a source turned out to be. */
export type Verdict = 'live' | 'behind' | 'refused';

export interface Known {
  readonly revision: string;
  readonly is: Verdict;
}

export interface SourceState {
  readonly state: 'unasked' | 'failed' | Verdict;
  readonly revision: string | undefined;
  readonly checkedMs: number | undefined;
  /** Why it is failed, refused or behind. */
  readonly error: SecretsfsError | undefined;
  readonly sinceMs: number | undefined;
  readonly attempts: number;
}

export interface Problem {
  readonly error: SecretsfsError;
  readonly revision: string | undefined;
  /** Whether it is of the bytes, and will be the same until they change. */
  readonly refused: boolean;
}

/** What a person should hear of first, where nothing is live. */
const RANKS = { unasked: 0, behind: 1, failed: 2, refused: 3 } as const;

const UNASKED: SourceState = {
  state: 'unasked',
  revision: undefined,
  checkedMs: undefined,
  error: undefined,
  sinceMs: undefined,
  attempts: 0,
};

export class SourceLedger {
  readonly #nowMs: () => number;
  readonly #states: SourceState[];
  /** What the last answer of each was found to be; a failure does not change that. */
  readonly #known: ({ readonly known: Known; readonly error: SecretsfsError | undefined } | undefined)[];

  constructor(count: number, nowMs: () => number) {
    this.#nowMs = nowMs;
    this.#states = Array.from({ length: count }, () => UNASKED);
    this.#known = Array.from({ length: count }, () => undefined);
  }

  states(): readonly SourceState[] {
    return [...this.#states];
  }

  /** Of each source, what need not be fetched again. */
  known(): readonly (Known | undefined)[] {
    return this.#known.map((each) => each?.known);
  }

  revision(source: number): string | undefined {
    return this.#known[source]?.known.revision;
  }

  /** It has this revision, which is `is`; `error` says why it is not live. */
  found(source: number, known: Known, error?: SecretsfsError): void {
    this.#known[source] = { known, error };
    this.#set(source, known.is, error);
  }

  /** It has still what it had. */
  same(source: number): void {
    const entry = this.#known[source];
    if (entry !== undefined) this.#set(source, entry.known.is, entry.error);
  }

  /** It could not be asked. */
  failed(source: number, error: SecretsfsError): void {
    this.#set(source, 'failed', error);
  }

  /** What a source has went live: whatever else was live is behind. */
  activated(source: number, revision: string): void {
    this.#known.forEach((entry, other) => {
      if (entry?.known.is !== 'live' || other === source) return;
      this.#known[other] = { known: { ...entry.known, is: 'behind' }, error: undefined };
      const state = this.#states[other];
      if (state?.state === 'live') this.#states[other] = { ...state, state: 'behind' };
    });
    this.found(source, { revision, is: 'live' });
  }

  /** What is wrong with all of them together; undefined while one says that the newest is live. */
  problem(): Problem | undefined {
    let worst: Problem | undefined;
    let rank = 0;
    for (const { state, error, revision } of this.#states) {
      if (state === 'live') return rank === RANKS.refused ? worst : undefined;
      const own = RANKS[state];
      if (error === undefined || own <= rank) continue;
      rank = own;
      worst = { error, revision: state === 'failed' ? undefined : revision, refused: state !== 'failed' };
    }
    return worst;
  }

  #set(source: number, state: SourceState['state'], error: SecretsfsError | undefined): void {
    const before = this.#states[source] ?? UNASKED;
    const revision = this.revision(source);
    const nowMs = this.#nowMs();
    const lasts = error !== undefined && before.state === state && before.error?.code === error.code;
    this.#states[source] = {
      state,
      revision,
      checkedMs: nowMs,
      error,
      sinceMs: lasts ? before.sinceMs : nowMs,
      attempts: lasts ? before.attempts + 1 : 1,
    };
  }
}
