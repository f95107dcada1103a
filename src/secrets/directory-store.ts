/**
 * Secrets below a local directory, each a file of its path. A reader sees the whole of an old or the whole of a new file;
 * writers hold a lock meanwhile, so that what they expect is still there when they replace it. Nothing follows a symlink
 * below the store. No versions are kept.
 */
import { rename, unlink } from 'node:fs/promises';
import { errnoWords, OutputError, quote, SecretsfsError, SourceError, UsageError } from '../errors.ts';
import { OpenDirectory } from '../system/open-directory.ts';
import { holdingStore, mayHold } from './directory-lock.ts';
import {
  etagOf,
  listFiles,
  mayChange,
  readFile,
  removeEmpty,
  unless,
  within,
  writeTemporary,
} from './directory-tree.ts';
import { checkPath, placeOf, type StoreLocation } from './location.ts';
import type { Expected, ReadObject, ReadOptions, SecretStore, StoredObject, Written } from './store.ts';

type DirectoryLocation = Extract<StoreLocation, { kind: 'directory' }>;

const DENIED = new Set(['EACCES', 'EPERM', 'EROFS']);

export class DirectoryStore implements SecretStore {
  readonly location: string;
  readonly versioned = false;
  readonly #location: DirectoryLocation;
  /** Writers of this process come one after the other: the file lock tells them apart no better than by waiting. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(location: DirectoryLocation) {
    this.location = location.location;
    this.#location = location;
  }

  locate(path: string): string {
    return placeOf(this.#location, checkPath(this.#location, path));
  }

  async *list(prefix = '', { skipped }: { skipped?(name: string): void } = {}): AsyncGenerator<StoredObject> {
    const found: { readonly object: StoredObject; readonly key: Buffer }[] = [];
    await this.#reading(this.location, (root) =>
      listFiles(root, '', prefix, {
        file: (object) => void found.push({ object, key: Buffer.from(object.path) }),
        skipped: (path) => skipped?.(path),
      }),
    );
    found.sort((a, b) => a.key.compare(b.key));
    for (const { object } of found) yield object;
  }

  async read(path: string, options: ReadOptions = {}): Promise<ReadObject | undefined> {
    const place = this.locate(path);
    if (options.version !== undefined) throw this.#keepsNoVersions();
    return this.#reading(place, (root) => {
      return within(root, path, (directory, name) => readFile(directory, name, options));
    });
  }

  async check(path: string, verb: 'write' | 'remove'): Promise<void> {
    await this.#changing(path, verb, async () => {
      const root = await this.#openRoot();
      try {
        await mayHold(root);
        await mayChange(root, path.split('/').slice(0, -1));
      } finally {
        await root.close();
      }
    });
  }

  async write(path: string, bytes: Buffer, expected: 'absent' | Expected): Promise<Written> {
    return this.#alone(path, 'write', async (root, own) => {
      await this.#expect(root, path, 'write', expected);
      const temporary = await writeTemporary(own, bytes);
      try {
        const place = async (directory: OpenDirectory, name: string) => {
          await rename(temporary, directory.at(name));
          await directory.sync();
        };
        await within(root, path, place, { make: true });
      } catch (error) {
        await unlink(temporary).catch(() => undefined);
        throw error;
      }
      return { etag: etagOf(bytes) };
    });
  }

  async remove(path: string, expected: 'any' | Expected, version?: string): Promise<void> {
    if (version !== undefined) throw this.#keepsNoVersions();
    return this.#alone(path, 'remove', async (root) => {
      if (expected !== 'any') await this.#expect(root, path, 'remove', expected);
      await within(root, path, async (directory, name) => {
        await unlink(directory.at(name)).catch(unless('ENOENT'));
        await directory.sync();
      });
      await removeEmpty(root, path.split('/').slice(0, -1));
    });
  }

  // biome-ignore lint/correctness/useYield: there is nothing to yield
  async *versions(path: string): AsyncGenerator<never> {
    this.locate(path);
    throw this.#keepsNoVersions();
  }

  async #expect(
    root: OpenDirectory,
    path: string,
    verb: string,
    expected: 'absent' | Expected,
  ): Promise<void> {
    const there = await within(root, path, (directory, name) => readFile(directory, name, { headBytes: 0 }));
    if (there?.etag === (expected === 'absent' ? undefined : expected.etag)) return;
    const what = there === undefined ? 'removed' : 'wrote';
    throw new OutputError(
      'output-changed',
      `cannot ${verb} ${quote(this.locate(path))}: somebody else ${what} it since we looked`,
      { hint: 'run the command again' },
    );
  }

  #keepsNoVersions(): UsageError {
    return new UsageError(`cannot go back in ${quote(this.location)}: a directory keeps no versions`, {
      hint: 'a bucket with versioning does: --store s3://BUCKET/PREFIX',
    });
  }

  async #reading<T>(place: string, work: (root: OpenDirectory) => Promise<T>): Promise<T> {
    try {
      const root = await this.#openRoot();
      return await work(root).finally(() => root.close());
    } catch (error) {
      if (!isErrno(error)) throw error;
      const code = DENIED.has(error.code) ? 'source-denied' : 'source-invalid';
      throw new SourceError(code, `cannot read ${quote(place)}: ${errnoWords(error)}`, {
        hint: 'check the store and its permissions',
        cause: error,
      });
    }
  }

  async #alone<T>(
    path: string,
    verb: string,
    work: (root: OpenDirectory, own: OpenDirectory) => Promise<T>,
  ): Promise<T> {
    // Nothing begins for a path that leads elsewhere.
    this.locate(path);
    const turn = this.#turn.then(async () => {
      const root = await this.#openRoot();
      return holdingStore(root, (own) => work(root, own)).finally(() => root.close());
    });
    this.#turn = turn.catch(() => undefined);
    return this.#changing(path, verb, () => turn);
  }

  async #changing<T>(path: string, verb: string, work: () => Promise<T>): Promise<T> {
    const place = this.locate(path);
    try {
      return await work();
    } catch (error) {
      if (!isErrno(error)) throw error;
      const code = DENIED.has(error.code) ? 'output-denied' : 'output-failed';
      throw new OutputError(code, `cannot ${verb} ${quote(place)}: ${errnoWords(error)}`, {
        hint: 'check the store and its permissions',
        cause: error,
      });
    }
  }

  async #openRoot(): Promise<OpenDirectory> {
    const { directory } = this.#location;
    try {
      return await OpenDirectory.open(directory, { follow: true });
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOTDIR') {
        throw new SourceError(
          'source-invalid',
          `cannot open the store: ${quote(directory)} is not a directory`,
          {
            hint: '--store s3://BUCKET/PREFIX or a directory',
            cause: error,
          },
        );
      }
      if (code !== 'ENOENT') throw error;
      throw new SourceError(
        'source-not-found',
        `cannot open the store: there is no directory ${quote(directory)}`,
        {
          hint: `mkdir -p ${quote(directory)}, or s3://BUCKET/PREFIX for one in S3`,
          cause: error,
        },
      );
    }
  }
}

function isErrno(error: unknown): error is NodeJS.ErrnoException & { code: string } {
  const { code } = error as NodeJS.ErrnoException;
  return !(error instanceof SecretsfsError) && typeof code === 'string' && /^E[A-Z0-9]+$/.test(code);
}
