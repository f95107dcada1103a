/**
 * Archive entries → a directory on this machine. It never leaves the directory it was given, never follows a link below
 * it, changes nothing that it did not make (but with `force`), and undoes what it made when it fails. Every step goes
 * through the descriptor of the directory it happens in: others may have write permission on what root unpacks to.
 */
import { constants } from 'node:fs';
import { lchown, mkdir, open, rmdir, symlink, unlink } from 'node:fs/promises';
import path from 'node:path';
import type { ArchiveEntry } from '../bundle/archive.ts';
import { isNotDirectory, OpenDirectory } from '../system/open-directory.ts';
import { cannotWrite, notDirectory, refuseOpenToAll, treeOf, type UnpackedNode } from './unpacked-tree.ts';

const IMPLIED_MODE = 0o755;
/** Until all that is in it is written, nobody else may get into a directory that we made. */
const UNFINISHED_MODE = 0o700;
const ROOT_MODE = 0o700;

export interface WriteTreeOptions {
  /** Replaces files and symlinks that exist, and gives directories that exist the packed mode. */
  readonly force: boolean;
  /** Exact modes, and numeric owners (root only); without it the umask counts. */
  readonly preserve: boolean;
  readonly signal: AbortSignal;
}

interface Node extends UnpackedNode {
  /** What we made of it, and so have to undo. */
  made?: 'directory' | 'file';
  /** Of a directory that was opened: undoing must not get into another one. */
  identity?: string;
}

interface Writing extends WriteTreeOptions {
  readonly umask: number;
}

/**
 * Writes `entries` (parents may be implied) below `directory`, which is made where it is missing. Files have their
 * mode from the first byte. What fails, or is ended by `signal`, leaves nothing that was not there before, but for
 * what `force` had already replaced. Throws OutputError, or the signal's reason.
 */
export async function writeTree(
  directory: string,
  entries: readonly ArchiveEntry[],
  options: WriteTreeOptions,
): Promise<void> {
  const tree = treeOf(entries);
  // A umask that forbids ourselves something would lock us out; it is applied to each mode instead.
  const umask = process.umask(0);
  try {
    await writeRoot(directory, tree, { ...options, umask });
  } catch (cause) {
    throw cannotWrite(directory, cause);
  } finally {
    process.umask(umask);
  }
}

async function writeRoot(given: string, tree: Node, writing: Writing): Promise<void> {
  // With a slash at its end, a symlink's name would be followed.
  const directory = given.replace(/(?<=.)\/+$/, '');
  const made = await makeDirectory(directory, ROOT_MODE);
  try {
    const root = await OpenDirectory.open(directory, { follow: !made }).catch((cause: unknown) => {
      throw isNotDirectory(cause) ? notDirectory(directory, cause) : cause;
    });
    try {
      if (!made) await refuseOpenToAll(root);
      await writeChildren(root, tree, writing);
    } finally {
      await root.close();
    }
  } catch (cause) {
    if (made) await rmdir(directory).catch(() => undefined);
    throw cause;
  }
}

async function writeChildren(directory: OpenDirectory, node: Node, writing: Writing): Promise<void> {
  try {
    for (const [name, child] of node.children) {
      writing.signal.throwIfAborted();
      await writeNode(directory, name, child, writing).catch((cause: unknown) => {
        throw cannotWrite(path.join(directory.shown, name), cause);
      });
    }
  } catch (cause) {
    await undoChildren(directory, node);
    throw cause;
  }
}

async function writeNode(
  directory: OpenDirectory,
  name: string,
  node: Node,
  writing: Writing,
): Promise<void> {
  const { entry } = node;
  if (entry === undefined || entry.kind === 'directory') {
    return writeDirectory(directory, name, node, writing);
  }
  const at = directory.at(name);
  if (node.children.size > 0) throw notDirectory(path.join(directory.shown, name));
  if (writing.force) await removeFile(at);
  if (entry.kind === 'symlink') {
    await symlink(entry.target, at);
    node.made = 'file';
    if (writing.preserve) await lchown(at, entry.uid, entry.gid);
    return;
  }
  const mode = modeOf(entry.mode, writing);
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const file = await open(at, flags, mode);
  node.made = 'file';
  try {
    await file.writeFile(entry.data);
    if (writing.preserve) {
      await file.chown(entry.uid, entry.gid);
      // chown clears nothing that we allow, but a mode that was narrowed by a filesystem is put right here.
      await file.chmod(mode);
    }
  } finally {
    await file.close();
  }
}

async function writeDirectory(
  parent: OpenDirectory,
  name: string,
  node: Node,
  writing: Writing,
): Promise<void> {
  const made = await makeDirectory(parent.at(name), UNFINISHED_MODE);
  if (made) node.made = 'directory';
  const directory = await parent.openChild(name).catch((cause: unknown) => {
    throw isNotDirectory(cause) ? notDirectory(path.join(parent.shown, name), cause) : cause;
  });
  try {
    node.identity = await identityOf(directory);
    await writeChildren(directory, node, writing);
    const { entry } = node;
    // What was there before is its owner's to open up or to close.
    if (!made && !(writing.force && entry !== undefined)) return;
    if (writing.preserve && entry !== undefined) await directory.chown(entry.uid, entry.gid);
    await directory.chmod(modeOf(entry?.mode ?? IMPLIED_MODE, writing));
  } finally {
    await directory.close();
  }
}

function modeOf(packed: number, { preserve, umask }: Writing): number {
  return preserve ? packed : packed & ~umask;
}

/** False where something of that name exists. */
async function makeDirectory(at: string, mode: number): Promise<boolean> {
  try {
    await mkdir(at, { mode });
    return true;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw cause;
  }
}

async function removeFile(at: string): Promise<void> {
  try {
    await unlink(at);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause;
  }
}

async function identityOf(directory: OpenDirectory): Promise<string> {
  const { dev, ino } = await directory.stat();
  return `${dev}:${ino}`;
}

/** Removes what was made in `directory`, as far as that can be done: what led here is what the user must hear of. */
async function undoChildren(directory: OpenDirectory, node: Node): Promise<void> {
  for (const [name, child] of [...node.children].reverse()) {
    if (child.identity !== undefined) await undoBelow(directory, name, child).catch(() => undefined);
    const at = directory.at(name);
    if (child.made === 'directory') await rmdir(at).catch(() => undefined);
    if (child.made === 'file') await unlink(at).catch(() => undefined);
    delete child.made;
    delete child.identity;
  }
}

async function undoBelow(parent: OpenDirectory, name: string, node: Node): Promise<void> {
  const directory = await parent.openChild(name);
  try {
    if ((await identityOf(directory)) !== node.identity) return;
    // Its own mode may keep us, too, from changing what is in it.
    if (node.made === 'directory') await directory.chmod(UNFINISHED_MODE);
    await undoChildren(directory, node);
  } finally {
    await directory.close();
  }
}
