/**
 * From which generation a thread gets what it opens: a process that is in the middle of opening a set of files gets all
 * of them from the generation in which it began. Such a row of opens is a pass.
 *
 * A pass begins with an open, in the live generation. It ends when a path of it is opened again after another was (the
 * second open in a row, within REPEAT_MS, is that of a key beside its certificate), after `windowMs` without an open, and
 * CAP_MS after its generation was superseded.
 *
 * A pass is its process's. But the caller is known as a thread, and whose thread it is costs more to find out than an
 * open: until there is another generation each thread has its own, and then the threads that are in one are asked for
 * (`activate`). Those of a process that have no file in common were one load, and become one; others load independently of
 * each other, and stay apart. While any is left in an old generation, a thread that has none joins the newest of its process.
 *
 * All state is in `words`, which outlives this process, and of fixed size. What does not fit displaces what was not used
 * for longest: a thread then begins anew, or a repetition is not seen. An inode is remembered by its low 32 bits.
 */

import { Callers, type ThreadGroups } from './callers.ts';
import { begin, enter, find, join, NONE, passOf } from './pass-table.ts';
import { unite } from './pass-union.ts';
import {
  ACTIVATED_MS,
  addOpened,
  FILE,
  GENERATION,
  GROUP,
  hasOpened,
  isNewer,
  LAST_INO,
  LAST_MS,
  LIVE,
  OLD,
  OPENED_AT,
  PASS_GROUP,
  PASS_WORDS,
  PASSES_AT,
  REFS,
  RUN,
  SEEN_MS,
  SUPERSEDED_MS,
  since,
  THREAD_WORDS,
  THREADS_AT,
  TIMES,
  UNIQUE,
} from './pass-words.ts';

/** Two opens of one file in a row, for certificate and key in one PEM, are about a millisecond apart. */
export const REPEAT_MS = 100;
/** A pass does not last longer than this after its generation was superseded. */
export const CAP_MS = 10_000;
/** What Standing.inoIn() answers besides an inode number. */
export const NO_SUCH_NAME = -1;
export const NO_SUCH_GENERATION = -2;

/** A path, as each generation knows it. */
export interface Standing {
  /** The inode that stands there in a generation; NO_SUCH_NAME, NO_SUCH_GENERATION. */
  inoIn(generation: number): number;
}

export interface PassesOptions {
  /** PASSES_WORDS of them: zeros, or what an earlier server left. */
  readonly words: Uint32Array;
  readonly windowMs: number;
  readonly groups: ThreadGroups;
}

/** Times are milliseconds of a clock that only goes forward, modulo 2^32. Generations are numbers above 0. */
export class Passes {
  readonly #words: Uint32Array;
  readonly #windowMs: number;
  readonly #callers: Callers;

  constructor({ words, windowMs, groups }: PassesOptions) {
    this.#words = words;
    this.#windowMs = windowMs;
    this.#callers = new Callers(words, groups);
  }

  /** To be called by who takes over: the time in which nobody served was not a pause of those who open files. */
  resume(nowMs: number): void {
    const words = this.#words;
    const absentMs = since(nowMs, words[SEEN_MS] as number);
    for (let pass = PASSES_AT; pass < OPENED_AT; pass += PASS_WORDS) {
      if (words[pass + GENERATION] !== 0)
        words[pass + LAST_MS] = (words[pass + LAST_MS] as number) + absentMs;
    }
    words[SEEN_MS] = nowMs;
  }

  /** The generation that activate() was last told of. */
  get live(): number {
    return this.#words[LIVE] as number;
  }

  /** Whether isOpen() has to be asked: without a look at the clock. */
  get hasOld(): boolean {
    return this.#words[OLD] !== 0;
  }

  /** Whether a thread may have to get what is not live. If not, generationOf() need not be asked. */
  isOpen(nowMs: number): boolean {
    return this.hasOld && this.isRecent(nowMs);
  }

