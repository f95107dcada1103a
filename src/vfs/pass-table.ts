/**
 * Which thread is in which pass, in the words of pass-words.ts. A thread has an entry, and is in one pass at the most; a pass lasts
 * as long as a thread is in it, or longer than anybody asks (consistency.ts).
 */
import {
  ACTIVATED_MS,
  BORN,
  CHECKED_MS,
  FILE,
  GENERATION,
  GROUP,
  LAST_BORN,
  LAST_INO,
  LAST_MS,
  LIVE,
  OLD,
  OPENED_AT,
  PASS,
  PASS_GROUP,
  PASS_WORDS,
  PASSES_AT,
  REFS,
  RUN,
  STARTED_MS,
  SUPERSEDED_MS,
  since,
  THREAD,
  THREAD_WAYS,
  THREAD_WORDS,
  THREADS,
  THREADS_AT,
  threadSet,
  UNIQUE,
} from './pass-words.ts';

/** No entry, no pass: everything else is an index into the words. */
export const NONE = -1;

/** The entry of a thread, or NONE. */
export function find(words: Uint32Array, thread: number): number {
  const from = threadSet(thread);
  for (let at = from; at < from + THREAD_WAYS * THREAD_WORDS; at += THREAD_WORDS) {
    if (words[at + THREAD] === thread) return at;
  }
  return NONE;
}

/** A new entry, in the place of what was not used for longest. `group` 0: it was not asked for. */
export function enter(words: Uint32Array, thread: number, group: number, nowMs: number): number {
  const from = threadSet(thread);
  let place = from;
  let longest = -1;
  for (let at = from; at < from + THREAD_WAYS * THREAD_WORDS; at += THREAD_WORDS) {
    const pass = passOf(words, at);
    const idle = pass === NONE ? Number.POSITIVE_INFINITY : since(nowMs, words[pass + LAST_MS] as number);
    if (idle <= longest) continue;
    longest = idle;
    place = at;
  }
  leave(words, place);
  words[place + THREAD] = thread;
  words[place + GROUP] = group;
  words[place + UNIQUE] = 0;
  words[place + STARTED_MS] = nowMs;
  words[place + CHECKED_MS] = nowMs;
  return place;
}

/** The pass that a thread is in, by its entry, or NONE. */
export function passOf(words: Uint32Array, at: number): number {
  const place = words[at + PASS] as number;
  return place === 0 || place > THREADS ? NONE : PASSES_AT + (place - 1) * PASS_WORDS;
}

/** The thread is in no pass any more. One that nobody is in has ended. */
export function leave(words: Uint32Array, at: number): void {
  const pass = passOf(words, at);
  words[at + PASS] = 0;
  if (pass === NONE) return;
  words[pass + REFS] = (words[pass + REFS] as number) - 1;
  if (words[pass + REFS] === 0) end(words, pass);
}

function end(words: Uint32Array, pass: number): void {
  const generation = words[pass + GENERATION] as number;
  if (generation !== 0 && generation !== words[LIVE] && words[OLD] !== 0)
    words[OLD] = (words[OLD] as number) - 1;
  words[pass + GENERATION] = 0;
}

/** The thread goes on in that pass. */
export function join(words: Uint32Array, at: number, pass: number): void {
  if (passOf(words, at) === pass) return;
  leave(words, at);
  words[at + FILE] = 0;
  words[at + PASS] = (pass - PASSES_AT) / PASS_WORDS + 1;
  words[pass + REFS] = (words[pass + REFS] as number) + 1;
}

/** A pass of its own for this thread. There is a place: there are as many as threads, and this one is in none. */
export function begin(words: Uint32Array, at: number, generation: number): number {
  leave(words, at);
  let pass = PASSES_AT + ((at - THREADS_AT) / THREAD_WORDS) * PASS_WORDS;
  for (let tried = 0; words[pass + REFS] !== 0 && tried < THREADS; tried++) {
    pass += PASS_WORDS;
    if (pass === OPENED_AT) pass = PASSES_AT;
  }
  const born = ((words[LAST_BORN] as number) + 1) >>> 0;
  words[LAST_BORN] = born;
  words[pass + BORN] = born;
  words[pass + PASS_GROUP] = words[at + GROUP] as number;
  words[pass + RUN] = 0;
  words[pass + LAST_INO] = 0;
  words[pass + REFS] = 0;
  words[pass + SUPERSEDED_MS] = words[ACTIVATED_MS] as number;
  words[pass + GENERATION] = generation;
  if (generation !== words[LIVE]) words[OLD] = (words[OLD] as number) + 1;
  join(words, at, pass);
  return pass;
}
