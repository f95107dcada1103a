/**
 * The other end of /dev/fuse, for tests: writes requests and reads replies by the kernel's header, with numbers of its
 * own. It shares no code with src/fuse/kernel/protocol.ts: a wrong offset there must not be right here.
 */
import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { COUNTER_WORDS, type Context } from '../../src/fuse/kernel/context.ts';
import { Session, type SessionOptions } from '../../src/fuse/kernel/session.ts';
import { Staging } from '../../src/fuse/kernel/staging.ts';
import { STALE_ANSWERS_WORDS } from '../../src/fuse/kernel/stale-answers.ts';
import type { Vfs } from '../../src/vfs/vfs.ts';

export const OP = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  ACCESS: 34,
  CREATE: 35,
  INTERRUPT: 36,
  DESTROY: 38,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  SYNCFS: 50,
  TMPFILE: 51,
  STATX: 52,
  COPY_FILE_RANGE_64: 53,
} as const;

export interface Caller {
  readonly uid?: number;
  readonly gid?: number;
  readonly thread?: number;
  readonly unique?: bigint;
}

let lastUnique = 0n;

/** `nodeid` may be any u64. */
export function encodeRequest(opcode: number, nodeid: number | bigint, body: Buffer, caller: Caller = {}) {
  lastUnique += 2n;
  const header = Buffer.alloc(40);
  header.writeUInt32LE(40 + body.length, 0);
  header.writeUInt32LE(opcode, 4);
  header.writeBigUInt64LE(caller.unique ?? lastUnique, 8);
  header.writeBigUInt64LE(BigInt(nodeid), 16);
  header.writeUInt32LE(caller.uid ?? 0, 24);
  header.writeUInt32LE(caller.gid ?? 0, 28);
  header.writeUInt32LE(caller.thread ?? 4711, 32);
  return Buffer.concat([header, body]);
}

/** Little-endian fields, each [bits, value]. */
export function fields(...list: readonly (readonly [32 | 64, number | bigint])[]): Buffer {
  return Buffer.concat(
    list.map(([bits, value]) => {
      const buffer = Buffer.alloc(bits / 8);
      if (bits === 64) buffer.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)));
      else buffer.writeUInt32LE(Number(value));
      return buffer;
    }),
  );
}

export function names(...list: readonly string[]): Buffer {
  return Buffer.from(list.map((name) => `${name}\0`).join(''));
}

export interface Answer {
  /** 'OK', or the name of an errno. */
  readonly error: string;
  readonly body: Buffer;
}

/** Checks that `bytes` are one whole reply to that request. */
export function decodeReply(bytes: Buffer, unique: bigint): Answer {
  assert.ok(bytes.length >= 16, 'a reply has a header');
  assert.equal(bytes.readUInt32LE(0), bytes.length, 'a reply says how long it is');
  assert.equal(bytes.readBigUInt64LE(8), unique, 'a reply says whose it is');
  const error = -bytes.readInt32LE(4);
  if (error !== 0) assert.equal(bytes.length, 16, 'an error has no body');
  return { error: error === 0 ? 'OK' : errnoName(error), body: Buffer.from(bytes.subarray(16)) };
}

function errnoName(errno: number): string {
  return Object.entries(constants.errno).find(([, value]) => value === errno)?.[0] ?? `errno ${errno}`;
}

export interface Attributes {
  readonly ino: number;
  readonly size: number;
  readonly blocks: number;
  readonly times: readonly number[];
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
}

export function decodeAttributes(body: Buffer, at: number): Attributes {
  const u64 = (offset: number) => Number(body.readBigUInt64LE(at + offset));
  const u32 = (offset: number) => body.readUInt32LE(at + offset);
  assert.deepEqual([u32(48), u32(52), u32(56), u32(76), u32(84)], [0, 0, 0, 0, 0], 'nothing else is set');
  // A name that is not there has no attributes at all.
  if (u32(60) !== 0) assert.equal(u32(80), 4096);
  return {
    ino: u64(0),
    size: u64(8),
    blocks: u64(16),
    times: [u64(24), u64(32), u64(40)],
    mode: u32(60),
    nlink: u32(64),
    uid: u32(68),
    gid: u32(72),
  };
}

export interface Entry {
  readonly nodeid: number;
  readonly entryValid: number;
  readonly attrValid: number;
  readonly attributes: Attributes;
}

export function decodeEntry(body: Buffer, at = 0): Entry {
  assert.ok(body.length >= at + 128);
  assert.equal(body.readBigUInt64LE(at + 8), 0n, 'inode generation');
  assert.equal(body.readBigUInt64LE(at + 32), 0n, 'nanoseconds');
  return {
    nodeid: Number(body.readBigUInt64LE(at)),
    entryValid: Number(body.readBigUInt64LE(at + 16)),
    attrValid: Number(body.readBigUInt64LE(at + 24)),
    attributes: decodeAttributes(body, at + 40),
  };
}

export interface Dirent {
  readonly ino: number;
  readonly offset: number;
  readonly type: number;
  readonly name: string;
  readonly entry?: { readonly nodeid: number; readonly entryValid: number };
}

