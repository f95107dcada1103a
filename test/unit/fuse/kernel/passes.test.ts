/** What a session answers while a process is in the middle of opening files of a superseded generation. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Generation } from '../../../../src/generation/generation.ts';
import { PASSES_WORDS } from '../../../../src/vfs/pass-words.ts';
import { Vfs } from '../../../../src/vfs/vfs.ts';
import { directory, file, Lineage, nodeAt, symlink } from '../../../support/entries.ts';
import {
  decodeEntry,
  encodeRequest,
  FakeKernel,
  FOR_EVER,
  fields,
  OP,
} from '../../../support/fake-kernel.ts';

const KEEP_CACHE = 2;
const ME = { thread: 10 };
const OTHER = { thread: 11 };

/** Two generations; `ME` opened the certificate in the first. */
function inPass() {
  const lineage = new Lineage();
  const first = lineage.next([
    file('cert', 'cert 1'),
    file('key', 'key 1'),
    file('same', 'same'),
    file('removed', 'removed'),
    symlink('link', 'cert'),
    directory('gone'),
    file('gone/x', 'x'),
  ]);
  const vfs = new Vfs(first);
  const clock = { nowMs: 1000 };
  const words = new Uint32Array(PASSES_WORDS);
  const groups = {
    group: 0,
    startedMs: 0,
    find(thread: number) {
      this.group = thread;
      return true;
    },
  };
  const consistency = { words, windowMs: 2000, groups, nowMs: () => clock.nowMs };
  const kernel = new FakeKernel(vfs, { consistency });
  const old = (path: string) => first.ino(nodeAt(first, path));
  assert.equal(kernel.open(old('cert'), 0, ME).fh, old('cert'));
  const second = lineage.next([
    file('cert', 'cert 2'),
    file('key', 'key 2'),
    file('same', 'same'),
    file('added', 'added'),
    symlink('link', 'key'),
    directory('come'),
    file('come/y', 'y'),
  ]);
  vfs.setGenerations(second, [first]);
  const now = (path: string, generation: Generation = second) => generation.ino(nodeAt(generation, path));
  return { vfs, kernel, consistency, clock, old, now, first };
}

test('OPEN of what is new is ESTALE; the walk finds the old inode, for no time, and OPEN of that is served', () => {
  const { kernel, old, now } = inPass();
  assert.equal(kernel.open(now('key'), 0, ME).error, 'ESTALE');
  // Revalidated, found to be another, and looked up.
  for (let i = 0; i < 2; i++) {
    const { nodeid, entryValid, attrValid, attributes } = decodeEntry(kernel.lookup(1, 'key', ME).body);
    assert.deepEqual([nodeid, entryValid, attrValid, attributes.nlink], [old('key'), 0, 0, 0]);
  }
  const { error, fh, flags } = kernel.open(old('key'), 0, ME);
  assert.deepEqual([error, fh, flags], ['OK', old('key'), KEEP_CACHE]);
  assert.equal(kernel.read(old('key'), fh, 0, 100).body.toString(), 'key 1');
});

test('others are led to what is live, also from the old inode', () => {
  const { kernel, old, now } = inPass();
  assert.equal(decodeEntry(kernel.lookup(1, 'key', ME).body).nodeid, old('key'));
  assert.equal(decodeEntry(kernel.lookup(1, 'key', OTHER).body).nodeid, now('key'));
  assert.equal(kernel.open(old('key'), 0, OTHER).error, 'ESTALE');
  assert.deepEqual(decodeEntry(kernel.lookup(1, 'key', OTHER).body).entryValid, FOR_EVER);
  assert.equal(kernel.open(now('key'), 0, OTHER).fh, now('key'));
});

test('the second OPEN of what is new without a walk gets what the inode holds, and its pages stay right', () => {
  const { kernel, now } = inPass();
  assert.equal(kernel.open(now('key'), 0, ME).error, 'ESTALE');
  const { error, fh, flags } = kernel.open(now('key'), 0, ME);
  assert.deepEqual([error, fh, flags], ['OK', now('key'), KEEP_CACHE]);
});

test('an unchanged file is opened and looked up as ever', () => {
  const { kernel, now } = inPass();
  assert.equal(kernel.open(now('same'), 0, ME).fh, now('same'));
  assert.equal(decodeEntry(kernel.lookup(1, 'same', ME).body).entryValid, FOR_EVER);
});

