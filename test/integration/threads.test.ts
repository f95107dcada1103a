import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { monotonicClock, Threads } from '../../src/system/threads.ts';
import { eventually } from '../support/program.ts';
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

test('whose a thread is, is found by nothing that its process can make long', async (t) => {
  const after = cleanups(t);
  const threads = new Threads();
  after(async () => threads.close());
  const read = t.mock.method(threads, 'read');
  // Its first thread ends, others go on.
  const lines = [
    'import ctypes, threading, time',
    'threading.Thread(target=lambda: (print(threading.get_native_id(), flush=True), time.sleep(60))).start()',
    'ctypes.CDLL(None).pthread_exit(None)',
  ];
  for (const script of [lines, lines.slice(0, 2)]) {
    const child = spawn('python3', ['-c', script.join('\n')]);
    after(async () => void child.kill('SIGKILL'));
    const [said] = (await once(child.stdout, 'data')) as [Buffer];
    for (const thread of [child.pid as number, Number(said)]) {
      assert.equal(threads.find(thread), true);
      assert.equal(threads.group, child.pid);
    }
  }
  assert.deepEqual([...new Set(read.mock.calls.map((call) => call.arguments[1]))], ['stat']);
});

test('of more groups than fit into a page each is seen as it is, and of more than can be read none', async (t) => {
  const after = cleanups(t);
  const threads = new Threads();
  after(async () => threads.close());
  const listed = async (groups: readonly number[]) => {
    const child = spawn('setpriv', ['--groups', groups.join(), 'sleep', '60']);
    after(async () => void child.kill('SIGKILL'));
    const name = () => /^Name:\s*(.*)$/m.exec(threads.read(child.pid as number, 'status'))?.[1];
    await eventually(async () => assert.equal(name(), 'sleep'));
    return /^Groups:\s*(.*?) *$/m.exec(threads.read(child.pid as number, 'status'))?.[1];
  };
  // Those that anybody with subordinate groups may take on: cut anywhere, one is group 1, 10, 100, 1000 or 10000.
  const some = Array.from({ length: 1200 }, () => 100_000);
  assert.equal(await listed(some), some.join(' '));
  assert.equal(await listed(Array.from({ length: 12_000 }, () => 100_000)), undefined);
});
