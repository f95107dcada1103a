/** What the handlers of a session share, and what they answer with. */
import type { Generation } from '../../generation/generation.ts';
import type { OpenGuard } from '../../opens/guard.ts';
import type { Passes } from '../../vfs/consistency.ts';
import type { Vfs } from '../../vfs/vfs.ts';
import type { Params } from './init.ts';
import { type Reply, VALID_FOR_EVER_SECONDS } from './reply.ts';
import type { Request } from './request.ts';
import type { Staging } from './staging.ts';
import type { StaleAnswers } from './stale-answers.ts';
import type { PathStanding } from './standing.ts';

export interface Context {
  readonly request: Request;
  readonly reply: Reply;
  readonly vfs: Vfs;
  readonly params: Params;
  readonly policy: Policy;
  readonly staging: Staging;
  readonly staleAnswers: StaleAnswers;
  readonly standing: PathStanding;
  /** Undefined: everybody gets what is live. */
  readonly passes: Passes | undefined;
  /** Of `passes`: milliseconds of a clock that every process of the machine shares and nobody sets, modulo 2^32. */
  readonly nowMs: () => number;
  /** COUNTER_WORDS of them, where others can see them. */
  readonly counters: Uint32Array;
  readonly generations: GenerationWatch;
  /** Undefined: who may open what is the kernel's to decide, by owner and mode. */
  readonly guard: OpenGuard | undefined;
  /** Says that nobody has this open any more, so that its cached pages can go. Only called with `cache: 'none'`. */
  readonly dropPages: (nodeid: number) => void;
}

export interface Policy {
  /** `page`: contents stay in the kernel's page cache. `none`: reads come here, pages that appear all the same are dropped. */
  readonly cache: 'page' | 'none';
  /** OPEN is answered ENOSYS, once: the kernel opens and releases by itself from then on. Only with `cache: 'page'`. */
  readonly fastOpen: boolean;
}

/** How the session hears of another live generation. */
export interface GenerationWatch {
  /** One comparison. */
  changed(): boolean;
  /** One that is retired, for the listings that began in it: names and attributes, no content. */
  listed(id: number): Generation | undefined;
  /** Nothing is served any more: whoever still holds the mount gets ESTALE. */
  readonly closed: boolean;
  /** Brings the Vfs up to date. Never throws for want of a generation: what was live stays live then. */
  sync(): void;
}

/**
 * Indexes of `counters`. `requests` is a u64 of two words, `opens`, `reads` and `lookups` have their upper words at the end.
 * `oldestPass` is a generation: of those that are not live the oldest that a pass is
 * in, or 0; as far as passes know of what is live, which is `passesLive`.
 */
export const COUNTER = {
  requests: 0,
  malformed: 2,
  opens: 3,
  reads: 4,
  lookups: 5,
  oldestPass: 6,
  passesLive: 7,
  opensHigh: 8,
  readsHigh: 9,
  lookupsHigh: 10,
} as const;
export const COUNTER_WORDS = 11;

/** One more, in a lower and an upper word. */
export function count64(counters: Uint32Array, low: number, high: number): void {
  const next = ((counters[low] as number) + 1) >>> 0;
  counters[low] = next;
  if (next === 0) counters[high] = (counters[high] as number) + 1;
}

/** What a handler answers besides bytes of body (0 and above) and negative errnos. */
export const NO_REPLY = -0x10000;
/** The request makes no sense: EINVAL, counted and logged. */
export const MALFORMED = -0x10001;

/** For how long the kernel may keep attributes: what is superseded is asked for again each time. */
export function validSeconds(live: boolean): number {
  return live ? VALID_FOR_EVER_SECONDS : 0;
}
