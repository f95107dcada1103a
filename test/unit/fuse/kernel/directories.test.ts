import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Vfs } from '../../../../src/vfs/vfs.ts';
import { directory, file, Lineage, nodeAt, symlink } from '../../../support/entries.ts';
import {
  type Dirent,
  decodeDirents,
  decodeEntry,
  FakeKernel,
  FOR_EVER,
  fields,
  OP,
  readBody,
} from '../../../support/fake-kernel.ts';

const DT = { directory: 4, file: 8, symlink: 10 };
const LONG = 'ü'.repeat(127);

function served() {
  const lineage = new Lineage();
  const first = lineage.next([file('a'), file('b', 'one'), file('c'), directory('d'), file('d/x')]);
  const vfs = new Vfs(first);
  const kernel = new FakeKernel(vfs);
  const opendir = (nodeid: number) => {
    const { error, body } = kernel.ask(OP.OPENDIR, nodeid, fields([32, 0], [32, 0]));
    return error === 'OK' ? Number(body.readBigUInt64LE()) : error;
  };
  /** As the kernel does: from one offset to the next, in pieces of `size`. */
  const list = (nodeid: number, fh: number, size: number, plus: boolean, from = 0): Dirent[] => {
    const opcode = plus ? OP.READDIRPLUS : OP.READDIR;
    const all: Dirent[] = [];
    for (let offset = from; ; ) {
      const { error, body } = kernel.read(nodeid, fh, offset, size, opcode);
      assert.equal(error, 'OK');
      assert.ok(body.length <= size);
      if (body.length === 0) return all;
      all.push(...decodeDirents(body, plus));
      offset = all.at(-1)?.offset ?? 0;
    }
  };
  return { lineage, first, vfs, kernel, opendir, list };
}

for (const plus of [false, true]) {
  const name = plus ? 'READDIRPLUS' : 'READDIR';

  test(`${name} lists "." and ".." and every child once, whatever the kernel's buffer holds`, () => {
    const { first, opendir, list } = served();
    const fh = opendir(1);
    assert.equal(fh, first.id);
    for (const size of [152 + 8, 300, 500, 4096, 1048576]) {
      const entries = list(1, fh as number, size, plus);
      assert.deepEqual(
        entries.map((entry) => entry.name),
        ['.', '..', 'a', 'b', 'c', 'd'],
      );
      assert.deepEqual(
        entries.map((entry) => entry.offset),
        [1, 2, 3, 4, 5, 6],
      );
      const ino = (path: string) => first.ino(nodeAt(first, path));
      assert.deepEqual(
        entries.map((entry) => entry.ino),
        [1, 1, ino('a'), ino('b'), ino('c'), ino('d')],
      );
      assert.deepEqual(
        entries.map((entry) => entry.type),
        [DT.directory, DT.directory, DT.file, DT.file, DT.file, DT.directory],
      );
    }
  });

  test(`${name} of a buffer too small for one entry answers nothing rather than half`, () => {
    const { kernel, first } = served();
    const opcode = plus ? OP.READDIRPLUS : OP.READDIR;
    assert.equal(kernel.read(1, first.id, 0, 24, opcode).body.length, 0);
    assert.equal(kernel.read(1, first.id, 0, 0, opcode).body.length, 0);
  });

  test(`${name} past the end answers nothing`, () => {
    const { kernel, first } = served();
    const opcode = plus ? OP.READDIRPLUS : OP.READDIR;
    for (const offset of [6n, 7n, 2n ** 32n, 2n ** 63n - 1n]) {
      assert.equal(kernel.read(1, first.id, offset, 4096, opcode).body.length, 0);
    }
  });

  test(`${name} goes on in the generation that it began in`, () => {
    const { lineage, first, vfs, list, opendir } = served();
    const fh = opendir(1) as number;
    const second = lineage.next([file('b', 'two'), file('z')]);
    vfs.setGenerations(second, [first]);
    assert.deepEqual(
      list(1, fh, 160, plus, 2).map((entry) => entry.name),
      ['a', 'b', 'c', 'd'],
    );
    assert.deepEqual(
      list(1, opendir(1) as number, 160, plus, 2).map((entry) => entry.name),
      ['b', 'z'],
    );
  });

  test(`${name} goes on in the live generation when its own is gone`, () => {
    const { lineage, vfs, list, opendir } = served();
    const fh = opendir(1) as number;
    vfs.setGenerations(lineage.next([file('b', 'two'), file('z')]), []);
    assert.deepEqual(
      list(1, fh, 160, plus, 3).map((entry) => entry.name),
      ['z'],
    );
  });

  test(`${name} of what is no directory, or is none any more, is an error`, () => {
    const { lineage, first, vfs, kernel } = served();
    const opcode = plus ? OP.READDIRPLUS : OP.READDIR;
    const d = first.ino(nodeAt(first, 'd'));
    assert.equal(kernel.read(first.ino(nodeAt(first, 'a')), first.id, 0, 4096, opcode).error, 'ENOTDIR');
    vfs.setGenerations(lineage.next([file('z')]), []);
    assert.equal(kernel.read(d, first.id, 0, 4096, opcode).error, 'ESTALE');
  });
}

