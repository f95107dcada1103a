/** What a mount knows of itself at one moment, from which metrics are made: its status, and what was counted. */
import type { Status } from '../control/protocol.ts';
import type { CallTotal } from './calls.ts';

export const REFRESH_OUTCOMES = ['activated', 'unchanged', 'failed'] as const;
export type RefreshOutcome = (typeof REFRESH_OUTCOMES)[number];

/** Of the process that answers the kernel. What a driver does not know is left out. */
export interface Served {
  readonly requests?: number;
  readonly unknownRequests?: number;
  readonly opens: number;
  readonly reads: number;
  readonly lookups?: number;
  readonly durations?: readonly Durations[];
}

/** Sampled: how many took up to each bound, and above the last one. */
export interface Durations {
  readonly operation: string;
  readonly boundsSeconds: readonly number[];
  readonly buckets: readonly number[];
  readonly sumSeconds: number;
}

/** Since the mount was started. Times are milliseconds since 1970. */
export interface Totals {
  readonly refreshes: Readonly<Record<RefreshOutcome, number>>;
  /** By error code. */
  readonly failures: Readonly<Record<string, number>>;
  readonly lastSuccessMs: number | null;
  readonly lastAnswerMs: number | null;
  /** Of the processes that opened bundles. */
  readonly calls: readonly CallTotal[];
  readonly served: Served | null;
}

export interface Snapshot {
  readonly status: Status;
  readonly totals: Totals;
}
