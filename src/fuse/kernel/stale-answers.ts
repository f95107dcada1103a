/**
 * Who was just told ESTALE for which inode.
 *
 * An open of an inode that is not live any more is answered ESTALE: the VFS then walks the path again, asking for every
 * name (LOOKUP), and finds the live inode. Where there is no path to walk (a single file that is bind-mounted,
 * /proc/self/fd/N) it opens the same inode a second time, and that has to succeed. So has the open after the walk, also
 * where the next generation was faster still: it gets what was live when it walked.
 *
 * A table of fixed size in memory that the caller gives: in the store, so that a server that takes over between the two
 * opens still knows. One entry too many displaces the oldest, whose thread then sees an error: it takes as many
 * threads between their two opens at once.
 */

export const STALE_ANSWERS = 128;

const THREAD = 0;
const UNIQUE = 1;
const STATE = 2;
const NODEID = 3;
const ENTRY_WORDS = 5;
/** The word before the entries: where the next one goes. */
const NEXT = 0;
const ENTRIES = 1;
export const STALE_ANSWERS_WORDS = ENTRIES + STALE_ANSWERS * ENTRY_WORDS;

/** What stands in STATE: what the thread was told last, or that it has walked since. */
const TOLD_STALE = 0;
const TOLD_LIVE = 1;
const HAS_WALKED = 2;
const TOLD_OWN = 3;

/** How an open of a superseded inode is to be answered: ESTALE, with what stands there now, with its own content. */
export const ANSWER = { stale: TOLD_STALE, live: TOLD_LIVE, own: TOLD_OWN } as const;
export type Answer = (typeof ANSWER)[keyof typeof ANSWER];

const TWO_TO_32 = 0x1_0000_0000;

export class StaleAnswers {
  readonly #words: Uint32Array;
  /** No entry is in use: nothing to look for. */
  #empty: boolean;

  /** Zeros, or what an earlier server left. */
  constructor(words: Uint32Array) {
    this.#words = words;
    this.#empty = !words.subarray(ENTRIES).some((word) => word !== 0);
  }

  /**
   * An open of a superseded inode. `unique` is the request's: one that is handled again, by a server that took over, is
   * answered as it was.
   */
  answer(thread: number, nodeid: number, unique: number): Answer {
    const words = this.#words;
    for (let at = ENTRIES; at < STALE_ANSWERS_WORDS; at += ENTRY_WORDS) {
      if (words[at + THREAD] !== thread || !this.#isInUse(at)) continue;
      const isFor = this.#isFor(at, nodeid);
      // Thread 0 is many threads. Theirs stays: each of them is served the second time, whoever came between.
      if (thread === 0) {
        if (isFor) return words[at + UNIQUE] === unique ? ANSWER.stale : ANSWER.live;
        continue;
      }
      const state = words[at + STATE] as number;
      const next = state === HAS_WALKED ? TOLD_OWN : state === TOLD_STALE && isFor ? TOLD_LIVE : TOLD_STALE;
      if (words[at + UNIQUE] !== unique) this.#put(at, thread, nodeid, unique, next);
      return words[at + STATE] as Answer;
    }
    const free = (words[NEXT] as number) % STALE_ANSWERS;
    words[NEXT] = free + 1;
    this.#put(ENTRIES + free * ENTRY_WORDS, thread, nodeid, unique, TOLD_STALE);
    this.#empty = false;
    return ANSWER.stale;
  }

  /** A name was looked up for this thread: it has a path to walk. */
  lookedUp(thread: number): void {
    if (this.#empty || thread === 0) return;
    this.#visit(thread, true);
  }

  /** The thread has opened what it walked to, or there was nothing: it is through. */
  opened(thread: number): void {
    if (this.#empty || thread === 0) return;
    this.#visit(thread, false);
  }

  #visit(thread: number, walks: boolean): void {
    const words = this.#words;
    let empty = true;
    for (let at = ENTRIES; at < STALE_ANSWERS_WORDS; at += ENTRY_WORDS) {
      if (!this.#isInUse(at)) continue;
      const state = words[at + STATE] as number;
      if (words[at + THREAD] !== thread) empty = false;
      else if (walks && (state === TOLD_STALE || state === HAS_WALKED)) {
        words[at + STATE] = HAS_WALKED;
        empty = false;
      } else this.#clear(at);
    }
    this.#empty = empty;
  }

  #put(at: number, thread: number, nodeid: number, unique: number, state: number): void {
    const words = this.#words;
    words[at + THREAD] = thread;
    words[at + UNIQUE] = unique;
    words[at + STATE] = state;
    words[at + NODEID] = nodeid;
    words[at + NODEID + 1] = Math.floor(nodeid / TWO_TO_32);
  }

  #isInUse(at: number): boolean {
    return this.#words[at + NODEID] !== 0 || this.#words[at + NODEID + 1] !== 0;
  }

  #isFor(at: number, nodeid: number): boolean {
    return (
      (this.#words[at + NODEID] as number) + (this.#words[at + NODEID + 1] as number) * TWO_TO_32 === nodeid
    );
  }

  #clear(at: number): void {
    this.#words.fill(0, at, at + ENTRY_WORDS);
  }
}
