/**
 * Entries of an archive → the image of a generation. What did not change since the previous generation keeps its inode
 * and mtime; what did gets an inode that was never used and a strictly larger mtime, so that no cache keyed on either, in
 * the kernel or in nginx, can mistake one for the other.
 */
import { Buffer } from 'node:buffer';
import type { ArchiveEntry } from '../bundle/archive.ts';
import type { ChangeList } from './changes.ts';
import { changesBetween } from './diff.ts';
import {
  contentsStart,
  DIRECTORY_SIZE_BYTES,
  HEADER,
  HEADER_BYTES,
  INO_END,
  MAGIC,
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
  VERSION,
  WORD_BYTES,
} from './format.ts';
import { Generation } from './generation.ts';
import { draftTree, type Placed, place } from './tree.ts';

/** Directories that no entry names. */
const IMPLIED_MODE = 0o755;
/** Permissions of a symlink are never looked at. */
const SYMLINK_MODE = 0o777;
const OWNER_BITS = 0o700;
/** Contents are compared in pieces of this. */
const COMPARED_BYTES = 64 * 1024;

const NODES = HEADER_BYTES / WORD_BYTES;

export interface PlanOptions {
  /** A u32 above 0. */
  readonly id: number;
  readonly serial: number;
  readonly nowSeconds: number;
  /** The generation that this one follows. Its contents must still be readable. */
  readonly previous?: Generation | undefined;
  /** Keep packed modes and numeric owners. Otherwise: `owner`, and no bit for group and others. */
  readonly preserve: boolean;
  /** Who owns everything unless `preserve`. */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined;
}

/** What an image will be. Whoever writes it puts the metadata first, each content at its position, and no other byte. */
export interface Plan {
  readonly metadata: Buffer;
  /** Views of the entries' data, in ascending order: to be copied before those are wiped. None is empty. */
  readonly contents: readonly { readonly position: number; readonly data: Uint8Array }[];
  /** Of the whole image. */
  readonly bytes: number;
  readonly changes: ChangeList;
}

/**
 * Throws only for what the archive's validation excludes (a duplicate, a path through a file, a name that no file can
 * have), and RangeError when inode numbers have run out.
 */
export function planGeneration(entries: Iterable<ArchiveEntry>, options: PlanOptions): Plan {
  const { metadata, contents } = new ImageWriter(place(draftTree(entries)), options).write();
  // Reading it checks it: an image that no reader would take must not leave here.
  const next = Generation.open(metadata, { read: () => 0 });
  return { metadata, contents, bytes: next.imageBytes, changes: changesBetween(options.previous, next) };
}

/** Writes the image into memory: `target` has plan.bytes, all zeros. */
export function writePlan({ metadata, contents }: Plan, target: Uint8Array): void {
  target.set(metadata);
  for (const { position, data } of contents) target.set(data, position);
}

class ImageWriter {
  readonly #placed: readonly Placed[];
  readonly #options: PlanOptions;
  readonly #owner: { readonly uid: number; readonly gid: number };
  readonly #metadata: Buffer;
  readonly #words: Uint32Array;
  /** Where the strings begin. */
  readonly #strings: number;
  readonly #contents: { position: number; data: Uint8Array }[] = [];
  /** Of each node, the one that stood at its path in the previous generation, or -1. */
  readonly #before: Int32Array;
  /** For what is compared with the previous generation. Wiped before write() returns. */
  readonly #scratch = Buffer.alloc(COMPARED_BYTES);
  #nextIno: number;
  #stringBytes = 0;
  #contentBytes = 0;

