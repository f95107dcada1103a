/**
 * The port behind which a bundle's ciphertext lies. Both adapters, s3.ts and file.ts, pass one contract suite.
 */

export interface FetchedBundle {
  /** Opaque identity at the source: VersionId or ETag, or file identity. Equal means the same bytes. */
  readonly revision: string;
  readonly bytes: Buffer;
  /** When it was put there, as the source says; undefined where it does not. */
  readonly uploadedMs: number | undefined;
}

export interface Watch {
  /** Resolves when nothing of it is left: no timer, no descriptor, no callback to come. */
  close(): Promise<void>;
}

/** `same` is sure; `changed` is not, and names what was seen where that is known. */
export type Found =
  | { readonly outcome: 'same' }
  | { readonly outcome: 'changed'; readonly revision: string | undefined };

export interface Source {
  /** As a person wrote it: a path or s3://bucket/key. For messages. */
  readonly location: string;
  /** Whether it has to be asked again and again; else it tells of changes itself, or never changes. */
  readonly polled: boolean;
  /**
   * The newest bundle, with `revision` only if that is the newest; undefined where it is `knownRevision`.
   * Throws SourceError (not found, deleted, denied, throttled, unreachable, larger than `bytesMax`; source-changed where
   * `revision` is not the newest) and ConfigError (credentials, clock, region).
   */
  fetch(options: {
    readonly bytesMax: number;
    readonly knownRevision?: string | undefined;
    readonly revision?: string | undefined;
    readonly signal?: AbortSignal | undefined;
  }): Promise<FetchedBundle | undefined>;
  /**
   * Whether there is something else than `knownRevision`, at the price of one cheap request and with no other permission.
   * Throws as fetch() does where the source can't be asked.
   */
  check(options: {
    readonly knownRevision: string | undefined;
    readonly signal?: AbortSignal | undefined;
  }): Promise<Found>;
  /** Calls `hint` when the source itself tells of a change; never for one that has to be asked. */
  watch(hint: () => void): Watch;
}
