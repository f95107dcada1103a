/**
 * The record of a rotation that is not complete yet: what it is, when it began, and a line for each secret that was done, so
 * that whoever runs the same command again goes on where it ended. It holds paths and etags, and no secret. A line that was
 * cut off counts for nothing: then the header of that secret tells.
 */
import { createHash, randomBytes } from 'node:crypto';
import { appendFileSync, lstatSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { ConfigError, OutputError, quote } from '../errors.ts';
import { type Lock, lockFile } from '../system/locks.ts';
import type { RotationJournal } from './rotation.ts';

/** Raised when its lines get another shape: what an older program left begins anew. */
const FORMAT = 1;
const OTHERS_WRITE = 0o022;

export interface RotationSubject {
  /** SecretStore.location. */
  readonly store: string;
  readonly patterns: readonly string[];
  /** Names of the new keys. */
  readonly keyNames: readonly string[];
  /** What only is rotated. */
  readonly fromKeys: readonly string[];
}

export class FileJournal implements RotationJournal {
  readonly startedMs: number;
  /** How many secrets an earlier process had done. */
  readonly resumed: number | undefined;
  readonly #file: string;
  readonly #lock: Lock;
  readonly #done: Map<string, string>;

  private constructor(
    file: string,
    lock: Lock,
    state: { startedMs: number; resumed: number | undefined; done: Map<string, string> },
  ) {
    this.#file = file;
    this.#lock = lock;
    this.startedMs = state.startedMs;
    this.resumed = state.resumed;
    this.#done = state.done;
  }

  /**
   * In `directory`, which is there. With `restart` what an earlier process left is forgotten. Throws OutputError `output-failed`
   * where another process is at the same rotation, ConfigError for a directory that others could write to (what they put there
   * would be believed), and what the file system says.
   */
  static open(
    directory: string,
    subject: RotationSubject,
    { nowMs, restart }: { readonly nowMs: number; readonly restart: boolean },
  ): FileJournal {
    checkOwn(directory);
    const of = {
      format: FORMAT,
      ...subject,
      keyNames: subject.keyNames.toSorted(),
      fromKeys: subject.fromKeys.toSorted(),
    };
    const name = createHash('sha256').update(JSON.stringify(of)).digest('hex').slice(0, 32);
    const file = path.join(directory, `${name}.journal`);
    const lock = lockFile(path.join(directory, `${name}.lock`));
    if (lock === undefined) {
      throw new OutputError(
        'output-failed',
        `cannot rotate ${quote(subject.store)}: another process is at the same rotation`,
        {
          hint: 'wait for its end, or interrupt it: what it has done stays done',
        },
      );
    }
    const found = restart ? undefined : read(file);
    // What was cut off must not be the beginning of the next line.
    const head = `${JSON.stringify({ format: FORMAT, startedMs: found?.startedMs ?? nowMs, store: subject.store })}\n`;
    replace(file, head + [...(found?.done ?? [])].map(line).join(''));
    return new FileJournal(file, lock, {
      startedMs: found?.startedMs ?? nowMs,
      resumed: found?.done.size,
      done: found?.done ?? new Map(),
    });
  }

  has(at: string, etag: string): boolean {
    return this.#done.get(at) === etag;
  }

  add(at: string, etag: string): void {
    this.#done.set(at, etag);
    try {
      appendFileSync(this.#file, line([at, etag]));
    } catch {
      // A full disk: the headers tell the same, more slowly.
    }
  }

  /** `complete`: there is nothing to continue. */
  close(complete: boolean): void {
    if (complete) rmSync(this.#file, { force: true });
    this.#lock.release();
  }
}

function checkOwn(directory: string): void {
  const { uid, mode } = lstatSync(directory);
  const own = process.geteuid?.();
  if (uid === own && (mode & OTHERS_WRITE) === 0) return;
  throw new ConfigError(
    'config-invalid',
    `cannot keep the record of a rotation in ${quote(directory)}: it must be a directory of uid ${own} that nobody else may write to`,
    {
      hint: `chown ${own} ${quote(directory)}; chmod go-w ${quote(directory)}; or give another --state-dir`,
    },
  );
}

/** O_EXCL follows no symlink. */
function replace(file: string, text: string): void {
  const temporary = `${file}.${randomBytes(8).toString('hex')}`;
  try {
    writeFileSync(temporary, text, { mode: 0o600, flag: 'wx' });
    renameSync(temporary, file);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

function line(entry: readonly [at: string, etag: string]): string {
  return `${JSON.stringify(entry)}\n`;
}

function read(file: string): { startedMs: number; done: Map<string, string> } | undefined {
  let lines: string[];
  try {
    lines = readFileSync(file, 'utf8').split('\n');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  const [head, ...entries] = lines.map(parse);
  const { format, startedMs } = (head ?? {}) as { format?: unknown; startedMs?: unknown };
  if (format !== FORMAT || typeof startedMs !== 'number' || !Number.isSafeInteger(startedMs))
    return undefined;
  const done = new Map<string, string>();
  for (const entry of entries) {
    if (!Array.isArray(entry) || entry.length !== 2 || entry.some((each) => typeof each !== 'string'))
      continue;
    done.set(entry[0], entry[1]);
  }
  return { startedMs, done };
}

/** undefined for what is no JSON: the last line of a process that was killed. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
