import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  CAP_MS,
  NO_SUCH_GENERATION,
  NO_SUCH_NAME,
  Passes,
  REPEAT_MS,
  type Standing,
} from '../../../src/vfs/consistency.ts';
import { OPENED, PASSES_WORDS, THREADS } from '../../../src/vfs/pass-words.ts';

const WINDOW_MS = 2000;

/** Threads, processes and generations that are numbers. A file's inode is its own in each generation. */
class World {
  readonly words: Uint32Array;
  /** thread → process and when that started. */
  readonly threads = new Map<number, { group: number; startedMs: number }>();
  readonly gone = new Set<number>();
  readonly absent = new Set<string>();
  found = 0;
  nowMs = 1_000_000;
  live = 1;
  passes: Passes;
  #unique = 0;

  constructor(words = new Uint32Array(PASSES_WORDS)) {
    this.words = words;
    this.passes = this.takeOver();
    this.passes.activate(1, this.nowMs);
  }

  takeOver(): Passes {
    const world = this;
    const groups = {
      group: 0,
      startedMs: 0,
      find(thread: number) {
        world.found += 1;
        const found = world.threads.get(thread);
        if (found === undefined) return false;
        this.group = found.group;
        this.startedMs = found.startedMs;
        return true;
      },
    };
    this.passes = new Passes({ words: this.words, windowMs: WINDOW_MS, groups });
    return this.passes;
  }

  thread(thread: number, group = thread): number {
    this.threads.set(thread, { group, startedMs: this.nowMs });
    return thread;
  }

  standing(file: number): Standing {
    return {
      inoIn: (generation) => {
        if (this.gone.has(generation)) return NO_SUCH_GENERATION;
        if (this.absent.has(`${generation} ${file}`)) return NO_SUCH_NAME;
        return generation * 1_000_000 + file;
      },
    };
  }

  /** As a whole open(2) does. Which generation it was of. */
  open(thread: number, file: number, unique = ++this.#unique): number {
    const path = this.standing(file);
    const generation = this.passes.generationOf(thread, path, unique, this.nowMs);
    this.passes.opened(thread, path, path.inoIn(generation), generation, unique, this.nowMs);
    return generation;
  }

  activate(): number {
    this.live += 1;
    this.passes.activate(this.live, this.nowMs);
    return this.live;
  }
}

const [CERT, KEY, OTHER] = [1, 2, 3];

test('who began to open files before an activation gets the rest of them from before it, and others what is live', () => {
  const world = new World();
  const [a, b] = [world.thread(10), world.thread(11)];
  assert.equal(world.open(a, CERT), 1);
  world.activate();
  assert.equal(world.open(a, KEY), 1);
  assert.equal(world.open(a, OTHER), 1);
  assert.equal(world.open(b, CERT), 2);
  assert.equal(world.open(b, KEY), 2);
});

test('a file that is opened again after another ends the pass: a second reload sees the new files', () => {
  const world = new World();
  const a = world.thread(10);
  for (const file of [CERT, KEY]) assert.equal(world.open(a, file), 1);
  world.activate();
  for (const file of [CERT, KEY, OTHER]) assert.equal(world.open(a, file), 2);
});

test('opened twice in a row at once is certificate and key in one file; a third time, or late, is another pass', () => {
  for (const waits of [false, true]) {
    const world = new World();
    const a = world.thread(10);
    assert.equal(world.open(a, CERT), 1);
    world.activate();
    world.nowMs += waits ? REPEAT_MS : REPEAT_MS - 1;
    assert.equal(world.open(a, CERT), waits ? 2 : 1);
    assert.equal(world.open(a, CERT), 2);
  }
});

test('a pass ends after the window without an open', () => {
  for (const [waitMs, expected] of [
    [WINDOW_MS - 1, 1],
    [WINDOW_MS, 2],
  ] as const) {
    const world = new World();
    const a = world.thread(10);
    world.open(a, CERT);
    world.activate();
    world.nowMs += waitMs;
    assert.equal(world.open(a, KEY), expected);
  }
});

