/**
 * Whether nobody but root (or one other who is named) can have put a file where it is, or changed it: every directory on the way and the file belong to
 * root and are writable by nobody else. The way is walked name by name, by descriptors, so that nothing can be exchanged
 * between the look and the use; symlinks are followed by the walk itself, which looks at where they stand as well.
 *
 * A POSIX ACL that lets others write shows in the group's bits of the mode (acl(5)), so modes are enough.
 */
import { closeSync, constants, fstatSync, openSync, readlinkSync, type Stats } from 'node:fs';
import { quote } from '../errors.ts';
import { O_PATH } from './files.ts';

/** As the kernel allows: path_resolution(7). */
const SYMLINKS_MAX = 40;
const STICKY = 0o1000;

/** What is not as it should be, and what mends it. */
export interface Untrusted {
  readonly problem: string;
  readonly hint: string;
}

export interface Walked {
  /** O_PATH; the caller closes it. */
  readonly fd: number;
  /** Without symlinks. */
  readonly path: string;
  readonly stat: Stats;
  /** The first thing on the way that others than root could have changed. */
  readonly untrusted: Untrusted | undefined;
}

export interface WalkOptions {
  /** A directory that is not entered: whoever serves it must not wait for it. Throws ELOOP. */
  readonly avoid?: string | undefined;
  /** Beside root, this one may own what is on the way, and this group may write to it. */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined;
  /** Only what leads to the path is judged, not what is there. */
  readonly wayOnly?: boolean | undefined;
}

/** `path` is absolute. Throws what open(2) throws: ENOENT, ENOTDIR, ELOOP; its `untrusted` is of the way until there. */
export function walk(path: string, options: WalkOptions = {}): Walked {
  const { avoid, owner, wayOnly } = options;
  let names = path.split('/').filter((name) => name !== '');
  let links = 0;
  let at = open('/');
  const above: { fd: number; name: string }[] = [];
  let untrusted: Untrusted | undefined;
  const where = () => `/${above.map(({ name }) => name).join('/')}`;
  try {
    untrusted = whyNot('/', fstatSync(at), owner);
    for (let name = names.shift(); name !== undefined; name = names.shift()) {
      if (name === '.') continue;
      if (name === '..') {
        const parent = above.pop();
        if (parent !== undefined) {
          closeSync(at);
          at = parent.fd;
        }
        continue;
      }
      const here = where();
      const full = here === '/' ? `/${name}` : `${here}/${name}`;
      if (full === avoid) throw Object.assign(new Error('inside the mount'), { code: 'ELOOP' });
      const next = open(`/proc/self/fd/${at}/${name}`);
      const stat = fstatSync(next);
      if (stat.isSymbolicLink()) {
        links += 1;
        const target = readlinkSync(`/proc/self/fd/${at}/${name}`);
        closeSync(next);
        if (links > SYMLINKS_MAX) throw Object.assign(new Error('too many symlinks'), { code: 'ELOOP' });
        // Mode and contents of a symlink are its directory's to protect; whose it is, is not.
        if (stat.uid !== 0 && stat.uid !== owner?.uid)
          untrusted ??= {
            problem: `${quote(full)} belongs to uid ${stat.uid}`,
            hint: `chown -h root ${full}`,
          };
        names = [...target.split('/').filter((each) => each !== ''), ...names];
        if (target.startsWith('/')) {
          closeSync(at);
          for (const { fd } of above.splice(0)) closeSync(fd);
          at = open('/');
        }
        continue;
      }
      above.push({ fd: at, name });
      at = next;
      if (names.length > 0 || wayOnly !== true) untrusted ??= whyNot(full, stat, owner);
    }
    for (const { fd } of above) closeSync(fd);
    return { fd: at, path: where(), stat: fstatSync(at), untrusted };
  } catch (error) {
    closeSync(at);
    for (const { fd } of above) closeSync(fd);
    throw Object.assign(error as Error, { untrusted });
  }
}

function open(path: string): number {
  return openSync(path, O_PATH | constants.O_NOFOLLOW);
}

function whyNot(path: string, { uid, gid, mode }: Stats, owner: WalkOptions['owner']): Untrusted | undefined {
  if (uid !== 0 && uid !== owner?.uid)
    return { problem: `${quote(path)} belongs to uid ${uid}`, hint: `chown root ${path}` };
  if ((mode & (gid === owner?.gid ? 0o002 : 0o022)) === 0) return undefined;
  const who = (mode & 0o002) !== 0 ? 'everybody' : 'its group';
  return {
    problem: `${quote(path)} is writable by ${who} (mode ${(mode & 0o7777).toString(8).padStart(4, '0')})`,
    // As /tmp: what is in there is for others to change.
    hint: (mode & STICKY) !== 0 ? `keep it elsewhere than in ${path}` : `chmod go-w ${path}`,
  };
}