test('READDIRPLUS answers what LOOKUP would, and no nodeid for "." and ".."', () => {
  const { kernel, first, list } = served();
  const entries = list(1, first.id, 4096, true);
  assert.deepEqual(
    entries.slice(0, 2).map((entry) => entry.entry?.nodeid),
    [0, 0],
  );
  for (const { ino, entry } of entries.slice(2)) {
    assert.deepEqual(entry, { nodeid: ino, entryValid: FOR_EVER });
  }
  const { body } = kernel.read(1, first.id, 2, 4096, OP.READDIRPLUS);
  assert.deepEqual(decodeEntry(body), decodeEntry(kernel.lookup(1, 'a').body));
});

test('READDIRPLUS of a superseded generation gives the kernel no name to remember', () => {
  const { lineage, first, vfs, list } = served();
  vfs.setGenerations(lineage.next([file('b', 'two')]), [first]);
  const entries = list(1, first.id, 4096, true);
  assert.equal(entries.length, 6);
  assert.ok(entries.every(({ entry }) => entry?.nodeid === 0));
  assert.ok(
    entries.every(({ ino }) => ino !== 0),
    'but every entry has its inode number',
  );
});

test('the reply of a listing is the same whatever the buffer held before', () => {
  const { kernel, first } = served();
  kernel.reply.fill(0xee);
  const dirty = kernel.read(1, first.id, 0, 4096, OP.READDIRPLUS).body;
  kernel.reply.fill(0);
  assert.deepEqual(kernel.read(1, first.id, 0, 4096, OP.READDIRPLUS).body, dirty);
});

test('names of 255 bytes, links and a hundred thousand entries are listed', () => {
  const lineage = new Lineage();
  const many = Array.from({ length: 100_000 }, (_, i) => file(`many/${String(i).padStart(6, '0')}`, ''));
  const generation = lineage.next([file(LONG), symlink('l', 'nowhere'), ...many]);
  const kernel = new FakeKernel(new Vfs(generation));
  const top = decodeDirents(kernel.read(1, generation.id, 2, 4096, OP.READDIR).body, false);
  assert.deepEqual(
    top.map(({ name, type }) => [name, type]),
    [
      ['l', DT.symlink],
      ['many', DT.directory],
      [LONG, DT.file],
    ],
  );
  const nodeid = generation.ino(nodeAt(generation, 'many'));
  let count = 0;
  for (let offset = 0; ; ) {
    const entries = decodeDirents(
      kernel.read(nodeid, generation.id, offset, 1048576, OP.READDIR).body,
      false,
    );
    if (entries.length === 0) break;
    count += entries.length;
    offset = entries.at(-1)?.offset ?? 0;
  }
  assert.equal(count, 100_002);
});

test('OPENDIR of what is no directory is ENOTDIR', () => {
  const { first, opendir, kernel } = served();
  assert.equal(opendir(first.ino(nodeAt(first, 'a'))), 'ENOTDIR');
  assert.equal(opendir(4242), 'ESTALE');
  assert.equal(kernel.ask(OP.READDIR, 1, readBody(1, 0, 4096).subarray(0, 39)).error, 'EINVAL');
});
