/**
 * A directory, or a prefix in S3, of KMS ciphertexts as one bundle: a tar of every file PATH.kms below it, in the order of their
 * paths. Its revision is what was listed: names, and what tells one content from another. It has to be asked again and again.
 *
 * Each file is replaced by itself, so what was read is only what there was if the list is the same afterwards.
 */
import { createHash } from 'node:crypto';
import { writeArchive } from '../bundle/archive.ts';
import { CIPHERTEXT_SUFFIX, tooMany } from '../bundle/ciphertexts.ts';
import { quote, SourceError } from '../errors.ts';
import { CIPHERTEXT_FILE_BYTES_MAX, CIPHERTEXTS_MAX } from '../limits.ts';
import type { FetchedBundle, Found, Source, Watch } from './source.ts';

export interface ListedFile {
  /** Below the place, '/'-separated. */
  readonly path: string;
  /** Equal for equal bytes. */
  readonly revision: string;
  readonly modifiedMs: number;
}

/** Where they lie: ciphertexts-s3.ts, ciphertexts-directory.ts. Both throw SourceError and ConfigError. */
export interface CiphertextPlace {
  /** With a slash at its end. */
  readonly location: string;
  /** Every file, in any order, whatever its name. */
  list(signal: AbortSignal | undefined): AsyncIterable<ListedFile>;
  read(path: string, bytesMax: number, signal: AbortSignal | undefined): Promise<Buffer>;
}

/** Reads that met a change before it is given up. */
const ATTEMPTS = 5;
const READS_AT_ONCE = 8;

export class CiphertextsSource implements Source {
  readonly location: string;
  readonly polled = true;
  readonly #place: CiphertextPlace;

  constructor(place: CiphertextPlace) {
    this.location = place.location;
    this.#place = place;
  }

  async fetch(options: {
    readonly bytesMax: number;
    readonly knownRevision?: string | undefined;
    readonly revision?: string | undefined;
    readonly signal?: AbortSignal | undefined;
  }): Promise<FetchedBundle | undefined> {
    const { knownRevision, revision: wanted, signal } = options;
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      const files = await this.#list(signal);
      const revision = revisionOf(files);
      if (revision === knownRevision) return undefined;
      if (wanted !== undefined && revision !== wanted) throw this.#changed('source-changed');
      const contents = await this.#readAll(files, signal);
      if (revisionOf(await this.#list(signal)) !== revision) continue;
      const bytes = await writeArchive(files.map((file, i) => entryOf(file.path, contents[i])));
      return { revision, bytes, uploadedMs: Math.max(...files.map(({ modifiedMs }) => modifiedMs)) };
    }
    throw this.#changed('source-invalid');
  }

  async check(options: {
    readonly knownRevision: string | undefined;
    readonly signal?: AbortSignal | undefined;
  }): Promise<Found> {
    const revision = revisionOf(await this.#list(options.signal));
    return revision === options.knownRevision ? { outcome: 'same' } : { outcome: 'changed', revision };
  }

  watch(): Watch {
    return { close: async () => {} };
  }

  async #list(signal: AbortSignal | undefined): Promise<readonly ListedFile[]> {
    const files: ListedFile[] = [];
    for await (const file of this.#place.list(signal)) {
      if (!file.path.endsWith(CIPHERTEXT_SUFFIX)) continue;
      files.push(file);
      if (files.length > CIPHERTEXTS_MAX) throw tooMany(`over ${CIPHERTEXTS_MAX}`);
    }
    if (files.length > 0) return files.sort((a, b) => (a.path < b.path ? -1 : 1));
    throw new SourceError(
      'source-not-found',
      `cannot read ${quote(this.location)}: there is no file *${CIPHERTEXT_SUFFIX}`,
      {
        hint: 'secretsfs encrypt or datakey create makes one; the slash at its end says that it is a directory',
      },
    );
  }

  /** In their order. */
  async #readAll(files: readonly ListedFile[], signal: AbortSignal | undefined): Promise<Buffer[]> {
    const contents: Buffer[] = [];
    for (let at = 0; at < files.length; at += READS_AT_ONCE) {
      const some = files.slice(at, at + READS_AT_ONCE);
      const read = (file: ListedFile) => this.#place.read(file.path, CIPHERTEXT_FILE_BYTES_MAX, signal);
      contents.push(...(await Promise.all(some.map(read))));
    }
    return contents;
  }

  #changed(code: 'source-changed' | 'source-invalid'): SourceError {
    return new SourceError(code, `cannot read ${quote(this.location)}: it changed while it was read`, {
      hint: 'what is there now is looked at next',
    });
  }
}

function revisionOf(files: readonly ListedFile[]): string {
  const list = files.map(({ path, revision }) => [path, revision]);
  return `list:${createHash('sha256').update(JSON.stringify(list)).digest('hex')}`;
}

function entryOf(path: string, data: Buffer = Buffer.alloc(0)) {
  return { kind: 'file', path, mode: 0o400, uid: 0, gid: 0, data } as const;
}
