/**
 * Whether an image is one that our writer could have written, in one pass over its metadata. What passes has a tree of
 * at most DEPTH_MAX levels in which every walk ends and every offset lies within the image.
 */
import { type Buffer, isUtf8 } from 'node:buffer';
import { DEPTH_MAX, FILE_NAME_BYTES_MAX, PATH_BYTES_MAX } from '../limits.ts';
import {
  contentsStart,
  DIRECTORY_SIZE_BYTES,
  HEADER,
  HEADER_BYTES,
  INO_END,
  MTIME_SECONDS_MAX,
  NODE,
  NODE_WORDS,
  PERMISSIONS,
  ROOT_INO,
  S_IFDIR,
  S_IFLNK,
  S_IFREG,
  stringsStart,
  UINT32,
  WORD_BYTES,
} from './format.ts';

const NODES = HEADER_BYTES / WORD_BYTES;
const DOT = 0x2e;
const SLASH = 0x2f;

/**
 * Which field is wrong, or undefined. `words` are those of the metadata (at least up to the strings), after magic, version and
 * number of nodes were checked. Fills `inos` with the inode numbers in ascending order.
 */
export function whyInvalid(words: Uint32Array, strings: Buffer, inos: Float64Array): string | undefined {
  return whyInvalidHeader(words) ?? whyInvalidNodes(words, strings) ?? whyInvalidIndex(words, inos);
}

function long(words: Uint32Array, at: number): number {
  return (words[at] as number) + (words[at + 1] as number) * UINT32;
}

function whyInvalidHeader(words: Uint32Array): string | undefined {
  if (words[HEADER.id] === 0 || words[HEADER.id + 1] !== 0) return 'id';
  if (!Number.isSafeInteger(long(words, HEADER.serial))) return 'serial';
  if (long(words, HEADER.activatedSeconds) > MTIME_SECONDS_MAX) return 'time of activation';
  const nextIno = long(words, HEADER.nextIno);
  if (nextIno <= ROOT_INO || nextIno > INO_END) return 'next inode number';
  for (let word = HEADER.end as number; word < NODES; word++) if (words[word] !== 0) return 'reserved words';
  return undefined;
}

function whyInvalidNodes(words: Uint32Array, strings: Buffer): string | undefined {
  const nodes = words[HEADER.nodes] as number;
  if (!isUtf8(strings)) return 'strings';
  const nextIno = long(words, HEADER.nextIno);
  const contentsAt = contentsStart(stringsStart(nodes) + strings.length);
  let files = 0;
  let directories = 0;
  let symlinks = 0;
  let contents = 0;
  let stringsUsed = 0;
  /** The first node that no directory has as its child yet. */
  let claimed = 1;
  /** Of each node: its level, and how long its path is. */
  const depths = new Uint8Array(nodes);
  const paths = new Uint16Array(nodes);

  for (let node = 0; node < nodes; node++) {
    if (node >= claimed) return 'children';
    const at = NODES + NODE_WORDS * node;
    const ino = long(words, at + NODE.ino);
    if (ino < ROOT_INO || ino >= nextIno || (ino === ROOT_INO) !== (node === 0)) return 'inode number';
    if (long(words, at + NODE.mtime) > MTIME_SECONDS_MAX) return 'mtime';
    if (words[at + NODE.reserved] !== 0) return 'reserved words';

    const nameBytes = words[at + NODE.nameBytes] as number;
    if (words[at + NODE.nameOffset] !== stringsUsed) return 'place of a name';
    if (node === 0 ? nameBytes !== 0 : !isName(strings, stringsUsed, nameBytes)) return 'name';
    stringsUsed += nameBytes;

    const size = long(words, at + NODE.size);
    const link = words[at + NODE.nlink] as number;
    const mode = words[at + NODE.mode] as number;
    switch (mode - (mode & PERMISSIONS)) {
      case S_IFREG:
        files += 1;
        if (link !== 1) return 'link count';
        if (long(words, at + NODE.at) !== contentsAt + contents) return 'place of contents';
        contents += size;
        if (!Number.isSafeInteger(contentsAt + contents)) return 'size of contents';
        break;
      case S_IFLNK:
        symlinks += 1;
        if (link !== 1) return 'link count';
        if (words[at + NODE.at] !== stringsUsed || words[at + NODE.children] !== 0)
          return 'place of a target';
        if (!isTarget(strings, stringsUsed, size)) return 'target';
        // Its own depth less one is the directory's that the target is relative to.
        if (leavesRoot(strings, stringsUsed, size, (depths[node] as number) - 1)) return 'target';
        stringsUsed += size;
        break;
      case S_IFDIR: {
        directories += 1;
        if (size !== DIRECTORY_SIZE_BYTES) return 'size of a directory';
        const children = words[at + NODE.children] as number;
        // So that each node is claimed once, and before it is looked at.
        if (words[at + NODE.at] !== claimed || children > nodes - claimed) return 'children';
        const end = claimed + children;
        const depth = (depths[node] as number) + 1;
        if (children > 0 && depth > DEPTH_MAX) return 'depth';
        let wantedLinks = 2;
        for (let child = claimed; child < end; child++) {
          const childAt = NODES + NODE_WORDS * child;
          if (words[childAt + NODE.parent] !== node) return 'parent';
          depths[child] = depth;
          const path =
            (paths[node] as number) + (node === 0 ? 0 : 1) + (words[childAt + NODE.nameBytes] as number);
          if (path > PATH_BYTES_MAX) return 'length of a path';
          paths[child] = path;
          const childMode = words[childAt + NODE.mode] as number;
          if (childMode - (childMode & PERMISSIONS) === S_IFDIR) wantedLinks += 1;
          if (child > claimed && !isBefore(words, strings, childAt - NODE_WORDS, childAt))
            return 'order of names';
        }
        if (link !== wantedLinks) return 'link count';
        claimed = end;
        break;
      }
      default:
        return 'mode';
    }
  }
  if (words[NODES + NODE.parent] !== 0 || words[NODES + NODE.at] !== 1) return 'root';
  if (files !== words[HEADER.files] || directories !== words[HEADER.directories]) return 'number of files';
  if (symlinks !== words[HEADER.symlinks]) return 'number of symlinks';
  if (stringsUsed !== strings.length) return 'size of strings';
  if (contents !== long(words, HEADER.contentBytes)) return 'size of contents';
  return undefined;
}

