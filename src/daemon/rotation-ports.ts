/** What Rotation is told, what it asks for, and what it says. */
import type { SerialFloor } from '../bundle/policy.ts';
import type { Changes } from '../control/protocol.ts';
import type { ErrorCode, SecretsfsError } from '../errors.ts';
import type { Timers } from '../system/timers.ts';
import type { FloorFile } from './floor.ts';
import type { Log } from './log.ts';
import type { RetryTimes } from './retries.ts';
import type { SourceState } from './source-ledger.ts';

/** What a bundle was opened into. G is the generation; rotation needs only its serial. */
export interface Opened<G> {
  readonly generation: G;
  readonly serial: number;
  readonly created: string;
  /** When it was put where it was found; undefined where its source does not say. */
  readonly uploadedMs: number | undefined;
}

/** What was noticed: a source, by its place in their order, and what it has, where that is known. */
export interface Noticed {
  readonly source: number;
  readonly revision: string | undefined;
}

/** What a look at one source found. `unasked`: another one decided, or it is asked later. */
export type Looked =
  | { readonly outcome: 'same'; readonly revision: string }
  | { readonly outcome: 'changed'; readonly revision: string | undefined }
  | { readonly outcome: 'failed'; readonly error: SecretsfsError }
  | { readonly outcome: 'unasked' };

export interface TakeOptions {
  readonly source: number;
  /** Exactly what is to be taken; undefined: the newest. */
  readonly revision: string | undefined;
  /** What need not be taken again: of what is live, or of what was refused. undefined: take it whatever it is. */
  readonly knownRevision: string | undefined;
  /** The ciphertext that is live, hex: found again, it is not opened again. */
  readonly liveSha256: string | undefined;
  /** What the serial is measured by. */
  readonly floor: SerialFloor | undefined;
  readonly signal: AbortSignal;
}

export type Taken<G> =
  /** What is there is `knownRevision`, or, under another revision, the very ciphertext that is live. */
  | { readonly outcome: 'unchanged'; readonly revision: string }
  | {
      readonly outcome: 'opened';
      readonly revision: string;
      /** Of the ciphertext, hex. */
      readonly sha256: string;
      readonly opened: Opened<G>;
    };

export interface Live<G> extends Opened<G> {
  readonly revision: string;
  /** Of the ciphertext, hex. */
  readonly sha256: string;
  readonly activatedMs: number;
}

/** Which bundle it is, and of which source. */
export interface TakenFrom {
  /** undefined: of none of them. */
  readonly source: number | undefined;
  readonly revision: string;
  readonly sha256: string;
}

export interface Failure {
  readonly error: SecretsfsError;
  /** Of what was fetched, if it came so far. */
  readonly revision: string | undefined;
  readonly sinceMs: number;
  readonly attempts: number;
}

export interface RotationState<G> {
  readonly live: Live<G> | undefined;
  readonly lastCheck:
    | { readonly atMs: number; readonly outcome: 'activated' | 'unchanged' | 'failed' }
    | undefined;
  readonly failure: Failure | undefined;
  readonly sources: readonly SourceState[];
  /** When what failed, or has to wait for its turn (`limited`), is tried again. */
  readonly nextAttempt: { readonly atMs: number; readonly limited: boolean } | undefined;
}

export type Refreshed<G> =
  | { readonly outcome: 'unchanged'; readonly live: Live<G> }
  | { readonly outcome: 'activated'; readonly live: Live<G>; readonly changes: Changes | undefined };

export interface RefreshOptions {
  /** Takes a bundle older than what was live before. */
  readonly allowRollback?: boolean | undefined;
  /** Opens also the ciphertext that is live: what is made of it may be something else now. */
  readonly anew?: boolean | undefined;
}

/** What of its ports may change between two refreshes. */
export type RotationSettings<G> = Pick<RotationPorts<G>, 'sources' | 'unsealsPerMinute' | 'retries'> & {
  /** They are other ones: nothing is known of them. */
  readonly otherSources: boolean;
};

export interface RotationPorts<G> {
  readonly log: Log;
  readonly nowMs: () => number;
  readonly timers: Timers;
  readonly floors: Pick<FloorFile, 'floor' | 'floorOfRollback' | 'record'>;
  /** From 0 up to 1. */
  readonly random: () => number;
  /** Of each source, in their order, whether it is a file, which may be seen while it is being written. */
  readonly sources: readonly { readonly isLocal: boolean }[];
  /** Nothing being live yet is no end of it: what fails is tried again. */
  readonly isOptional?: boolean | undefined;
  /** Attempts a minute; undefined: they cost nothing. */
  readonly unsealsPerMinute: number | undefined;
  readonly retries: RetryTimes;
  /**
   * Fetches, checks, unwraps, authenticates, unpacks. Throws a SecretsfsError, with the revision that it is about where
   * it came so far, and leaves nothing behind.
   */
  take(options: TakeOptions): Promise<Taken<G>>;
  /** Makes it the one that is served, in one step. Returns what changed; undefined for the first. */
  activate(opened: Opened<G>, from: TakenFrom): Promise<Changes | undefined> | Changes | undefined;
  /** A look for a bundle came to its end; `code`: of one that failed. For counting. */
  checked?(outcome: 'activated' | 'unchanged' | 'failed', code?: ErrorCode): void;
  /** A refresh came to its end: what is known of the sources may be something else. */
  onSettled?(): void;
}
