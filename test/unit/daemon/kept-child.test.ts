import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Child } from '../../../src/daemon/children.ts';
import { KeptChild } from '../../../src/daemon/kept-child.ts';
import { FakeChild, settled } from '../../support/fake-child.ts';
import { FakeTimers } from '../../support/fake-timers.ts';

function setUp() {
  const timers = new FakeTimers();
  const children: FakeChild[] = [];
  const told: unknown[] = [];
  const world = { refuses: false };
  const kept = new KeptChild({
    spawn() {
      if (world.refuses) throw new Error('no');
      const child = new FakeChild();
      children.push(child);
      return child;
    },
    onStart: () => told.push('start'),
    onGone: () => told.push('gone'),
    onDeath: (how) => told.push(how),
    onNotStarted: (why) => told.push(why),
    timers,
    nowMs: () => timers.nowMs,
  });
  const last = () => children.at(-1) as FakeChild;
  return { timers, children, told, world, kept, last };
}

test('one that dies is started again, later each time, and at once again after one that lived', async () => {
  const { timers, children, told, kept, last } = setUp();
  kept.start();
  kept.start();
  assert.equal(children.length, 1);
  const { pid } = last();
  last().end({ code: 3, signal: undefined });
  await settled();
  assert.deepEqual(told, ['start', 'gone', { pid, code: 3, signal: undefined }]);
  assert.equal(kept.pid, undefined);
  assert.deepEqual(timers.waits, [100]);
  timers.pass(100);
  last().end();
  await settled();
  assert.deepEqual(timers.waits, [200]);
  timers.pass(200);
  timers.pass(31_000);
  last().end();
  await settled();
  assert.deepEqual(timers.waits, [100]);
  timers.pass(100);
  assert.deepEqual(kept.states('agent'), [
    { role: 'agent', pid: last().pid, startedMs: timers.nowMs, restarts: 3 },
  ]);
});

test('one that can not be started is tried again, and told each time', () => {
  const { timers, told, kept, world } = setUp();
  world.refuses = true;
  kept.start();
  timers.pass(100);
  assert.deepEqual(told, ['no', 'no']);
  world.refuses = false;
  timers.pass(200);
  assert.deepEqual(told, ['no', 'no', 'start']);
});

test('restart() is no death, and the next one comes at once, ended in the way that was asked for', async () => {
  const { timers, told, kept, last } = setUp();
  kept.start();
  const first = last();
  const ended: Child[] = [];
  kept.restart((child) => ended.push(child));
  assert.deepEqual(ended, [first]);
  assert.deepEqual(first.signals, []);
  first.end();
  await settled();
  assert.deepEqual(timers.waits, [0]);
  timers.pass(0);
  assert.deepEqual(told, ['start', 'gone', 'start']);
  last().end();
  await settled();
  assert.equal(told.length, 5);
});

test('rest() leaves none, whose late end is nobody’s; start() brings the next', async () => {
  const { timers, told, kept, last, children } = setUp();
  kept.start();
  const first = last();
  first.mortal = false;
  kept.rest();
  assert.deepEqual(first.signals, ['SIGKILL']);
  assert.equal(kept.pid, undefined);
  kept.start();
  first.end();
  await settled();
  assert.deepEqual(told, ['start', 'gone', 'start']);
  assert.equal(kept.pid, last().pid);
  assert.equal(kept.states('notifier')[0]?.restarts, 0);
  kept.rest();
  timers.pass(60_000);
  assert.equal(children.length, 2);
});

test('after stop() none is started, nor told of', async () => {
  const { timers, told, kept, last, children } = setUp();
  kept.start();
  kept.stop();
  assert.deepEqual(last().signals, ['SIGKILL']);
  await settled();
  timers.pass(60_000);
  kept.start();
  assert.equal(children.length, 1);
  assert.deepEqual(told, ['start', 'gone']);
});
