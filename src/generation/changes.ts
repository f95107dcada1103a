/**
 * What the kernel is told when one generation follows another, and its encoded form. That crosses a boundary of trust,
 * from the process that parsed a bundle to one that is root: what decodes has valid paths below the root and nothing else.
 *
 * Numbers are little-endian. A list:
 *
 *   0    magic "sfs-chg\n"
 *   8    u32 version, 2
 *   12   u32 added, changed, removed, unchanged
 *   28   u32 superseded, directories: how many
 *   36   u32 bytes of the operations
 *   40   u64 inode numbers: first those superseded, then the directories
 *   ...  operations, one after another: u32 kind (1 unlink, 2 rmdir, 3 rename), u32 bytes of the path, u64 inode number (0
 *        for others than rename), the path in UTF-8
 *   ...  files, one after another up to the end: u32 change (1 added, 2 changed, 3 removed), u32 bytes of the path, the path
 *
 * Operations can be encoded apart, for a part of a list.
 */
import { Buffer, isUtf8 } from 'node:buffer';
import { DEPTH_MAX, FILE_NAME_BYTES_MAX, GENERATION_NODES_MAX, PATH_BYTES_MAX } from '../limits.ts';
import { INO_END, ROOT_INO, UINT32 } from './format.ts';
import { GenerationError } from './generation.ts';

/** `path` is relative to the root of the generation, without a slash at either end. */
export type Operation =
  | { readonly kind: 'unlink' | 'rmdir'; readonly path: string }
  /** What stands at the path now has that inode number: it was added, or changed. */
  | { readonly kind: 'rename'; readonly path: string; readonly ino: number };

/** A file or symlink. One that became a directory is removed, what became one was. */
export interface FileChange {
  readonly path: string;
  readonly change: 'added' | 'changed' | 'removed';
}

export interface ChangeList {
  /**
   * Entries of every kind, the root excepted. Changed: other bytes, target, kind, mode or owner. A directory whose
   * listing alone changed is unchanged.
   */
  readonly counts: {
    readonly added: number;
    readonly changed: number;
    readonly removed: number;
    readonly unchanged: number;
  };
  /** Inode numbers of the previous generation that this one has not. */
  readonly superseded: readonly number[];
  /** Inode numbers of directories that are in both, whose attributes changed: mtime at least. */
  readonly directories: readonly number[];
  /**
   * In the order of names within a directory. What is removed goes depth first, a directory after everything in it; so
   * does what becomes a directory or was one, before the rename. Of an added directory only its top is here.
   */
  readonly operations: readonly Operation[];
  /** Every file and symlink that is not what it was, for who is told of it. Nothing where there was no generation before. */
  readonly files: readonly FileChange[];
}

const MAGIC = 'sfs-chg\n';
const VERSION = 2;
const HEADER_BYTES = 40;
const INO_BYTES = 8;
const OPERATION_BYTES = 16;
const FILE_BYTES = 8;
const KINDS = ['unlink', 'rmdir', 'rename'] as const;
const FILE_CHANGES = ['added', 'changed', 'removed'] as const;

export function encodeChanges({ counts, superseded, directories, operations, files }: ChangeList): Buffer {
  const encoded = encodeOperations(operations);
  const head = Buffer.alloc(HEADER_BYTES + INO_BYTES * (superseded.length + directories.length));
  let at = head.write(MAGIC, 'latin1');
  const { added, changed, removed, unchanged } = counts;
  const lengths = [superseded.length, directories.length, encoded.length];
  for (const value of [VERSION, added, changed, removed, unchanged, ...lengths]) {
    at = head.writeUInt32LE(value, at);
  }
  for (const list of [superseded, directories]) for (const ino of list) at = writeIno(head, ino, at);
  return Buffer.concat([head, encoded, encodeFiles(files)]);
}

/** Throws GenerationError for what encodeChanges() does not write. */
export function decodeChanges(bytes: Uint8Array, nodesMax = GENERATION_NODES_MAX): ChangeList {
  const from = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (from.length < HEADER_BYTES) throw invalid('length of changes');
  if (from.toString('latin1', 0, MAGIC.length) !== MAGIC) throw invalid('magic of changes');
  const word = (i: number) => from.readUInt32LE(MAGIC.length + 4 * i);
  if (word(0) !== VERSION) throw new GenerationError('version', 'version of changes');
  const counts = { added: word(1), changed: word(2), removed: word(3), unchanged: word(4) };
  if (word(5) > nodesMax + 1 || word(6) > nodesMax + 1) throw invalid('number of inodes of changes');
  const superseded = readInos(from, HEADER_BYTES, word(5));
  const directories = readInos(from, HEADER_BYTES + INO_BYTES * superseded.length, word(6));
  const end = HEADER_BYTES + INO_BYTES * (superseded.length + directories.length);
  const operationsEnd = end + word(7);
  if (operationsEnd > from.length) throw invalid('length of operations');
  const operations = decodeOperations(from.subarray(end, operationsEnd), nodesMax);
  return { counts, superseded, directories, operations, files: decodeFiles(from, operationsEnd, nodesMax) };
}

