/** The files of a directory store: finding, reading and putting them in place, every step from an open directory. */
import { createHash, randomBytes } from 'node:crypto';
import { constants, type Dirent } from 'node:fs';
import { access, type FileHandle, lstat, mkdir, open, readdir, rmdir, unlink } from 'node:fs/promises';
import { quote, SourceError } from '../errors.ts';
import { STORED_BYTES_MAX } from '../limits.ts';
import { isNotDirectory, type OpenDirectory } from '../system/open-directory.ts';
import { RESERVED, whyNotPath } from './location.ts';
import type { ReadOptions, StoredObject } from './store.ts';

/** Sealed, it may be read by anybody whom the directory lets in. */
const FILE_MODE = 0o644;

/** What is read at a time: what a file takes of memory must not be its author's to say. */
const CHUNK_BYTES = 256 * 1024;

export interface StoredFile {
  /** As much of it as was asked for. */
  readonly bytes: Buffer;
  /** Of the whole. */
  readonly size: number;
  readonly etag: string;
  readonly modifiedMs: number;
}

export function etagOf(bytes: Buffer): string {
  return `"${createHash('sha256').update(bytes).digest('hex')}"`;
}

/**
 * Calls `work` with the directory that `path` is in, and its name there. undefined where there is no such directory, but
 * with `make`, which makes it.
 */
export async function within<T>(
  root: OpenDirectory,
  path: string,
  work: (directory: OpenDirectory, name: string) => Promise<T>,
  { make = false }: { readonly make?: boolean } = {},
): Promise<T | undefined> {
  const [name = '', ...rest] = path.split('/');
  if (rest.length === 0) return work(root, name);
  if (make) await mkdir(root.at(name)).catch(unless('EEXIST'));
  const child = await root.openChild(name).catch((error: unknown) => {
    if (!make && (isAbsent(error) || isNotDirectory(error))) return undefined;
    throw error;
  });
  if (child === undefined) return undefined;
  try {
    const found = await within(child, rest.join('/'), work, { make });
    if (make) await root.sync();
    return found;
  } finally {
    await child.close();
  }
}

/** Throws an error of the system where nothing can be made, or removed, in the directory `parts` of `root`, or the nearest above that is there. */
export async function mayChange(root: OpenDirectory, parts: readonly string[]): Promise<void> {
  const [name, ...rest] = parts;
  const child = name === undefined ? undefined : await root.openChild(name).catch(unless('ENOENT'));
  if (child === undefined) return access(root.self, constants.W_OK | constants.X_OK);
  try {
    await mayChange(child, rest);
  } finally {
    await child.close();
  }
}

/**
 * undefined where there is no such file. `headBytes`: only its beginning is kept, however large it is. Throws SourceError
 * `source-too-large` for a whole one of more than `bytesMax`, `source-invalid` for a symlink.
 */
export async function readFile(
  directory: OpenDirectory,
  name: string,
  { headBytes, bytesMax = STORED_BYTES_MAX }: Pick<ReadOptions, 'headBytes' | 'bytesMax'>,
): Promise<StoredFile | undefined> {
  let handle: FileHandle;
  try {
    // A FIFO would be waited for.
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    handle = await open(directory.at(name), flags);
  } catch (error) {
    if (isAbsent(error)) return undefined;
    if (!isNotDirectory(error)) throw error;
    throw new SourceError(
      'source-invalid',
      `cannot read ${quote(`${directory.shown}/${name}`)}: it is a symlink`,
      {
        hint: 'put the file itself there',
      },
    );
  }
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) return undefined;
    const tooLarge = (size: number): SourceError => {
      const what = `cannot read ${quote(`${directory.shown}/${name}`)}: it has ${size} bytes`;
      return new SourceError('source-too-large', `${what}, want at most ${bytesMax}`, {
        hint: 'it is no secret of a store: those are far smaller',
      });
    };
    if (headBytes === undefined && stat.size > bytesMax) throw tooLarge(stat.size);
    const hash = createHash('sha256');
    const kept: Buffer[] = [];
    let size = 0;
    const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, stat.size + 1));
    for (;;) {
      const { bytesRead } = await handle.read(chunk, 0, chunk.length, size);
      if (bytesRead === 0) break;
      const bytes = chunk.subarray(0, bytesRead);
      hash.update(bytes);
      const wanted = headBytes === undefined ? bytesRead : Math.max(0, headBytes - size);
      if (wanted > 0) kept.push(Buffer.from(bytes.subarray(0, wanted)));
      size += bytesRead;
      // It grows.
      if (headBytes === undefined && size > bytesMax) throw tooLarge(size);
    }
    const etag = `"${hash.digest('hex')}"`;
    return { bytes: Buffer.concat(kept), size, etag, modifiedMs: Math.trunc(stat.mtimeMs) };
  } finally {
    await handle.close();
  }
}

