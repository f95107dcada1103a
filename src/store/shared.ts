/**
 * The two pages that the supervisor and the server share: `control`, written by the supervisor, and `status`, written
 * by the server. u32 words, little-endian as every machine that Node runs on; both files are mapped by the server, so
 * a word is read and written whole.
 *
 * A server may be older or newer than its supervisor (upgrade): words are added, never moved. Other words are zero.
 */

/** Of either file. */
export const SHARED_BYTES = 4096;

/** Of `passes`: who opens what from which generation (vfs/consistency.ts), with room for more. */
export const PASSES_BYTES = 512 * 1024;

/**
 * Of `request`: the buffer that the server reads requests into, so that what it took is on record, then a page of what a
 * server that takes over has to know (fuse/kernel/stale-answers.ts). The kernel wants 8 KiB of a reader at the least.
 */
export const REQUEST_BYTES = 16 * 1024;
export const READ_BUFFER_BYTES = 12 * 1024;

export const CONTROL_MAGIC = 0x43534653; // "SFSC"
export const CONTROL_VERSION = 1;
/** Indexes of words in `control`. */
export const CONTROL = {
  magic: 0,
  version: 1,
  /** Changes with every write, and last. The server compares it at each request. */
  sequence: 2,
  live: 3,
  /** 0 for none, as everywhere. */
  candidate: 4,
  /** 1: answer what was taken, then exit 0. */
  handOver: 5,
  lingeringCount: 6,
  /** Newest last. */
  lingering: 7,
  fuseMinor: 80,
  flags: 81,
  flags2: 82,
  maxReadBytes: 83,
  cachePolicy: 84,
  fastOpen: 85,
  resend: 86,
  /** Changes first: while it differs from `sequence`, the words are being written. */
  sequenceBegun: 87,
  /** 1: nothing is served any more, whoever still holds the mount. */
  closed: 88,
  /** 1: modes and owners are what the bundle says. Else everything is root's alone, or the image is refused. */
  preserve: 89,
  token: 90,
  /** How long a pass goes on without an open; 0: every open is of what is live. */
  consistencyWindowMs: 94,
} as const;
export const CONTROL_LINGERING_MAX = 64;
export const TOKEN_BYTES = 16;
const CONTROL_WORDS = CONTROL.consistencyWindowMs + 1;

export const STATUS_MAGIC = 0x53534653; // "SFSS"
export const STATUS_VERSION = 1;
/** Indexes of words in `status`. */
export const STATUS = {
  magic: 0,
  version: 1,
  pid: 2,
  /** The control sequence that the server goes by. */
  sequence: 3,
  candidateLoaded: 4,
  candidateRefused: 5,
  refusedWhy: 6,
  requestsLow: 7,
  requestsHigh: 8,
  unknownRequests: 9,
  opens: 10,
  reads: 11,
  lookups: 12,
  /** Of the generations that are not live, the oldest that somebody is in the middle of opening files from; 0 for none. */
  oldestPass: 13,
  /** What was live when that was counted. */
  passesLive: 14,
  opensHigh: 15,
  readsHigh: 16,
  lookupsHigh: 17,
} as const;
/** Of `status`, from this byte on: 64-bit cells of fuse/kernel/latencies.ts, up to the end of the page. */
export const LATENCIES_AT = 1024;

const CACHE_POLICIES = ['page', 'none'] as const;
export type CachePolicy = (typeof CACHE_POLICIES)[number];
/** Word STATUS.refusedWhy is the place in this list. */
const REFUSALS = [undefined, 'version', 'invalid', 'unreadable'] as const;
export type Refusal = Exclude<(typeof REFUSALS)[number], undefined>;

export interface Control {
  readonly live: number;
  readonly candidate: number;
  readonly handOver: boolean;
  readonly closed: boolean;
  readonly preserve: boolean;
  readonly lingering: readonly number[];
  /** As negotiated in INIT. */
  readonly fuseMinor: number;
  readonly flags: number;
  readonly flags2: number;
  readonly maxReadBytes: number;
  readonly cachePolicy: CachePolicy;
  readonly fastOpen: boolean;
  readonly resend: boolean;
  readonly consistencyWindowMs: number;
  /** Names the staging directory. */
  readonly token: Uint8Array;
}

export interface Status {
  readonly pid: number;
  readonly sequence: number;
  readonly candidateLoaded: number;
  readonly candidateRefused: number;
  readonly refusedWhy: Refusal | undefined;
  readonly requests: number;
  readonly unknownRequests: number;
  readonly opens: number;
  readonly reads: number;
  readonly lookups: number;
  readonly oldestPass: number;
  readonly passesLive: number;
  /** A copy; see LATENCIES_AT. */
  readonly latencies: Float64Array;
}

