/**
 * The port behind which a bundle's ciphertext lies. Both adapters, s3.ts and file.ts, pass one contract suite.
 */

export interface FetchedBundle {
  /** Opaque identity at the source: VersionId or ETag, or file identity. Equal means the same bytes. */
  readonly revision: string;
  readonly bytes: Buffer;
}

export interface Watch {
  /** Resolves when nothing of it is left: no timer, no descriptor, no callback to come. */
  close(): Promise<void>;
}

export interface Source {
  /** As a person wrote it: a path or s3://bucket/key. For messages. */
  readonly location: string;
  /**
   * The newest bundle, or undefined where it is still `knownRevision`.
   * Throws SourceError (not found, denied, unreachable, larger than `bytesMax`) and ConfigError (credentials, region).
   */
  fetch(options: {
    readonly bytesMax: number;
    readonly knownRevision?: string | undefined;
    readonly signal?: AbortSignal | undefined;
  }): Promise<FetchedBundle | undefined>;
  /**
   * Whether fetch() would bring nothing, at the price of one cheap request and with no other permission. `same` is sure;
   * `maybe-changed` is not. Throws as fetch() does where the source can't be asked.
   */
  check(options: {
    readonly knownRevision: string;
    readonly signal?: AbortSignal | undefined;
  }): Promise<'same' | 'maybe-changed'>;
  /** Calls `hint` whenever there may be something new to fetch; a hint too many costs one conditional request. */
  watch(hint: () => void): Watch;
}