  constructor(placed: readonly Placed[], options: PlanOptions) {
    this.#placed = placed;
    this.#options = options;
    this.#owner = options.owner ?? { uid: 0, gid: 0 };
    this.#nextIno = options.previous?.nextIno ?? ROOT_INO + 1;
    this.#before = new Int32Array(placed.length).fill(-1);
    this.#strings = stringsStart(placed.length);
    let bytes = this.#strings;
    for (const { draft } of placed) {
      bytes += Buffer.byteLength(draft.name);
      if (draft.entry?.kind === 'symlink') bytes += Buffer.byteLength(draft.entry.target);
    }
    // Not from Buffer's pool: aligned, and nobody else's memory around it.
    this.#metadata = Buffer.alloc(bytes);
    this.#words = new Uint32Array(
      this.#metadata.buffer,
      this.#metadata.byteOffset,
      this.#strings / WORD_BYTES,
    );
  }

  write(): { metadata: Buffer; contents: Plan['contents'] } {
    try {
      const kinds = { file: 0, directory: 0, symlink: 0 };
      for (let node = 0; node < this.#placed.length; node++) kinds[this.#writeNode(node)] += 1;
      // Once the inode numbers of everything in them are known.
      for (let node = 0; node < this.#placed.length; node++) this.#finishDirectory(node);
      this.#writeIndex();
      this.#writeHeader(kinds);
      return { metadata: this.#metadata, contents: this.#contents };
    } finally {
      this.#scratch.fill(0);
    }
  }

  #writeNode(node: number): ArchiveEntry['kind'] {
    const { draft, parent, firstChild } = this.#placed[node] as Placed;
    const { entry, children } = draft;
    const kind = children !== undefined ? 'directory' : (entry?.kind ?? 'directory');
    this.#set(node, NODE.parent, parent);
    this.#set(node, NODE.nameOffset, this.#stringBytes);
    this.#set(node, NODE.nameBytes, this.#writeString(draft.name));
    const before = this.#findBefore(node, parent);
    this.#before[node] = before;
    const packed = (entry?.mode ?? IMPLIED_MODE) & PERMISSIONS;
    const { preserve } = this.#options;
    const permissions = preserve ? packed : packed & OWNER_BITS;
    this.#set(node, NODE.uid, ownerId(preserve ? (entry?.uid ?? this.#owner.uid) : this.#owner.uid));
    this.#set(node, NODE.gid, ownerId(preserve ? (entry?.gid ?? this.#owner.gid) : this.#owner.gid));
    this.#set(node, NODE.nlink, 1);

    if (children !== undefined) {
      this.#set(node, NODE.mode, S_IFDIR | permissions);
      this.#setLong(node, NODE.size, DIRECTORY_SIZE_BYTES);
      this.#set(node, NODE.at, firstChild);
      this.#set(node, NODE.children, children.size);
      const { previous } = this.#options;
      const stays = before >= 0 && previous?.isDirectory(before) === true;
      this.#setLong(node, NODE.ino, node === 0 ? ROOT_INO : stays ? previous.ino(before) : this.#takeIno());
      return kind;
    }
    if (entry?.kind === 'file') {
      this.#set(node, NODE.mode, S_IFREG | permissions);
      this.#setLong(node, NODE.size, entry.data.length);
      const position = contentsStart(this.#metadata.length) + this.#contentBytes;
      this.#setLong(node, NODE.at, position);
      this.#contentBytes += entry.data.length;
      if (entry.data.length > 0) this.#contents.push({ position, data: entry.data });
      this.#identify(node, before, this.#sameContent(before, entry.data));
    } else if (entry?.kind === 'symlink') {
      this.#set(node, NODE.mode, S_IFLNK | SYMLINK_MODE);
      const at = this.#stringBytes;
      this.#set(node, NODE.at, at);
      this.#setLong(node, NODE.size, this.#writeString(entry.target));
      this.#identify(node, before, this.#sameTarget(before, at));
    } else {
      throw new Error('a draft without an entry is a directory');
    }
    return kind;
  }

  /** A file or a symlink: the same inode and mtime if nothing of it changed. */
  #identify(node: number, before: number, sameBytes: boolean): void {
    const { previous } = this.#options;
    const unchanged = previous !== undefined && sameBytes && this.#sameAttributes(node, previous, before);
    this.#setLong(node, NODE.ino, unchanged ? previous.ino(before) : this.#takeIno());
    this.#setLong(node, NODE.mtime, unchanged ? previous.mtimeSeconds(before) : this.#later(before));
  }

  /** A directory's link count, and its mtime: the same if it shows the same inodes. */
  #finishDirectory(node: number): void {
    const { draft, firstChild } = this.#placed[node] as Placed;
    if (draft.children === undefined) return;
    const { previous } = this.#options;
    const before = this.#before[node] as number;
    let same =
      previous !== undefined &&
      before >= 0 &&
      previous.isDirectory(before) &&
      previous.childCount(before) === draft.children.size &&
      this.#sameAttributes(node, previous, before);
    let links = 2;
    for (let i = 0; i < draft.children.size; i++) {
      const child = firstChild + i;
      if (this.#placed[child]?.draft.children !== undefined) links += 1;
      // Both are in the order of names, and an inode that stayed has stayed under its name.
      if (same && previous?.ino(previous.firstChild(before) + i) !== this.#long(child, NODE.ino))
        same = false;
    }
    this.#set(node, NODE.nlink, links);
    const mtime = same && previous !== undefined ? previous.mtimeSeconds(before) : this.#later(before);
    this.#setLong(node, NODE.mtime, mtime);
  }

  #findBefore(node: number, parent: number): number {
    const { previous } = this.#options;
    if (previous === undefined) return -1;
    if (node === 0) return 0;
    const directory = this.#before[parent] as number;
    if (directory < 0) return -1;
    const end = this.#strings + this.#stringBytes;
    const start = this.#strings + (this.#words[NODES + NODE_WORDS * node + NODE.nameOffset] as number);
    return previous.child(directory, this.#metadata, start, end);
  }

  #sameAttributes(node: number, previous: Generation, before: number): boolean {
    const at = NODES + NODE_WORDS * node;
    return (
      previous.mode(before) === this.#words[at + NODE.mode] &&
      previous.uid(before) === this.#words[at + NODE.uid] &&
      previous.gid(before) === this.#words[at + NODE.gid]
    );
  }

  #sameContent(before: number, data: Uint8Array): boolean {
    const { previous } = this.#options;
    if (previous === undefined || before < 0 || !previous.isFile(before)) return false;
    if (previous.size(before) !== data.length) return false;
    for (let offset = 0; offset < data.length; ) {
      const read = previous.read(before, offset, COMPARED_BYTES, this.#scratch, 0);
      if (read <= 0 || this.#scratch.compare(data, offset, offset + read, 0, read) !== 0) return false;
      offset += read;
    }
    return true;
  }

  /** Of the target that was written last, from `at` of the strings. */
  #sameTarget(before: number, at: number): boolean {
    const { previous } = this.#options;
    if (previous === undefined || before < 0 || !previous.isSymlink(before)) return false;
    if (previous.targetLength(before) !== this.#stringBytes - at) return false;
    const bytes = previous.copyTarget(before, this.#scratch, 0);
    const start = this.#strings + at;
    return this.#scratch.compare(this.#metadata, start, start + bytes, 0, bytes) === 0;
  }

  /** Strictly after what stood there, also when the clock was set back. */
  #later(before: number): number {
    const { previous, nowSeconds } = this.#options;
    const was = previous !== undefined && before >= 0 ? previous.mtimeSeconds(before) : 0;
    // Only an image that did not come from here can be at the end of time.
    return Math.min(Math.max(nowSeconds, was + 1), MTIME_SECONDS_MAX);
  }

  #takeIno(): number {
    if (this.#nextIno >= INO_END) throw new RangeError('out of inode numbers');
    return this.#nextIno++;
  }

  #writeIndex(): void {
    const nodes = this.#placed.length;
    const inos = Float64Array.from({ length: nodes }, (_, node) => this.#long(node, NODE.ino));
    const index = this.#words.subarray(NODES + NODE_WORDS * nodes);
    for (let node = 0; node < nodes; node++) index[node] = node;
    index.sort((a, b) => (inos[a] as number) - (inos[b] as number));
  }

  #writeHeader(kinds: { readonly file: number; readonly directory: number; readonly symlink: number }): void {
    const { id, serial, nowSeconds } = this.#options;
    const words = this.#words;
    this.#metadata.write(MAGIC, 'latin1');
    words[HEADER.version] = VERSION;
    words[HEADER.nodes] = this.#placed.length;
    words[HEADER.files] = kinds.file;
    words[HEADER.directories] = kinds.directory;
    words[HEADER.symlinks] = kinds.symlink;
    words[HEADER.stringBytes] = this.#stringBytes;
    setLong(words, HEADER.contentBytes, this.#contentBytes);
    // Of two words, so that an id that is too large is refused instead of cut.
    setLong(words, HEADER.id, id);
    setLong(words, HEADER.serial, serial);
    setLong(words, HEADER.activatedSeconds, nowSeconds);
    setLong(words, HEADER.nextIno, this.#nextIno);
  }

  /** Appends to the strings; returns how many bytes. */
  #writeString(text: string): number {
    const bytes = this.#metadata.write(text, this.#strings + this.#stringBytes);
    this.#stringBytes += bytes;
    return bytes;
  }

  #set(node: number, field: number, value: number): void {
    this.#words[NODES + NODE_WORDS * node + field] = value;
  }

  #setLong(node: number, field: number, value: number): void {
    setLong(this.#words, NODES + NODE_WORDS * node + field, value);
  }

  #long(node: number, field: number): number {
    const at = NODES + NODE_WORDS * node + field;
    return (this.#words[at] as number) + (this.#words[at + 1] as number) * UINT32;
  }
}

function setLong(words: Uint32Array, at: number, value: number): void {
  words[at] = value % UINT32;
  words[at + 1] = Math.floor(value / UINT32);
}

/** A user or group as an image holds it. What does not fit would become another's. */
function ownerId(value: number): number {
  if (value >>> 0 !== value) throw new RangeError('an owner is no 32-bit number');
  return value;
}
