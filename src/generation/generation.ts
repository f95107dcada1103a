/**
 * A generation: one verified, immutable file tree, as a view of its image (format.ts). Nothing is parsed into objects:
 * a node is an index, and what stat shows is read from the image's words. Files and inodes are found by binary search,
 * in the listings and in the index, so that whoever made the image can't choose what collides.
 *
 * The image may come from a process that parsed foreign bytes: open() checks all of it, and no accessor leaves it for
 * any node below nodeCount. It must not change after that. Accessors given other numbers return rubbish or undefined.
 */
import { Buffer } from 'node:buffer';
import { GENERATION_METADATA_BYTES_MAX, GENERATION_NODES_MAX } from '../limits.ts';
import {
  contentsStart,
  HEADER,
  HEADER_BYTES,
  INO_END,
  MAGIC,
  NODE,
  NODE_WORDS,
  ROOT_INO,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  stringsStart,
  UINT32,
  VERSION,
  WORD_BYTES,
} from './format.ts';
import { leadsOut } from './symlinks.ts';
import { whyInvalid } from './validate.ts';

/** Where the bytes of an image can be read. */
export interface Contents {
  /** How many bytes there are, where that is known: an image that claims to have more is refused. */
  readonly bytes?: number;
  /** Copies up to `length` bytes at `position` of the image into target at `at`; returns how many. */
  read(position: number, length: number, target: Uint8Array, at: number): number;
}

/** An image that cannot be served: of another version, or not what our writer writes. */
export class GenerationError extends Error {
  readonly reason: 'version' | 'invalid';

  /** `field` names what was wrong, never its value: the message may be logged. */
  constructor(reason: 'version' | 'invalid', field: string) {
    super(`cannot read generation: ${reason === 'version' ? 'unknown' : 'invalid'} ${field}`);
    this.name = 'GenerationError';
    this.reason = reason;
  }
}

const NODES = HEADER_BYTES / WORD_BYTES;

export class Generation {
  /** Our own counter, a u32 above 0. */
  readonly id: number;
  /** The bundle's authenticated serial. */
  readonly serial: number;
  readonly activatedSeconds: number;
  readonly files: number;
  /** The root included. */
  readonly directories: number;
  readonly symlinks: number;
  readonly contentBytes: number;
  readonly nodeCount: number;
  /** Metadata, padding and contents. */
  readonly imageBytes: number;
  /** Above every inode number of this generation and of those before it. */
  readonly nextIno: number;

  readonly #words: Uint32Array;
  readonly #strings: Buffer;
  /** The inode numbers in ascending order, and from which word of #words the nodes stand that they belong to. */
  readonly #inos: Float64Array;
  readonly #index: number;
  readonly #contents: Contents;

