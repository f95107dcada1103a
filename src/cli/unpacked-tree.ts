/** What unpacking into a directory is about, for who does it (write-tree.ts) and who only looks whether it could (check-tree.ts). */
import path from 'node:path';
import type { ArchiveEntry } from '../bundle/archive.ts';
import { errnoWords, OutputError, quote } from '../errors.ts';
import type { OpenDirectory } from '../system/open-directory.ts';

export interface UnpackedNode {
  /** Undefined for a directory that only the path of another entry tells of. */
  entry: ArchiveEntry | undefined;
  readonly children: Map<string, this>;
}

export function treeOf(entries: readonly ArchiveEntry[]): UnpackedNode {
  const root: UnpackedNode = { entry: undefined, children: new Map() };
  for (const entry of entries) {
    let node = root;
    for (const segment of entry.path.split('/')) {
      // readArchive() and readTree() give no others.
      if (segment === '' || segment === '.' || segment === '..')
        throw new Error('an entry outside of its tree');
      let child = node.children.get(segment);
      if (child === undefined) {
        child = { entry: undefined, children: new Map() };
        node.children.set(segment, child);
      }
      node = child;
    }
    node.entry = entry;
  }
  return root;
}

/**
 * In a directory that everybody may write to, without the sticky bit, any user can put a file of theirs in the place of
 * one that root has just unpacked, for root's services to read. Group members are trusted: many systems give each user
 * a group, and a umask of 002.
 */
export async function refuseOpenToAll(root: OpenDirectory): Promise<void> {
  const { mode } = await root.stat();
  if (process.geteuid?.() !== 0 || (mode & 0o002) === 0 || (mode & 0o1000) !== 0) return;
  throw new OutputError(
    'output-denied',
    `cannot unpack to ${quote(root.shown)}: every user may write to it and replace what is in it`,
    { hint: `chmod o-w ${quote(root.shown)}, or give another directory` },
  );
}

export function notDirectory(shown: string, cause?: unknown): OutputError {
  return new OutputError('output-exists', `cannot unpack: ${quote(shown)} is not a directory`, {
    hint: 'remove it, or unpack into another directory',
    cause,
  });
}

export function cannotWrite(shown: string, cause: unknown): unknown {
  const { code } = cause as NodeJS.ErrnoException;
  if (typeof code !== 'string' || cause instanceof OutputError) return cause;
  const place = quote(shown);
  if (code === 'EEXIST') {
    return new OutputError('output-exists', `cannot unpack: ${place} exists`, {
      hint: 'unpack into an empty directory, or --force to replace files',
      cause,
    });
  }
  const denied = code === 'EACCES' || code === 'EPERM' || code === 'EROFS';
  const message = `cannot unpack to ${place}: ${errnoWords(cause)}`;
  return new OutputError(denied ? 'output-denied' : 'output-failed', message, {
    hint: hintFor(code, shown),
    cause,
  });
}

function hintFor(code: string, shown: string): string {
  if (code === 'ENOSPC' || code === 'EDQUOT') return 'make room: nothing of it was kept';
  if (code === 'ENOENT') return `mkdir -p ${quote(path.dirname(path.resolve(shown)))}`;
  return 'give a directory that you may write to';
}
