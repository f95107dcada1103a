/**
 * The port behind which single secrets lie: an S3 prefix (s3-store.ts) or a local directory (directory-store.ts). Both
 * pass one contract suite. A store knows bytes and places; what the bytes are (secret.ts) it does not.
 *
 * Paths are relative, '/'-separated and valid as location.ts has it; every method throws UsageError for another one.
 * All throw ConfigError too where the set-up is wrong (credentials, region).
 */

export interface StoredObject {
  readonly path: string;
  /** Of the ciphertext. */
  readonly bytes: number;
  readonly modifiedMs: number;
  /** Opaque; equal means the same bytes. What a conditional write or removal expects. */
  readonly etag: string;
}

export interface ReadObject {
  /** The whole of it, or its first `headBytes`. The caller's. */
  readonly bytes: Buffer;
  /** Of the whole. */
  readonly size: number;
  readonly etag: string;
  readonly modifiedMs: number;
  /** Where the store keeps versions. */
  readonly version?: string;
}

export interface ReadOptions {
  /** An older one. */
  readonly version?: string | undefined;
  /** Only so many bytes from the beginning. */
  readonly headBytes?: number | undefined;
  /** The whole of it, and no more than this: STORED_BYTES_MAX by default. */
  readonly bytesMax?: number | undefined;
}

export interface StoredVersion {
  readonly version: string;
  readonly modifiedMs: number;
  readonly latest: boolean;
  /** A delete marker: it has no bytes. */
  readonly deleted: boolean;
  /** Of the ciphertext; undefined for a delete marker. */
  readonly bytes: number | undefined;
  readonly etag: string | undefined;
}

export interface Written {
  readonly etag: string;
  /** Where the store keeps versions. */
  readonly version?: string;
}

/** What must still be there when something is replaced or removed. */
export interface Expected {
  readonly etag: string;
}

export interface SecretStore {
  /** Canonical: `s3://bucket/prefix` or `file:///dir`, without a slash at its end. */
  readonly location: string;
  /** Whether versions(), `version` and bringing back can work at all. */
  readonly versioned: boolean;
  /** The full place of a path, which a secret is bound to: `s3://bucket/prefix/a/b`, `file:///dir/a/b`. */
  locate(path: string): string;
  /**
   * Everything whose path begins with `prefix` (a text: `ab` finds `abc`), in the byte order of the paths, page by page.
   * `skipped` is told of names that are no paths of secrets, and of files larger than any. Throws SourceError where it can't be listed; a prefix that is
   * not there is empty.
   */
  list(prefix?: string, options?: { skipped?(name: string): void }): AsyncIterable<StoredObject>;
  /** undefined: there is none. Throws SourceError, `source-too-large` for more than `bytesMax`. */
  read(path: string, options?: ReadOptions): Promise<ReadObject | undefined>;
  /**
   * Changes nothing, and throws what write() or remove() would, as far as that can be told: a bucket that is public, a directory that may
   * not be written to. Whether S3 lets us write, only a write shows.
   */
  check(path: string, verb: 'write' | 'remove'): Promise<void>;
  /**
   * Puts the whole of `bytes` there, durably and in one step, or nothing. Always conditional. Throws OutputError:
   * `output-changed` when somebody was faster.
   */
  write(path: string, bytes: Buffer, expected: 'absent' | Expected): Promise<Written>;
  /**
   * Removes what is there (in a versioned bucket: puts a delete marker on top), or with `version` that version for good,
   * which is not conditional. Throws OutputError: `output-changed` when it is not what was expected any more.
   */
  remove(path: string, expected: 'any' | Expected, version?: string): Promise<void>;
  /** Newest first, with delete markers; nothing where there never was one. Throws UsageError where none are kept. */
  versions(path: string): AsyncIterable<StoredVersion>;
}
