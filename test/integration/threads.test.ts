import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { monotonicClock, Threads } from '../../src/system/threads.ts';
import { cleanups } from '../support/server.ts';

test('a thread is found with its process, and when that started, by the clock that others have', async (t) => {
  const after = cleanups(t);
  const threads = new Threads();
  after(async () => threads.close());
  const nowMs = monotonicClock();
  const before = nowMs();
  const child = spawn('sleep', ['60']);
  after(async () => void child.kill('SIGKILL'));
  await sleep(50);
  assert.equal(threads.find(child.pid as number), true);
  assert.equal(threads.group, child.pid);
  // Whole hundredths of a second, rounded down.
  assert.ok(threads.startedMs >= before - 20, `${threads.startedMs} after ${before}`);
  assert.ok(threads.startedMs <= nowMs(), `${threads.startedMs} before ${nowMs()}`);
  const others = readdirSync('/proc/self/task').map(Number);
  assert.ok(others.length > 1);
  for (const thread of others) {
    assert.equal(threads.find(thread), true);
    assert.equal(threads.group, process.pid);
  }
});

test('a thread that is gone is not found', async (t) => {
  const after = cleanups(t);
  const threads = new Threads();
  after(async () => threads.close());
  const child = spawn('true');
  const { pid } = child;
  await new Promise((resolve) => child.once('close', resolve));
  assert.equal(threads.find(pid as number), false);
});
