import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ArchiveEntry } from '../../../src/bundle/archive.ts';
import type { Generation } from '../../../src/generation/generation.ts';
import { ERRNO, errnoOf, orThrow, VfsError } from '../../../src/vfs/errno.ts';
import { Vfs } from '../../../src/vfs/vfs.ts';
import { contentOf, directory, file, Lineage, nodeAt, symlink } from '../../support/entries.ts';

function start(entries: ArchiveEntry[]) {
  const line = new Lineage();
  const retired: number[] = [];
  const vfs = new Vfs(line.next(entries), { onRetired: (g: Generation) => retired.push(g.id) });
  return { line, vfs, retired };
}

/** The path of what a name stands for, or the negative errno. */
function look(vfs: Vfs, parent: string | number, name: string): string | number {
  const bytes = Buffer.from(`(${name})`);
  const ino = typeof parent === 'number' ? parent : vfs.live.ino(nodeAt(vfs.live, parent));
  const node = vfs.lookup(ino, bytes, 1, bytes.length - 1);
  return node < 0 ? node : vfs.live.path(node);
}

const inoOf = (generation: Generation, path: string): number => generation.ino(nodeAt(generation, path));

test('errnoOf() gives Linux numbers, and EIO for what is no VfsError; orThrow() is its inverse', () => {
  assert.equal(errnoOf(new VfsError('EROFS')), 30);
  assert.equal(errnoOf(new VfsError('ESTALE')), 116);
  assert.equal(errnoOf(new Error('bug')), 5);
  assert.equal(errnoOf(undefined), 5);
  assert.equal(orThrow(0), 0);
  assert.equal(orThrow(7), 7);
  for (const [code, errno] of Object.entries(ERRNO)) assert.throws(() => orThrow(-errno), { code });
  assert.throws(() => orThrow(-4711), { code: 'EIO' });
});

test('lookup() finds names, "." and ".." in the live generation', () => {
  const { vfs, line } = start([file('d/e/f', 'hello'), symlink('l', 'd/f'), file('é/ü')]);
  assert.equal(look(vfs, '', 'd'), 'd');
  assert.equal(look(vfs, 'd/e', 'f'), 'd/e/f');
  assert.equal(look(vfs, '', 'l'), 'l');
  assert.equal(look(vfs, 'é', 'ü'), 'é/ü');
  assert.equal(look(vfs, 'd/e', '.'), 'd/e');
  assert.equal(look(vfs, 'd/e', '..'), 'd');
  assert.equal(look(vfs, '', '..'), '');
  const d = inoOf(vfs.live, 'd');
  vfs.activate(line.next([file('d/new')]));
  assert.equal(look(vfs, d, 'new'), 'd/new', 'a directory keeps its inode');
  assert.equal(look(vfs, d, 'e'), -ERRNO.ENOENT);
});

test('lookup() answers a negative errno for what is not there, too long, or in no directory', () => {
  const { vfs } = start([file('f'), directory('d'), symlink('l', 'f')]);
  assert.equal(look(vfs, '', 'nothing'), -ERRNO.ENOENT);
  assert.equal(look(vfs, 'd', 'f'), -ERRNO.ENOENT);
  assert.equal(look(vfs, '', ''), -ERRNO.ENOENT);
  assert.equal(look(vfs, '', '...'), -ERRNO.ENOENT);
  assert.equal(look(vfs, 'f', 'x'), -ERRNO.ENOTDIR);
  assert.equal(look(vfs, 'l', 'x'), -ERRNO.ENOTDIR);
  assert.equal(look(vfs, '', 'n'.repeat(255)), -ERRNO.ENOENT);
  assert.equal(look(vfs, '', 'n'.repeat(256)), -ERRNO.ENAMETOOLONG);
  assert.equal(look(vfs, 4711, 'x'), -ERRNO.ESTALE);
  for (const ino of [0, -1, 0.5, Number.NaN, 2 ** 60]) assert.equal(look(vfs, ino, 'f'), -ERRNO.ESTALE);
});

test('locate() finds an inode in the live generation, else in the newest lingering one, with its own bytes', () => {
  const { vfs, line, retired } = start([file('a', 'one'), file('same')]);
  const first = vfs.live;
  const a = inoOf(first, 'a');
  const second = line.next([file('a', 'two'), file('same')]);
  vfs.activate(second);
  const third = line.next([file('same')]);
  vfs.activate(third);
  assert.deepEqual(
    vfs.lingering.map((g) => g.id),
    [1, 2],
  );
  const old = vfs.locate(a);
  assert.ok(old !== undefined);
  assert.equal(old.generation, first);
  assert.equal(old.live, false);
  assert.equal(contentOf(old.generation, old.node).toString(), 'one');
  const same = vfs.locate(inoOf(first, 'same'));
  assert.equal(same, old, 'one object for all answers');
  assert.equal(same?.generation, third);
  assert.equal(same?.live, true);
  assert.equal(vfs.locate(inoOf(second, 'a'))?.generation, second);
  vfs.retire(second);
  assert.equal(vfs.locate(inoOf(second, 'a')), undefined);
  assert.deepEqual(retired, [2]);
});

