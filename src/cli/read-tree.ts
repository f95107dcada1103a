/**
 * A directory on this machine → archive entries: what a tar would carry. It reads what it has opened, never what a name
 * stood for a moment earlier, so nothing outside of the directory gets in, whoever else may write to it.
 */
import { constants } from 'node:fs';
import { type FileHandle, lstat, open, readdir, readlink } from 'node:fs/promises';
import path from 'node:path';
import type { ArchiveEntry } from '../bundle/archive.ts';
import { errnoWords, quote, SourceError } from '../errors.ts';
import { DEPTH_MAX, TAR_BYTES_MAX } from '../limits.ts';
import { fileIdentity } from '../system/file-identity.ts';
import { isNotDirectory, OpenDirectory } from '../system/open-directory.ts';

const PERMISSIONS = 0o7777;

/** Told of each file's path, and of its fileIdentity() before it was read. */
export type OnFile = (path: string, identity: string) => void;

interface Walk {
  readonly entries: ArchiveEntry[];
  readonly onFile: OnFile | undefined;
  bytesLeft: number;
}

/** Every entry below `directory`, sorted by path. The caller wipes the files' data. */
export async function readTree(directory: string, onFile?: OnFile): Promise<ArchiveEntry[]> {
  const walk: Walk = { entries: [], onFile, bytesLeft: TAR_BYTES_MAX };
  try {
    const root = await OpenDirectory.open(directory, { follow: true });
    await readDirectory(root, '', 1, walk);
  } catch (error) {
    wipeEntries(walk.entries);
    throw cannotRead(directory, error);
  }
  return walk.entries.sort((a, b) => (a.path < b.path ? -1 : 1));
}

export function wipeEntries(entries: readonly ArchiveEntry[]): void {
  for (const entry of entries) if (entry.kind === 'file') entry.data.fill(0);
}

/** Closes `directory`. `depth` is that of what is in it. */
async function readDirectory(
  directory: OpenDirectory,
  relative: string,
  depth: number,
  walk: Walk,
): Promise<void> {
  try {
    for (const raw of await readdir(directory.self, { encoding: 'buffer' })) {
      const name = raw.toString('utf8');
      const shown = path.join(directory.shown, name);
      if (!Buffer.from(name, 'utf8').equals(raw)) {
        throw new SourceError('source-invalid', `cannot read ${quote(shown)}: its name is not UTF-8`, {
          hint: 'rename it',
        });
      }
      // Each level holds a descriptor; and no mount takes more.
      if (depth > DEPTH_MAX) {
        throw new SourceError(
          'source-invalid',
          `cannot read ${quote(shown)}: it is ${depth} levels deep, want at most ${DEPTH_MAX}`,
          { hint: 'leave it out, or pack it with --tar' },
        );
      }
      const entryPath = relative === '' ? name : `${relative}/${name}`;
      try {
        await readEntry(directory, name, entryPath, depth, walk);
      } catch (cause) {
        throw isNotDirectory(cause) ? changed(shown, cause) : cannotRead(shown, cause);
      }
    }
  } finally {
    await directory.close();
  }
}

async function readEntry(
  directory: OpenDirectory,
  name: string,
  entryPath: string,
  depth: number,
  walk: Walk,
): Promise<void> {
  const at = directory.at(name);
  // Says only how to open it: modes and owners are those of what was then opened.
  const looked = await lstat(at);
  const facts = (stat: typeof looked) => ({
    path: entryPath,
    mode: stat.mode & PERMISSIONS,
    uid: stat.uid,
    gid: stat.gid,
  });
  if (looked.isDirectory()) {
    const child = await directory.openChild(name);
    const stat = await child.stat().catch(async (error: unknown) => {
      await child.close();
      throw error;
    });
    walk.entries.push({ ...facts(stat), kind: 'directory' });
    await readDirectory(child, entryPath, depth + 1, walk);
  } else if (looked.isSymbolicLink()) {
    walk.entries.push({ ...facts(looked), kind: 'symlink', target: await linkTarget(at, directory, name) });
  } else if (looked.isFile()) {
    const shown = path.join(directory.shown, name);
    // Without O_NONBLOCK a fifo that took the file's place would wait for its writer.
    const file = await open(at, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const stat = await file.stat();
      if (!stat.isFile()) throw changed(shown);
      walk.onFile?.(entryPath, fileIdentity(await file.stat({ bigint: true })));
      walk.entries.push({
        ...facts(stat),
        kind: 'file',
        data: await readWhole(file, stat.size, shown, walk),
      });
    } finally {
      await file.close();
    }
  } else {
    const shown = quote(path.join(directory.shown, name));
    throw new SourceError(
      'source-invalid',
      `cannot read ${shown}: want files, directories and symlinks only`,
      {
        hint: 'remove it: sockets, pipes and devices are not for bundles and stores',
      },
    );
  }
}

async function linkTarget(at: string, directory: OpenDirectory, name: string): Promise<string> {
  return readlink(at).catch((cause: NodeJS.ErrnoException) => {
    // No symlink any more.
    throw cause.code === 'EINVAL' ? changed(path.join(directory.shown, name), cause) : cause;
  });
}

async function readWhole(file: FileHandle, size: number, shown: string, walk: Walk): Promise<Buffer> {
  walk.bytesLeft -= size;
  if (walk.bytesLeft < 0) {
    throw new SourceError(
      'source-too-large',
      `cannot read ${quote(shown)}: with it there are more than ${TAR_BYTES_MAX} bytes in all`,
      { hint: 'make several bundles of it' },
    );
  }
  // One byte more than the size, to see a file that grows.
  const buffer = Buffer.alloc(size + 1);
  let length = 0;
  for (;;) {
    const { bytesRead } = await file.read(buffer, length, buffer.length - length, length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  if (length !== size) {
    buffer.fill(0);
    throw changed(shown);
  }
  return buffer.subarray(0, size);
}

function changed(shown: string, cause?: unknown): SourceError {
  return new SourceError('source-invalid', `cannot read ${quote(shown)}: it changed while it was read`, {
    hint: 'again, once nothing writes to it',
    cause,
  });
}

function cannotRead(shown: string, cause: unknown): unknown {
  const code = (cause as NodeJS.ErrnoException).code;
  if (typeof code !== 'string' || cause instanceof SourceError) return cause;
  const message = `cannot read ${quote(shown)}: ${errnoWords(cause)}`;
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return new SourceError('source-not-found', message, {
      hint: 'name a directory that there is; pack takes it with --dir',
      cause,
    });
  }
  return new SourceError('source-denied', message, { hint: 'run as a user who may read all of it', cause });
}