/** All words of `control`. Throws RangeError for what has no place in them: a bug. */
export function encodeControl(control: Control, sequence: number): Uint32Array {
  const { lingering, token } = control;
  if (lingering.length > CONTROL_LINGERING_MAX) throw new RangeError('too many lingering generations');
  if (token.length !== TOKEN_BYTES) throw new RangeError('the token has the wrong length');
  const words = new Uint32Array(CONTROL_WORDS);
  words[CONTROL.magic] = CONTROL_MAGIC;
  words[CONTROL.version] = CONTROL_VERSION;
  words[CONTROL.sequence] = sequence;
  words[CONTROL.live] = control.live;
  words[CONTROL.candidate] = control.candidate;
  words[CONTROL.handOver] = Number(control.handOver);
  words[CONTROL.closed] = Number(control.closed);
  words[CONTROL.preserve] = Number(control.preserve);
  words[CONTROL.lingeringCount] = lingering.length;
  words.set(lingering, CONTROL.lingering);
  words[CONTROL.fuseMinor] = control.fuseMinor;
  words[CONTROL.flags] = control.flags;
  words[CONTROL.flags2] = control.flags2;
  words[CONTROL.maxReadBytes] = control.maxReadBytes;
  words[CONTROL.cachePolicy] = CACHE_POLICIES.indexOf(control.cachePolicy);
  words[CONTROL.fastOpen] = Number(control.fastOpen);
  words[CONTROL.resend] = Number(control.resend);
  words[CONTROL.consistencyWindowMs] = control.consistencyWindowMs;
  words[CONTROL.sequenceBegun] = sequence;
  new Uint8Array(words.buffer).set(token, CONTROL.token * 4);
  return words;
}

/**
 * What stands in the mapped words, with its sequence. Undefined while it is being written, and where it is not for
 * this version: the caller goes on with what it has, and asks again at its next request.
 */
export function decodeControl(words: Uint32Array): (Control & { readonly sequence: number }) | undefined {
  if (word(words, CONTROL.magic) !== CONTROL_MAGIC) return undefined;
  if (word(words, CONTROL.version) !== CONTROL_VERSION) return undefined;
  const sequence = Atomics.load(words, CONTROL.sequence);
  const copy = words.slice(0, CONTROL_WORDS);
  // A writer changes this one first: had it begun while we copied, it would differ by now.
  if (Atomics.load(words, CONTROL.sequenceBegun) !== sequence) return undefined;
  const count = word(copy, CONTROL.lingeringCount);
  const cachePolicy = CACHE_POLICIES[word(copy, CONTROL.cachePolicy)];
  if (count > CONTROL_LINGERING_MAX || cachePolicy === undefined) return undefined;
  return {
    sequence,
    live: word(copy, CONTROL.live),
    candidate: word(copy, CONTROL.candidate),
    handOver: word(copy, CONTROL.handOver) !== 0,
    closed: word(copy, CONTROL.closed) !== 0,
    preserve: word(copy, CONTROL.preserve) !== 0,
    lingering: [...copy.subarray(CONTROL.lingering, CONTROL.lingering + count)],
    fuseMinor: word(copy, CONTROL.fuseMinor),
    flags: word(copy, CONTROL.flags),
    flags2: word(copy, CONTROL.flags2),
    maxReadBytes: word(copy, CONTROL.maxReadBytes),
    cachePolicy,
    fastOpen: word(copy, CONTROL.fastOpen) !== 0,
    resend: word(copy, CONTROL.resend) !== 0,
    consistencyWindowMs: word(copy, CONTROL.consistencyWindowMs),
    token: new Uint8Array(copy.buffer, CONTROL.token * 4, TOKEN_BYTES),
  };
}

/** Undefined before a server has written it. Its counters are as foreign as the server: only numbers come out. */
export function decodeStatus(bytes: Uint8Array): Status | undefined {
  if (bytes.length < SHARED_BYTES) return undefined;
  const copy = Uint8Array.from(bytes).buffer;
  const words = new Uint32Array(copy);
  if (word(words, STATUS.magic) !== STATUS_MAGIC || word(words, STATUS.version) !== STATUS_VERSION) {
    return undefined;
  }
  return {
    pid: word(words, STATUS.pid),
    sequence: word(words, STATUS.sequence),
    candidateLoaded: word(words, STATUS.candidateLoaded),
    candidateRefused: word(words, STATUS.candidateRefused),
    refusedWhy: REFUSALS[word(words, STATUS.refusedWhy)],
    requests: word(words, STATUS.requestsLow) + word(words, STATUS.requestsHigh) * 2 ** 32,
    unknownRequests: word(words, STATUS.unknownRequests),
    opens: word(words, STATUS.opens) + word(words, STATUS.opensHigh) * 2 ** 32,
    reads: word(words, STATUS.reads) + word(words, STATUS.readsHigh) * 2 ** 32,
    lookups: word(words, STATUS.lookups) + word(words, STATUS.lookupsHigh) * 2 ** 32,
    oldestPass: word(words, STATUS.oldestPass),
    passesLive: word(words, STATUS.passesLive),
    latencies: new Float64Array(copy, LATENCIES_AT),
  };
}

/** For the server, which writes the word into its mapping. */
export function refusalWord(refusal: Refusal): number {
  return REFUSALS.indexOf(refusal);
}

function word(words: Uint32Array, index: number): number {
  return words[index] ?? 0;
}
