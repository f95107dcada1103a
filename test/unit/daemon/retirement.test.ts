import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Retirement } from '../../../src/daemon/retirement.ts';

const RETIRE_MS = 1000;

function setUp({ lingeringMax = 10 } = {}) {
  const world = { nowMs: 0, held: new Set<number>(), inUse: new Set<number>() };
  const seen = { asked: 0, held: [] as number[], retired: [] as string[] };
  const retirement = new Retirement({
    held: async (inodes) => {
      seen.asked += 1;
      return inodes.filter((ino) => world.held.has(ino));
    },
    inUse: ({ id }) => world.inUse.has(id),
    onHeld: ({ id }) => seen.held.push(id),
    withdraw: async () => {},
    dropPages: async () => {},
    wipe: async () => {},
    onFailed: assert.fail,
    onRetired: ({ id }, why) => seen.retired.push(`${id} ${why}`),
    nowMs: () => world.nowMs,
    retireAfterMs: RETIRE_MS,
    lingeringMax,
  });
  const add = (id: number) => retirement.add({ id, bytes: 0, sinceMs: 0, inodes: [id] });
  return { world, seen, retirement, add };
}

test('a generation of which somebody may open more stays, though the kernel holds nothing of it', async () => {
  const { world, seen, retirement, add } = setUp();
  add(1);
  world.inUse.add(1);
  await retirement.sweep();
  assert.deepEqual([seen.asked, seen.held, seen.retired], [0, [], []]);
  world.inUse.clear();
  await retirement.sweep();
  assert.deepEqual([seen.held, seen.retired], [[], ['1 released']]);
});

test('what the kernel holds, and nobody opens more of, is told of', async () => {
  const { world, seen, retirement, add } = setUp();
  add(1);
  world.held.add(1);
  await retirement.sweep();
  assert.deepEqual([seen.held, seen.retired], [[1], []]);
});

test('where it is crowded, one that is only in use goes before one that is held', async () => {
  const { world, seen, retirement, add } = setUp({ lingeringMax: 2 });
  world.held.add(1);
  for (const id of [1, 2, 3]) {
    add(id);
    world.inUse.add(id);
  }
  await retirement.sweep();
  assert.deepEqual(seen.retired, ['2 crowded']);
  for (const id of [3, 4]) world.held.add(id);
  add(4);
  await retirement.sweep();
  assert.deepEqual(seen.retired, ['2 crowded', '1 crowded']);
});

test('time limit and crowding do not ask who may open more', async () => {
  const { world, seen, retirement, add } = setUp({ lingeringMax: 1 });
  for (const id of [1, 2]) {
    add(id);
    world.inUse.add(id);
  }
  await retirement.sweep();
  assert.deepEqual(seen.retired, ['1 crowded']);
  world.nowMs = RETIRE_MS;
  await retirement.sweep();
  assert.deepEqual(seen.retired, ['1 crowded', '2 expired']);
});
