/** Every file below a directory, or one file. Symlinks are not followed: what they lead to is looked at where it is. */
import { constants } from 'node:fs';
import { lstat, open, readdir } from 'node:fs/promises';
import path from 'node:path';
import { errnoWords, quote, SourceError } from '../errors.ts';
import type { Candidate, UsageAudit } from './usage.ts';

/** What can't be read is told of. Throws SourceError where there is nothing at `root` itself. */
export async function* scanFiles(root: string, audit: UsageAudit): AsyncGenerator<Candidate> {
  const stat = await lstat(root).catch((error: unknown) => {
    throw new SourceError('source-not-found', `cannot look into ${quote(root)}: ${errnoWords(error)}`, {
      hint: 'check the path of --in',
      cause: error,
    });
  });
  if (stat.isFile()) yield candidateOf(root, stat.size);
  if (stat.isSymbolicLink()) audit.unseen(root, undefined, 'it is a symlink: name what it leads to');
  if (stat.isDirectory()) yield* below(root, audit);
}

async function* below(directory: string, audit: UsageAudit): AsyncGenerator<Candidate> {
  const entries = await readdir(directory, { withFileTypes: true }).catch((error: unknown) => {
    audit.unseen(directory, undefined, errnoWords(error));
    return [];
  });
  for (const entry of entries) {
    const file = path.join(directory, entry.name);
    if (entry.isDirectory()) yield* below(file, audit);
    else if (entry.isFile()) {
      const stat = await lstat(file).catch(() => undefined);
      if (stat?.isFile() === true) yield candidateOf(file, stat.size);
    }
  }
}

function candidateOf(file: string, size: number): Candidate {
  return {
    location: file,
    version: undefined,
    current: true,
    size,
    async read(offset, bytes) {
      const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
      const handle = await open(file, flags).catch((error: unknown) => {
        throw unreadable(file, error);
      });
      try {
        const buffer = Buffer.alloc(Math.max(0, Math.min(bytes, size - offset)));
        const { bytesRead } = await handle.read(buffer, 0, buffer.length, offset);
        return { bytes: buffer.subarray(0, bytesRead), s3Key: undefined };
      } catch (error) {
        throw unreadable(file, error);
      } finally {
        await handle.close();
      }
    },
  };
}

function unreadable(file: string, error: unknown): SourceError {
  return new SourceError('source-denied', `cannot look into ${quote(file)}: ${errnoWords(error)}`, {
    hint: 'run as a user who may read it',
    cause: error,
  });
}
