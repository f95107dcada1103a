/**
 * A bundle in a local file. Its identity is that of the file (device, inode, size, times in nanoseconds), so both a
 * replacement by rename and a rewrite in place are seen; a file that changes while it is read is read again.
 *
 * It may be given as an open descriptor too, to a process that could not open it: then it is that one file for ever.
 */
import { type BigIntStats, constants, fstat, open, read, stat } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { errnoWords, quote, SourceError } from '../errors.ts';
import { HEADER_BYTES_MAX } from '../limits.ts';
import { fileIdentity } from '../system/file-identity.ts';
import { FILE_MS_MAX, FileLane } from '../system/file-lane.ts';
import { type FileWatchOptions, watchFile } from './file-watch.ts';
import type { FetchedBundle, Found, Source, Watch } from './source.ts';

/** Reads that met a change before we give up. A writer in place needs milliseconds. */
const ATTEMPTS = 5;
const RETRY_AFTER_MS = 50;
const CHUNK_BYTES = 1024 * 1024;

const openAt = promisify(open);
const statAt = promisify(stat);
const statOf = promisify(fstat);
const readAt = promisify(read);

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export class FileSource implements Source {
  readonly location: string;
  readonly polled = false;
  readonly #path: string;
  readonly #opened: number | string | undefined;
  readonly #watchOptions: FileWatchOptions;
  readonly #lane = new FileLane();

  /**
   * `opened`: a descriptor to read from, which stays the caller's to close, or an errno's name where it could not be
   * opened. `location` is then for messages only.
   */
  constructor(
    location: string,
    options: FileWatchOptions & { readonly opened?: number | string | undefined } = {},
  ) {
    this.location = location;
    this.#path = path.resolve(location);
    this.#opened = options.opened;
    this.#watchOptions = options;
  }

  async fetch(options: {
    readonly bytesMax: number;
    readonly knownRevision?: string | undefined;
    readonly revision?: string | undefined;
    readonly signal?: AbortSignal | undefined;
  }): Promise<FetchedBundle | undefined> {
    for (let attempt = 1; ; attempt++) {
      options.signal?.throwIfAborted();
      const got = await this.#reading(async (fd) => {
        const before = await this.#identify(fd);
        if (before.revision === options.knownRevision) return 'unchanged';
        if (options.revision !== undefined && before.revision !== options.revision) throw this.#gone();
        if (before.size > options.bytesMax) throw this.#tooLarge(before.size, options.bytesMax);
        const bytes = await this.#readBytes(fd, before.size);
        const after = await this.#identify(fd);
        if (bytes.length !== before.size || after.revision !== before.revision) return 'changing';
        return { revision: before.revision, bytes, uploadedMs: before.modifiedMs };
      });
      if (got === 'unchanged') return undefined;
      if (got !== 'changing') return got;
      if (attempt === ATTEMPTS) {
        throw new SourceError(
          'source-invalid',
          `cannot read ${quote(this.location)}: it changes all the time`,
          {
            hint: 'write it under another name in the same directory and rename it',
          },
        );
      }
      await pause(RETRY_AFTER_MS * attempt);
    }
  }

  /**
   * The first bytes, enough for a message's header by default, the file's revision and its size; undefined where there
   * is no file.
   */
  async readHead(
    bytes: number = HEADER_BYTES_MAX,
  ): Promise<{ bytes: Buffer; revision: string; size: number } | undefined> {
    try {
      return await this.#reading(async (fd) => {
        const { revision, size } = await this.#identify(fd);
        return { bytes: await this.#readBytes(fd, Math.min(bytes, size)), revision, size };
      });
    } catch (error) {
      if (error instanceof SourceError && error.code === 'source-not-found') return undefined;
      throw error;
    }
  }

  async check(options: {
    readonly knownRevision: string | undefined;
    readonly signal?: AbortSignal | undefined;
  }): Promise<Found> {
    options.signal?.throwIfAborted();
    try {
      // No permission to read it is needed: who watches a bundle need not be one who may open it.
      const found =
        typeof this.#opened !== 'number'
          ? await this.#inTime(() => statAt(this.#path, { bigint: true }))
          : await this.#stat(this.#opened);
      const revision = fileIdentity(found);
      return revision === options.knownRevision ? { outcome: 'same' } : { outcome: 'changed', revision };
    } catch (error) {
      throw this.#readError(error);
    }
  }

  watch(hint: () => void): Watch {
    return watchFile(this.#path, hint, this.#watchOptions);
  }

  async #reading<T>(use: (fd: number) => Promise<T>): Promise<T> {
    let own: number | undefined;
    try {
      if (typeof this.#opened === 'string')
        throw Object.assign(new Error(this.#opened), { code: this.#opened });
      if (this.#opened !== undefined) return await use(this.#opened);
      // Without O_NONBLOCK opening a fifo would wait for its writer.
      own = await this.#lane.run(() => openAt(this.#path, constants.O_RDONLY | constants.O_NONBLOCK), {
        timeoutMs: FILE_MS_MAX,
        onLate: (fd) => this.#lane.close(fd),
      });
      return await use(own);
    } catch (error) {
      throw this.#readError(error);
    } finally {
      if (own !== undefined) this.#lane.close(own);
    }
  }

  async #identify(fd: number): Promise<{ revision: string; size: number; modifiedMs: number }> {
    const stat = await this.#stat(fd);
    if (!stat.isFile()) {
      throw new SourceError(
        'source-invalid',
        `cannot read ${quote(this.location)}: it is not a regular file`,
        {
          hint: 'a bundle is one file, as secretsfs pack writes it',
        },
      );
    }
    return {
      revision: fileIdentity(stat),
      size: Number(stat.size),
      modifiedMs: Number(stat.mtimeMs),
    };
  }

  #gone(): SourceError {
    return new SourceError(
      'source-changed',
      `cannot read ${quote(this.location)}: what was noticed is gone again`,
      { hint: 'what is there now is looked at next' },
    );
  }

  #tooLarge(size: number, bytesMax: number): SourceError {
    return new SourceError(
      'source-too-large',
      `cannot read ${quote(this.location)}: it has ${size} bytes, want at most ${bytesMax}`,
      {
        hint: 'raise --max-bytes of the mount if it is meant to be so large; no command takes more than 2 GiB',
      },
    );
  }

  #readError(error: unknown): unknown {
    const code = (error as NodeJS.ErrnoException).code;
    if (error instanceof SourceError || typeof code !== 'string' || !/^E[A-Z0-9]+$/.test(code)) return error;
    const what = `cannot read ${quote(this.location)}`;
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      return new SourceError('source-not-found', `${what}: there is no such file`, {
        hint: 'check the path; secretsfs pack makes a bundle',
        cause: error,
      });
    }
    if (code === 'EACCES' || code === 'EPERM') {
      return new SourceError('source-denied', `${what}: permission denied`, {
        hint: 'give this user read permission on the file and search permission on its directories',
        cause: error,
      });
    }
    if (code === 'ELOOP' || code === 'ENXIO' || code === 'ENODEV' || code === 'ENAMETOOLONG') {
      return new SourceError('source-invalid', `${what}: it is not a regular file (${code})`, {
        hint: 'a bundle is one file, as secretsfs pack writes it',
        cause: error,
      });
    }
    return new SourceError('source-unreachable', `${what}: ${errnoWords(error)}`, {
      hint: 'look at the disk, or the server of a network file system, and at the log of the kernel (dmesg)',
      cause: error,
    });
  }

  /** Up to `length` bytes from the start; fewer where the file ends before. */
  async #readBytes(fd: number, length: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafeSlow(length);
    for (let done = 0; ; ) {
      const wanted = Math.min(CHUNK_BYTES, length - done);
      if (wanted === 0) return bytes;
      const { bytesRead } = await this.#inTime(() => readAt(fd, bytes, done, wanted, done));
      if (bytesRead === 0) return bytes.subarray(0, done);
      done += bytesRead;
    }
  }

  #stat(fd: number): Promise<BigIntStats> {
    return this.#inTime(() => statOf(fd, { bigint: true }));
  }

  /** Each call: a large file may take longer. */
  #inTime<T>(call: () => Promise<T>): Promise<T> {
    return this.#lane.run(call, { timeoutMs: FILE_MS_MAX });
  }
}
