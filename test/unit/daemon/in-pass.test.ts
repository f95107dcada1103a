import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NoAnswer } from '../../../src/daemon/helper.ts';
import { InPass } from '../../../src/daemon/in-pass.ts';
import type { ChangeList } from '../../../src/generation/changes.ts';
import { CAP_MS } from '../../../src/vfs/consistency.ts';

const WINDOW_MS = 2000;
const CHANGES: ChangeList = {
  counts: { added: 0, changed: 1, removed: 0, unchanged: 0 },
  superseded: [7],
  directories: [],
  operations: [],
  files: [],
};

function setUp({ windowMs = WINDOW_MS } = {}) {
  const world = {
    nowMs: 1000,
    live: 5,
    /** What the server counted. */
    passes: { oldestPass: 0, passesLive: 5 } as { oldestPass: number; passesLive: number } | undefined,
    refuse: undefined as Error | undefined,
  };
  const looked: ChangeList[] = [];
  const failed: unknown[] = [];
  const inPass = new InPass({
    windowMs,
    passes: () => world.passes,
    live: () => world.live,
    look: async (changes) => {
      looked.push(changes);
      if (world.refuse !== undefined) throw world.refuse;
    },
    onFailed: (error) => failed.push(error),
    nowMs: () => world.nowMs,
  });
  const superseded = { id: 4, bytes: 0, sinceMs: world.nowMs, inodes: CHANGES.superseded };
  inPass.add(superseded, CHANGES);
  return { world, looked, failed, inPass, superseded };
}

test('a generation is in use while the oldest pass is in it or in an older one', () => {
  const { world, inPass, superseded } = setUp();
  for (const [oldestPass, inUse] of [
    [0, false],
    [3, true],
    [4, true],
    [5, false],
  ] as const) {
    world.passes = { oldestPass, passesLive: 5 };
    assert.equal(inPass.mayOpenMore(superseded), inUse, `oldest pass in ${oldestPass}`);
  }
});

test('what the server has not counted yet may be in use, for as long as a pass can last', () => {
  const { world, inPass, superseded } = setUp();
  for (const passes of [undefined, { oldestPass: 0, passesLive: 4 }]) {
    world.passes = passes;
    world.nowMs = superseded.sinceMs + CAP_MS - 1;
    assert.equal(inPass.mayOpenMore(superseded), true);
    world.nowMs += 1;
    assert.equal(inPass.mayOpenMore(superseded), false);
  }
});

test('without passes nothing is in use, and nobody looks', () => {
  const { world, looked, inPass, superseded } = setUp({ windowMs: 0 });
  world.passes = undefined;
  assert.equal(inPass.mayOpenMore(superseded), false);
  inPass.look(superseded);
  assert.deepEqual(looked, []);
});

test('each generation is looked after once; again only where that failed', async () => {
  const { world, looked, failed, inPass, superseded } = setUp();
  world.refuse = new NoAnswer('ended');
  inPass.look(superseded);
  inPass.look(superseded);
  assert.deepEqual(looked, [CHANGES]);
  await new Promise(setImmediate);
  assert.deepEqual(failed, [world.refuse]);
  world.refuse = undefined;
  inPass.look(superseded);
  await new Promise(setImmediate);
  inPass.look(superseded);
  assert.deepEqual(looked, [CHANGES, CHANGES]);
  assert.equal(failed.length, 1);
});
