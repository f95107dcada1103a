/**
 * Overwrites files, syncs them and removes their names. All are looked at first, and none is touched where one of them
 * can't be shredded. What is overwritten is what was looked at, never what took its name since; what took it stays.
 */
import { randomBytes } from 'node:crypto';
import { type BigIntStats, closeSync, constants, fstatSync } from 'node:fs';
import { access, type FileHandle, link, lstat, open, rename, unlink } from 'node:fs/promises';
import path from 'node:path';
import { errnoWords, OutputError, quote, SecretsfsError, SourceError } from '../errors.ts';
import { fileIdentity } from '../system/file-identity.ts';
import { openPath } from '../system/files.ts';
import { type Medium, mediumOf } from '../system/medium.ts';
import { isNotDirectory, OpenDirectory } from '../system/open-directory.ts';
import { overwrite } from './overwrite.ts';
import { remains } from './remains.ts';

/** A name of a file. */
export interface ShredTarget {
  readonly shown: string;
  /** What the way begins with, symlinks followed; from there on none is. */
  readonly base: string;
  readonly below: readonly string[];
  /** fileIdentity() of what is meant; undefined: of whatever is there. */
  readonly identity?: string | undefined;
}

/** A file that can be shredded, with all its names. */
export interface Candidate {
  readonly names: readonly ShredTarget[];
  readonly identity: string;
  readonly bytes: number;
}

export interface Looked {
  /** How many names were looked at. */
  readonly targets: number;
  readonly candidates: readonly Candidate[];
  readonly problems: readonly SecretsfsError[];
  /** Why contents may remain somewhere although they are overwritten. Empty: they do not, as far as can be known. */
  readonly remains: readonly string[];
}

/** The file that a person named. */
export function namedFile(file: string): ShredTarget {
  return { shown: file, base: path.dirname(file), below: [path.basename(file)] };
}

interface Sight {
  readonly target: ShredTarget;
  readonly stat: BigIntStats;
}

/** Looks at every target; changes nothing. */
export async function lookAtTargets(targets: readonly ShredTarget[]): Promise<Looked> {
  const problems: SecretsfsError[] = [];
  const files = new Map<string, Sight[]>();
  const media = new Map<bigint, Medium | undefined>();
  for (const target of targets) {
    try {
      const stat = await lookAt(target, media);
      const key = `${stat.dev}:${stat.ino}`;
      const names = files.get(key) ?? [];
      // Given twice, it is one name all the same.
      if (!names.some((other) => isSameName(other.target, target))) names.push({ target, stat });
      files.set(key, names);
    } catch (error) {
      problems.push(problemOf(error, target));
    }
  }
  const candidates: Candidate[] = [];
  for (const sights of files.values()) {
    const [first] = sights;
    if (first === undefined) continue;
    const { stat, target } = first;
    if (stat.nlink > BigInt(sights.length))
      problems.push(otherNames(target, Number(stat.nlink) - sights.length));
    candidates.push({
      names: sights.map((sight) => sight.target),
      identity: fileIdentity(stat),
      bytes: Number(stat.size),
    });
  }
  return {
    targets: targets.length,
    candidates,
    problems,
    remains: [...new Set([...media.values()].flatMap(remains))],
  };
}

/** Shreds what was looked at. Throws SecretsfsError; what it says is left was not removed. */
export async function shredCandidate({ names, identity }: Candidate): Promise<void> {
  const [first] = names;
  if (first === undefined) return;
  try {
    const found = await within(first, async (directory, name) => {
      const handle = await openUnchanged(directory.at(name), identity, first);
      try {
        if (!(await overwrite(handle))) throw changed(first, 'it grows as fast as it is overwritten');
        return await handle.stat({ bigint: true });
      } finally {
        await handle.close();
      }
    });
    for (const target of names)
      await within(target, (directory, name) => remove(directory, name, target, found));
  } catch (error) {
    throw problemOf(error, first);
  }
}

async function lookAt(target: ShredTarget, media: Map<bigint, Medium | undefined>): Promise<BigIntStats> {
  return within(target, async (directory, name) => {
    const at = directory.at(name);
    const fd = openPath(at);
    try {
      const stat = fstatSync(fd, { bigint: true });
      if (stat.isSymbolicLink())
        throw notAFile(target, 'it is a symlink', 'name the file that it leads to; rm removes the link');
      if (stat.isDirectory()) throw notAFile(target, 'it is a directory', 'name the files in it');
      if (!stat.isFile())
        throw notAFile(target, 'it is not a regular file', 'rm removes it: it holds nothing');
      if (target.identity !== undefined && fileIdentity(stat) !== target.identity)
        throw changed(target, 'it changed since it was read');
      if (!media.has(stat.dev)) media.set(stat.dev, await mediumOf(fd));
      await access(directory.self, constants.W_OK | constants.X_OK).catch((cause: unknown) => {
        throw denied(
          target,
          `it can not be removed from ${quote(directory.shown)}: ${errnoWords(cause)}`,
          cause,
        );
      });
      // To see whether it may be written: nothing is.
      const handle = await open(at, WRITING).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'EACCES' && Number(stat.uid) === process.geteuid?.()) return undefined;
        throw error;
      });
      await handle?.close();
      return stat;
    } finally {
      closeSync(fd);
    }
  });
}

