/** A directory in which a mount keeps what it goes by at its next start: nobody else may put anything there, or another in its place. */
import type { Stats } from 'node:fs';
import { lstat, readlink } from 'node:fs/promises';
import path from 'node:path';
import { ConfigError, quote } from '../errors.ts';
import { makeDirectory } from '../system/make-directory.ts';

const OTHERS_WRITE = 0o022;
const STICKY = 0o1000;
/** As the kernel allows: path_resolution(7). */
const SYMLINKS_MAX = 40;

/**
 * Makes it where it is missing. Throws ConfigError for one that others could write to or exchange, and what the file system says. `what`
 * is kept there; `flag` names another. Not by trusted.ts, which waits in the calls themselves: a disk may be slow, or gone.
 */
export async function keptDirectory(
  directory: string,
  { uid, what, flag }: { readonly uid: number; readonly what: string; readonly flag: string },
): Promise<void> {
  await makeDirectory(directory);
  const refused = (problem: string, mend: string) =>
    new ConfigError('config-invalid', `cannot keep ${what} in ${quote(directory)}: ${problem}`, {
      hint: `${mend}; or give another ${flag}`,
    });
  const stat = await lstat(directory);
  if (!stat.isDirectory() || stat.uid !== uid || (stat.mode & OTHERS_WRITE) !== 0) {
    throw refused(
      `it must be a directory of uid ${uid} that nobody else may write to`,
      `chown ${uid} ${quote(directory)}; chmod go-w ${quote(directory)}`,
    );
  }
  const exchangeable = await onTheWay(directory, uid);
  if (exchangeable === undefined) return;
  const { at, stat: above } = exchangeable;
  if (isForeign(above, uid))
    throw refused(`${quote(at)} belongs to uid ${above.uid}`, `chown root ${quote(at)}`);
  throw refused(`others may write to ${quote(at)}`, `chmod go-w ${quote(at)}`);
}

/**
 * The first on the way to it, symlinks included, that another than root and `uid` could exchange something in. In a sticky directory
 * nobody can take away what is not his, and whose each is, is looked at.
 */
async function onTheWay(directory: string, uid: number): Promise<{ at: string; stat: Stats } | undefined> {
  const rest = namesOf(directory);
  let at = '/';
  let links = 0;
  for (let name = rest.shift(); name !== undefined; name = rest.shift()) {
    if (name === '..') {
      at = path.dirname(at);
      continue;
    }
    const next = path.join(at, name);
    const stat = await lstat(next);
    if (isForeign(stat, uid)) return { at: next, stat };
    if (stat.isSymbolicLink()) {
      links += 1;
      if (links > SYMLINKS_MAX) throw Object.assign(new Error('too many symlinks'), { code: 'ELOOP' });
      const target = await readlink(next);
      if (target.startsWith('/')) at = '/';
      rest.unshift(...namesOf(target));
      continue;
    }
    if ((stat.mode & STICKY) === 0 && isWrittenByOthers(stat, uid)) return { at: next, stat };
    at = next;
  }
  return undefined;
}

function namesOf(place: string): string[] {
  return place.split('/').filter((name) => name !== '' && name !== '.');
}

function isForeign(stat: Stats, uid: number): boolean {
  return stat.uid !== 0 && stat.uid !== uid;
}

/** Of a user, his own group is he himself: many systems make it so. */
function isWrittenByOthers({ mode, gid }: Stats, uid: number): boolean {
  return (mode & (uid !== 0 && gid === process.getgid?.() ? 0o002 : OTHERS_WRITE)) !== 0;
}
