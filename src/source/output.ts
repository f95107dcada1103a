/**
 * Writes a file so that at every moment its name stands for the whole of the old or the whole of the new content, also
 * after a power cut: temporary file, fsync, rename, fsync of the directory.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { access, type FileHandle, link, lstat, open, readlink, rename, stat, unlink } from 'node:fs/promises';
import path from 'node:path';
import { OutputError, quote } from '../errors.ts';
import { fileIdentity } from '../system/file-identity.ts';

export interface WriteOptions {
  /** Permissions from the first byte, whatever the umask. */
  readonly mode: number;
  /** What must still be there: a revision of FileSource, or no file at all. Unchecked where undefined. */
  readonly expected?: { readonly revision: string } | 'absent' | undefined;
  /** What a symlink of that name is: to be followed if its owner may be trusted (default), or to be replaced. */
  readonly links?: 'follow-trusted' | 'replace';
}

/** What Linux follows, too, before it says ELOOP. */
const LINKS_MAX = 40;

/** Throws OutputError: `output-changed` and `output-exists` where `expected` is not what is there. */
export async function writeFileAtomically(file: string, bytes: Buffer, options: WriteOptions): Promise<void> {
  const target = await resolveTarget(file, options.links ?? 'follow-trusted');
  const directory = path.dirname(target);
  // Not path.join(): it takes a/link/.. for a.
  const temporary = `${directory}/.${path.basename(target).slice(0, 200)}.${randomBytes(8).toString('hex')}`;
  let handle: FileHandle | undefined;
  let left = false;
  try {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    handle = await open(temporary, flags, 0o600);
    left = true;
    await handle.chmod(options.mode);
    await handle.writeFile(bytes);
    await handle.sync();
    await handle.close();
    handle = undefined;
    await replace(temporary, target, options.expected, file);
    left = false;
  } catch (error) {
    throw outputError(error, file);
  } finally {
    await handle?.close().catch(() => undefined);
    if (left) await unlink(temporary).catch(() => undefined);
  }
  await syncDirectory(directory);
}

/**
 * Throws what writeFileAtomically() would, as far as that can be told without writing: another file than is expected, a directory
 * that is missing or may not be written to, what is no file.
 */
export async function checkWritable(file: string, options: Omit<WriteOptions, 'mode'>): Promise<void> {
  const target = await resolveTarget(file, options.links ?? 'follow-trusted');
  try {
    // As a path: a directory that may be searched and not listed can be written to.
    await access(`${path.dirname(target)}/.`, constants.W_OK | constants.X_OK);
    const { expected } = options;
    if (expected === 'absent') await checkAbsent(target);
    else if (expected !== undefined) await checkRevision(target, expected.revision, file);
  } catch (error) {
    throw outputError(error, file);
  }
}

async function replace(
  temporary: string,
  target: string,
  expected: WriteOptions['expected'],
  file: string,
): Promise<void> {
  if (expected === undefined) {
    await rename(temporary, target);
  } else if (expected === 'absent') {
    // Unlike rename(2), link(2) never replaces anything.
    try {
      await link(temporary, target);
      await unlink(temporary);
      return;
    } catch (error) {
      // A file system without hard links: a look before the rename must do.
      if (!['EPERM', 'EOPNOTSUPP', 'ENOSYS'].includes((error as NodeJS.ErrnoException).code ?? ''))
        throw error;
      await checkAbsent(target);
      await rename(temporary, target);
    }
  } else {
    await checkRevision(target, expected.revision, file);
    await rename(temporary, target);
  }
}

async function checkAbsent(target: string): Promise<void> {
  if ((await lstat(target).catch(() => undefined)) === undefined) return;
  throw Object.assign(new Error('it is there'), { code: 'EEXIST' });
}

async function checkRevision(target: string, expected: string, file: string): Promise<void> {
  const now = await stat(target, { bigint: true }).catch(() => undefined);
  if (now !== undefined && fileIdentity(now) === expected) return;
  throw new OutputError(
    'output-changed',
    `cannot write ${quote(file)}: somebody else wrote it since we looked`,
    { hint: 'run the command again' },
  );
}

/**
 * Through symlinks, so that a link stays one, but only through those of this user or root. protected_symlinks would keep
 * the kernel from following those that others plant in /tmp; following them by hand, as here, gets round it.
 */
async function resolveTarget(file: string, links: NonNullable<WriteOptions['links']>): Promise<string> {
  // What lstat() does not find it may well be: a name that only a directory can have.
  if (file.endsWith('/')) throw notRegular(file);
  try {
    let target = file;
    for (let followed = 0; followed <= LINKS_MAX; followed++) {
      const found = await lstat(target).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return undefined;
        throw error;
      });
      if (found === undefined || found.isFile()) return target;
      if (!found.isSymbolicLink()) throw notRegular(file);
      if (links === 'replace') {
        // A link to a device, such as /dev/stdout, stays: nobody means to replace that.
        const meant = await stat(target).catch(() => undefined);
        if (meant !== undefined && !meant.isFile()) throw notRegular(file);
        return target;
      }
      if (found.uid !== 0 && found.uid !== process.geteuid?.()) throw untrustedLink(file, target);
      const next = await readlink(target);
      // Not path.join(), as above.
      target = path.isAbsolute(next) ? next : `${path.dirname(target)}/${next}`;
    }
    throw Object.assign(new Error('too many symlinks'), { code: 'ELOOP' });
  } catch (error) {
    throw outputError(error, file);
  }
}

function notRegular(file: string): OutputError {
  return new OutputError('output-failed', `cannot write ${quote(file)}: it is not a regular file`, {
    hint: 'give the name of a file, or - for the standard output',
  });
}

function untrustedLink(file: string, target: string): OutputError {
  return new OutputError('output-denied', `cannot write ${quote(file)}: it is a symlink of another user`, {
    hint: `rm ${quote(target)}, or give the name that it stands for`,
  });
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY).catch(() => undefined);
  // The content is in place; some file systems can't sync a directory.
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}

function outputError(error: unknown, file: string): unknown {
  const code = (error as NodeJS.ErrnoException).code;
  if (error instanceof OutputError || typeof code !== 'string' || !/^E[A-Z0-9]+$/.test(code)) return error;
  const what = `cannot write ${quote(file)}`;
  const directory = quote(path.dirname(path.resolve(file)));
  const failed = (why: string, hint?: string): OutputError =>
    new OutputError('output-failed', `${what}: ${why}`, { hint, cause: error });
  switch (code) {
    case 'EEXIST':
      return new OutputError('output-changed', `${what}: somebody else made it since we looked`, {
        hint: 'run the command again',
        cause: error,
      });
    case 'EACCES':
    case 'EPERM':
      return new OutputError('output-denied', `${what}: permission denied`, {
        hint: `give this user write permission on the directory ${directory}`,
        cause: error,
      });
    case 'EROFS':
      return new OutputError('output-denied', `${what}: the file system is read-only`, {
        hint: 'write it somewhere else',
        cause: error,
      });
    case 'ENOENT':
      return failed('its directory does not exist', `mkdir -p ${directory}`);
    case 'ENOTDIR':
      return failed(`${directory} is not a directory`);
    case 'ENOSPC':
    case 'EDQUOT':
      return failed('no space is left', `df ${directory} shows what is used`);
    default:
      return failed(code);
  }
}