test('a pass ends 10 s after its own generation was superseded, however many follow', () => {
  const world = new World();
  const a = world.thread(10);
  world.open(a, 100);
  world.activate();
  for (let i = 1; i * 1000 < CAP_MS; i++) {
    world.nowMs += 1000;
    world.activate();
    assert.equal(world.open(a, 100 + i), 1);
  }
  world.nowMs += 1000;
  assert.equal(world.open(a, CERT), world.live);
});

test('a caller that can not be seen, thread 0, gets what is live', () => {
  const world = new World();
  world.open(0, CERT);
  world.activate();
  assert.equal(world.open(0, KEY), 2);
  assert.deepEqual([world.passes.isOpen(world.nowMs), world.found], [false, 0]);
});

test('nobody is asked for before there is another generation, and when all have come through', () => {
  const world = new World();
  const a = world.thread(10);
  for (let i = 0; i < 100; i++) world.open(a, i);
  assert.equal(world.found, 0);
  world.activate();
  assert.equal(world.passes.isOpen(world.nowMs), true);
  world.open(a, 0);
  assert.equal(world.passes.isOpen(world.nowMs), false);
  const before = world.found;
  for (let i = 0; i < 100; i++) world.open(world.thread(20 + i), CERT);
  assert.equal(world.found, before);
});

test('threads of one process: what one began the others go on with, also those that were not seen before', () => {
  const world = new World();
  const [main, second, third] = [world.thread(10), world.thread(11, 10), world.thread(12, 10)];
  world.open(main, CERT);
  world.open(second, KEY);
  world.activate();
  assert.equal(world.open(third, OTHER), 1);
  assert.equal(world.open(third, CERT), 2, 'a second reload, by other threads');
  assert.equal(world.open(main, KEY), 2);
  assert.equal(world.open(second, OTHER), 2);
});

test('another thread of a process may open the key that is in one file with its certificate, once', () => {
  const world = new World();
  const [main, second, third] = [world.thread(10), world.thread(11, 10), world.thread(12, 10)];
  world.open(main, CERT);
  world.activate();
  world.nowMs += REPEAT_MS - 1;
  assert.equal(world.open(second, CERT), 1);
  world.nowMs += 1;
  assert.equal(world.open(third, CERT), 2);
});

test('the second of two opens in a row is that of its thread, whatever others of the process open in between', () => {
  const world = new World();
  const [one, other] = [world.thread(1, 1), world.thread(2, 1)];
  world.open(one, 7);
  world.open(other, 8);
  world.activate();
  assert.equal(world.open(other, 9), 1);
  assert.equal(world.open(one, 7), 1);
  assert.equal(world.open(one, 7), 2);
});

test('threads of one process that load the same files independently do not end each other’s passes', () => {
  const world = new World();
  const threads = [10, 11, 12].map((thread) => world.thread(thread, 10));
  const [a, b, c] = threads as [number, number, number];
  world.open(a, CERT);
  world.open(b, CERT);
  world.open(b, KEY);
  world.open(c, CERT);
  world.activate();
  assert.equal(world.open(b, CERT), 2);
  assert.equal(world.open(a, KEY), 1);
  assert.equal(world.open(b, KEY), 2);
  assert.equal(world.open(c, KEY), 1);
});

test('a number that is another process now does not go on with what the old one began', () => {
  for (const seen of ['before the activation', 'after it']) {
    const world = new World();
    const a = world.thread(10);
    world.open(a, CERT);
    if (seen === 'after it') {
      world.activate();
      assert.equal(world.open(a, OTHER), 1);
    }
    world.nowMs += 500;
    world.thread(10);
    if (seen !== 'after it') world.activate();
    assert.equal(world.open(a, KEY), 2, seen);
  }
});

test('a process that can not be looked up is taken for one thread', () => {
  const world = new World();
  world.open(10, CERT);
  world.activate();
  world.nowMs += REPEAT_MS;
  assert.equal(world.open(10, KEY), 1);
  assert.equal(world.open(11, KEY), 2);
});

test('a generation that is gone is not asked for', () => {
  const world = new World();
  const a = world.thread(10);
  world.open(a, CERT);
  world.activate();
  world.gone.add(1);
  assert.equal(world.open(a, KEY), 2);
});