  /** The last activation was no longer than CAP_MS ago. */
  isRecent(nowMs: number): boolean {
    return since(nowMs, this.#words[ACTIVATED_MS] as number) < CAP_MS;
  }

  /** From which generation this thread is to get what it opens, or looks up, by that path. `unique`: see opened(). */
  generationOf(thread: number, path: Standing, unique: number, nowMs: number): number {
    const words = this.#words;
    const live = words[LIVE] as number;
    if (thread === 0 || !this.isOpen(nowMs)) return live;
    const at = this.#callers.current(thread, nowMs);
    const group = at === NONE ? this.#callers.groupOf(thread, nowMs) : NONE;
    const pass = this.#passFor(at, group, path, unique, nowMs);
    return pass === NONE ? live : (words[pass + GENERATION] as number);
  }

  /**
   * The thread has opened `ino`, of that generation. `unique` tells one request from another: one that is handled again, by a
   * server that took over, counts once.
   */
  opened(
    thread: number,
    path: Standing,
    ino: number,
    generation: number,
    unique: number,
    nowMs: number,
  ): void {
    if (thread === 0) return;
    const words = this.#words;
    const isOpen = this.isOpen(nowMs);
    let at = isOpen ? this.#callers.current(thread, nowMs) : find(words, thread);
    if (at !== NONE && words[at + UNIQUE] === unique && passOf(words, at) !== NONE) return;
    const group = at === NONE && isOpen ? this.#callers.groupOf(thread, nowMs) : 0;
    let pass = this.#passFor(at, at === NONE ? group : NONE, path, unique, nowMs);
    if (pass !== NONE && words[pass + GENERATION] !== generation) pass = NONE;
    if (at === NONE) at = enter(words, thread, group, nowMs);
    const low = ino >>> 0;
    if (pass === NONE) pass = begin(words, at, generation);
    else if (!hasOpened(words, pass, low) || words[at + FILE] === low) join(words, at, pass);
    else {
      // The second of two in a row, by another thread. It may as well be the first of its own two: nobody joins it.
      pass = begin(words, at, generation);
      words[pass + PASS_GROUP] = 0;
    }
    words[pass + RUN] = words[pass + LAST_INO] === low ? (words[pass + RUN] as number) + 1 : 1;
    words[pass + LAST_INO] = low;
    words[pass + LAST_MS] = nowMs;
    words[SEEN_MS] = nowMs;
    addOpened(words, pass, low);
    words[at + TIMES] = words[at + FILE] === low ? (words[at + TIMES] as number) + 1 : 1;
    words[at + FILE] = low;
    words[at + UNIQUE] = unique;
  }

  /** Another generation is live. To be called before anything else is asked then; a second time does nothing. */
  activate(live: number, nowMs: number): void {
    const words = this.#words;
    const before = words[LIVE] as number;
    if (before === live) return;
    for (let pass = PASSES_AT; pass < OPENED_AT; pass += PASS_WORDS) {
      if (!this.#isInProgress(pass, nowMs)) words[pass + GENERATION] = 0;
      else if (words[pass + GENERATION] === before) words[pass + SUPERSEDED_MS] = nowMs;
    }
    for (let at = THREADS_AT; at < PASSES_AT; at += THREAD_WORDS) {
      const pass = passOf(words, at);
      if (pass === NONE || words[pass + GENERATION] === 0) continue;
      this.#callers.check(at, nowMs);
      // Else it was another's of the same number.
      if (passOf(words, at) === pass) words[pass + PASS_GROUP] = words[at + GROUP] as number;
    }
    if (before !== 0) unite(words, before);
    let old = 0;
    for (let pass = PASSES_AT; pass < OPENED_AT; pass += PASS_WORDS) {
      const generation = words[pass + GENERATION] as number;
      if (words[pass + REFS] === 0) words[pass + GENERATION] = 0;
      else if (generation !== 0 && generation !== live) old++;
    }
    words[OLD] = old;
    words[ACTIVATED_MS] = nowMs;
    // Last: a server that takes over before does it again.
    words[LIVE] = live;
  }

  /** The oldest generation, but for the live one, that some pass is in; 0 for none. To be asked for once a second at least. */
  oldest(nowMs: number): number {
    const words = this.#words;
    words[SEEN_MS] = nowMs;
    if (!this.isOpen(nowMs)) return 0;
    let oldest = 0;
    for (let pass = PASSES_AT; pass < OPENED_AT; pass += PASS_WORDS) {
      const generation = words[pass + GENERATION] as number;
      if (generation === words[LIVE] || !this.#isInProgress(pass, nowMs)) continue;
      if (oldest === 0 || generation < oldest) oldest = generation;
    }
    return oldest;
  }

  /**
   * The pass that an open of `path` belongs to, or NONE: it begins one. `at` is the thread's entry; where it has none, `group`
   * is its process, or 0 where that was not asked for.
   */
  #passFor(at: number, group: number, path: Standing, unique: number, nowMs: number): number {
    const words = this.#words;
    const own = at === NONE ? NONE : passOf(words, at);
    const process = at === NONE ? group : (words[at + GROUP] as number);
    if (own === NONE || !this.#isInProgress(own, nowMs)) {
      const newest = this.#newest(process, nowMs);
      if (newest === NONE) return NONE;
      const ino = path.inoIn(words[newest + GENERATION] as number);
      return this.#lacks(newest, ino) || this.#isSecond(newest, ino, nowMs) ? newest : NONE;
    }
    if (words[at + UNIQUE] === unique) return own;
    const ino = path.inoIn(words[own + GENERATION] as number);
    if (this.#lacks(own, ino) || this.#isItsSecond(at, own, ino, nowMs)) return own;
    const newest = this.#newest(process, nowMs);
    if (newest !== NONE && isNewer(words, newest, own)) {
      if (this.#lacks(newest, path.inoIn(words[newest + GENERATION] as number))) return newest;
    }
    return words[at + FILE] !== ino >>> 0 && this.#isSecond(own, ino, nowMs) ? own : NONE;
  }

  /** Was the file that stands at the path in the pass's generation, if one does, not opened in the pass? */
  #lacks(pass: number, ino: number): boolean {
    return ino === NO_SUCH_NAME || (ino >= 0 && !hasOpened(this.#words, pass, ino >>> 0));
  }

  /** Would it be the second time in a row? */
  #isSecond(pass: number, ino: number, nowMs: number): boolean {
    const words = this.#words;
    if (ino < 0 || words[pass + LAST_INO] !== ino >>> 0 || words[pass + RUN] !== 1) return false;
    return since(nowMs, words[pass + LAST_MS] as number) < REPEAT_MS;
  }

  /** Would it be the thread's own second time in a row, whatever others opened in the pass meanwhile? */
  #isItsSecond(at: number, pass: number, ino: number, nowMs: number): boolean {
    const words = this.#words;
    if (ino < 0 || words[at + FILE] !== ino >>> 0 || words[at + TIMES] !== 1) return false;
    return since(nowMs, words[pass + LAST_MS] as number) < REPEAT_MS;
  }

  /** Of a process, the pass that began last. Only asked while there is one that is old. */
  #newest(group: number, nowMs: number): number {
    const words = this.#words;
    if (group <= 0 || !this.isOpen(nowMs)) return NONE;
    let newest = NONE;
    for (let pass = PASSES_AT; pass < OPENED_AT; pass += PASS_WORDS) {
      if (words[pass + PASS_GROUP] !== group || !this.#isInProgress(pass, nowMs)) continue;
      if (newest === NONE || isNewer(words, pass, newest)) newest = pass;
    }
    return newest;
  }

  #isInProgress(pass: number, nowMs: number): boolean {
    const words = this.#words;
    const generation = words[pass + GENERATION] as number;
    if (generation === 0 || since(nowMs, words[pass + LAST_MS] as number) >= this.#windowMs) return false;
    return generation === words[LIVE] || since(nowMs, words[pass + SUPERSEDED_MS] as number) < CAP_MS;
  }
}
