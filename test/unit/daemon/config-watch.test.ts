import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { ConfigWatch } from '../../../src/daemon/config-watch.ts';
import { FakeTimers } from '../../support/fake-timers.ts';

function setUp(t: TestContext) {
  const timers = new FakeTimers();
  const world = {
    identity: 'a',
    told: [] as string[],
    looks: 0,
    event: () => {},
    timers,
    /** Time in steps, with what it sets off. */
    async pass(ms: number) {
      for (let passed = 0; passed < ms; passed += 50) {
        timers.pass(50);
        await new Promise((resolve) => setImmediate(resolve));
      }
    },
  };
  const watch = new ConfigWatch('a', {
    identify: async () => {
      world.looks += 1;
      return world.identity;
    },
    onChange: async () => {
      world.told.push(world.identity);
    },
    timers,
    watchDirectory: (onEvent) => {
      world.event = onEvent;
      return { close: () => {} };
    },
  });
  t.after(() => watch.close());
  return { watch, world };
}

test('a change is told once, after an event within a second, without one within three', async (t) => {
  const { world } = setUp(t);
  await world.pass(5000);
  assert.deepEqual(world.told, []);
  world.identity = 'b';
  world.event();
  await world.pass(1000);
  assert.deepEqual(world.told, ['b']);
  world.identity = 'c';
  await world.pass(3000);
  assert.deepEqual(world.told, ['b', 'c']);
  await world.pass(10_000);
  assert.deepEqual(world.told, ['b', 'c']);
});

test('what is being written is not told before it was left alone', async (t) => {
  const { world } = setUp(t);
  await world.pass(100);
  for (let i = 0; i < 20; i++) {
    world.identity = `part ${i}`;
    world.event();
    await world.pass(300);
  }
  assert.deepEqual(world.told, []);
  await world.pass(1100);
  assert.deepEqual(world.told, ['part 19']);
});

test('a directory in which something happens all the time neither puts off a look nor asks for many', async (t) => {
  const { world } = setUp(t);
  await world.pass(100);
  const before = world.looks;
  world.identity = 'b';
  for (let i = 0; i < 40; i++) {
    for (let j = 0; j < 4; j++) {
      world.event();
      world.timers.pass(13);
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.deepEqual(world.told, ['b']);
  assert.ok(world.looks - before <= 42, `${world.looks - before} looks`);
});

test('one who asks is told at once, changed or not, and nothing is told twice', async (t) => {
  const { watch, world } = setUp(t);
  await watch.lookNow();
  assert.deepEqual(world.told, ['a']);
  world.identity = 'b';
  await watch.lookNow();
  await world.pass(5000);
  assert.deepEqual(world.told, ['a', 'b']);
});

test('nothing is looked at after the end', async () => {
  const timers = new FakeTimers();
  let looks = 0;
  const watch = new ConfigWatch('a', {
    identify: async () => `${looks++}`,
    onChange: async () => {},
    timers,
    watchDirectory: () => undefined,
  });
  await watch.lookNow();
  await watch.close();
  const before = looks;
  await watch.lookNow();
  timers.pass(60_000);
  assert.equal(looks, before);
  assert.deepEqual(timers.waits, []);
});