export function decodeDirents(body: Buffer, plus: boolean): Dirent[] {
  const list: Dirent[] = [];
  for (let at = 0; at < body.length; ) {
    const entry = plus
      ? {
          nodeid: Number(body.readBigUInt64LE(at)),
          entryValid: Number(body.readBigUInt64LE(at + 16)),
        }
      : undefined;
    if (plus) at += 128;
    const nameBytes = body.readUInt32LE(at + 16);
    assert.ok(at + 24 + nameBytes <= body.length, 'an entry is whole');
    list.push({
      ino: Number(body.readBigUInt64LE(at)),
      offset: Number(body.readBigUInt64LE(at + 8)),
      type: body.readUInt32LE(at + 20),
      name: body.toString('utf8', at + 24, at + 24 + nameBytes),
      ...(entry === undefined ? {} : { entry }),
    });
    at += (24 + nameBytes + 7) & ~7;
  }
  return list;
}

export interface FakeKernelOptions extends Partial<Omit<SessionOptions, 'vfs' | 'policy'>> {
  readonly policy?: Partial<Context['policy']>;
}

/** A session over buffers, and what it said. */
export class FakeKernel {
  readonly session: Session;
  readonly request = Buffer.from(new ArrayBuffer(12 * 1024));
  readonly reply = Buffer.from(new ArrayBuffer(1024 * 1024 + 16));
  readonly staleAnswers: Uint32Array;
  readonly counters = new Uint32Array(COUNTER_WORDS);
  readonly staging = new Staging();
  readonly dropped: number[] = [];
  readonly logged: string[] = [];

  constructor(vfs: Vfs, options: FakeKernelOptions = {}) {
    this.staleAnswers = options.staleAnswers ?? new Uint32Array(STALE_ANSWERS_WORDS);
    this.staging.token = Buffer.from(TOKEN, 'hex');
    this.session = new Session({
      vfs,
      generations: { changed: () => false, closed: false, listed: () => undefined, sync: () => undefined },
      params: { minor: 45, flags: 0, flags2: 0, maxReadBytes: 1024 * 1024 },
      staging: this.staging,
      counters: this.counters,
      consistency: undefined,
      guard: undefined,
      dropPages: (nodeid) => this.dropped.push(nodeid),
      log: {
        malformed: (opcode, bytes, count) => this.logged.push(`malformed ${opcode} ${bytes} ${count}`),
        unknown: (opcode, count) => this.logged.push(`unknown ${opcode} ${count}`),
        bug: (description, count) => this.logged.push(`bug ${description} ${count}`),
      },
      ...options,
      policy: { cache: 'page', fastOpen: false, ...options.policy },
      request: this.request,
      reply: this.reply,
      staleAnswers: this.staleAnswers,
    });
  }

  /** The bytes as they come; `length` where it is not theirs. Undefined where there is no reply. */
  raw(bytes: Uint8Array, length = bytes.length): Buffer | undefined {
    this.request.set(bytes);
    const answered = this.session.handle(length);
    return answered === 0 ? undefined : Buffer.from(this.reply.subarray(0, answered));
  }

  /** One request that has to be answered. */
  ask(opcode: number, nodeid: number | bigint, body: Buffer = Buffer.alloc(0), caller: Caller = {}): Answer {
    const request = encodeRequest(opcode, nodeid, body, caller);
    const reply = this.raw(request);
    assert.ok(reply !== undefined, 'it is answered');
    const answer = decodeReply(reply, request.readBigUInt64LE(8));
    this.session.wipe();
    return answer;
  }

  lookup(parent: number, name: string, caller: Caller = {}): Answer {
    return this.ask(OP.LOOKUP, parent, names(name), caller);
  }

  open(nodeid: number | bigint, flags = 0, caller: Caller = {}): Answer & { fh: number; flags: number } {
    const answer = this.ask(OP.OPEN, nodeid, fields([32, flags], [32, 0]), caller);
    const opened = answer.error === 'OK';
    if (opened) assert.equal(answer.body.length, 16);
    return {
      ...answer,
      fh: opened ? Number(answer.body.readBigUInt64LE(0)) : -1,
      flags: opened ? answer.body.readUInt32LE(8) : -1,
    };
  }

  read(nodeid: number, fh: number, offset: number | bigint, size: number, opcode: number = OP.READ): Answer {
    return this.ask(opcode, nodeid, readBody(fh, offset, size));
  }

  getattr(nodeid: number | bigint, fh?: number): Answer {
    return this.ask(OP.GETATTR, nodeid, fields([32, fh === undefined ? 0 : 1], [32, 0], [64, fh ?? 0]));
  }
}

export function readBody(fh: number, offset: number | bigint, size: number): Buffer {
  return fields([64, fh], [64, offset], [32, size], [32, 0], [64, 0], [32, 0], [32, 0]);
}

export const TOKEN = '000102030405060708090a0b0c0d0eff';
/** 68 years. */
export const FOR_EVER = 0x7fffffff;
export const ALIAS_BASE = 2 ** 52;
export const STAGING = ALIAS_BASE + 1;