test('a name that only the live generation has is not a repetition: its absence is part of the pass', () => {
  const world = new World();
  const a = world.thread(10);
  world.open(a, CERT);
  world.activate();
  world.absent.add(`1 ${OTHER}`);
  assert.equal(world.passes.generationOf(a, world.standing(OTHER), 99, world.nowMs), 1);
});

test('a server that takes over knows every pass, and a request that is handled again counts once', () => {
  const world = new World();
  const a = world.thread(10);
  assert.equal(world.open(a, CERT, 77), 1);
  world.takeOver();
  assert.equal(world.open(a, CERT, 77), 1);
  world.activate();
  world.takeOver();
  // Behind the clock of the one before it.
  world.nowMs -= 1;
  assert.equal(world.open(a, CERT, 78), 1, 'that is the second of two in a row');
  world.takeOver();
  assert.equal(world.open(a, CERT, 78), 1);
  assert.equal(world.open(a, KEY, 79), 1);
  assert.equal(world.open(a, CERT, 80), 2);
});

test('the time in which there was no server is not a pause', () => {
  const world = new World();
  const a = world.thread(10);
  world.open(a, CERT);
  world.activate();
  world.passes.oldest(world.nowMs);
  world.nowMs += WINDOW_MS;
  world.takeOver();
  world.passes.resume(world.nowMs);
  assert.equal(world.open(a, CERT), 1, 'the second of two in a row');
  world.nowMs += WINDOW_MS - 1;
  assert.equal(world.open(a, KEY), 1);
  world.nowMs += WINDOW_MS;
  assert.equal(world.open(a, OTHER), 2);
});

test('the oldest generation in use is that of the oldest pass, until its window is over', () => {
  const world = new World();
  const a = world.thread(10);
  world.open(a, CERT);
  assert.equal(world.passes.oldest(world.nowMs), 0);
  world.activate();
  world.open(world.thread(11), CERT);
  world.activate();
  assert.equal(world.passes.oldest(world.nowMs), 1);
  world.nowMs += WINDOW_MS - 1;
  assert.equal(world.passes.oldest(world.nowMs), 1);
  world.open(a, CERT);
  assert.equal(world.passes.oldest(world.nowMs), 2);
  world.nowMs += 1;
  assert.equal(world.passes.oldest(world.nowMs), 0);
});

test('a pass of a thousand files, beside one that opens two of them as fast as it can, is whole', () => {
  const world = new World();
  const [slow, fast] = [world.thread(10), world.thread(11)];
  for (let i = 0; i < 2000; i++) {
    if (i % 50 === 49) world.activate();
    assert.equal(world.open(slow, i), 1);
    for (let j = 0; j < 20; j++) world.open(fast, j % 2);
  }
  assert.equal(world.open(slow, 0), world.live, 'and its first file is still known');
});

test('more threads than there is room for displace those that opened nothing for longest', () => {
  const world = new World();
  for (let thread = 1; thread <= 2 * THREADS; thread++) {
    world.open(thread, CERT);
    world.nowMs += thread % 4 === 0 ? 1 : 0;
  }
  world.activate();
  for (let thread = THREADS + 1; thread <= 2 * THREADS; thread++) {
    assert.equal(world.open(thread, KEY), 1, `${thread}`);
  }
  assert.equal(world.open(1, KEY), 2);
});

test('more files than there is room for: repetitions are missed, nothing is mixed', () => {
  const world = new World();
  const a = world.thread(10);
  for (let i = 0; i < 2 * OPENED; i++) world.open(a, i);
  world.activate();
  for (let i = 0; i < 100; i++) assert.equal(world.open(a, 3 * OPENED + i), 1);
});

test('any words that a broken server left are survived', () => {
  const words = new Uint32Array(PASSES_WORDS);
  let seed = 1;
  for (let i = 0; i < words.length; i++) {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    words[i] = seed % 3 === 0 ? seed : seed % 2000;
  }
  const world = new World(words);
  for (let i = 0; i < 3000; i++) {
    if (i % 100 === 0) world.activate();
    const generation = world.open(1 + (i % 1500), i % 7);
    assert.ok(Number.isInteger(generation));
  }
});