test('a name that is gone is found, one that is new is not, and nobody is told to remember that anything is missing', () => {
  const { kernel, old, now } = inPass();
  assert.equal(decodeEntry(kernel.lookup(1, 'removed', ME).body).nodeid, old('removed'));
  assert.equal(kernel.open(old('removed'), 0, ME).error, 'OK');
  assert.equal(kernel.open(now('added'), 0, ME).error, 'ESTALE');
  for (const [name, caller] of [
    ['added', ME],
    ['removed', OTHER],
    ['nothing', OTHER],
  ] as const) {
    const { nodeid, entryValid } = decodeEntry(kernel.lookup(1, name, caller).body);
    assert.deepEqual([nodeid, entryValid], [0, 0], name);
  }
  // A walk that ended in nothing is over.
  assert.equal(kernel.open(now('key'), 0, ME).error, 'ESTALE');
});

test('a directory that is gone is entered and listed; one that is new is there, but nothing in it', () => {
  const { kernel, old, now } = inPass();
  const gone = decodeEntry(kernel.lookup(1, 'gone', ME).body).nodeid;
  assert.equal(gone, old('gone'));
  assert.equal(kernel.ask(OP.OPENDIR, gone, fields([32, 0], [32, 0]), ME).error, 'OK');
  assert.equal(decodeEntry(kernel.lookup(gone, 'x', ME).body).nodeid, old('gone/x'));
  assert.equal(decodeEntry(kernel.lookup(1, 'come', ME).body).nodeid, now('come'));
  assert.equal(decodeEntry(kernel.lookup(now('come'), 'y', ME).body).nodeid, 0);
});

test('a symlink that was changed is the old one', () => {
  const { kernel, old } = inPass();
  const { nodeid } = decodeEntry(kernel.lookup(1, 'link', ME).body);
  assert.equal(nodeid, old('link'));
  assert.equal(kernel.ask(OP.READLINK, nodeid).body.toString(), 'cert');
});

test('a second load is told of what is live, from the old inode too', () => {
  const { kernel, old, now } = inPass();
  assert.equal(kernel.open(old('key'), 0, ME).fh, old('key'));
  assert.equal(kernel.open(old('cert'), 0, ME).error, 'ESTALE');
  assert.equal(decodeEntry(kernel.lookup(1, 'cert', ME).body).nodeid, now('cert'));
  assert.equal(kernel.open(now('cert'), 0, ME).fh, now('cert'));
  assert.equal(kernel.open(now('key'), 0, ME).fh, now('key'));
});

test('a pass that ends between the walk and the open gets what the walk found', () => {
  const { kernel, clock, old, now } = inPass();
  assert.equal(kernel.open(now('key'), 0, ME).error, 'ESTALE');
  kernel.lookup(1, 'key', ME);
  clock.nowMs += 10_000;
  assert.equal(kernel.open(old('key'), 0, ME).fh, old('key'));
});

test('a generation that is let go of is of no pass: its files are opened as they are live', () => {
  const { kernel, vfs, first, now } = inPass();
  vfs.retire(first);
  assert.equal(kernel.open(now('key'), 0, ME).fh, now('key'));
});

test('a server that takes over in the middle gives the same answers, also to what its predecessor had begun', () => {
  const { kernel, vfs, consistency, old, now } = inPass();
  const opens = [encodeRequest(OP.OPEN, now('key'), fields([32, 0], [32, 0]), ME)];
  opens.push(encodeRequest(OP.OPEN, old('key'), fields([32, 0], [32, 0]), ME));
  let server = kernel;
  for (const open of opens) {
    const lost = server.raw(open);
    server = new FakeKernel(vfs, { consistency, staleAnswers: kernel.staleAnswers });
    assert.deepEqual(server.raw(open), lost);
    server.lookup(1, 'key', ME);
  }
});

test('callers that can not be seen read as much as stat says, as long as the kernel may have to be told of names', () => {
  const { kernel, clock, vfs, old, now } = inPass();
  const nobody = { thread: 0 };
  assert.equal(kernel.open(old('key'), 0, nobody).error, 'ESTALE');
  // Another one of them, on its way, or the same.
  const raced = kernel.open(old('key'), 0, nobody);
  assert.deepEqual([raced.error, raced.fh, raced.flags], ['OK', old('key'), KEEP_CACHE]);
  clock.nowMs += 10_000;
  assert.equal(
    kernel.open(old('key'), 0, nobody).fh,
    now('key'),
    'then the kernel knows, and it is a single file',
  );
  clock.nowMs -= 10_000;
  vfs.setGenerations(vfs.live, []);
  assert.equal(kernel.open(old('key'), 0, nobody).error, 'ESTALE', 'what is gone is gone');
});
