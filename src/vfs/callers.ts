/**
 * Whose a thread is that opens files: of the words of pass-words.ts, those that say it. It costs more to find out than an open,
 * so it is remembered, and asked again where the number may be another thread's by now.
 */
import { find, leave, NONE, passOf } from './pass-table.ts';
import { CHECKED_MS, GROUP, isLater, LAST_MS, STARTED_MS, since, THREAD } from './pass-words.ts';

/** After that a thread may be another one of the same number. Numbers go round in seconds at the fastest. */
const RECHECK_MS = 100;
/** Start times are whole hundredths of a second, rounded down, of a clock that is read a moment later. */
const START_MS = 20;

/** Whose a thread is. */
export interface ThreadGroups {
  /** Looks it up; false where that is not to be seen. The other two are of what was found last. */
  find(thread: number): boolean;
  /** Its process, by the number of the first thread. */
  readonly group: number;
  /** When the process started, as the times of Passes. */
  readonly startedMs: number;
}

/** Times as those of Passes. */
export class Callers {
  readonly #words: Uint32Array;
  readonly #groups: ThreadGroups;
  /** Of a thread that has no entry, and was asked for last. */
  #asked = 0;
  #askedGroup = 0;
  #askedMs = 0;

  constructor(words: Uint32Array, groups: ThreadGroups) {
    this.#words = words;
    this.#groups = groups;
  }

  /** The thread's entry, if it is of this thread and not of an earlier one with its number; or NONE. */
  current(thread: number, nowMs: number): number {
    const words = this.#words;
    const at = find(words, thread);
    if (at === NONE) return NONE;
    if (words[at + GROUP] === 0 || since(nowMs, words[at + CHECKED_MS] as number) >= RECHECK_MS)
      this.check(at, nowMs);
    return at;
  }

  /** Asks whose the thread is now; what another thread of its number did is forgotten. */
  check(at: number, nowMs: number): void {
    const words = this.#words;
    const groups = this.#groups;
    const known = words[at + GROUP] as number;
    const pass = passOf(words, at);
    words[at + CHECKED_MS] = nowMs;
    if (!groups.find(words[at + THREAD] as number)) {
      // Gone, or hidden from us: then each thread is for itself.
      if (known === 0) words[at + GROUP] = words[at + THREAD] as number;
      return;
    }
    const isSame =
      known === 0
        ? pass === NONE || !isLater(groups.startedMs, (words[pass + LAST_MS] as number) + START_MS)
        : known === groups.group && !isLater(groups.startedMs, (words[at + STARTED_MS] as number) + START_MS);
    if (!isSame) leave(words, at);
    words[at + GROUP] = groups.group;
    words[at + STARTED_MS] = groups.startedMs;
  }

  /** The process of a thread without an entry. Remembered for a moment: a path has many names. */
  groupOf(thread: number, nowMs: number): number {
    if (thread === this.#asked && since(nowMs, this.#askedMs) < RECHECK_MS) return this.#askedGroup;
    this.#asked = thread;
    this.#askedMs = nowMs;
    this.#askedGroup = this.#groups.find(thread) ? this.#groups.group : thread;
    return this.#askedGroup;
  }
}
