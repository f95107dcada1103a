import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { watchIdentity } from '../../../src/daemon/identity-watch.ts';
import { VirtualTime } from '../../support/virtual-time.ts';

/** A file whose size is all that changes, the changes that were told of, and when it was looked at. */
function watched(t: TestContext, known?: string) {
  const time = new VirtualTime(0);
  const file = { size: 1n, error: undefined as string | undefined };
  const looksMs: number[] = [];
  const toldMs: number[] = [];
  const lane = {
    run: async <T>(): Promise<T> => {
      looksMs.push(time.nowMs);
      if (file.error !== undefined) throw Object.assign(new Error(), { code: file.error });
      return { dev: 1n, ino: 2n, size: file.size, mtimeNs: 3n, ctimeNs: 4n } as T;
    },
  };
  const watch = watchIdentity('/bundle', known, lane, () => toldMs.push(time.nowMs), time);
  t.after(() => watch.close());
  return { time, file, looksMs, toldMs, watch };
}

test('watchIdentity() tells of another file once, within half a second', async (t) => {
  const { time, file, toldMs } = watched(t);
  await time.pass(10_000);
  assert.deepEqual(toldMs, []);
  file.size = 2n;
  await time.pass(500);
  assert.equal(toldMs.length, 1);
  await time.pass(10_000);
  assert.equal(toldMs.length, 1);
});

test('watchIdentity() tells of a file that is written in pieces when it is complete', async (t) => {
  const { time, file, toldMs } = watched(t);
  await time.pass(1_000);
  for (let piece = 2n; piece < 30n; piece++) {
    file.size = piece;
    await time.pass(100);
  }
  assert.deepEqual(toldMs, []);
  await time.pass(500);
  assert.equal(toldMs.length, 1);
});

test('watchIdentity() tells of a file that is gone, and of one that comes', async (t) => {
  const { time, file, toldMs } = watched(t);
  await time.pass(1_000);
  file.error = 'ENOENT';
  await time.pass(1_000);
  file.error = undefined;
  await time.pass(1_000);
  assert.equal(toldMs.length, 2);
});

test('watchIdentity() takes a file system that does not answer for no change', async (t) => {
  const { time, file, toldMs } = watched(t);
  await time.pass(1_000);
  file.error = 'ETIMEDOUT';
  await time.pass(1_000);
  file.error = undefined;
  await time.pass(1_000);
  assert.deepEqual(toldMs, []);
});

test('watchIdentity() looks no more once it is closed', async (t) => {
  const { time, looksMs, watch } = watched(t);
  await time.pass(1_000);
  assert.ok(looksMs.length >= 4);
  const before = looksMs.length;
  watch.close();
  await time.pass(10_000);
  assert.equal(looksMs.length, before);
  assert.equal(time.pending, 0);
});

test('watchIdentity() tells of what came between the fetch and its first look, and of nothing that was fetched', async (t) => {
  const behind = watched(t, 'file:1:2:0:3:4');
  await behind.time.pass(10_000);
  assert.equal(behind.toldMs.length, 1);
  const fetched = watched(t, 'file:1:2:1:3:4');
  await fetched.time.pass(10_000);
  assert.deepEqual(fetched.toldMs, []);
});
