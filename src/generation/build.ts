/**
 * Entries of an archive → a generation. What did not change since the previous generation keeps its inode and mtime;
 * what did gets an inode that was never used and a strictly larger mtime, so that no cache keyed on either, in the
 * kernel or in nginx, can mistake one for the other.
 */
import type { ArchiveEntry } from '../bundle/archive.ts';
import {
  type DirectoryNode,
  type FileNode,
  type Generation,
  type InodeAllocator,
  type Node,
  ROOT_INO,
  type SymlinkNode,
} from './generation.ts';

/** What stat shows as a directory's size. It means nothing; 0 upsets some tools. */
const DIRECTORY_SIZE_BYTES = 4096;
/** Directories that no entry names. */
const IMPLIED_MODE = 0o755;
/** Permissions of a symlink are never looked at. */
const SYMLINK_MODE = 0o777;

export interface BuildOptions {
  readonly id: number;
  readonly serial: number;
  readonly nowSeconds: number;
  /** The generation that this one follows. Its contents must still be readable. */
  readonly previous?: Generation | undefined;
  readonly inodes: InodeAllocator;
  /** Memory for all contents, called once, also for 0 bytes. It belongs to the caller, who wipes it after retirement. */
  readonly allocate: (bytes: number) => Buffer;
  /** Keep packed modes and numeric owners. Otherwise: `owner`, and no bit for group and others. */
  readonly preserve: boolean;
  /** Who owns everything unless `preserve`. */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
interface Draft {
  readonly path: string;
  readonly name: string;
  entry: ArchiveEntry | undefined;
  /** Set for directories. */
  children: Map<string, Draft> | undefined;
}

/**
 * Copies every content into the arena, so that the archive can be wiped as soon as this returns.
 * Throws only for what the archive's validation excludes: a duplicate, or a path through a file.
 */
export function buildGeneration(entries: Iterable<ArchiveEntry>, options: BuildOptions): Generation {
  const { root, contentBytes } = draftTree(entries);
  const arena = options.allocate(contentBytes);
  const owner = options.owner ?? { uid: 0, gid: 0 };
  const nodes = new Map<number, Node>();
  let used = 0;
  let files = 0;
  let directories = 0;
  let symlinks = 0;

  function attributes(entry: ArchiveEntry | undefined) {
    const packed = (entry?.mode ?? IMPLIED_MODE) & 0o777;
    if (!options.preserve) return { mode: packed & 0o700, uid: owner.uid, gid: owner.gid };
    return { mode: packed, uid: entry?.uid ?? owner.uid, gid: entry?.gid ?? owner.gid };
  }

  function identity(unchanged: boolean, previous: Node | undefined) {
    if (unchanged && previous !== undefined) {
      return { ino: previous.ino, mtimeSeconds: previous.mtimeSeconds };
    }
    return { ino: options.inodes.next(), mtimeSeconds: later(previous) };
  }

  function later(previous: Node | undefined): number {
    return Math.max(options.nowSeconds, (previous?.mtimeSeconds ?? 0) + 1);
  }

  function buildFile(
    draft: Draft,
    packed: Uint8Array,
    parent: DirectoryNode,
    before: Node | undefined,
  ): Node {
    const data = arena.subarray(used, used + packed.length);
    data.set(packed);
    used += packed.length;
    files += 1;
    const own = attributes(draft.entry);
    const unchanged = before?.kind === 'file' && sameAttributes(before, own) && data.equals(before.data);
    const node: FileNode = {
      kind: 'file',
      ...identity(unchanged, before),
      name: draft.name,
      parent,
      ...own,
      size: data.length,
      nlink: 1,
      data,
    };
    return node;
  }

  function buildSymlink(draft: Draft, target: string, parent: DirectoryNode, before: Node | undefined): Node {
    symlinks += 1;
    const own = { ...attributes(draft.entry), mode: SYMLINK_MODE };
    const unchanged = before?.kind === 'symlink' && sameAttributes(before, own) && before.target === target;
    const node: SymlinkNode = {
      kind: 'symlink',
      ...identity(unchanged, before),
      name: draft.name,
      parent,
      ...own,
      size: Buffer.byteLength(target),
      nlink: 1,
      target,
    };
    return node;
  }

  function buildDirectory(
    draft: Draft,
    children: Map<string, Draft>,
    parent: DirectoryNode | undefined,
    before: Node | undefined,
  ): DirectoryNode {
    directories += 1;
    const own = attributes(draft.entry);
    const was = before?.kind === 'directory' ? before : undefined;
    const built = new Map<string, Node>();
    const node: Mutable<DirectoryNode> = {
      kind: 'directory',
      ino: parent === undefined ? ROOT_INO : (was?.ino ?? options.inodes.next()),
      name: draft.name,
      parent: parent as DirectoryNode,
      ...own,
      size: DIRECTORY_SIZE_BYTES,
      mtimeSeconds: 0,
      nlink: 2,
      children: built,
    };
    node.parent = parent ?? node;
    let sameListing = was !== undefined && was.children.size === children.size;
    for (const name of [...children.keys()].sort()) {
      const child = build(children.get(name) as Draft, node, was?.children.get(name));
      built.set(name, child);
      if (child.kind === 'directory') node.nlink += 1;
      if (was?.children.get(name)?.ino !== child.ino) sameListing = false;
    }
    node.mtimeSeconds =
      was !== undefined && sameListing && sameAttributes(was, own) ? was.mtimeSeconds : later(before);
    return node;
  }

  function build(draft: Draft, parent: DirectoryNode | undefined, before: Node | undefined): Node {
    const { entry, children } = draft;
    let node: Node;
    if (children !== undefined) node = buildDirectory(draft, children, parent, before);
    else if (entry?.kind === 'file') node = buildFile(draft, entry.data, parent as DirectoryNode, before);
    else if (entry?.kind === 'symlink')
      node = buildSymlink(draft, entry.target, parent as DirectoryNode, before);
    else throw new Error('a draft without an entry is a directory');
    nodes.set(node.ino, node);
    return node;
  }

  const tree = build(root, undefined, options.previous?.root) as DirectoryNode;
  return {
    id: options.id,
    serial: options.serial,
    activatedSeconds: options.nowSeconds,
    root: tree,
    nodes,
    files,
    directories,
    symlinks,
    contentBytes,
  };
}

function sameAttributes(
  node: Node,
  wanted: { readonly mode: number; readonly uid: number; readonly gid: number },
): boolean {
  return node.mode === wanted.mode && node.uid === wanted.uid && node.gid === wanted.gid;
}

/** The tree with its implied directories, and how many bytes its files have. */
function draftTree(entries: Iterable<ArchiveEntry>): { root: Draft; contentBytes: number } {
  const root: Draft = { path: '', name: '', entry: undefined, children: new Map() };
  // Archives come directory by directory, so the last parent is nearly always the next one too.
  const directories = new Map<string, Draft>([['', root]]);
  let contentBytes = 0;

  function directory(path: string): Draft {
    const known = directories.get(path);
    if (known !== undefined) return known;
    const { parent, name } = split(path);
    const siblings = directory(parent).children as Map<string, Draft>;
    if (siblings.has(name)) throw new Error(`path through ${JSON.stringify(path)}, which is no directory`);
    const made: Draft = { path, name, entry: undefined, children: new Map() };
    siblings.set(name, made);
    directories.set(path, made);
    return made;
  }

  for (const entry of entries) {
    if (entry.kind === 'directory') {
      const draft = directory(entry.path);
      if (draft.entry !== undefined) throw new Error(`duplicate entry ${JSON.stringify(entry.path)}`);
      draft.entry = entry;
      continue;
    }
    const { parent, name } = split(entry.path);
    const siblings = directory(parent).children as Map<string, Draft>;
    if (name === '' || siblings.has(name)) throw new Error(`duplicate entry ${JSON.stringify(entry.path)}`);
    siblings.set(name, { path: entry.path, name, entry, children: undefined });
    if (entry.kind === 'file') contentBytes += entry.data.length;
  }
  return { root, contentBytes };
}

function split(path: string): { parent: string; name: string } {
  const slash = path.lastIndexOf('/');
  return slash < 0
    ? { parent: '', name: path }
    : { parent: path.slice(0, slash), name: path.slice(slash + 1) };
}
