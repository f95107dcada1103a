/**
 * The reply buffer: one for all replies, locked in memory by whoever made it. What was plaintext in it is zeros again
 * after wipe(), and only that: a reply of a few words costs nothing to wipe.
 */
import type { Generation } from '../../generation/generation.ts';
import {
  ATTR,
  ATTR_OUT,
  ENTRY_OUT,
  IN_HEADER,
  OPEN_OUT,
  OUT_HEADER,
  OUT_HEADER_BYTES,
  WORD_BYTES,
} from './protocol.ts';

const TWO_TO_32 = 0x1_0000_0000;
/** Until the content changes, which the kernel is told by rename, unlink and invalidation: 68 years. */
export const VALID_FOR_EVER_SECONDS = 0x7fff_ffff;

const BLOCK_BYTES = 4096;
/** What st_blocks counts in. */
const STAT_BLOCK_BYTES = 512;

/** Where the body of every reply starts. */
export const BODY = OUT_HEADER.words;

export class Reply {
  readonly bytes: Uint8Array;
  readonly words: Uint32Array;
  /** From the body's first byte on. */
  #secretBytes = 0;

  /** `buffer` is a whole number of words, at a word's boundary. */
  constructor(buffer: Uint8Array) {
    this.bytes = buffer;
    this.words = new Uint32Array(buffer.buffer, buffer.byteOffset, buffer.length / WORD_BYTES);
  }

  get bodyBytesMax(): number {
    return this.bytes.length - OUT_HEADER_BYTES;
  }

  /** Says that the body is about to hold so many bytes of plaintext. Before they are written: that may fail halfway. */
  secret(bytes: number): void {
    this.#secretBytes = Math.max(this.#secretBytes, bytes);
  }

  wipe(): void {
    if (this.#secretBytes === 0) return;
    this.bytes.fill(0, OUT_HEADER_BYTES, OUT_HEADER_BYTES + this.#secretBytes);
    this.#secretBytes = 0;
  }

  /** `result`: bytes of body, or a negative errno. Returns the bytes of the whole reply. */
  finish(result: number, request: Uint32Array): number {
    const { words } = this;
    const length = OUT_HEADER_BYTES + Math.max(result, 0);
    words[OUT_HEADER.len] = length;
    words[OUT_HEADER.error] = Math.min(result, 0);
    words[OUT_HEADER.unique] = request[IN_HEADER.unique] as number;
    words[OUT_HEADER.unique + 1] = request[IN_HEADER.unique + 1] as number;
    return length;
  }

  put64(word: number, value: number): void {
    this.words[word] = value;
    this.words[word + 1] = Math.floor(value / TWO_TO_32);
  }

  zero(word: number, words: number): void {
    this.words.fill(0, word, word + words);
  }

  /** A LOOKUP's answer or part of a READDIRPLUS's. `nodeid` is the node's inode number, or an alias of it. */
  entry(
    at: number,
    generation: Generation,
    node: number,
    nodeid: number,
    valid: number,
    nlink: number,
  ): void {
    const { words } = this;
    this.put64(at + ENTRY_OUT.nodeid, nodeid);
    this.put64(at + ENTRY_OUT.inodeGeneration, 0);
    this.put64(at + ENTRY_OUT.entryValid, valid);
    this.put64(at + ENTRY_OUT.attrValid, valid);
    words[at + ENTRY_OUT.entryValidNanoseconds] = 0;
    words[at + ENTRY_OUT.attrValidNanoseconds] = 0;
    this.attributes(at + ENTRY_OUT.attr, generation, node, nlink);
  }

  /** A GETATTR's answer. */
  attr(generation: Generation, node: number, valid: number, nlink: number): number {
    this.attrHeader(valid);
    this.attributes(BODY + ATTR_OUT.attr, generation, node, nlink);
    return ATTR_OUT.words * WORD_BYTES;
  }

  attrHeader(valid: number): void {
    this.put64(BODY + ATTR_OUT.attrValid, valid);
    this.words[BODY + ATTR_OUT.attrValidNanoseconds] = 0;
    this.words[BODY + ATTR_OUT.dummy] = 0;
  }

  attributes(at: number, generation: Generation, node: number, nlink: number): void {
    const size = generation.size(node);
    const mtime = generation.mtimeSeconds(node);
    this.stat(at, generation.ino(node), generation.mode(node), size, mtime, nlink);
    this.words[at + ATTR.uid] = generation.uid(node);
    this.words[at + ATTR.gid] = generation.gid(node);
  }

  /** What belongs to root. */
  stat(at: number, ino: number, mode: number, size: number, mtime: number, nlink: number): void {
    const { words } = this;
    this.put64(at + ATTR.ino, ino);
    this.put64(at + ATTR.size, size);
    this.put64(at + ATTR.blocks, Math.ceil(size / STAT_BLOCK_BYTES));
    this.put64(at + ATTR.atime, mtime);
    this.put64(at + ATTR.mtime, mtime);
    this.put64(at + ATTR.ctime, mtime);
    words[at + ATTR.atimeNanoseconds] = 0;
    words[at + ATTR.mtimeNanoseconds] = 0;
    words[at + ATTR.ctimeNanoseconds] = 0;
    words[at + ATTR.mode] = mode;
    words[at + ATTR.nlink] = nlink;
    words[at + ATTR.uid] = 0;
    words[at + ATTR.gid] = 0;
    words[at + ATTR.rdev] = 0;
    words[at + ATTR.blksize] = BLOCK_BYTES;
    words[at + ATTR.flags] = 0;
  }

  opened(fh: number, flags: number): number {
    this.put64(BODY + OPEN_OUT.fh, fh);
    this.words[BODY + OPEN_OUT.openFlags] = flags;
    this.words[BODY + OPEN_OUT.backing] = 0;
    return OPEN_OUT.words * WORD_BYTES;
  }
}