/**
 * Every file below whose path begins with `prefix`, in no order. What is no file is left out; `skipped` is told of what has
 * no path of a secret, and of what is larger than any may be.
 */
export async function listFiles(
  directory: OpenDirectory,
  base: string,
  prefix: string,
  found: { file(object: StoredObject): void; skipped(path: string): void },
): Promise<void> {
  for (const entry of await readdir(directory.self, { withFileTypes: true })) {
    const path = `${base}${entry.name}`;
    if (path === RESERVED || !mayHold(entry, path, prefix)) continue;
    if (whyNotPath(path) !== undefined || path.includes('\ufffd')) found.skipped(path);
    else if (entry.isDirectory()) {
      // One that was there a moment ago.
      const child = await directory.openChild(entry.name).catch(unless('ENOENT', 'ENOTDIR'));
      if (child === undefined) continue;
      try {
        await listFiles(child, `${path}/`, prefix, found);
      } finally {
        await child.close();
      }
    } else {
      const stat = await lstat(directory.at(entry.name)).catch(unless('ENOENT'));
      if (stat !== undefined && stat.size > STORED_BYTES_MAX) {
        found.skipped(path);
        continue;
      }
      const file = await readFile(directory, entry.name, { headBytes: 0 });
      if (file === undefined) continue;
      const { size, etag, modifiedMs } = file;
      found.file({ path, bytes: size, etag, modifiedMs });
    }
  }
}

function mayHold(entry: Dirent, path: string, prefix: string): boolean {
  if (entry.isFile()) return path.startsWith(prefix);
  return entry.isDirectory() && (`${path}/`.startsWith(prefix) || prefix.startsWith(`${path}/`));
}

/** A file of a name of its own, whole and on the disk. Returns where it is, as long as `directory` is open. */
export async function writeTemporary(directory: OpenDirectory, bytes: Buffer): Promise<string> {
  const at = directory.at(`new.${randomBytes(8).toString('hex')}`);
  const handle = await open(at, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, FILE_MODE);
  try {
    await handle.writeFile(bytes);
    await handle.sync();
  } catch (error) {
    await unlink(at).catch(() => undefined);
    throw error;
  } finally {
    await handle.close();
  }
  return at;
}

/** Directories that hold nothing any more, from the innermost on: in S3 there are none either. */
export async function removeEmpty(root: OpenDirectory, segments: readonly string[]): Promise<void> {
  for (let depth = segments.length; depth > 0; depth--) {
    const path = segments.slice(0, depth).join('/');
    const removed = await within(root, path, async (directory, name) => {
      return rmdir(directory.at(name)).then(
        () => true,
        () => false,
      );
    });
    if (removed !== true) return;
  }
}

export function isAbsent(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}

export function unless(...codes: readonly string[]): (error: NodeJS.ErrnoException) => undefined {
  return (error) => {
    if (!codes.includes(error.code ?? '')) throw error;
    return undefined;
  };
}