// Without O_NONBLOCK a fifo that took the file's place would wait for its reader.
const WRITING = constants.O_WRONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** A file of ours that nobody may write to, as secrets often are, is made writable. */
async function openUnchanged(at: string, identity: string, target: ShredTarget): Promise<FileHandle> {
  const check = async (handle: FileHandle) => {
    if (fileIdentity(await handle.stat({ bigint: true })) === identity) return;
    throw changed(target, 'it changed since it was looked at');
  };
  let isWritable = true;
  const opened = await open(at, WRITING).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EACCES') throw error;
    isWritable = false;
    return open(at, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  });
  try {
    await check(opened);
    if (isWritable) return opened;
    await opened.chmod(0o600);
    const again = await open(`/proc/self/fd/${opened.fd}`, constants.O_WRONLY);
    await opened.close();
    return again;
  } catch (error) {
    await opened.close();
    throw error;
  }
}

/** Takes the name away, and looks what it was of before anything is lost. */
async function remove(
  directory: OpenDirectory,
  name: string,
  target: ShredTarget,
  { dev, ino }: BigIntStats,
): Promise<void> {
  const aside = `.${randomBytes(12).toString('hex')}`;
  await rename(directory.at(name), directory.at(aside)).catch((error: NodeJS.ErrnoException) => {
    // Somebody removed it: so be it.
    if (error.code !== 'ENOENT') throw error;
  });
  const moved = await lstat(directory.at(aside), { bigint: true }).catch(() => undefined);
  if (moved === undefined) return;
  if (moved.dev !== dev || moved.ino !== ino) {
    const back = await link(directory.at(aside), directory.at(name)).catch((error: Error) => error);
    if (back instanceof Error)
      throw changed(
        target,
        `another file took its name, and is now ${quote(path.join(directory.shown, aside))}`,
      );
    await unlink(directory.at(aside));
    throw changed(target, 'it was overwritten, but another file took its name, and stays');
  }
  await unlink(directory.at(aside));
  // Some file systems can't.
  await directory.sync().catch(() => undefined);
}

/** Runs `use` with the directory that the name is in, held by its descriptor. */
export async function within<T>(
  { base, below }: Pick<ShredTarget, 'base' | 'below'>,
  use: (directory: OpenDirectory, name: string) => Promise<T>,
): Promise<T> {
  let directory = await OpenDirectory.open(base, { follow: true });
  try {
    for (const step of below.slice(0, -1)) {
      const child = await directory.openChild(step);
      await directory.close();
      directory = child;
    }
    return await use(directory, below.at(-1) ?? '');
  } finally {
    await directory.close();
  }
}

function isSameName(a: ShredTarget, b: ShredTarget): boolean {
  return path.resolve(a.base, ...a.below) === path.resolve(b.base, ...b.below);
}

function notAFile({ shown }: ShredTarget, why: string, hint: string): SourceError {
  return new SourceError('source-invalid', `cannot shred ${quote(shown)}: ${why}`, { hint });
}

function otherNames(target: ShredTarget, count: number): SourceError {
  const names = count === 1 ? 'another name' : `${count} other names`;
  return notAFile(
    target,
    `it has ${names}, and would be lost under ${count === 1 ? 'it' : 'them'} too`,
    `find / -xdev -samefile ${quote(target.shown)} finds them: name all, or rm the others`,
  );
}

function changed({ shown }: ShredTarget, why: string): SourceError {
  return new SourceError('source-changed', `cannot shred ${quote(shown)}: ${why}`, {
    hint: 'somebody is writing there: look at what it is, and run the command again',
  });
}

function denied({ shown }: ShredTarget, why: string, cause: unknown): OutputError {
  return new OutputError('output-denied', `cannot shred ${quote(shown)}: ${why}`, {
    hint: 'run as a user who may write it, and its directory',
    cause,
  });
}

function problemOf(error: unknown, target: ShredTarget): SecretsfsError {
  if (error instanceof SecretsfsError) return error;
  const { code } = error as NodeJS.ErrnoException;
  if (typeof code !== 'string') throw error;
  const what = `cannot shred ${quote(target.shown)}`;
  if (code === 'EPERM')
    return new OutputError('output-denied', `${what}: it is immutable, or may only be appended to`, {
      hint: `chattr -i -a ${quote(target.shown)}, and run the command again`,
      cause: error,
    });
  if (code === 'EACCES' || code === 'EROFS') return denied(target, errnoWords(error), error);
  if (code === 'ENOENT' || isNotDirectory(error))
    return new SourceError('source-not-found', `${what}: ${errnoWords(error)}`, {
      hint: 'check its name',
      cause: error,
    });
  return new OutputError('output-failed', `${what}: ${errnoWords(error)}`, {
    hint: 'it is still there: run the command again',
    cause: error,
  });
}
