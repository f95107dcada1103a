/**
 * The filesystem as the kernel asks for it: one request in the request buffer, at most one reply in the reply buffer.
 * Nothing here reads, writes, waits or looks at a clock; nothing is allocated for an ordinary request, and no request,
 * however malformed, makes it throw.
 *
 * Answers come from the live generation and those that linger, and every one may be given twice: what a request asks
 * to change is either refused or changes nothing (staging.ts). So a server that takes over may repeat what its
 * predecessor had begun.
 */
import { describeBug } from '../../errors.ts';
import { FILE_NAME_BYTES_MAX } from '../../limits.ts';
import type { OpenGuard } from '../../opens/guard.ts';
import { Passes, type PassesOptions } from '../../vfs/consistency.ts';
import { ERRNO } from '../../vfs/errno.ts';
import type { Vfs } from '../../vfs/vfs.ts';
import {
  COUNTER,
  type Context,
  count64,
  type GenerationWatch,
  MALFORMED,
  NO_REPLY,
  type Policy,
} from './context.ts';
import { Directories } from './directories.ts';
import { Files } from './files.ts';
import type { Params } from './init.ts';
import { Names } from './names.ts';
import { IN_HEADER_BYTES, OPCODE, OUT_HEADER_BYTES, STATFS_OUT, WORD_BYTES } from './protocol.ts';
import { BODY, Reply } from './reply.ts';
import { Request } from './request.ts';
import type { Staging } from './staging.ts';
import { StaleAnswers } from './stale-answers.ts';
import { PathStanding } from './standing.ts';

const BLOCK_BYTES = 4096;

/** What an operator should hear of. `count`: how often it has happened; said at the 1st, 2nd, 4th, 8th... time. */
export interface SessionLog {
  malformed(opcode: number, bytes: number, count: number): void;
  unknown(opcode: number, count: number): void;
  bug(description: string, count: number): void;
}

export interface SessionOptions {
  readonly vfs: Vfs;
  readonly generations: GenerationWatch;
  readonly params: Params;
  readonly policy: Policy;
  readonly staging: Staging;
  /** Both at a word's boundary. The reply buffer holds params.maxReadBytes and a header. */
  readonly request: Uint8Array;
  readonly reply: Uint8Array;
  /** STALE_ANSWERS_WORDS and COUNTER_WORDS words, where a server that takes over finds them. */
  readonly staleAnswers: Uint32Array;
  readonly counters: Uint32Array;
  /** Who opens several files gets them from one generation. Undefined: from what is live. */
  readonly consistency: Consistency | undefined;
  readonly dropPages: (nodeid: number) => void;
  /** Decides about opens, beside the kernel. The only part that may look at a clock, and at /proc. */
  readonly guard: OpenGuard | undefined;
  readonly log: SessionLog;
}

/** See Passes; the words are where a server that takes over finds them. */
export interface Consistency extends PassesOptions {
  readonly nowMs: () => number;
}

export class Session {
  readonly #context: Context;
  readonly #names: Names;
  readonly #files: Files;
  readonly #directories: Directories;
  readonly #log: SessionLog;
  #malformed = 0;
  #unknown = 0;
  #bugs = 0;

