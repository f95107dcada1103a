import assert from 'node:assert/strict';
import { test } from 'node:test';
import { STALE_ANSWERS } from '../../../../src/fuse/kernel/stale-answers.ts';
import { Vfs } from '../../../../src/vfs/vfs.ts';
import { directory, file, Lineage, nodeAt } from '../../../support/entries.ts';
import { ALIAS_BASE, encodeRequest, FakeKernel, fields, OP } from '../../../support/fake-kernel.ts';

const DIRECT_IO = 1;
const KEEP_CACHE = 2;

function superseded() {
  const lineage = new Lineage();
  const first = lineage.next([file('f', 'one'), file('removed'), directory('d'), file('d/x')]);
  const second = lineage.next([file('f', 'two')]);
  const vfs = new Vfs(second);
  vfs.setGenerations(second, [first]);
  const old = (path: string) => first.ino(nodeAt(first, path));
  return { vfs, kernel: new FakeKernel(vfs), old, live: second.ino(nodeAt(second, 'f')) };
}

test('OPEN of a superseded inode is ESTALE first, so that the kernel walks the path again', () => {
  const { kernel, old, live } = superseded();
  assert.equal(kernel.open(old('f')).error, 'ESTALE');
  kernel.lookup(1, 'f');
  assert.deepEqual(kernel.open(live).error, 'OK');
});

test('the second OPEN with no LOOKUP in between is served with the live content, past the page cache', () => {
  const { kernel, old, live } = superseded();
  assert.equal(kernel.open(old('f')).error, 'ESTALE');
  const { error, fh, flags } = kernel.open(old('f'));
  assert.deepEqual([error, fh, flags], ['OK', live, DIRECT_IO]);
  assert.equal(kernel.read(old('f'), fh, 0, 100).body.toString(), 'two');
  assert.equal(kernel.open(old('f')).error, 'ESTALE', 'and then it begins again');
});

test('after a walk a thread is not told ESTALE again: a generation that was faster does not fail its open', () => {
  const { kernel, old, live } = superseded();
  const [me, other] = [{ thread: 10 }, { thread: 11 }];
  assert.equal(kernel.open(old('f'), 0, me).error, 'ESTALE');
  kernel.lookup(1, 'f', other);
  assert.equal(kernel.open(old('f'), 0, me).error, 'OK');
  assert.equal(kernel.open(old('f'), 0, me).error, 'ESTALE');
  kernel.lookup(1, 'f', me);
  const { error, fh, flags } = kernel.open(old('f'), 0, me);
  assert.deepEqual([error, fh, flags], ['OK', old('f'), KEEP_CACHE]);
  assert.equal(kernel.read(old('f'), fh, 0, 100).body.toString(), 'one');
  assert.equal(kernel.open(old('f'), 0, me).error, 'ESTALE', 'and then it begins again');
  kernel.lookup(1, 'f', me);
  assert.equal(kernel.open(live, 0, me).error, 'OK');
  assert.equal(kernel.open(old('f'), 0, me).error, 'ESTALE', 'a walk that came through is over');
});

test('threads that open the same inode at once do not take each other’s turn', () => {
  const { kernel, old } = superseded();
  const threads = [1, 2, 3].map((thread) => ({ thread }));
  for (const thread of threads) assert.equal(kernel.open(old('f'), 0, thread).error, 'ESTALE');
  for (const thread of threads) assert.equal(kernel.open(old('f'), 0, thread).error, 'OK');
});

test('callers in a pid namespace that is not seen, all of them thread 0, never get an error', () => {
  const { kernel, old } = superseded();
  const nobody = { thread: 0 };
  assert.equal(kernel.open(old('f'), 0, nobody).error, 'ESTALE');
  kernel.lookup(1, 'f', nobody);
  for (let i = 0; i < 5; i++) assert.equal(kernel.open(old('f'), 0, nobody).error, 'OK');
});

test('an alias that is opened leads to its inode the same way', () => {
  const { kernel, live } = superseded();
  assert.equal(kernel.open(ALIAS_BASE + live).error, 'ESTALE');
  assert.deepEqual(kernel.open(ALIAS_BASE + live).fh, live);
});

test('what stands nowhere any more stays ESTALE', () => {
  const { kernel, old } = superseded();
  for (let i = 0; i < 3; i++) assert.equal(kernel.open(old('removed')).error, 'ESTALE');
  for (let i = 0; i < 3; i++) {
    assert.equal(kernel.ask(OP.OPENDIR, old('d'), fields([32, 0], [32, 0])).error, 'ESTALE');
  }
});

test('a server that takes over between the two opens serves the second', () => {
  const { kernel, vfs, old } = superseded();
  assert.equal(kernel.open(old('f')).error, 'ESTALE');
  const next = new FakeKernel(vfs, { staleAnswers: kernel.staleAnswers });
  assert.equal(next.open(old('f')).error, 'OK');
});

test('a server that takes over gives the same answer to what its predecessor had begun', () => {
  for (const turn of [0, 1]) {
    const { kernel, vfs, old } = superseded();
    if (turn === 1) kernel.open(old('f'));
    const request = encodeRequest(OP.OPEN, old('f'), fields([32, 0], [32, 0]));
    const lost = kernel.raw(request);
    const next = new FakeKernel(vfs, { staleAnswers: kernel.staleAnswers });
    assert.deepEqual(next.raw(request), lost);
  }
});

test('the table forgets the oldest when it is full', () => {
  const { kernel, old } = superseded();
  for (let thread = 1; thread <= STALE_ANSWERS + 1; thread++) kernel.open(old('f'), 0, { thread });
  assert.equal(kernel.open(old('f'), 0, { thread: 2 }).error, 'OK');
  assert.equal(kernel.open(old('f'), 0, { thread: 1 }).error, 'ESTALE');
});
