/**
 * The rules for what may be mounted (docs/format.md has them with their reasons), as a tree that takes members one by
 * one and says of each why not. Walking it by segments keeps every check linear in the size of the tar.
 */
import { Buffer } from 'node:buffer';
import { quote } from '../errors.ts';
import {
  DEPTH_MAX,
  FILE_NAME_BYTES_MAX,
  PATH_BYTES_MAX,
  SYMLINK_WALK_BYTES_MAX,
  SYMLINKS_FOLLOWED_MAX,
} from '../limits.ts';
import type { Member } from './tar.ts';

const SPECIAL_BITS = 0o7000;
const IMPLIED_MODE = 0o755;
const NOTHING = Buffer.alloc(0);

export type ArchiveEntry = {
  /** Relative, segments separated by one slash each. */
  readonly path: string;
  /** 12 bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
} & (
  | {
      readonly kind: 'file';
      /** A view of the tar: whoever wipes the tar wipes it too, and must be done with it then. */
      readonly data: Uint8Array;
    }
  | { readonly kind: 'directory' }
  | { readonly kind: 'symlink'; readonly target: string }
);

/** Where following a symlink ends: at a node, or so many names below one, where nothing is. */
interface Place {
  readonly node: Node;
  readonly missing: number;
  readonly followed: number;
}

interface Node {
  readonly parent: Node | undefined;
  entry: ArchiveEntry;
  /** A directory that only the path of something in it tells of. */
  implied: boolean;
  readonly children: Map<string, Node>;
  /** Of a symlink, once known. */
  place?: Place | 'being resolved';
}

export class ArchiveTree {
  readonly #root: Node = {
    parent: undefined,
    entry: { kind: 'directory', path: '', mode: IMPLIED_MODE, uid: 0, gid: 0 },
    implied: true,
    children: new Map(),
  };
  readonly #symlinks: Node[] = [];
  /** Bytes of targets that may still be walked. */
  #room = Number.POSITIVE_INFINITY;
  /** Files, symlinks and directories, those too that no member is. */
  nodes = 0;
  contentBytes = 0;

  /** Adds a member, or returns why it can't be mounted: `"path" is ...`. */
  add(member: Member): string | undefined {
    const { kind, mode, uid, gid } = member;
    const refused = (why: string) => `${quote(member.path)} ${why}`;
    // As "tar -C DIR -c ." writes it.
    const path = member.path.replace(/^\.\/(?!$)/, '');
    if (kind === 'directory' && (path === '.' || path === './')) return undefined;

    const wrong = whyNotPath(path) ?? whyNotMember(member);
    if (wrong !== undefined) return refused(wrong);

    const segments = path.split('/');
    const name = segments.pop() as string;
    let directory = this.#root;
    let at = 0;
    for (const segment of segments) {
      at += segment.length + 1;
      const child = directory.children.get(segment);
      if (child !== undefined && child.entry.kind !== 'directory') {
        return refused(`leads through ${quote(child.entry.path)}, which is a ${child.entry.kind}`);
      }
      directory = child ?? this.#imply(directory, segment, path.slice(0, at - 1));
    }

    const existing = directory.children.get(name);
    if (existing !== undefined && !(existing.implied && kind === 'directory')) {
      if (existing.implied) return refused(`is a ${kind}, but other members lie in it`);
      return refused('is there twice');
    }
    const base = { path, mode, uid, gid };
    const entry: ArchiveEntry =
      kind === 'file'
        ? { ...base, kind, data: member.data }
        : kind === 'symlink'
          ? { ...base, kind, target: member.target ?? '' }
          : { ...base, kind: 'directory' };
    if (existing !== undefined) {
      existing.entry = entry;
      existing.implied = false;
      return undefined;
    }
    const node: Node = { parent: directory, entry, implied: false, children: new Map() };
    directory.children.set(name, node);
    if (kind === 'symlink') this.#symlinks.push(node);
    this.nodes++;
    this.contentBytes += member.data.length;
    return undefined;
  }

  #imply(parent: Node, segment: string, path: string): Node {
    const entry: ArchiveEntry = { kind: 'directory', path, mode: IMPLIED_MODE, uid: 0, gid: 0 };
    const node: Node = { parent, entry, implied: true, children: new Map() };
    parent.children.set(segment, node);
    this.nodes++;
    return node;
  }

  /** Once everything is there: of each symlink why it can't be mounted, or undefined. */
  *symlinkProblems(): Generator<string | undefined, void, undefined> {
    // First those, with what is on their way, that are walked again whenever the image is read (generation/symlinks.ts).
    const walked = this.#symlinks.filter((node) => goesUpAgain(targetOf(node)));
    this.#room = SYMLINK_WALK_BYTES_MAX;
    for (const node of walked) yield this.#problemOf(node);
    this.#room = Number.POSITIVE_INFINITY;
    const seen = new Set(walked);
    for (const node of this.#symlinks) if (!seen.has(node)) yield this.#problemOf(node);
  }

  #problemOf(symlink: Node): string | undefined {
    try {
      this.#follow(symlink, 0);
      return undefined;
    } catch (error) {
      if (!(error instanceof SymlinkProblem)) throw error;
      return `${quote(symlink.entry.path)} is a symlink to ${quote(targetOf(symlink))}, ${error.message}`;
    }
  }

  /** Where a symlink leads, as the kernel would go. Each is followed once: later ones take the place it found. */
  #follow(symlink: Node, depth: number): Place {
    if (symlink.place === 'being resolved') throw new SymlinkProblem('which leads back to itself');
    if (symlink.place !== undefined) return symlink.place;
    const target = targetOf(symlink);
    if (target.startsWith('/')) throw new SymlinkProblem('which is absolute');
    if (depth >= SYMLINKS_FOLLOWED_MAX) throw tooManyFollowed();
    this.#room -= Buffer.byteLength(target);
    if (this.#room < 0) throw tooMuchWalked();

    symlink.place = 'being resolved';
    try {
      let node = symlink.parent ?? this.#root;
      let missing = 0;
      let followed = 1;
      for (const segment of target.split('/')) {
        if (segment === '' || segment === '.') continue;
        if (segment === '..') {
          if (missing > 0) {
            missing--;
          } else if (node.parent !== undefined) {
            node = node.parent;
          } else {
            throw new SymlinkProblem('which leads out of the archive');
          }
          continue;
        }
        const child = missing > 0 ? undefined : node.children.get(segment);
        if (child === undefined) {
          missing++;
        } else if (child.entry.kind === 'symlink') {
          const place = this.#follow(child, depth + 1);
          followed += place.followed;
          ({ node, missing } = place);
        } else {
          node = child;
        }
        if (followed > SYMLINKS_FOLLOWED_MAX) throw tooManyFollowed();
      }
      const place = { node, missing, followed };
      symlink.place = place;
      return place;
    } catch (error) {
      delete symlink.place;
      throw error;
    }
  }

  /** Depth first, a directory before what is in it, else in the order of the tar. */
  entries(): ArchiveEntry[] {
    const found: ArchiveEntry[] = [];
    const visit = (directory: Node) => {
      for (const child of directory.children.values()) {
        found.push(child.entry);
        visit(child);
      }
    };
    visit(this.#root);
    return found;
  }
}