/** Strictly ascending and as many as there are nodes: so each node is there once, and no inode number is there twice. */
function whyInvalidIndex(words: Uint32Array, inos: Float64Array): string | undefined {
  const index = NODES + NODE_WORDS * inos.length;
  let last = 0;
  for (let i = 0; i < inos.length; i++) {
    const node = words[index + i] as number;
    if (node >= inos.length) return 'index';
    const ino = long(words, NODES + NODE_WORDS * node + NODE.ino);
    if (ino <= last) return 'index';
    inos[i] = ino;
    last = ino;
  }
  return undefined;
}

function isName(strings: Buffer, offset: number, length: number): boolean {
  if (length === 0 || length > FILE_NAME_BYTES_MAX || length > strings.length - offset) return false;
  if (!isCharacterStart(strings[offset] as number)) return false;
  for (let i = offset; i < offset + length; i++) if (strings[i] === 0 || strings[i] === SLASH) return false;
  if (strings[offset] !== DOT || length > 2) return true;
  return length === 2 && strings[offset + 1] !== DOT;
}

function isTarget(strings: Buffer, offset: number, length: number): boolean {
  if (length === 0 || length > PATH_BYTES_MAX || length > strings.length - offset) return false;
  if (!isCharacterStart(strings[offset] as number)) return false;
  for (let i = offset; i < offset + length; i++) if (strings[i] === 0) return false;
  return true;
}

/**
 * Whether a target is absolute, or begins by going up further than the directory, `depth` levels below the root, is down. What
 * goes up again after a name may have gone through another symlink by then: symlinks.ts.
 */
function leavesRoot(strings: Buffer, offset: number, length: number, depth: number): boolean {
  if (strings[offset] === SLASH) return true;
  let level = depth;
  for (let start = offset; start <= offset + length; ) {
    let end = start;
    while (end < offset + length && strings[end] !== SLASH) end++;
    const dots =
      end - start <= 2 && strings[start] === DOT && (end - start === 1 || strings[start + 1] === DOT);
    if (dots && end - start === 2) level -= 1;
    else if (!dots && end > start) return false;
    if (level < 0) return true;
    start = end + 1;
  }
  return false;
}

/** All strings together are UTF-8: then each is, if none begins within a character. */
function isCharacterStart(byte: number): boolean {
  return (byte & 0xc0) !== 0x80;
}

/** Whether the name of one node stands strictly before another's. The offsets may be anything still: reads past the end are undefined. */
function isBefore(words: Uint32Array, strings: Buffer, a: number, b: number): boolean {
  const aAt = words[a + NODE.nameOffset] as number;
  const bAt = words[b + NODE.nameOffset] as number;
  const aBytes = words[a + NODE.nameBytes] as number;
  const bBytes = words[b + NODE.nameBytes] as number;
  const common = Math.min(aBytes, bBytes, FILE_NAME_BYTES_MAX);
  for (let i = 0; i < common; i++) {
    const difference = (strings[aAt + i] ?? 0) - (strings[bAt + i] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return aBytes < bBytes;
}