function encodeFiles(files: readonly FileChange[]): Buffer {
  let bytes = 0;
  for (const { path } of files) bytes += FILE_BYTES + Buffer.byteLength(path);
  const encoded = Buffer.alloc(bytes);
  let at = 0;
  for (const { path, change } of files) {
    const pathBytes = encoded.write(path, at + FILE_BYTES);
    encoded.writeUInt32LE(FILE_CHANGES.indexOf(change) + 1, at);
    encoded.writeUInt32LE(pathBytes, at + 4);
    at += FILE_BYTES + pathBytes;
  }
  return encoded;
}

function decodeFiles(from: Buffer, start: number, nodesMax: number): FileChange[] {
  const files: FileChange[] = [];
  for (let at = start; at < from.length; ) {
    if (from.length - at < FILE_BYTES) throw invalid('length of files');
    // Every file of one generation removed and every file of the next added.
    if (files.length > 2 * nodesMax) throw invalid('number of files');
    const change = FILE_CHANGES[from.readUInt32LE(at) - 1];
    const pathBytes = from.readUInt32LE(at + 4);
    at += FILE_BYTES;
    if (change === undefined) throw invalid('change of a file');
    if (pathBytes > from.length - at) throw invalid('length of files');
    files.push({ path: readPath(from, at, at + pathBytes), change });
    at += pathBytes;
  }
  return files;
}

export function encodeOperations(operations: readonly Operation[]): Buffer {
  let bytes = 0;
  for (const { path } of operations) bytes += OPERATION_BYTES + Buffer.byteLength(path);
  const encoded = Buffer.alloc(bytes);
  let at = 0;
  for (const operation of operations) {
    const pathBytes = encoded.write(operation.path, at + OPERATION_BYTES);
    encoded.writeUInt32LE(KINDS.indexOf(operation.kind) + 1, at);
    encoded.writeUInt32LE(pathBytes, at + 4);
    writeIno(encoded, operation.kind === 'rename' ? operation.ino : 0, at + 8);
    at += OPERATION_BYTES + pathBytes;
  }
  return encoded;
}

/** Throws GenerationError for what encodeOperations() does not write. */
export function decodeOperations(bytes: Uint8Array, nodesMax = GENERATION_NODES_MAX): Operation[] {
  const from = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const operations: Operation[] = [];
  for (let at = 0; at < from.length; ) {
    if (from.length - at < OPERATION_BYTES) throw invalid('length of operations');
    // Every name of one generation removed and every name of the next added.
    if (operations.length > 2 * nodesMax) throw invalid('number of operations');
    const kind = KINDS[from.readUInt32LE(at) - 1];
    const pathBytes = from.readUInt32LE(at + 4);
    const ino = readIno(from, at + 8);
    at += OPERATION_BYTES;
    if (kind === undefined) throw invalid('kind of an operation');
    if (pathBytes > from.length - at) throw invalid('length of operations');
    const path = readPath(from, at, at + pathBytes);
    at += pathBytes;
    if (kind === 'rename') {
      if (ino <= ROOT_INO || ino >= INO_END) throw invalid('inode number of changes');
      operations.push({ kind, path, ino });
    } else {
      if (ino !== 0) throw invalid('inode number of changes');
      operations.push({ kind, path });
    }
  }
  return operations;
}

function readInos(from: Buffer, start: number, count: number): number[] {
  if (count > GENERATION_NODES_MAX || count * INO_BYTES > from.length - start)
    throw invalid('length of changes');
  const inos: number[] = [];
  for (let i = 0; i < count; i++) {
    const ino = readIno(from, start + INO_BYTES * i);
    if (ino < ROOT_INO || ino >= INO_END) throw invalid('inode number of changes');
    inos.push(ino);
  }
  return inos;
}

/** Relative, of components that are names: nothing of it leads out of the directory that it is resolved below. */
function readPath(from: Buffer, start: number, end: number): string {
  if (end - start > PATH_BYTES_MAX || !isUtf8(from.subarray(start, end))) throw invalid('path of a change');
  const path = from.toString('utf8', start, end);
  const names = path.split('/');
  if (names.length > DEPTH_MAX || path.includes('\0')) throw invalid('path of a change');
  for (const name of names) {
    if (name === '' || name === '.' || name === '..') throw invalid('path of a change');
    if (name.length * 3 > FILE_NAME_BYTES_MAX && Buffer.byteLength(name) > FILE_NAME_BYTES_MAX) {
      throw invalid('path of a change');
    }
  }
  return path;
}

function readIno(from: Buffer, at: number): number {
  return from.readUInt32LE(at) + from.readUInt32LE(at + 4) * UINT32;
}

function writeIno(to: Buffer, ino: number, at: number): number {
  return to.writeUInt32LE(Math.floor(ino / UINT32), to.writeUInt32LE(ino % UINT32, at));
}

function invalid(what: string): GenerationError {
  return new GenerationError('invalid', what);
}