/** Whether no symlink of a tree that was put together of others leads out of it, or nowhere. `entries` are paths of an archive. */
export function symlinksStayInside(entries: readonly ArchiveEntry[]): boolean {
  const tree = new ArchiveTree();
  for (const entry of entries) {
    const target = entry.kind === 'symlink' ? entry.target : undefined;
    tree.add({ ...entry, typeflag: '', target, data: NOTHING });
  }
  for (const problem of tree.symlinkProblems()) if (problem !== undefined) return false;
  return true;
}

class SymlinkProblem extends Error {}
const tooManyFollowed = () =>
  new SymlinkProblem(`which leads through over ${SYMLINKS_FOLLOWED_MAX} symlinks`);

const tooMuchWalked = () =>
  new SymlinkProblem(
    `one of those with a .. after a name, which are over ${SYMLINK_WALK_BYTES_MAX} bytes together`,
  );

function targetOf({ entry }: Node): string {
  return entry.kind === 'symlink' ? entry.target : '';
}

/** Whether there is a `..` after a name, which may be another symlink's. */
function goesUpAgain(target: string): boolean {
  const steps = target.split('/').filter((step) => step !== '' && step !== '.');
  const name = steps.findIndex((step) => step !== '..');
  return name >= 0 && steps.includes('..', name);
}

/** NUL can't be in a name; U+FFFD is what bytes that are not UTF-8 were decoded to. */
function whyNotText(text: string): string | undefined {
  if (text.includes('\0')) return 'a NUL';
  if (text.includes('\ufffd')) return 'bytes that are not UTF-8';
  return undefined;
}

function whyNotPath(path: string): string | undefined {
  if (path === '') return 'is an empty path';
  if (path.startsWith('/')) return 'is an absolute path';
  const text = whyNotText(path);
  if (text !== undefined) return `has ${text} in its path`;
  const pathBytes = Buffer.byteLength(path);
  if (pathBytes > PATH_BYTES_MAX) return `is a path of ${pathBytes} bytes, want at most ${PATH_BYTES_MAX}`;
  const segments = path.split('/');
  if (segments.length > DEPTH_MAX) return `is ${segments.length} levels deep, want at most ${DEPTH_MAX}`;
  for (const segment of segments) {
    if (segment === '') return 'has an empty segment in its path';
    if (segment === '.' || segment === '..') return `has a segment ${quote(segment)} in its path`;
    const bytes = segment.length * 3 > FILE_NAME_BYTES_MAX ? Buffer.byteLength(segment) : 0;
    if (bytes > FILE_NAME_BYTES_MAX)
      return `has a name of ${bytes} bytes, want at most ${FILE_NAME_BYTES_MAX}`;
  }
  return undefined;
}

function whyNotMember({ kind, typeflag, mode, target = '', data }: Member): string | undefined {
  switch (kind) {
    case 'file':
    case 'directory':
      break;
    case 'symlink': {
      if (target === '') return 'is a symlink without a target';
      const text = whyNotText(target);
      if (text !== undefined) return `is a symlink with ${text} in its target`;
      const bytes = Buffer.byteLength(target);
      if (bytes > PATH_BYTES_MAX)
        return `is a symlink to a path of ${bytes} bytes, want at most ${PATH_BYTES_MAX}`;
      if (data.length > 0) return 'is a symlink with contents';
      break;
    }
    case 'hard link':
      return `is a hard link to ${quote(target)}`;
    case 'unknown':
      return `is of the unknown type ${quote(typeflag)}`;
    default:
      return `is a ${kind}`;
  }
  if ((mode & SPECIAL_BITS) !== 0) {
    return `has mode ${mode.toString(8).padStart(4, '0')}: setuid, setgid and sticky bits are refused`;
  }
  return undefined;
}