  private constructor(metadata: Uint8Array, bytes: number, contents: Contents) {
    const words = new Uint32Array(metadata.buffer, metadata.byteOffset, (bytes / WORD_BYTES) | 0);
    const nodes = words[HEADER.nodes] as number;
    const strings = stringsStart(nodes);
    this.#words = words;
    this.#strings = Buffer.from(metadata.buffer, metadata.byteOffset + strings, bytes - strings);
    this.#inos = new Float64Array(nodes);
    this.#index = NODES + NODE_WORDS * nodes;
    this.#contents = contents;
    const problem = whyInvalid(words, this.#strings, this.#inos);
    if (problem !== undefined) throw new GenerationError('invalid', problem);
    this.id = words[HEADER.id] as number;
    this.serial = this.#long(HEADER.serial);
    this.activatedSeconds = this.#long(HEADER.activatedSeconds);
    this.files = words[HEADER.files] as number;
    this.directories = words[HEADER.directories] as number;
    this.symlinks = words[HEADER.symlinks] as number;
    this.contentBytes = this.#long(HEADER.contentBytes);
    this.nodeCount = nodes;
    this.imageBytes = contentsStart(bytes) + this.contentBytes;
    this.nextIno = this.#long(HEADER.nextIno);
    if (leadsOut(this)) throw new GenerationError('invalid', 'target');
    // Without contents there need be no padding before them.
    const needed = this.contentBytes === 0 ? bytes : this.imageBytes;
    if (contents.bytes !== undefined && contents.bytes < needed) throw new GenerationError('invalid', 'size');
  }

  /**
   * `metadata` is the beginning of an image, at least metadataBytes() of it. It is kept, and copied only where it is not
   * aligned to 4 bytes. Throws GenerationError.
   */
  static open(metadata: Uint8Array, contents: Contents): Generation {
    const bytes = Generation.metadataBytes(metadata);
    if (metadata.length < bytes) throw new GenerationError('invalid', 'length');
    const aligned = metadata.byteOffset % WORD_BYTES === 0 ? metadata : new Uint8Array(metadata);
    return new Generation(aligned, bytes, contents);
  }

  /** How much of an image is metadata, by its first HEADER_BYTES. Throws GenerationError. */
  static metadataBytes(header: Uint8Array): number {
    if (header.length < HEADER_BYTES) throw new GenerationError('invalid', 'length');
    // A copy, and so aligned. Buffer's slice() is none.
    const bytes = new Uint8Array(header.subarray(0, HEADER_BYTES));
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, HEADER_BYTES / WORD_BYTES);
    if (Buffer.from(bytes.buffer, bytes.byteOffset, MAGIC.length).toString('latin1') !== MAGIC) {
      throw new GenerationError('invalid', 'magic');
    }
    if (words[HEADER.version] !== VERSION) throw new GenerationError('version', 'version');
    const nodes = words[HEADER.nodes] as number;
    const metadata = stringsStart(nodes) + (words[HEADER.stringBytes] as number);
    if (nodes < 1 || nodes > GENERATION_NODES_MAX) throw new GenerationError('invalid', 'number of nodes');
    if (metadata > GENERATION_METADATA_BYTES_MAX) throw new GenerationError('invalid', 'size of metadata');
    return metadata;
  }

  /** The same of nextIno. Throws GenerationError. */
  static nextIno(header: Uint8Array): number {
    Generation.metadataBytes(header);
    const words = new Uint32Array(new Uint8Array(header.subarray(0, HEADER_BYTES)).buffer);
    const nextIno = (words[HEADER.nextIno] as number) + (words[HEADER.nextIno + 1] as number) * UINT32;
    if (nextIno > ROOT_INO && nextIno <= INO_END) return nextIno;
    throw new GenerationError('invalid', 'next inode number');
  }

  /** The node of an inode number, or -1. */
  find(ino: number): number {
    const inos = this.#inos;
    let low = 0;
    let high = inos.length - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const at = inos[middle] as number;
      if (at === ino) return this.#words[this.#index + middle] as number;
      if (at < ino) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  /** The child of that name, from `start` to `end` of `name`; -1 where there is none, or `directory` is no directory. */
  child(directory: number, name: Uint8Array, start: number, end: number): number {
    const strings = this.#strings;
    const length = end - start;
    let low = this.firstChild(directory);
    let high = low + this.childCount(directory) - 1;
    // Bytes that the name has in common with the names around: all between have them too, and certificates of one
    // service begin alike.
    let lowCommon = 0;
    let highCommon = 0;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const own = this.#word(middle, NODE.nameOffset);
      const ownLength = this.#word(middle, NODE.nameBytes);
      let i = Math.min(lowCommon, highCommon);
      while (i < length && i < ownLength && strings[own + i] === name[start + i]) i++;
      if (i === length && i === ownLength) return middle;
      const isBefore =
        i < length && (i === ownLength || (strings[own + i] as number) < (name[start + i] as number));
      if (isBefore) {
        low = middle + 1;
        lowCommon = i;
      } else {
        high = middle - 1;
        highCommon = i;
      }
    }
    return -1;
  }

  ino(node: number): number {
    return this.#long(NODES + NODE_WORDS * node + NODE.ino);
  }

  /** The root is its own parent, as in a mounted filesystem. */
  parent(node: number): number {
    return this.#word(node, NODE.parent);
  }

  /** With the bits of the file type. */
  mode(node: number): number {
    return this.#word(node, NODE.mode);
  }

  uid(node: number): number {
    return this.#word(node, NODE.uid);
  }

  gid(node: number): number {
    return this.#word(node, NODE.gid);
  }

  /** Bytes: contents, length of a link's target, a token size for directories. */
  size(node: number): number {
    return this.#long(NODES + NODE_WORDS * node + NODE.size);
  }

