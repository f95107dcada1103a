/** Random opens, activations, pauses, exits and takeovers against a naive model, and against what it is all for: no mixed pass. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CAP_MS, Passes, REPEAT_MS, type Standing } from '../../src/vfs/consistency.ts';
import { PASSES_WORDS } from '../../src/vfs/pass-words.ts';

const WINDOW_MS = 2000;
const FILES = 5;

class World {
  readonly words = new Uint32Array(PASSES_WORDS);
  readonly owners = new Map<number, { group: number; startedMs: number }>();
  /** When each generation was superseded; the index is its number. */
  readonly supersededMs: number[] = [];
  /** Near the end of its 32 bits. */
  nowMs = 2 ** 32 - 30_000;
  live = 1;
  passes = this.takeOver();
  #unique = 0;

  takeOver(): Passes {
    const { owners } = this;
    const groups = {
      group: 0,
      startedMs: 0,
      find(thread: number) {
        const owner = owners.get(thread);
        if (owner !== undefined) Object.assign(this, owner);
        return owner !== undefined;
      },
    };
    this.passes = new Passes({ words: this.words, windowMs: WINDOW_MS, groups });
    this.passes.activate(this.live, this.#ms);
    return this.passes;
  }

  get #ms(): number {
    return this.nowMs >>> 0;
  }

  start(thread: number, group = thread): void {
    this.owners.set(thread, { group, startedMs: this.#ms });
  }

  activate(): void {
    this.supersededMs[this.live] = this.nowMs;
    this.live += 1;
    this.passes.activate(this.live, this.#ms);
  }

  open(thread: number, file: number): number {
    this.#unique += 2;
    const path: Standing = { inoIn: (generation) => generation * 1000 + file };
    const generation = this.passes.generationOf(thread, path, this.#unique, this.#ms);
    this.passes.opened(thread, path, path.inoIn(generation), generation, this.#unique, this.#ms);
    return generation;
  }
}

/** What the head of consistency.ts says, for processes of one thread. */
class Model {
  readonly #passes = new Map<
    number,
    { generation: number; files: Set<number>; last: number; run: number; lastMs: number }
  >();

  open(world: World, pid: number, file: number): number {
    const { nowMs, live } = world;
    let pass = this.#passes.get(pid);
    if (pass !== undefined) {
      const { generation, files, last, run, lastMs } = pass;
      const isRepeated = files.has(file) && !(file === last && run === 1 && nowMs - lastMs < REPEAT_MS);
      const isOver =
        nowMs - lastMs >= WINDOW_MS ||
        (generation !== live && nowMs - (world.supersededMs[generation] as number) >= CAP_MS);
      if (isRepeated || isOver) pass = undefined;
    }
    pass ??= { generation: live, files: new Set(), last: -1, run: 0, lastMs: 0 };
    const run = pass.last === file ? pass.run + 1 : 1;
    pass.files.add(file);
    this.#passes.set(pid, { ...pass, last: file, run, lastMs: nowMs });
    return pass.generation;
  }

  forget(pid: number): void {
    this.#passes.delete(pid);
  }
}

const pause = fc.constantFrom(0, 0, 1, 20, 99, 100, 400, 1999, 2000, 9000);
const file = fc.nat({ max: FILES - 1 });
const pid = fc.integer({ min: 1, max: 4 });
const operation = fc.oneof(
  { weight: 12, arbitrary: fc.record({ do: fc.constant('open' as const), pid, file }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('activate' as const) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: pause }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('reuse' as const), pid }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('takeOver' as const) }) },
);

test('any opens, activations, pauses, reused pids and takeovers: processes of one thread get what the model says', () => {
  let old = 0;
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 80 }), (operations) => {
      const world = new World();
      const model = new Model();
      for (const each of [1, 2, 3, 4]) world.start(each);
      for (const op of operations) {
        if (op.do === 'activate') world.activate();
        else if (op.do === 'wait') world.nowMs += op.ms;
        else if (op.do === 'takeOver') world.takeOver();
        else if (op.do === 'reuse') {
          // A number that comes round within the window, while nobody is asked for, can't be told.
          world.nowMs += WINDOW_MS;
          world.start(op.pid);
          model.forget(op.pid);
        } else {
          const expected = model.open(world, op.pid, op.file);
          assert.equal(world.open(op.pid, op.file), expected);
          if (expected !== world.live) old += 1;
        }
      }
    }),
    { numRuns: 3000 },
  );
  assert.ok(old > 200, `${old} opens were of what is not live`);
});

const load = fc.constantFrom([0, 0], [0, 1], [0, 0, 1, 2], [0, 1, 1], [0, 3, 2, 1, 4]);
const step = fc.oneof(
  { weight: 10, arbitrary: fc.record({ do: fc.constant('step' as const), who: fc.nat({ max: 5 }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('activate' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.constantFrom(0, 1, 5) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('takeOver' as const) }) },
);

test('threads that load the same files again and again, each for itself: no load is mixed, and each begins with what is live', () => {
  fc.assert(
    fc.property(load, fc.array(step, { maxLength: 150 }), (files, steps) => {
      const world = new World();
      // Three processes, of one, two and three threads.
      const threads = [10, 20, 21, 30, 31, 32].map((thread) => {
        world.start(thread, thread - (thread % 10));
        return { thread, next: 0, generation: 0 };
      });
      for (const op of steps) {
        if (op.do === 'activate') world.activate();
        else if (op.do === 'wait') world.nowMs += op.ms;
        else if (op.do === 'takeOver') world.takeOver();
        else {
          const who = threads[op.who] as (typeof threads)[number];
          const got = world.open(who.thread, files[who.next] as number);
          if (who.next > 0) assert.equal(got, who.generation, `${who.thread}`);
          // Who has never opened anything joins the others of its process: what they have may be older.
          else if (who.generation !== 0 || who.thread === 10) assert.equal(got, world.live);
          who.generation = got;
          who.next = (who.next + 1) % files.length;
        }
      }
    }),
    { numRuns: 1000 },
  );
});

test('a process that loads with any of its threads: no load is mixed, and the one after it is of what is live', () => {
  const sets = fc.uniqueArray(file, { minLength: 2, maxLength: FILES });
  const turns = fc.array(fc.nat({ max: 3 }), { minLength: 2 * FILES, maxLength: 2 * FILES });
  const round = fc.record({ files: sets, turns, at: fc.nat({ max: FILES }) });
  fc.assert(
    fc.property(fc.array(round, { maxLength: 10 }), (rounds) => {
      const world = new World();
      for (let thread = 10; thread < 14; thread++) world.start(thread, 10);
      for (const { files, turns, at } of rounds) {
        world.nowMs += WINDOW_MS;
        const seen = new Set<number>();
        for (const [i, each] of files.entries()) {
          if (i === at) world.activate();
          seen.add(world.open(10 + (turns[i] as number), each));
        }
        assert.equal(seen.size, 1);
        // Sooner, the first thread to open a file again could be the one that opened it last: the second of two in a row.
        world.nowMs += REPEAT_MS;
        for (const [i, each] of files.entries())
          assert.equal(world.open(10 + (turns[FILES + i] as number), each), world.live);
      }
    }),
    { numRuns: 1000 },
  );
});
