import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { FileChange } from '../../../src/hooks/changes.ts';
import { type Batch, HookQueue } from '../../../src/hooks/queue.ts';
import { VirtualTime } from '../../support/virtual-time.ts';

const DEBOUNCE_MS = 1000;
const changed = (path: string): FileChange => ({ path, change: 'changed' });

interface Run extends Batch {
  readonly startedMs: number;
}

/** A queue whose runs take as long as `takesMs` says, and fail where `fails` does. */
function queueOf(
  takesMs: (run: number) => number,
  fails: (run: number) => boolean = () => false,
  debounceMs = DEBOUNCE_MS,
) {
  const time = new VirtualTime(0);
  const runs: Run[] = [];
  let running = 0;
  const queue = new HookQueue(debounceMs, {
    nowMs: () => time.nowMs,
    timers: time,
    async run(batch) {
      const number = runs.length;
      runs.push({ ...batch, isSuperseded: () => batch.isSuperseded(), startedMs: time.nowMs });
      running += 1;
      assert.equal(running, 1, 'one run at a time');
      await new Promise<void>((resolve) => time.set(resolve, takesMs(number)));
      running -= 1;
      if (fails(number)) throw new Error('it failed');
    },
  });
  return { time, runs, queue };
}

test('the first change makes it run at once, and those within the debounce time are one more run', async () => {
  const { time, runs, queue } = queueOf(() => 10);
  queue.notice(1, 11, [changed('a')]);
  assert.equal(queue.state, 'running');
  await time.pass(100);
  queue.notice(2, 12, [changed('b')]);
  await time.pass(100);
  queue.notice(3, 13, [changed('c'), changed('b')]);
  assert.equal(queue.state, 'waiting');
  await time.pass(10_000);
  assert.deepEqual(
    runs.map(({ startedMs, generation, serial, changed }) => [
      startedMs,
      generation,
      serial,
      changed.map(({ path }) => path),
    ]),
    [
      [0, 1, 11, ['a']],
      [DEBOUNCE_MS, 3, 13, ['b', 'c']],
    ],
  );
  assert.equal(queue.state, 'idle');
});

test('what comes while it runs is told by the next run, and the one that runs can see that', async () => {
  const { time, runs, queue } = queueOf(() => 5000);
  queue.notice(1, 1, [changed('a')]);
  assert.equal(runs[0]?.isSuperseded(), false);
  await time.pass(4000);
  queue.notice(2, 2, [changed('a')]);
  assert.equal(runs[0]?.isSuperseded(), true);
  assert.equal(runs.length, 1);
  await time.pass(1000);
  assert.deepEqual(
    runs.map(({ startedMs }) => startedMs),
    [0, 5000],
  );
});

test('what a failed run was told is told again by the next, with what came since', async () => {
  const { time, runs, queue } = queueOf(
    () => 10,
    (run) => run === 0,
  );
  queue.notice(1, 1, [
    { path: 'a', change: 'added' },
    { path: 'b', change: 'changed' },
  ]);
  await time.pass(60_000);
  assert.equal(runs.length, 1, 'it is not repeated by itself');
  queue.notice(2, 2, [
    { path: 'a', change: 'changed' },
    { path: 'b', change: 'removed' },
  ]);
  await time.pass(60_000);
  assert.deepEqual(runs[1]?.changed, [
    { path: 'a', change: 'added' },
    { path: 'b', change: 'removed' },
  ]);
});

test('those who ask while it runs share one run after it, and learn how that ended', async () => {
  const { time, runs, queue } = queueOf(
    () => 1_500,
    (run) => run === 1,
    60_000,
  );
  queue.notice(1, 1, [changed('a')]);
  await time.pass(500);
  const asked = [queue.ask(1, 1), queue.ask(1, 1)].map((each) => each.catch((error: Error) => error.message));
  await time.pass(1_000);
  assert.equal(runs.length, 2, 'the debounce time is not for who asks');
  await time.pass(1_500);
  assert.deepEqual(await Promise.all(asked), ['it failed', 'it failed']);
  const again = queue.ask(1, 1);
  await time.pass(1_500);
  await again;
  assert.equal(runs.length, 3);
});

for (const debounceMs of [0, 60_000]) {
  test(`who asks without end has it run once a second, with a debounce time of ${debounceMs} ms`, async () => {
    const { time, runs, queue } = queueOf(() => 1, undefined, debounceMs);
    let asking = true;
    const asked = (async () => {
      while (asking) await queue.ask(1, 1);
    })();
    await time.pass(10_500);
    asking = false;
    await time.pass(1_000);
    await asked;
    assert.deepEqual(
      runs.map(({ startedMs }) => startedMs),
      Array.from({ length: 12 }, (_, i) => i * 1000),
    );
  });
}

test('nothing starts after stop(), and who asked is told', async () => {
  const { time, runs, queue } = queueOf(() => 100);
  queue.notice(1, 1, [changed('a')]);
  const asked = assert.rejects(queue.ask(1, 1), /stopped/);
  queue.notice(2, 2, [changed('b')]);
  queue.stop();
  await asked;
  await assert.rejects(queue.ask(1, 1), /stopped/);
  await time.pass(10_000);
  assert.equal(runs.length, 1);
});

test('whatever comes when, and whatever fails: each change is told by a run that starts after it, to the newest generation, never two at once', async () => {
  const step = fc.record({
    afterMs: fc.integer({ min: 0, max: 2500 }),
    paths: fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd'), { minLength: 1 }),
    ask: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 12 }),
      fc.array(fc.integer({ min: 0, max: 3000 }), { minLength: 1 }),
      fc.array(fc.boolean(), { minLength: 1 }),
      async (steps, takesMs, failing) => {
        const { time, runs, queue } = queueOf(
          (run) => takesMs[run % takesMs.length] as number,
          (run) => failing[run % failing.length] as boolean,
        );
        const noticed: { generation: number; atMs: number; before: number; path: string }[] = [];
        for (const [i, { afterMs, paths, ask }] of steps.entries()) {
          await time.pass(afterMs);
          const before = runs.length;
          for (const path of paths) noticed.push({ generation: i + 1, atMs: time.nowMs, before, path });
          queue.notice(i + 1, i + 1, paths.map(changed));
          if (ask) queue.ask(i + 1, i + 1).catch(() => undefined);
        }
        await time.pass(100_000);
        assert.equal(queue.state, 'idle');
        for (const { generation, atMs, before, path } of noticed) {
          const telling = runs
            .slice(before)
            .find((run) => run.generation >= generation && run.changed.some((each) => each.path === path));
          assert.ok(telling !== undefined && telling.startedMs >= atMs, `${path} of ${generation}`);
          // At most the run that was under way, and the debounce time.
          assert.ok(telling.startedMs <= atMs + 2 * 3000 + DEBOUNCE_MS, `${path} of ${generation} is late`);
        }
        // A run that failed has told nobody: its paths are in the next one.
        for (const [i, run] of runs.entries()) {
          const next = runs[i + 1];
          if (!(failing[i % failing.length] as boolean) || next === undefined) continue;
          const paths = next.changed.map(({ path }) => path);
          for (const { path } of run.changed) assert.ok(paths.includes(path), path);
        }
      },
    ),
    { numRuns: 300 },
  );
});
