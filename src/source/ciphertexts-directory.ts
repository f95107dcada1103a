/**
 * The files of a local directory and of those in it. It is read by who fetches, with his rights: unlike a bundle in a file it is
 * not opened by the supervisor. Names that begin with a dot are left out, symlinks to files are followed, to directories not.
 */
import { readdir, stat } from 'node:fs/promises';
import { errnoWords, quote, SourceError } from '../errors.ts';
import { DEPTH_MAX } from '../limits.ts';
import { fileIdentity } from '../system/file-identity.ts';
import type { CiphertextPlace, ListedFile } from './ciphertexts.ts';
import { FileSource } from './file.ts';

export class CiphertextsDirectory implements CiphertextPlace {
  readonly location: string;

  /** With a slash at its end. */
  constructor(location: string) {
    this.location = location;
  }

  async *list(signal: AbortSignal | undefined): AsyncGenerator<ListedFile> {
    const waiting: { readonly path: string; readonly depth: number }[] = [{ path: '', depth: 0 }];
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      signal?.throwIfAborted();
      const { path, depth } = next;
      for (const entry of await this.#try(readdir(`${this.location}${path}`, { withFileTypes: true }))) {
        if (entry.name.startsWith('.')) continue;
        const below = `${path}${entry.name}`;
        if (entry.isDirectory()) {
          if (depth < DEPTH_MAX) waiting.push({ path: `${below}/`, depth: depth + 1 });
        } else if (entry.isFile() || entry.isSymbolicLink()) {
          const found = await stat(`${this.location}${below}`, { bigint: true }).catch(() => undefined);
          if (found?.isFile() !== true) continue;
          yield { path: below, revision: fileIdentity(found), modifiedMs: Number(found.mtimeMs) };
        }
      }
    }
  }

  async read(path: string, bytesMax: number, signal: AbortSignal | undefined): Promise<Buffer> {
    const fetched = await new FileSource(`${this.location}${path}`).fetch({ bytesMax, signal });
    if (fetched === undefined) throw new Error('a first fetch found nothing new');
    return fetched.bytes;
  }

  async #try<T>(call: Promise<T>): Promise<T> {
    try {
      return await call;
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      const isMissing = code === 'ENOENT' || code === 'ENOTDIR';
      const isDenied = code === 'EACCES' || code === 'EPERM';
      throw new SourceError(
        isMissing ? 'source-not-found' : isDenied ? 'source-denied' : 'source-unreachable',
        `cannot read the directory ${quote(this.location)}: ${errnoWords(cause)}`,
        {
          hint: isDenied
            ? 'it holds ciphertext: let every user read it and search the directories above, or keep it in S3'
            : 'check the path; the slash at its end says that it is a directory',
          cause,
        },
      );
    }
  }
}
