import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ArchiveEntry } from '../../../src/bundle/archive.ts';
import type { Generation } from '../../../src/generation/generation.ts';
import { type ErrnoCode, VfsError } from '../../../src/vfs/errno.ts';
import { PathVfs } from '../../../src/vfs/paths.ts';
import { directory, file, Lineage, symlink } from '../../support/entries.ts';

function start(entries: ArchiveEntry[]) {
  const line = new Lineage();
  const retired: number[] = [];
  const vfs = new PathVfs(line.next(entries), { onRetired: (g: Generation) => retired.push(g.id) });
  return { line, vfs, retired };
}

function fails(code: ErrnoCode, action: () => unknown): void {
  assert.throws(action, (error) => error instanceof VfsError && error.code === code, code);
}

function text(vfs: PathVfs, fh: number, offset = 0, length = 100): string {
  const target = Buffer.alloc(length);
  return target.toString('utf8', 0, vfs.read(fh, offset, length, target));
}

const byte = Buffer.alloc(1);

test('resolve, getattr and readlink agree', () => {
  const { vfs } = start([file('d/f', 'hello'), symlink('l', 'd/f')]);
  const d = vfs.getattr(vfs.resolve('/d'));
  const f = vfs.getattr(vfs.resolve('/d/f'));
  assert.equal(f.mode, 0o100600);
  assert.equal(d.mode, 0o040700);
  assert.equal(f.size, 5);
  assert.equal(f.blocks, 1);
  assert.equal(vfs.resolve('/d/f'), f.ino);
  assert.equal(vfs.resolve('//d///f/'), f.ino);
  assert.equal(vfs.resolve('/'), 1);
  assert.equal(vfs.resolve('/d/../d/./f'), f.ino);
  assert.equal(vfs.readlink(vfs.resolve('/l')), 'd/f');
});

test('what is not there, not a directory, too long or not a link says so', () => {
  const { vfs } = start([file('f'), directory('d'), symlink('l', 'f')]);
  fails('ENOENT', () => vfs.resolve('/nothing'));
  fails('ENOENT', () => vfs.resolve('/d/x'));
  fails('ENOTDIR', () => vfs.resolve('/f/x'));
  fails('ENAMETOOLONG', () => vfs.resolve(`/${'é'.repeat(128)}`));
  fails('ENOENT', () => vfs.resolve(`/${'n'.repeat(255)}`));
  fails('ENAMETOOLONG', () => vfs.resolve(`/${'a/'.repeat(2100)}`));
  fails('EINVAL', () => vfs.readlink(vfs.resolve('/f')));
  fails('ESTALE', () => vfs.getattr(4711));
  fails('ENOTDIR', () => vfs.opendir(vfs.resolve('/f')));
});

test('open() refuses to write, and opens files only', () => {
  const { vfs } = start([file('f'), directory('d'), symlink('l', 'f')]);
  const f = vfs.resolve('/f');
  for (const flags of [1, 2, 3, 0o1000]) fails('EROFS', () => vfs.open(f, flags));
  fails('EISDIR', () => vfs.open(vfs.resolve('/d'), 0));
  fails('EROFS', () => vfs.open(vfs.resolve('/d'), 2));
  fails('ELOOP', () => vfs.open(vfs.resolve('/l'), 0));
});

test('read() answers any offset and length, and closed handles are EBADF', () => {
  const { vfs } = start([file('f', '0123456789')]);
  const fh = vfs.open(vfs.resolve('/f'), 0);
  assert.equal(text(vfs, fh, 3, 4), '3456');
  assert.equal(text(vfs, fh, 8), '89');
  assert.equal(vfs.read(fh, 10, 1, byte), 0);
  assert.equal(vfs.read(fh, 2 ** 52, 1, byte), 0);
  fails('EINVAL', () => vfs.read(fh, -1, 1, byte));
  fails('EINVAL', () => vfs.read(fh, Number.NaN, 1, byte));
  vfs.release(fh);
  fails('EBADF', () => vfs.read(fh, 0, 1, byte));
  fails('EBADF', () => vfs.release(fh));
  const dh = vfs.opendir(1);
  fails('EISDIR', () => vfs.read(dh, 0, 1, byte));
  fails('ENOTDIR', () => vfs.readdir(vfs.open(vfs.resolve('/f'), 0), 0));
});

