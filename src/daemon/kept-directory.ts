/** A directory in which a mount keeps what it goes by at its next start: nobody else may put anything there. */
import { lstat } from 'node:fs/promises';
import { ConfigError, quote } from '../errors.ts';
import { makeDirectory } from '../system/make-directory.ts';

const OTHERS_WRITE = 0o022;

/**
 * Makes it where it is missing. Throws ConfigError for one that others could write to, and what the file system says. `what` is kept
 * there; `flag` names another.
 */
export async function keptDirectory(
  directory: string,
  { uid, what, flag }: { readonly uid: number; readonly what: string; readonly flag: string },
): Promise<void> {
  await makeDirectory(directory);
  const stat = await lstat(directory);
  if (stat.isDirectory() && stat.uid === uid && (stat.mode & OTHERS_WRITE) === 0) return;
  throw new ConfigError(
    'config-invalid',
    `cannot keep ${what} in ${quote(directory)}: it must be a directory of uid ${uid} that nobody else may write to`,
    { hint: `chown ${uid} ${quote(directory)}; chmod go-w ${quote(directory)}; or give another ${flag}` },
  );
}
