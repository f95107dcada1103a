import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { test } from 'node:test';
import {
  attributesNotification,
  pagesNotification,
  resendNotification,
} from '../../../../src/fuse/kernel/notifications.ts';
import { PagesPipe } from '../../../../src/fuse/kernel/pages.ts';

const { EAGAIN, EPIPE } = constants.errno;

/** A pipe with room for so many nodeids. */
function pipe(room: number) {
  const state = { room, errno: EAGAIN, read: [] as number[], tries: 0 };
  const pages = new PagesPipe((buffer, bytes) => {
    state.tries++;
    if (state.room < bytes / 8) return -state.errno;
    state.room -= bytes / 8;
    for (let at = 0; at < bytes; at += 8) {
      state.read.push(Number(Buffer.from(buffer).readBigUInt64LE(at)));
    }
    return bytes;
  });
  return { state, pages };
}

test('what is dropped is told as u64 nodeids, each once', () => {
  const { state, pages } = pipe(100);
  for (const nodeid of [5, 2 ** 40 + 3, 5]) pages.drop(nodeid);
  assert.equal(pages.pending, true);
  pages.flush(false);
  assert.deepEqual(state.read, [5, 2 ** 40 + 3]);
  assert.equal(pages.pending, false);
});

test('what does not fit is kept, and told when there is room', () => {
  const { state, pages } = pipe(0);
  pages.drop(7);
  for (let i = 0; i < 30; i++) pages.flush(false);
  assert.equal(state.tries, 1, 'not tried again with every request');
  pages.flush(true);
  assert.equal(state.tries, 2);
  state.room = 10;
  for (let i = 0; i < 100; i++) pages.flush(false);
  assert.deepEqual(state.read, [7]);
  assert.equal(pages.pending, false);
});

test('a thousand are told in whole writes of what a pipe takes at once', () => {
  const { state, pages } = pipe(2000);
  for (let nodeid = 2; nodeid < 1002; nodeid++) pages.drop(nodeid);
  pages.flush(false);
  assert.equal(state.read.length, 1000);
  assert.equal(state.tries, 2);
});

test('what is kept is bounded', () => {
  const { state, pages } = pipe(0);
  for (let nodeid = 0; nodeid < 65_536 + 10; nodeid++) pages.drop(nodeid);
  state.room = 100_000;
  pages.flush(true);
  assert.equal(state.read.length, 65_536);
});

test('with nobody at the other end nothing is kept', () => {
  const { state, pages } = pipe(0);
  state.errno = EPIPE;
  pages.drop(7);
  pages.flush(false);
  assert.equal(pages.pending, false);
});

test('notifications are what the kernel reads', () => {
  const decode = (bytes: Buffer) => ({
    length: bytes.readUInt32LE(0),
    code: bytes.readInt32LE(4),
    unique: bytes.readBigUInt64LE(8),
    body: bytes.length > 16 ? [16, 24, 32].map((at) => bytes.readBigInt64LE(at)) : [],
  });
  assert.deepEqual(decode(resendNotification()), { length: 16, code: 7, unique: 0n, body: [] });
  const nodeid = 2 ** 40 + 9;
  const header = { length: 40, code: 2, unique: 0n };
  assert.deepEqual(decode(attributesNotification(nodeid)), { ...header, body: [BigInt(nodeid), -1n, 0n] });
  assert.deepEqual(decode(pagesNotification(nodeid)), { ...header, body: [BigInt(nodeid), 0n, 0n] });
});