test('a handle stays with the generation it was opened in, and its last release retires that', () => {
  const { line, vfs, retired } = start([file('f', 'old')]);
  const ino = vfs.resolve('/f');
  const first = vfs.open(ino, 0);
  const second = vfs.open(ino, 0);
  const before = vfs.fgetattr(first);
  vfs.activate(line.next([file('f', 'newer')]));
  assert.equal(text(vfs, first), 'old');
  assert.deepEqual(vfs.fgetattr(first), before);
  assert.deepEqual(vfs.getattr(ino), before, 'an inode that is still open keeps its attributes');
  const reopened = vfs.open(ino, 0);
  assert.equal(text(vfs, reopened), 'newer', 'a superseded inode opens as what is live');
  assert.deepEqual(
    vfs.lingering.map((g) => g.id),
    [1],
  );
  vfs.release(first);
  assert.deepEqual(retired, []);
  vfs.release(second);
  assert.deepEqual(retired, [1]);
  fails('ESTALE', () => vfs.getattr(ino));
  vfs.release(reopened);
  assert.deepEqual(retired, [1], 'the live generation never retires by a release');
});

test('activate() retires what nobody has open at once', () => {
  const { line, vfs, retired } = start([file('f')]);
  vfs.activate(line.next([file('f')]));
  assert.deepEqual(retired, [1]);
  vfs.activate(vfs.live);
  assert.deepEqual(retired, [1]);
  assert.equal(vfs.live.id, 2);
});

test('retire() takes a generation from its handles: ESTALE, reported once, release still works', () => {
  const { line, vfs, retired } = start([file('f', 'old')]);
  const fh = vfs.open(vfs.resolve('/f'), 0);
  const dh = vfs.opendir(1);
  const old = vfs.live;
  vfs.retire(old);
  assert.equal(text(vfs, fh), 'old', 'the live generation can not be retired');
  vfs.activate(line.next([]));
  vfs.retire(old);
  assert.deepEqual(retired, [1]);
  fails('ESTALE', () => vfs.read(fh, 0, 1, byte));
  fails('ESTALE', () => vfs.readdir(dh, 0));
  fails('ESTALE', () => vfs.fgetattr(fh));
  vfs.retire(old);
  vfs.release(fh);
  vfs.releasedir(dh);
  assert.deepEqual(retired, [1]);
});

test('setGenerations() makes the handles stale of what it lets go of', () => {
  const { line, vfs, retired } = start([file('f', 'old')]);
  const old = vfs.live;
  const fh = vfs.open(vfs.resolve('/f'), 0);
  const next = line.next([file('f', 'new')]);
  vfs.setGenerations(next, [old]);
  assert.equal(text(vfs, fh), 'old');
  vfs.setGenerations(next, []);
  fails('ESTALE', () => vfs.read(fh, 0, 1, byte));
  vfs.release(fh);
  assert.deepEqual(retired, [1]);
});

test('a removed file that is still open can be read but not opened again', () => {
  const { line, vfs } = start([file('d/f', 'x'), file('g')]);
  const ino = vfs.resolve('/d/f');
  const fh = vfs.open(ino, 0);
  vfs.activate(line.next([file('g')]));
  assert.equal(text(vfs, fh), 'x');
  fails('ESTALE', () => vfs.open(ino, 0));
  fails('ENOENT', () => vfs.resolve('/d/f'));
});

test('readdir() pages through the listing of its opendir, whatever is activated meanwhile', () => {
  const names = Array.from({ length: 50 }, (_, i) => `f${String(i).padStart(2, '0')}`);
  const { line, vfs, retired } = start(names.map((n) => file(n)));
  const dh = vfs.opendir(1);
  const seen: string[] = [];
  for (let offset = 0; ; ) {
    const page = vfs.readdir(dh, offset, 7);
    if (page.length === 0) break;
    seen.push(...page.map((e) => e.name));
    offset = page.at(-1)?.nextOffset ?? 0;
    vfs.activate(line.next([file(`only${offset}`)]));
  }
  assert.deepEqual(seen, ['.', '..', ...names]);
  assert.ok(!retired.includes(1));
  vfs.releasedir(dh);
  assert.ok(retired.includes(1));
  const again = vfs.opendir(1);
  assert.equal(vfs.readdir(again, 0).length, 3);
});
