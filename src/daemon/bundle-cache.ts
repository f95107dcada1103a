/**
 * The last good bundle, sealed as it came, in CACHE_DIR/INSTANCE.bundle: a start goes by it where no source has anything to serve.
 * Its modification time is when a source last had it.
 *
 * Invariants: it authenticated and went live before it is written; it is replaced as a whole; to keep it is nothing that anybody waits
 * for, and what fails of that is said and never keeps a mount from serving. Whoever opens it judges it as any other bundle.
 */
import { createHash } from 'node:crypto';
import { fstat, read } from 'node:fs';
import { type FileHandle, stat, utimes } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { ConfigError, errnoWords } from '../errors.ts';
import { FILE_MS_MAX, type FileLane } from '../system/file-lane.ts';
import { closeQuietly } from '../system/files.ts';
import { emptyMemoryFile } from '../system/memory-file.ts';
import { replaceFile } from '../system/replace-file.ts';
import { iso } from './describe.ts';
import { keptDirectory } from './kept-directory.ts';
import type { Log } from './log.ts';

const CHUNK_BYTES = 1024 * 1024;
/** A clock that is set meanwhile may go back by so much. */
const AHEAD_MS_MAX = 5 * 60_000;
/** That a source has it still is written down no more often. */
const CONFIRM_EVERY_MS = 10 * 60_000;

const statFd = promisify(fstat);
const readFd = promisify(read);

export interface BundleCacheOptions {
  readonly directory: string;
  /** Whose lock is held; a part's name is in it. */
  readonly instance: string;
  /** A start goes by nothing that was last confirmed longer ago; undefined: by anything. */
  readonly maxStaleMs: number | undefined;
  readonly uid: number;
  readonly log: Log;
  /** The time of day. */
  readonly clockMs: () => number;
  /** That the directory is on, where others keep theirs there too. */
  readonly lane: FileLane;
}

/** As the status has it. */
export interface CacheState {
  readonly file: string;
  readonly stale: boolean;
  readonly confirmed: string | null;
  readonly problem: string | null;
}

export class BundleCache {
  readonly file: string;
  readonly #options: BundleCacheOptions;
  readonly #abort = new AbortController();
  /** What an unsealer is given to put the ciphertext into. */
  #received: number | undefined;
  #confirmedMs: number | undefined;
  #problem: string | undefined;
  #isStale = false;
  /** What is in the file is what a source may have only where it is what is live. */
  #liveSha256: string | undefined;
  #keptSha256: string | undefined;

  constructor(options: BundleCacheOptions) {
    this.#options = options;
    this.file = path.join(options.directory, `${options.instance}.bundle`);
  }

  /** Makes the directory, and looks when what is there was confirmed. Throws ConfigError for one that others may write to. */
  async load(): Promise<void> {
    const { directory, uid } = this.#options;
    await this.#doing('read', async () => {
      await keptDirectory(directory, { uid, what: 'bundles', flag: '--cache-dir' });
      this.#confirmedMs = await stat(this.file).then(
        ({ mtimeMs }) => mtimeMs,
        (error: NodeJS.ErrnoException) => {
          if (error.code !== 'ENOENT') throw error;
          return undefined;
        },
      );
    });
  }

  /** Whether there is one that a start may go by. That it is too old for that is said. */
  get isThere(): boolean {
    const { maxStaleMs, clockMs } = this.#options;
    if (this.#confirmedMs === undefined) return false;
    const ageMs = clockMs() - this.#confirmedMs;
    if (maxStaleMs === undefined || (ageMs <= maxStaleMs && ageMs >= -AHEAD_MS_MAX)) return true;
    const seconds = (ms: number) => Math.floor(ms / 1000);
    if (ageMs < 0) {
      this.refused(
        `how old it is can't be told: a source had it ${seconds(-ageMs)} s after now, by the clock (--max-stale)`,
      );
      return false;
    }
    this.refused(
      `no source has had it for ${seconds(ageMs)} s, want at most ${seconds(maxStaleMs)} s (--max-stale)`,
    );
    return false;
  }

  /** No start goes by it: why, in words. */
  refused(problem: string): void {
    if (this.#problem !== problem) this.#options.log.warn('cache-refused', { file: this.file, problem });
    this.#problem = problem;
  }

  /** An empty file in memory for the next ciphertext. It stays ours; the one before is gone. */
  receive(): number {
    closeQuietly(this.#received);
    this.#received = emptyMemoryFile();
    return this.#received;
  }

  /** What is in it is live, and has this SHA-256. */
  keep(sha256: string): void {
    const from = this.#received;
    this.#received = undefined;
    this.#isStale = false;
    this.#liveSha256 = sha256;
    if (from === undefined) return;
    void this.#doing('write', async () => {
      try {
        await replaceFile(this.file, (handle) => copy(from, handle, sha256));
      } finally {
        // Not sooner: who was given up still reads from it.
        closeQuietly(from);
      }
      this.#keptSha256 = sha256;
      this.#isKept();
      this.#options.log.info('cache-kept', { file: this.file });
    });
  }

  /** What is live came from here. */
  served(): void {
    this.#isStale = true;
    this.#liveSha256 = this.#keptSha256;
  }

  /** A source has what is live. */
  confirmed(): void {
    const { clockMs } = this.#options;
    this.#isStale = false;
    if (this.#confirmedMs === undefined || this.#keptSha256 !== this.#liveSha256) return;
    if (clockMs() - this.#confirmedMs < CONFIRM_EVERY_MS) return;
    void this.#doing('write', async () => {
      await utimes(this.file, clockMs() / 1000, clockMs() / 1000);
      this.#isKept();
    });
  }

  describe(): CacheState {
    return {
      file: this.file,
      stale: this.#isStale,
      confirmed: this.#confirmedMs === undefined ? null : iso(this.#confirmedMs),
      problem: this.#problem ?? null,
    };
  }

  /** Nothing is written any more. */
  close(): void {
    this.#abort.abort();
    closeQuietly(this.#received);
    this.#received = undefined;
  }

  #isKept(): void {
    this.#confirmedMs = this.#options.clockMs();
    this.#problem = undefined;
  }

  /** Never throws, but ConfigError. What nobody waits for may take its time. */
  async #doing(what: 'read' | 'write', act: () => Promise<void>): Promise<void> {
    const { lane, log } = this.#options;
    const timeoutMs = what === 'read' ? FILE_MS_MAX : undefined;
    try {
      await lane.run(act, { timeoutMs, signal: this.#abort.signal });
    } catch (error) {
      if (error instanceof ConfigError) throw error;
      if (this.#abort.signal.aborted) return;
      const problem = `cannot ${what} it: ${errnoWords(error)}`;
      if (this.#problem !== problem) log.warn('cache-not-kept', { file: this.file, problem });
      this.#problem = problem;
    }
  }
}

/** All of it, and what it was said to be: who wrote it may have met a limit. */
async function copy(from: number, to: FileHandle, sha256: string): Promise<void> {
  const { size } = await statFd(from);
  const buffer = Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, Math.max(1, size)));
  const hash = createHash('sha256');
  for (let at = 0; at < size; ) {
    const { bytesRead } = await readFd(from, buffer, 0, buffer.length, at);
    if (bytesRead === 0) break;
    const piece = buffer.subarray(0, bytesRead);
    hash.update(piece);
    await to.writeFile(piece);
    at += bytesRead;
  }
  if (hash.digest('hex') !== sha256)
    throw Object.assign(new Error('not what went live'), { code: 'EBADMSG' });
}