test('an inode that two lingering generations have is answered from the newer', () => {
  const { vfs, line } = start([file('a'), file('b', '1')]);
  vfs.activate(line.next([file('a'), file('b', '2')]));
  vfs.activate(line.next([]));
  const a = inoOf(vfs.lingering[0] as Generation, 'a');
  assert.equal(vfs.locate(a)?.generation.id, 2);
});

test('retire() lets go of lingering generations only, and says so once', () => {
  const { vfs, line, retired } = start([file('a')]);
  const first = vfs.live;
  vfs.retire(first);
  assert.deepEqual(retired, []);
  vfs.activate(line.next([file('a', 'two')]));
  vfs.activate(vfs.live);
  vfs.retire(first);
  vfs.retire(first);
  assert.deepEqual(retired, [1]);
  assert.equal(vfs.lingering.length, 0);
});

test('a generation that was let go of is not kept by the last answer of locate()', () => {
  const { vfs, line } = start([file('a')]);
  const first = vfs.live;
  vfs.activate(line.next([]));
  const place = vfs.locate(inoOf(first, 'a'));
  assert.equal(place?.generation, first);
  vfs.retire(first);
  assert.equal(place?.generation, vfs.live);
});

test('a lingering generation can be made live again, and lingers no more', () => {
  const { vfs, line, retired } = start([file('a')]);
  const first = vfs.live;
  vfs.activate(line.next([]));
  vfs.activate(first);
  assert.deepEqual([vfs.live.id, vfs.lingering.map((g) => g.id), retired], [1, [2], []]);
});

test('setGenerations() retires exactly what is not among them', () => {
  const { vfs, line, retired } = start([file('a')]);
  const first = vfs.live;
  const second = line.next([file('a', '2')]);
  const third = line.next([file('a', '3')]);
  vfs.setGenerations(second, [first]);
  assert.deepEqual([vfs.live.id, vfs.lingering.map((g) => g.id), retired], [2, [1], []]);
  vfs.setGenerations(third, [second, third]);
  assert.deepEqual([vfs.live.id, vfs.lingering.map((g) => g.id), retired], [3, [2], [1]]);
  vfs.setGenerations(third, []);
  assert.deepEqual([vfs.live.id, vfs.lingering.map((g) => g.id), retired], [3, [], [1, 2]]);
});

test('successor() is what stands now where an inode stood, whatever it is', () => {
  const { vfs, line } = start([file('d/e/f', '1'), file('gone'), file('x/y'), file('stays')]);
  const old = vfs.live;
  vfs.activate(line.next([file('d/e/f', '2'), file('x'), file('stays')]));
  const now = (path: string) => {
    const node = vfs.successor(inoOf(old, path));
    return node < 0 ? node : vfs.live.path(node);
  };
  assert.equal(now('d/e/f'), 'd/e/f');
  assert.notEqual(inoOf(vfs.live, 'd/e/f'), inoOf(old, 'd/e/f'));
  assert.equal(now('stays'), 'stays');
  assert.equal(now('x'), 'x', 'a directory that became a file');
  assert.equal(now('x/y'), -ERRNO.ESTALE);
  assert.equal(now('gone'), -ERRNO.ESTALE);
  assert.equal(now(''), '');
  assert.equal(vfs.successor(4711), -ERRNO.ESTALE);
});

test('access() follows owner, group, others and root, and never lets anybody write', () => {
  const line = new Lineage();
  const entries: ArchiveEntry[] = [
    { kind: 'file', path: 'f', mode: 0o640, uid: 10, gid: 20, data: Buffer.alloc(0) },
    { kind: 'file', path: 'x', mode: 0o001, uid: 10, gid: 20, data: Buffer.alloc(0) },
  ];
  const vfs = new Vfs(line.next(entries, { preserve: true }));
  const f = inoOf(vfs.live, 'f');
  assert.equal(vfs.access(f, 4, 10, 1), 0);
  assert.equal(vfs.access(f, 4, 11, 20), 0);
  assert.equal(vfs.access(f, 4, 11, 1, [20]), 0);
  assert.equal(vfs.access(f, 0, 11, 1), 0);
  assert.equal(vfs.access(f, 4, 11, 1, [21]), -ERRNO.EACCES);
  assert.equal(vfs.access(f, 2, 0, 0), -ERRNO.EROFS);
  assert.equal(vfs.access(f, 4, 0, 0), 0);
  assert.equal(vfs.access(f, 1, 0, 0), -ERRNO.EACCES);
  assert.equal(vfs.access(1, 1, 0, 0), 0);
  const x = inoOf(vfs.live, 'x');
  assert.equal(vfs.access(x, 1, 10, 1), -ERRNO.EACCES);
  assert.equal(vfs.access(x, 1, 11, 1), 0);
  assert.equal(vfs.access(x, 1, 0, 0), 0);
  assert.equal(vfs.access(4711, 0, 0, 0), -ERRNO.ESTALE);
});

test('statfs() counts contents and inodes', () => {
  const { vfs } = start([file('a', Buffer.alloc(5000)), file('b', '')]);
  assert.deepEqual(vfs.statfs(), { blockBytes: 4096, blocks: 2, files: 3, nameBytesMax: 255 });
});
