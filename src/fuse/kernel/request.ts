/**
 * One request, as it lies in the read buffer: views and checks, no copies. Valid until the next read into that buffer.
 */
import { IN_HEADER, IN_HEADER_BYTES, OPCODE, WORD_BYTES } from './protocol.ts';

const TWO_TO_32 = 0x1_0000_0000;
/** `extensions`: the low half is a length in units of this. */
const EXTENSION_UNIT_BYTES = 8;

export class Request {
  readonly bytes: Uint8Array;
  readonly words: Uint32Array;
  opcode = 0;
  /** 2^53 and above are rounded: no inode number of ours comes near, so none is taken for another. */
  nodeid = 0;
  uid = 0;
  gid = 0;
  /** Of the calling thread; 0 where it is in a pid namespace that the server can't see. */
  thread = 0;
  /** Where the last name() lies: from here, up to and without its NUL. */
  nameStart = 0;
  nameEnd = 0;
  /** Where the arguments end, in bytes; extensions come behind. */
  #end = 0;

  /** `buffer` is a whole number of words, at a word's boundary. */
  constructor(buffer: Uint8Array) {
    this.bytes = buffer;
    this.words = new Uint32Array(buffer.buffer, buffer.byteOffset, buffer.length / WORD_BYTES);
  }

  /** Looks at what a read of `length` bytes brought; false if that is no request at all. */
  take(length: number): boolean {
    const { words } = this;
    this.opcode = length >= IN_HEADER_BYTES ? (words[IN_HEADER.opcode] as number) : 0;
    if (length < IN_HEADER_BYTES || length > this.bytes.length || words[IN_HEADER.len] !== length)
      return false;
    this.nodeid = this.u64(IN_HEADER.nodeid);
    this.uid = words[IN_HEADER.uid] as number;
    this.gid = words[IN_HEADER.gid] as number;
    this.thread = words[IN_HEADER.pid] as number;
    const extensions = ((words[IN_HEADER.extensions] as number) & 0xffff) * EXTENSION_UNIT_BYTES;
    this.#end = length - extensions;
    return this.#end >= IN_HEADER_BYTES;
  }

  /** Bytes of the request that stands in the buffer, by its own word: for a server that did not read it itself. */
  get recordedBytes(): number {
    return this.words[IN_HEADER.len] as number;
  }

  /** Enough to tell one request from another; the same when it is sent again. */
  get uniqueLow(): number {
    return this.words[IN_HEADER.unique] as number;
  }

  /** True when the arguments begin with a struct of so many words. */
  has(structWords: number): boolean {
    return IN_HEADER_BYTES + structWords * WORD_BYTES <= this.#end;
  }

  /** A word of the arguments' struct. */
  argument(field: number): number {
    return this.words[IN_HEADER.words + field] as number;
  }

  argument64(field: number): number {
    return this.u64(IN_HEADER.words + field);
  }

  u64(word: number): number {
    return (this.words[word] as number) + (this.words[word + 1] as number) * TWO_TO_32;
  }

  /** Finds the name behind `structWords` words of arguments; false if it is empty or has no NUL. */
  name(structWords: number): boolean {
    return this.#nameAt(IN_HEADER_BYTES + structWords * WORD_BYTES);
  }

  /** The name behind the one found last. */
  nextName(): boolean {
    return this.#nameAt(this.nameEnd + 1);
  }

  get nameLength(): number {
    return this.nameEnd - this.nameStart;
  }

  /** Of those that the kernel waits for no answer to. */
  get unanswered(): boolean {
    const { opcode } = this;
    return opcode === OPCODE.FORGET || opcode === OPCODE.BATCH_FORGET || opcode === OPCODE.INTERRUPT;
  }

  #nameAt(start: number): boolean {
    const { bytes } = this;
    const end = this.#end;
    let at = start;
    while (at < end && bytes[at] !== 0) at++;
    this.nameStart = start;
    this.nameEnd = at;
    return at < end && at > start;
  }
}
