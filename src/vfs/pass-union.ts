/** Threads of one process that opened files of one set together, before it was known whose threads they are. */
import { join, passOf } from './pass-table.ts';
import {
  addOpened,
  GENERATION,
  hasOpened,
  isLater,
  isNewer,
  isOpened,
  LAST_INO,
  LAST_MS,
  OPENED_AT,
  OPENED_INO,
  OPENED_PASS,
  OPENED_WORDS,
  PASS_GROUP,
  PASS_WORDS,
  PASSES_AT,
  PASSES_WORDS,
  REFS,
  RUN,
  THREAD_WORDS,
  THREADS_AT,
} from './pass-words.ts';

interface Union {
  readonly pass: number;
  readonly into: number;
  /** What was opened in `pass`. */
  readonly inos: readonly number[];
}

/**
 * Makes passes of one generation one: those of a process that have no file in common, each with the oldest that it can. It
 * allocates: only for an activation.
 */
export function unite(words: Uint32Array, generation: number): void {
  for (const union of unions(words, generation)) merge(words, union);
}

/** What is yielded is merged before the next is asked for. */
function* unions(words: Uint32Array, generation: number): Iterable<Union> {
  const files = new Map<number, number[]>();
  const processes = new Map<number, number[]>();
  for (let pass = PASSES_AT; pass < OPENED_AT; pass += PASS_WORDS) {
    const group = words[pass + PASS_GROUP] as number;
    if (words[pass + GENERATION] !== generation || generation === 0 || words[pass + REFS] === 0) continue;
    processes.set(group, [...(processes.get(group) ?? []), pass]);
  }
  for (const [group, passes] of processes) {
    if (passes.length === 1 || group === 0) processes.delete(group);
    else for (const pass of passes) files.set(pass, []);
  }
  if (files.size === 0) return;
  for (let at = OPENED_AT; at < PASSES_WORDS; at += OPENED_WORDS) {
    if (isOpened(words, at))
      files.get(words[at + OPENED_PASS] as number)?.push(words[at + OPENED_INO] as number);
  }
  for (const passes of processes.values()) {
    passes.sort((a, b) => (isNewer(words, a, b) ? 1 : -1));
    const kept: number[] = [];
    for (const pass of passes) {
      const inos = files.get(pass) ?? [];
      const into = kept.find((other) => !inos.some((ino) => hasOpened(words, other, ino)));
      if (into === undefined) kept.push(pass);
      else yield { pass, into, inos };
    }
  }
}

function merge(words: Uint32Array, { pass, into, inos }: Union): void {
  for (const ino of inos) addOpened(words, into, ino);
  if (isLater(words[pass + LAST_MS] as number, words[into + LAST_MS] as number)) {
    for (const field of [LAST_MS, LAST_INO, RUN]) words[into + field] = words[pass + field] as number;
  }
  for (let at = THREADS_AT; at < PASSES_AT; at += THREAD_WORDS) {
    if (passOf(words, at) === pass) join(words, at, into);
  }
}
