/**
 * INIT: the first request of a connection, answered once, before anybody may serve it. Whoever answers it hands what
 * was agreed to every server of the connection, the first and those that take over.
 */
import {
  IN_HEADER,
  INIT_FLAG,
  INIT_FLAG2,
  INIT_IN,
  INIT_IN_WORDS_MIN,
  INIT_OUT,
  OPCODE,
  OUT_HEADER,
  OUT_HEADER_BYTES,
  PROTOCOL_MAJOR,
  PROTOCOL_MINOR_MAX,
  PROTOCOL_MINOR_MIN,
  WORD_BYTES,
} from './protocol.ts';

/** What kernel and server agreed on. */
export interface Params {
  readonly minor: number;
  readonly flags: number;
  readonly flags2: number;
  /** The most that one READ or READDIR asks for. The mount option max_read must say the same. */
  readonly maxReadBytes: number;
}

export interface NegotiateOptions {
  /** Ask for requests to be sent again when told so. Only where the kernel can (6.9). */
  readonly resend: boolean;
  /** Of the kernel: 4 KiB unless it says otherwise. */
  readonly pageBytes?: number;
}

/**
 * `accepted`: write `reply`, then serve. `again`: write `reply` and read the next INIT (the kernel speaks a later major
 * version and will fall back). `refused`: write `reply`, if there is one, and give up; `reason` says why.
 */
export type Negotiation =
  | { readonly kind: 'accepted'; readonly reply: Buffer; readonly params: Params }
  | { readonly kind: 'again'; readonly reply: Buffer }
  | { readonly kind: 'refused'; readonly reply: Buffer | undefined; readonly reason: string };

/** One READ may ask for this much: 256 pages of 4 KiB, what FUSE_MAX_MAX_PAGES allows since Linux 4.20. */
export const MAX_READ_BYTES = 1024 * 1024;
/** What one server has locked: an answer to that. */
export const REPLY_BYTES_MAX = OUT_HEADER_BYTES + MAX_READ_BYTES;
/** Nothing is ever written: the least that the kernel takes, so that 16 KiB are enough to read any request. */
const MAX_WRITE_BYTES = 4096;
const PAGE_BYTES = 4096;
const TIME_GRANULARITY_NANOSECONDS = 1_000_000_000;
const EPROTO = 71;

/**
 * Not asked for: AUTO_INVAL_DATA and EXPLICIT_INVAL_DATA (an inode's content never changes), WRITEBACK_CACHE,
 * POSIX_LOCKS and FLOCK_LOCKS (locks stay local), ALLOW_IDMAP (the teller is told apart by its real uid).
 */
const WANTED =
  INIT_FLAG.ASYNC_READ |
  INIT_FLAG.EXPORT_SUPPORT |
  INIT_FLAG.DO_READDIRPLUS |
  INIT_FLAG.READDIRPLUS_AUTO |
  INIT_FLAG.PARALLEL_DIROPS |
  INIT_FLAG.MAX_PAGES |
  INIT_FLAG.CACHE_SYMLINKS;

/** `request`: the bytes that one read of /dev/fuse gave. */
export function negotiate(request: Uint8Array, options: NegotiateOptions): Negotiation {
  const words = new Uint32Array(Math.floor(request.length / WORD_BYTES));
  new Uint8Array(words.buffer).set(request.subarray(0, words.length * WORD_BYTES));
  if (request.length < (IN_HEADER.words + INIT_IN_WORDS_MIN) * WORD_BYTES)
    return refused(undefined, `the first request has ${request.length} bytes`);
  const opcode = at(words, IN_HEADER.opcode);
  if (opcode !== OPCODE.INIT || at(words, IN_HEADER.len) !== request.length)
    return refused(undefined, `the first request has opcode ${opcode}`);

  const body = IN_HEADER.words;
  const major = at(words, body + INIT_IN.major);
  const minor = at(words, body + INIT_IN.minor);
  if (major > PROTOCOL_MAJOR) return { kind: 'again', reply: initReply(words, PROTOCOL_MINOR_MAX) };
  if (major < PROTOCOL_MAJOR || minor < PROTOCOL_MINOR_MIN) {
    const versions = `${PROTOCOL_MAJOR}.${PROTOCOL_MINOR_MIN} of Linux 5.4`;
    return refused(errorReply(words, EPROTO), `it speaks FUSE ${major}.${minor}, want ${versions}`);
  }

  const offered = at(words, body + INIT_IN.flags);
  const extended = (offered & INIT_FLAG.INIT_EXT) !== 0 && words.length > body + INIT_IN.flags2;
  const offered2 = extended ? at(words, body + INIT_IN.flags2) : 0;
  const flags2 = options.resend ? offered2 & INIT_FLAG2.HAS_RESEND : 0;
  const flags = ((offered & WANTED) | (flags2 === 0 ? 0 : INIT_FLAG.INIT_EXT)) >>> 0;
  const agreed = Math.min(minor, PROTOCOL_MINOR_MAX);
  const pages = Math.max(1, Math.floor(MAX_READ_BYTES / (options.pageBytes ?? PAGE_BYTES)));

  const reply = initReply(words, agreed, (out, base) => {
    out[base + INIT_OUT.maxReadahead] = Math.min(at(words, body + INIT_IN.maxReadahead), MAX_READ_BYTES);
    out[base + INIT_OUT.flags] = flags;
    out[base + INIT_OUT.maxWrite] = MAX_WRITE_BYTES;
    out[base + INIT_OUT.timeGranularity] = TIME_GRANULARITY_NANOSECONDS;
    out[base + INIT_OUT.maxPages] = pages;
    out[base + INIT_OUT.flags2] = flags2;
  });
  return { kind: 'accepted', reply, params: { minor: agreed, flags, flags2, maxReadBytes: MAX_READ_BYTES } };
}

/** True when a server that takes over may ask for all unanswered requests again. */
export function canResend(params: Params): boolean {
  return (params.flags & INIT_FLAG.INIT_EXT) !== 0 && (params.flags2 & INIT_FLAG2.HAS_RESEND) !== 0;
}

function refused(reply: Buffer | undefined, reason: string): Negotiation {
  return { kind: 'refused', reply, reason };
}

function initReply(
  request: Uint32Array,
  minor: number,
  fill: (out: Uint32Array, base: number) => void = () => {},
): Buffer {
  const out = new Uint32Array(OUT_HEADER.words + INIT_OUT.words);
  header(out, request, 0);
  out[OUT_HEADER.words + INIT_OUT.major] = PROTOCOL_MAJOR;
  out[OUT_HEADER.words + INIT_OUT.minor] = minor;
  fill(out, OUT_HEADER.words);
  return Buffer.from(out.buffer);
}

function errorReply(request: Uint32Array, errno: number): Buffer {
  const out = new Uint32Array(OUT_HEADER.words);
  header(out, request, errno);
  return Buffer.from(out.buffer);
}

function header(out: Uint32Array, request: Uint32Array, errno: number): void {
  out[OUT_HEADER.len] = out.byteLength;
  out[OUT_HEADER.error] = -errno;
  out[OUT_HEADER.unique] = at(request, IN_HEADER.unique);
  out[OUT_HEADER.unique + 1] = at(request, IN_HEADER.unique + 1);
}

function at(words: Uint32Array, index: number): number {
  return words[index] ?? 0;
}