  /** Whole seconds, because that is what nginx compares. */
  mtimeSeconds(node: number): number {
    return this.#long(NODES + NODE_WORDS * node + NODE.mtime);
  }

  nlink(node: number): number {
    return this.#word(node, NODE.nlink);
  }

  isFile(node: number): boolean {
    return (this.mode(node) & S_IFMT) === S_IFREG;
  }

  isDirectory(node: number): boolean {
    return (this.mode(node) & S_IFMT) === S_IFDIR;
  }

  isSymlink(node: number): boolean {
    return (this.mode(node) & S_IFMT) === S_IFLNK;
  }

  /** Children are the nodes from here on, in the order of the bytes of their names. */
  firstChild(node: number): number {
    return this.isDirectory(node) ? this.#word(node, NODE.at) : 0;
  }

  /** 0 for what is no directory. */
  childCount(node: number): number {
    return this.isDirectory(node) ? this.#word(node, NODE.children) : 0;
  }

  /** In bytes; 0 for the root. */
  nameLength(node: number): number {
    return this.#word(node, NODE.nameBytes);
  }

  /** Copies the name into target at `at`, where there must be nameLength() bytes; returns how many. */
  copyName(node: number, target: Uint8Array, at: number): number {
    const length = this.#word(node, NODE.nameBytes);
    return this.#copyString(this.#word(node, NODE.nameOffset), length, target, at);
  }

  /** '' for the root. */
  name(node: number): string {
    const offset = this.#word(node, NODE.nameOffset);
    return this.#strings.toString('utf8', offset, offset + this.#word(node, NODE.nameBytes));
  }

  /** Below the root, without a leading slash; '' for the root. */
  path(node: number): string {
    const names: string[] = [];
    for (let at = node; at !== 0; at = this.parent(at)) names.push(this.name(at));
    return names.reverse().join('/');
  }

  /** Below 0, 0 or above as the name of `node` stands before, is or stands after that of `otherNode`. */
  compareName(node: number, other: Generation, otherNode: number): number {
    const start = this.#word(node, NODE.nameOffset);
    const otherStart = other.#word(otherNode, NODE.nameOffset);
    const end = start + this.#word(node, NODE.nameBytes);
    const otherEnd = otherStart + other.#word(otherNode, NODE.nameBytes);
    return this.#strings.compare(other.#strings, otherStart, otherEnd, start, end);
  }

  /** In bytes; 0 for what is no symlink. */
  targetLength(node: number): number {
    return this.isSymlink(node) ? this.#word(node, NODE.size) : 0;
  }

  /** As copyName(). */
  copyTarget(node: number, target: Uint8Array, at: number): number {
    return this.#copyString(this.#word(node, NODE.at), this.targetLength(node), target, at);
  }

  /** '' for what is no symlink. */
  target(node: number): string {
    const offset = this.#word(node, NODE.at);
    return this.#strings.toString('utf8', offset, offset + this.targetLength(node));
  }

  /**
   * Copies up to `length` bytes of a file from `offset` into target at `at`; returns how many: fewer at the end of the
   * file or of target, or when the image is gone; none for what is no file.
   */
  read(node: number, offset: number, length: number, target: Uint8Array, at: number): number {
    if (!this.isFile(node) || !(offset >= 0)) return 0;
    const wanted = Math.min(length, this.size(node) - offset, target.length - at);
    if (!(wanted > 0)) return 0;
    const position = this.#long(NODES + NODE_WORDS * node + NODE.at);
    return this.#contents.read(position + offset, wanted, target, at);
  }

  #word(node: number, field: number): number {
    return this.#words[NODES + NODE_WORDS * node + field] as number;
  }

  #long(word: number): number {
    return (this.#words[word] as number) + (this.#words[word + 1] as number) * UINT32;
  }

  /** TypedArray.set() of a view would allocate the view. */
  #copyString(offset: number, length: number, target: Uint8Array, at: number): number {
    const strings = this.#strings;
    for (let i = 0; i < length; i++) target[at + i] = strings[offset + i] as number;
    return length;
  }
}

/** Contents of an image that is in memory. */
export function inMemory(image: Uint8Array): Contents {
  return {
    bytes: image.length,
    read(position, length, target, at) {
      const bytes = image.subarray(position, position + length);
      target.set(bytes, at);
      return bytes.length;
    },
  };
}
