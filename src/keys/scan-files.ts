/** Every file below a directory, or one file. Symlinks are not followed: what leads out of it is told of. */
import { constants } from 'node:fs';
import { lstat, open, readdir, realpath } from 'node:fs/promises';
import path from 'node:path';
import { errnoWords, quote, SourceError } from '../errors.ts';
import type { Candidate, UsageAudit } from './usage.ts';

const IS_SYMLINK = 'it is a symlink: name what it leads to, or remove it';

/** What can't be read is told of. `roots`: all directories that are looked at, as realpath has them. Throws SourceError where there is nothing at `root` itself. */
export async function* scanFiles(
  root: string,
  audit: UsageAudit,
  roots: readonly string[],
): AsyncGenerator<Candidate> {
  const stat = await lstat(root).catch((error: unknown) => {
    throw new SourceError('source-not-found', `cannot look into ${quote(root)}: ${errnoWords(error)}`, {
      hint: 'check the path of --in',
      cause: error,
    });
  });
  if (stat.isFile()) yield candidateOf(root, stat.size);
  if (stat.isSymbolicLink()) audit.unseen(root, undefined, IS_SYMLINK);
  if (stat.isDirectory()) yield* below(root, roots, audit);
}

/** What is looked at anyway is not unseen; what can't be followed may lead anywhere. */
async function leadsInto(link: string, roots: readonly string[]): Promise<boolean> {
  const target = await realpath(link).catch(() => undefined);
  return roots.some((root) => target === root || target?.startsWith(`${root === '/' ? '' : root}/`) === true);
}

async function* below(
  directory: string,
  roots: readonly string[],
  audit: UsageAudit,
): AsyncGenerator<Candidate> {
  const names = await readdir(directory, { encoding: 'buffer' }).catch((error: unknown) => {
    audit.unseen(directory, undefined, errnoWords(error));
    return [];
  });
  for (const bytes of names) {
    const file = path.join(directory, bytes.toString());
    if (!Buffer.from(bytes.toString()).equals(bytes)) {
      audit.unseen(file, undefined, 'its name is not UTF-8: rename it');
      continue;
    }
    const stat = await lstat(file).catch((error: unknown) => errnoWords(error));
    if (typeof stat === 'string') audit.unseen(file, undefined, stat);
    else if (stat.isDirectory()) yield* below(file, roots, audit);
    else if (stat.isFile()) yield candidateOf(file, stat.size);
    else if (stat.isSymbolicLink() && !(await leadsInto(file, roots)))
      audit.unseen(file, undefined, IS_SYMLINK);
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