  constructor(options: SessionOptions) {
    const { consistency, vfs } = options;
    this.#context = {
      ...options,
      standing: new PathStanding(vfs),
      passes: consistency === undefined ? undefined : new Passes(consistency),
      nowMs: consistency?.nowMs ?? (() => 0),
      request: new Request(options.request),
      reply: new Reply(options.reply),
      staleAnswers: new StaleAnswers(options.staleAnswers),
    };
    this.#context.passes?.resume(this.#context.nowMs());
    this.#names = new Names(this.#context);
    this.#files = new Files(this.#context);
    this.#directories = new Directories(this.#context, this.#files);
    this.#log = options.log;
  }

  /** Of the last request. */
  get opcode(): number {
    return this.#context.request.opcode;
  }

  /** Takes the request of `length` bytes that was just read. Returns the bytes of the reply, or 0: there is none. */
  handle(length: number): number {
    const { request, reply, generations, counters, passes, vfs } = this.#context;
    count64(counters, COUNTER.requests, COUNTER.requests + 1);
    let result: number;
    try {
      if (generations.changed()) generations.sync();
      if (passes !== undefined && passes.live !== vfs.live.id) this.#activate(passes);
      if (!request.take(length)) result = MALFORMED;
      else result = generations.closed ? -ERRNO.ESTALE : this.#dispatch();
    } catch (error) {
      this.#bug(error);
      result = -ERRNO.EIO;
    }
    if (result === MALFORMED) {
      this.#countMalformed(length);
      result = -ERRNO.EINVAL;
    }
    // Too short to say which request it is, or one that nobody waits for.
    if (result === NO_REPLY || request.unanswered || length < OUT_HEADER_BYTES) return 0;
    return reply.finish(result, request.words);
  }

  /** The request that stands in the buffer, whoever read it there. As of handle(); 0 also where there is none. */
  handleRecorded(): number {
    const { recordedBytes, bytes } = this.#context.request;
    return recordedBytes >= IN_HEADER_BYTES && recordedBytes <= bytes.length ? this.handle(recordedBytes) : 0;
  }

  /** Answers the request that stands in the buffer with an error: nobody got further with it. */
  refuse(errno: number): number {
    const { request, reply } = this.#context;
    return request.take(request.recordedBytes) && !request.unanswered
      ? reply.finish(-errno, request.words)
      : 0;
  }

  /** To be called when the reply is written: what was plaintext in it is gone. */
  wipe(): void {
    this.#context.reply.wipe();
  }

  #dispatch(): number {
    const { request } = this.#context;
    switch (request.opcode) {
      case OPCODE.LOOKUP:
        return this.#names.lookup();
      case OPCODE.OPEN:
        return this.#files.open();
      case OPCODE.READ:
        return this.#files.read();
      case OPCODE.RELEASE:
        return this.#files.release();
      case OPCODE.GETATTR:
        return this.#names.getattr();
      case OPCODE.READLINK:
        return this.#names.readlink();
      case OPCODE.OPENDIR:
        return this.#directories.open();
      case OPCODE.READDIR:
        return this.#directories.read(false);
      case OPCODE.READDIRPLUS:
        return this.#directories.read(true);
      case OPCODE.STATFS:
        return this.#statfs();
      case OPCODE.ACCESS:
        return this.#names.access();
      case OPCODE.LSEEK:
        return this.#files.lseek();
      case OPCODE.UNLINK:
        return this.#names.remove(false);
      case OPCODE.RMDIR:
        return this.#names.remove(true);
      case OPCODE.RENAME:
        return this.#names.rename(false);
      case OPCODE.RENAME2:
        return this.#names.rename(true);
      case OPCODE.RELEASEDIR:
      case OPCODE.DESTROY:
        return 0;
      // Nothing is counted that the kernel looked up, and nothing here takes long enough to be interrupted.
      case OPCODE.FORGET:
      case OPCODE.BATCH_FORGET:
      case OPCODE.INTERRUPT:
        return NO_REPLY;
      case OPCODE.SETATTR:
      case OPCODE.SYMLINK:
      case OPCODE.MKNOD:
      case OPCODE.MKDIR:
      case OPCODE.LINK:
      case OPCODE.WRITE:
      case OPCODE.CREATE:
      case OPCODE.FALLOCATE:
      case OPCODE.COPY_FILE_RANGE:
      case OPCODE.COPY_FILE_RANGE_64:
      case OPCODE.TMPFILE:
        return -ERRNO.EROFS;
      // The kernel remembers the answer and does not ask again: attributes are unsupported, the rest succeeds.
      case OPCODE.GETXATTR:
      case OPCODE.LISTXATTR:
      case OPCODE.SETXATTR:
      case OPCODE.REMOVEXATTR:
      case OPCODE.FLUSH:
      case OPCODE.FSYNC:
      case OPCODE.FSYNCDIR:
      case OPCODE.SYNCFS:
      case OPCODE.STATX:
      case OPCODE.BMAP:
      case OPCODE.IOCTL:
      case OPCODE.POLL:
      case OPCODE.GETLK:
      case OPCODE.SETLK:
      case OPCODE.SETLKW:
        return -ERRNO.ENOSYS;
      default:
        return this.#countUnknown(request.opcode);
    }
  }

  #activate(passes: Passes): void {
    const { vfs, nowMs } = this.#context;
    passes.activate(vfs.live.id, nowMs());
    this.#countOldest();
  }

  #countOldest(): void {
    const { passes, counters, nowMs } = this.#context;
    if (passes === undefined) return;
    counters[COUNTER.oldestPass] = passes.oldest(nowMs());
    counters[COUNTER.passesLive] = passes.live;
  }

  /** Nothing is free, because nothing can be written. */
  #statfs(): number {
    const { reply, vfs } = this.#context;
    const { live } = vfs;
    this.#countOldest();
    reply.zero(BODY, STATFS_OUT.words);
    reply.put64(BODY + STATFS_OUT.blocks, Math.ceil(live.contentBytes / BLOCK_BYTES));
    reply.put64(BODY + STATFS_OUT.files, live.nodeCount);
    reply.words[BODY + STATFS_OUT.bsize] = BLOCK_BYTES;
    reply.words[BODY + STATFS_OUT.frsize] = BLOCK_BYTES;
    reply.words[BODY + STATFS_OUT.namelen] = FILE_NAME_BYTES_MAX;
    return STATFS_OUT.words * WORD_BYTES;
  }

  #countMalformed(length: number): void {
    const { counters, request } = this.#context;
    counters[COUNTER.malformed] = (counters[COUNTER.malformed] as number) + 1;
    if (isPowerOfTwo(++this.#malformed)) this.#log.malformed(request.opcode, length, this.#malformed);
  }

  #countUnknown(opcode: number): number {
    const { counters } = this.#context;
    counters[COUNTER.malformed] = (counters[COUNTER.malformed] as number) + 1;
    if (isPowerOfTwo(++this.#unknown)) this.#log.unknown(opcode, this.#unknown);
    return -ERRNO.ENOSYS;
  }

  #bug(error: unknown): void {
    if (isPowerOfTwo(++this.#bugs)) this.#log.bug(describeBug(error), this.#bugs);
  }
}

/** What is logged of what never ends: 20 lines for a million. */
function isPowerOfTwo(count: number): boolean {
  return (count & (count - 1)) === 0;
}
