import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ArchiveEntry } from '../../../src/bundle/archive.ts';
import type { Generation } from '../../../src/generation/generation.ts';
import { type ErrnoCode, errnoOf, VfsError } from '../../../src/vfs/errno.ts';
import { Vfs } from '../../../src/vfs/vfs.ts';
import { directory, file, Lineage, symlink } from '../../support/entries.ts';

function start(entries: ArchiveEntry[]) {
  const line = new Lineage();
  const retired: number[] = [];
  const vfs = new Vfs(line.next(entries), { onRetired: (g: Generation) => retired.push(g.id) });
  return { line, vfs, retired };
}

function fails(code: ErrnoCode, action: () => unknown): void {
  assert.throws(action, (error) => error instanceof VfsError && error.code === code, code);
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

test('errnoOf() gives Linux numbers, and EIO for what is no VfsError', () => {
  assert.equal(errnoOf(new VfsError('EROFS')), 30);
  assert.equal(errnoOf(new VfsError('ESTALE')), 116);
  assert.equal(errnoOf(new Error('bug')), 5);
  assert.equal(errnoOf(undefined), 5);
});

test('lookup, resolve and getattr agree', () => {
  const { vfs } = start([file('d/f', 'hello'), symlink('l', 'd/f')]);
  const d = vfs.lookup(1, 'd');
  const f = vfs.lookup(d.ino, 'f');
  assert.equal(f.mode, 0o100600);
  assert.equal(d.mode, 0o040700);
  assert.equal(f.size, 5);
  assert.equal(f.blocks, 1);
  assert.equal(vfs.resolve('/d/f'), f.ino);
  assert.equal(vfs.resolve('/'), 1);
  assert.deepEqual(vfs.getattr(f.ino), f);
  assert.equal(vfs.lookup(d.ino, '..').ino, 1);
  assert.equal(vfs.lookup(1, '..').ino, 1);
  assert.equal(vfs.readlink(vfs.resolve('/l')), 'd/f');
});

test('what is not there, not a directory, too long or not a link says so', () => {
  const { vfs } = start([file('f'), directory('d'), symlink('l', 'f')]);
  fails('ENOENT', () => vfs.lookup(1, 'nothing'));
  fails('ENOENT', () => vfs.resolve('/d/x'));
  fails('ENOTDIR', () => vfs.resolve('/f/x'));
  fails('ENOTDIR', () => vfs.lookup(vfs.resolve('/f'), 'x'));
  fails('ENAMETOOLONG', () => vfs.lookup(1, 'é'.repeat(128)));
  fails('ENOENT', () => vfs.lookup(1, 'n'.repeat(255)));
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
  assert.equal(text(vfs.read(fh, 3, 4)), '3456');
  assert.equal(text(vfs.read(fh, 8, 100)), '89');
  assert.equal(vfs.read(fh, 10, 1).length, 0);
  assert.equal(vfs.read(fh, 2 ** 52, 1).length, 0);
  fails('EINVAL', () => vfs.read(fh, -1, 1));
  fails('EINVAL', () => vfs.read(fh, Number.NaN, 1));
  vfs.release(fh);
  fails('EBADF', () => vfs.read(fh, 0, 1));
  fails('EBADF', () => vfs.release(fh));
  const dh = vfs.opendir(1);
  fails('EISDIR', () => vfs.read(dh, 0, 1));
  fails('ENOTDIR', () => vfs.readdir(vfs.open(vfs.resolve('/f'), 0), 0));
});

test('a handle stays with the generation it was opened in, and its last release retires that', () => {
  const { line, vfs, retired } = start([file('f', 'old')]);
  const ino = vfs.resolve('/f');
  const first = vfs.open(ino, 0);
  const second = vfs.open(ino, 0);
  const before = vfs.fgetattr(first);
  vfs.activate(line.next([file('f', 'newer')]));
  assert.equal(text(vfs.read(first, 0, 9)), 'old');
  assert.deepEqual(vfs.fgetattr(first), before);
  assert.deepEqual(vfs.getattr(ino), before, 'an inode that is still open keeps its attributes');
  const reopened = vfs.open(ino, 0);
  assert.equal(text(vfs.read(reopened, 0, 9)), 'newer', 'a superseded inode opens as what is live');
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
  assert.equal(text(vfs.read(fh, 0, 3)), 'old', 'the live generation can not be retired');
  vfs.activate(line.next([]));
  vfs.retire(old);
  assert.deepEqual(retired, [1]);
  fails('ESTALE', () => vfs.read(fh, 0, 1));
  fails('ESTALE', () => vfs.readdir(dh, 0));
  fails('ESTALE', () => vfs.fgetattr(fh));
  vfs.retire(old);
  vfs.release(fh);
  vfs.releasedir(dh);
  assert.deepEqual(retired, [1]);
  assert.equal(vfs.openHandles(), 0);
});

test('a removed file that is still open can be read but not opened again', () => {
  const { line, vfs } = start([file('d/f', 'x'), file('g')]);
  const ino = vfs.resolve('/d/f');
  const fh = vfs.open(ino, 0);
  vfs.activate(line.next([file('g')]));
  assert.equal(text(vfs.read(fh, 0, 1)), 'x');
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

test('access() follows owner, group, others and root, and never lets anybody write', () => {
  const line = new Lineage();
  const entries: ArchiveEntry[] = [
    { kind: 'file', path: 'f', mode: 0o640, uid: 10, gid: 20, data: Buffer.alloc(0) },
    { kind: 'file', path: 'x', mode: 0o001, uid: 10, gid: 20, data: Buffer.alloc(0) },
  ];
  const vfs = new Vfs(line.next(entries, { preserve: true }));
  const f = vfs.resolve('/f');
  vfs.access(f, 4, { uid: 10, gid: 1 });
  vfs.access(f, 4, { uid: 11, gid: 20 });
  vfs.access(f, 4, { uid: 11, gid: 1, groups: [20] });
  vfs.access(f, 0, { uid: 11, gid: 1 });
  fails('EACCES', () => vfs.access(f, 4, { uid: 11, gid: 1 }));
  fails('EROFS', () => vfs.access(f, 2, { uid: 0, gid: 0 }));
  vfs.access(f, 4, { uid: 0, gid: 0 });
  fails('EACCES', () => vfs.access(f, 1, { uid: 0, gid: 0 }));
  const x = vfs.resolve('/x');
  fails('EACCES', () => vfs.access(x, 1, { uid: 10, gid: 1 }));
  vfs.access(x, 1, { uid: 11, gid: 1 });
  vfs.access(x, 1, { uid: 0, gid: 0 });
});

test('statfs() counts contents and inodes', () => {
  const { vfs } = start([file('a', Buffer.alloc(5000)), file('b')]);
  assert.deepEqual(vfs.statfs(), { blockBytes: 4096, blocks: 2, files: 3, nameBytesMax: 255 });
});
