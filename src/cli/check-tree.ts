/** Whether entries could be unpacked into a directory: what write-tree.ts would refuse, without changing anything. */
import { constants } from 'node:fs';
import { access, lstat } from 'node:fs/promises';
import path from 'node:path';
import type { ArchiveEntry } from '../bundle/archive.ts';
import { isNotDirectory, OpenDirectory } from '../system/open-directory.ts';
import { cannotWrite, notDirectory, refuseOpenToAll, treeOf, type UnpackedNode } from './unpacked-tree.ts';
import type { WriteTreeOptions } from './write-tree.ts';

type Looking = Pick<WriteTreeOptions, 'force'>;

/** Throws what writeTree() would, as far as that can be told without writing. */
export async function checkTree(
  given: string,
  entries: readonly ArchiveEntry[],
  looking: Looking,
): Promise<void> {
  const directory = given.replace(/(?<=.)\/+$/, '');
  const tree = treeOf(entries);
  try {
    if (!(await isThere(directory))) return await mayAdd(`${path.dirname(directory)}/.`);
    const root = await OpenDirectory.open(directory, { follow: true }).catch((cause: unknown) => {
      throw isNotDirectory(cause) ? notDirectory(directory, cause) : cause;
    });
    try {
      await refuseOpenToAll(root);
      await checkChildren(root, tree, looking);
    } finally {
      await root.close();
    }
  } catch (cause) {
    throw cannotWrite(given, cause);
  }
}

async function checkChildren(directory: OpenDirectory, node: UnpackedNode, looking: Looking): Promise<void> {
  for (const [name, child] of node.children) {
    await checkNode(directory, name, child, looking).catch((cause: unknown) => {
      throw cannotWrite(path.join(directory.shown, name), cause);
    });
  }
}

async function checkNode(
  directory: OpenDirectory,
  name: string,
  node: UnpackedNode,
  looking: Looking,
): Promise<void> {
  const { entry, children } = node;
  const isDirectory = entry === undefined || entry.kind === 'directory';
  if (!isDirectory && children.size > 0) throw notDirectory(path.join(directory.shown, name));
  const there = await lstat(directory.at(name)).catch(absent);
  if (there === undefined || !isDirectory) {
    if (there?.isDirectory() === true) throw errno(looking.force ? 'EISDIR' : 'EEXIST');
    if (there !== undefined && !looking.force) throw errno('EEXIST');
    return mayAdd(directory.self);
  }
  const child = await directory.openChild(name).catch((cause: unknown) => {
    throw isNotDirectory(cause) ? notDirectory(path.join(directory.shown, name), cause) : cause;
  });
  try {
    await checkChildren(child, node, looking);
  } finally {
    await child.close();
  }
}

/** `directory`: a path that ends with a dot, so that it is one. */
function mayAdd(directory: string): Promise<void> {
  return access(directory, constants.W_OK | constants.X_OK);
}

function isThere(at: string): Promise<boolean> {
  return lstat(at).then(
    () => true,
    (error: unknown) => absent(error) !== undefined,
  );
}

function absent(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  return undefined;
}

function errno(code: string): Error {
  return Object.assign(new Error(code), { code });
}
