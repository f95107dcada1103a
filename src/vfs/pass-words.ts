/**
 * Where Passes (consistency.ts) remembers what: threads, passes and the files that were opened in them, in words that outlive this
 * process. A thread's place follows from its number, that of a file from pass and number: a few places each, of which the one
 * that matters least is displaced. All zeros is nothing.
 */

export const THREADS = 1024;
export const THREAD_WAYS = 8;
export const OPENED = 16_384;
export const OPENED_WAYS = 4;
export const OPENED_SETS = OPENED / OPENED_WAYS;

export const LIVE = 0;
export const ACTIVATED_MS = 1;
/** Passes in a generation that is not live. */
export const OLD = 2;
/** Counts passes: the larger, the newer. */
export const LAST_BORN = 3;
/** When somebody last served. */
export const SEEN_MS = 4;
export const HEADER_WORDS = 16;

/**
 * Of a thread. `PASS` is a place among the passes, plus 1; `UNIQUE` that of the request that came last; `FILE` what it opened in
 * its pass last, `TIMES` how often in a row.
 */
export const THREAD = 0;
export const GROUP = 1;
export const STARTED_MS = 2;
export const PASS = 3;
export const UNIQUE = 4;
export const CHECKED_MS = 5;
export const FILE = 6;
export const TIMES = 7;
export const THREAD_WORDS = 8;

/** Of a pass. `GENERATION` 0: it has ended. `REFS`: threads that are in it. `RUN`: how often the last file was opened in a row. */
export const BORN = 0;
export const GENERATION = 1;
export const PASS_GROUP = 2;
export const LAST_MS = 3;
export const LAST_INO = 4;
export const RUN = 5;
export const REFS = 6;
export const SUPERSEDED_MS = 7;
export const PASS_WORDS = 8;

/** That a file was opened in a pass. */
export const OPENED_PASS = 0;
export const OPENED_BORN = 1;
export const OPENED_INO = 2;
export const OPENED_WORDS = 3;

export const THREADS_AT = HEADER_WORDS;
export const PASSES_AT = THREADS_AT + THREADS * THREAD_WORDS;
export const OPENED_AT = PASSES_AT + THREADS * PASS_WORDS;
export const PASSES_WORDS = OPENED_AT + OPENED * OPENED_WORDS;

/** What is less than a second in the future. */
const BEHIND_MS = 2 ** 32 - 1000;

/** Was the file opened in the pass? */
export function hasOpened(words: Uint32Array, pass: number, ino: number): boolean {
  const from = openedSet(pass, ino);
  for (let at = from; at < from + OPENED_WAYS * OPENED_WORDS; at += OPENED_WORDS) {
    if (
      words[at + OPENED_INO] === ino &&
      words[at + OPENED_PASS] === pass &&
      words[at + OPENED_BORN] === words[pass + BORN]
    )
      return true;
  }
  return false;
}

/** Adds it: in the place of the same of an earlier pass there, of what is over, or of the oldest. */
export function addOpened(words: Uint32Array, pass: number, ino: number): void {
  const from = openedSet(pass, ino);
  let place = from;
  let isFree = false;
  for (let at = from; at < from + OPENED_WAYS * OPENED_WORDS; at += OPENED_WORDS) {
    const other = words[at + OPENED_PASS] as number;
    if (other === pass && words[at + OPENED_INO] === ino) {
      words[at + OPENED_BORN] = words[pass + BORN] as number;
      return;
    }
    if (isFree) continue;
    isFree = other === 0 || !isOpened(words, at);
    if (isFree || ageOf(words, at) > ageOf(words, place)) place = at;
  }
  words[place + OPENED_BORN] = 0;
  words[place + OPENED_PASS] = pass;
  words[place + OPENED_INO] = ino;
  words[place + OPENED_BORN] = words[pass + BORN] as number;
}

/** Whether an entry is of a pass that goes on. */
export function isOpened(words: Uint32Array, at: number): boolean {
  const pass = words[at + OPENED_PASS] as number;
  if (pass < PASSES_AT || pass >= OPENED_AT) return false;
  return words[pass + GENERATION] !== 0 && words[pass + BORN] === words[at + OPENED_BORN];
}

/** A server that takes over may be a moment behind. */
export function since(nowMs: number, thenMs: number): number {
  const ms = (nowMs - thenMs) >>> 0;
  return ms > BEHIND_MS ? 0 : ms;
}

export function isLater(aMs: number, bMs: number): boolean {
  return ((aMs - bMs) | 0) > 0;
}

export function isNewer(words: Uint32Array, pass: number, other: number): boolean {
  return (((words[pass + BORN] as number) - (words[other + BORN] as number)) | 0) > 0;
}

/** How many passes began since. */
export function ageOf(words: Uint32Array, at: number): number {
  return ((words[LAST_BORN] as number) - (words[at + OPENED_BORN] as number)) >>> 0;
}

/** Threads that start one after the other stand in different sets. */
export function threadSet(thread: number): number {
  return THREADS_AT + (thread % (THREADS / THREAD_WAYS)) * THREAD_WAYS * THREAD_WORDS;
}

export function openedSet(pass: number, ino: number): number {
  const hash = (Math.imul(ino, 0x9e37_79b1) ^ Math.imul(pass, 0x85eb_ca6b)) >>> 0;
  return OPENED_AT + (hash % OPENED_SETS) * OPENED_WAYS * OPENED_WORDS;
}
