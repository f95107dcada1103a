import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planGeneration } from '../../../src/generation/build.ts';
import {
  decodeChanges,
  decodeOperations,
  encodeChanges,
  encodeOperations,
} from '../../../src/generation/changes.ts';
import { HEADER, HEADER_BYTES, NODE, NODE_BYTES, stringsStart } from '../../../src/generation/format.ts';
import { Generation, GenerationError, inMemory } from '../../../src/generation/generation.ts';
import { DEPTH_MAX } from '../../../src/limits.ts';
import { directory, file, imageOf, Lineage, symlink } from '../../support/entries.ts';

/** Nodes: 0 root, 1 "a" 2 "bb" 3 "d" 4 "link" 5 "d/e" 6 "d/f" 7 "d/e/g" */
const ENTRIES = [
  file('a', 'one'),
  file('bb', 'two'),
  symlink('link', 'to'),
  file('d/e/g', ''),
  file('d/f', 'x'),
];
const STRINGS = 'abbdlinktoefg';

function sample(): Buffer {
  const image = imageOf(planGeneration(ENTRIES, { id: 1, serial: 1, nowSeconds: 1, preserve: true }));
  const nodes = image.readUInt32LE(4 * HEADER.nodes);
  const strings = stringsStart(nodes);
  assert.equal(image.toString('utf8', strings, strings + STRINGS.length), STRINGS);
  return image;
}

const word = (image: Buffer, node: number, field: number, value: number) =>
  image.writeUInt32LE(value, HEADER_BYTES + NODE_BYTES * node + 4 * field);
const head = (image: Buffer, field: number, value: number) => image.writeUInt32LE(value, 4 * field);
const text = (image: Buffer, at: number, value: string | number) =>
  typeof value === 'string'
    ? image.write(value, stringsStart(8) + at)
    : image.writeUInt8(value, stringsStart(8) + at);
const index = (image: Buffer, at: number, value: number) =>
  image.writeUInt32LE(value, HEADER_BYTES + NODE_BYTES * 8 + 4 * at);

function refused(image: Uint8Array): string {
  try {
    Generation.open(image, inMemory(image));
  } catch (error) {
    assert.ok(error instanceof GenerationError);
    return `${error.reason}: ${error.message}`;
  }
  return 'not refused';
}

test('open() takes the sample that the cases below break', () => {
  assert.equal(refused(sample()), 'not refused');
  assert.equal(
    Generation.metadataBytes(sample().subarray(0, HEADER_BYTES)),
    stringsStart(8) + STRINGS.length,
  );
});

const CASES: readonly (readonly [string, string, (image: Buffer) => unknown])[] = [
  ['other bytes at its beginning', 'magic', (i) => i.write('S')],
  ['id 0', 'id', (i) => head(i, HEADER.id, 0)],
  ['an id above 32 bits', 'id', (i) => head(i, HEADER.id + 1, 1)],
  ['a serial that is no safe integer', 'serial', (i) => head(i, HEADER.serial + 1, 1 << 21)],
  ['an activation after the end of time', 'time', (i) => head(i, HEADER.activatedSeconds + 1, 1 << 11)],
  ['a next inode number that is not next', 'inode number', (i) => head(i, HEADER.nextIno, 8)],
  ['a next inode number of 0', 'next inode number', (i) => head(i, HEADER.nextIno, 0)],
  ['a next inode number above 2^52', 'next inode number', (i) => head(i, HEADER.nextIno + 1, (1 << 20) + 1)],
  ['no nodes', 'number of nodes', (i) => head(i, HEADER.nodes, 0)],
  ['more nodes than may be', 'number of nodes', (i) => head(i, HEADER.nodes, 1_000_002)],
  ['more metadata than may be', 'size of metadata', (i) => head(i, HEADER.stringBytes, 0xffff_ffff)],
  ['other numbers of files', 'number of files', (i) => head(i, HEADER.files, 5)],
  ['other numbers of directories', 'number of files', (i) => head(i, HEADER.directories, 4)],
  ['other numbers of symlinks', 'number of symlinks', (i) => head(i, HEADER.symlinks, 0)],
  ['contents of another size', 'size of contents', (i) => head(i, HEADER.contentBytes, 8)],
  ['contents beyond all sizes', 'size of contents', (i) => head(i, HEADER.contentBytes + 1, 1 << 21)],
  ['reserved words of the header', 'reserved', (i) => head(i, HEADER.end, 1)],
  ['the last reserved word of the header', 'reserved', (i) => head(i, 31, 1)],
  ['reserved words of a node', 'reserved', (i) => word(i, 3, NODE.reserved, 1)],
  ['an inode number 0', 'inode number', (i) => word(i, 1, NODE.ino, 0)],
  ['a second inode number 1', 'inode number', (i) => word(i, 1, NODE.ino, 1)],
  ['a root that is not inode 1', 'inode number', (i) => word(i, 0, NODE.ino, 2)],
  ['an inode number not yet given out', 'inode number', (i) => word(i, 1, NODE.ino, 9)],
  ['an inode number twice', 'index', (i) => word(i, 1, NODE.ino, 3)],
  ['an index that leaves a node out', 'index', (i) => index(i, 3, 2)],
  ['an index beyond the nodes', 'index', (i) => index(i, 7, 8)],
  ['an index out of order', 'index', (i) => [index(i, 1, 2), index(i, 2, 1)]],
  ['a parent that is another directory', 'parent', (i) => word(i, 7, NODE.parent, 3)],
  ['a parent that is a file', 'parent', (i) => word(i, 6, NODE.parent, 1)],
  ['a parent beyond the nodes', 'parent', (i) => word(i, 6, NODE.parent, 100)],
  ['a root in a directory', 'root', (i) => word(i, 0, NODE.parent, 3)],
  ['a child in no directory', 'children', (i) => [word(i, 5, NODE.children, 0), word(i, 5, NODE.nlink, 2)]],
  ['a directory within itself', 'children', (i) => word(i, 5, NODE.at, 5)],
  ['more children than there are nodes', 'children', (i) => word(i, 5, NODE.children, 2)],
  ['a number of children that wraps', 'children', (i) => word(i, 5, NODE.children, 0xffff_ffff)],
  ['a link count of a directory', 'link count', (i) => word(i, 3, NODE.nlink, 2)],
  ['a link count of a file', 'link count', (i) => word(i, 1, NODE.nlink, 2)],
  ['a link count of a symlink', 'link count', (i) => word(i, 4, NODE.nlink, 2)],
  ['a mode with setuid', 'mode', (i) => word(i, 1, NODE.mode, 0o104644)],
  ['a mode of a device', 'mode', (i) => word(i, 1, NODE.mode, 0o060644)],
  ['a mode without a type', 'mode', (i) => word(i, 1, NODE.mode, 0o644)],
  ['a size of a directory', 'size of a directory', (i) => word(i, 3, NODE.size, 0)],
  ['a file that begins in another', 'place of contents', (i) => word(i, 2, NODE.at, 4096)],
  ['a file longer than its place', 'place of contents', (i) => word(i, 1, NODE.size, 4)],
  ['a file beyond the image', 'place of contents', (i) => word(i, 2, NODE.at + 1, 1)],
  ['a last file beyond the contents', 'size of contents', (i) => word(i, 7, NODE.size, 1)],
  ['a size that is no safe integer', 'size of contents', (i) => word(i, 6, NODE.size + 1, 1 << 21)],
  ['an mtime after the end of time', 'mtime', (i) => word(i, 1, NODE.mtime + 1, 1 << 11)],
  ['a name that is another one', 'place of a name', (i) => word(i, 2, NODE.nameOffset, 0)],
  ['a name of a root', 'name', (i) => word(i, 0, NODE.nameBytes, 1)],
  ['an empty name', 'name', (i) => word(i, 1, NODE.nameBytes, 0)],
  ['a name beyond the strings', 'name', (i) => word(i, 7, NODE.nameBytes, 2)],
  ['a name over 255 bytes', 'name', (i) => word(i, 7, NODE.nameBytes, 256)],
  ['a slash in a name', 'name', (i) => text(i, 2, '/')],
  ['a NUL in a name', 'name', (i) => text(i, 2, '\0')],
  ['a name "."', 'name', (i) => text(i, 0, '.')],
  ['a name ".."', 'order of names', (i) => text(i, 1, '..')],
  ['names out of order', 'order of names', (i) => text(i, 0, 'c')],
  ['a name twice', 'order of names', (i) => text(i, 10, 'ff')],
  ['a NUL in a target', 'target', (i) => text(i, 9, '\0')],
  ['a target elsewhere', 'place of a target', (i) => word(i, 4, NODE.at, 0)],
  ['children of a symlink', 'place of a target', (i) => word(i, 4, NODE.children, 1)],
  ['an empty target', 'target', (i) => word(i, 4, NODE.size, 0)],
  ['a target beyond the strings', 'target', (i) => word(i, 4, NODE.size, 6)],
  ['strings that are not UTF-8', 'strings', (i) => text(i, 0, 0xff)],
  ['a name that ends within a character', 'name', (i) => text(i, 11, 'é')],
  ['a target that begins within a character', 'target', (i) => text(i, 7, 'é')],
  ['strings that are left over', 'size of strings', (i) => head(i, HEADER.stringBytes, STRINGS.length + 1)],
];

for (const [what, field, breakIt] of CASES) {
  test(`open() refuses an image with ${what}`, () => {
    const image = sample();
    breakIt(image);
    const outcome = refused(image);
    assert.ok(
      outcome.startsWith('invalid: cannot read generation: invalid ') && outcome.includes(field),
      outcome,
    );
  });
}

test('open() refuses the name ".." also where it is in order', () => {
  const image = imageOf(
    planGeneration([file('ab', '')], { id: 1, serial: 1, nowSeconds: 1, preserve: false }),
  );
  image.write('..', stringsStart(2));
  assert.equal(refused(image), 'invalid: cannot read generation: invalid name');
});

test('open() refuses a mode that would be a directory without children of its own', () => {
  const image = sample();
  word(image, 7, NODE.mode, 0o040755);
  assert.match(refused(image), /^invalid/);
});

test('open() says apart that a version is unknown, and looks at nothing else then', () => {
  const image = sample();
  head(image, HEADER.version, 2);
  head(image, HEADER.nodes, 0);
  assert.equal(refused(image), 'version: cannot read generation: unknown version');
});

test('open() refuses what is cut off', () => {
  const image = sample();
  for (const bytes of [
    0,
    7,
    HEADER_BYTES - 1,
    HEADER_BYTES,
    stringsStart(8),
    stringsStart(8) + STRINGS.length - 1,
  ]) {
    assert.match(refused(image.subarray(0, bytes)), /^invalid: .* length$/);
  }
});

test('a tree deeper or a path longer than may be makes no image', () => {
  const deep = (levels: number) => Array.from({ length: levels }, () => 'd').join('/');
  assert.equal(new Lineage().next([file(deep(DEPTH_MAX))]).nodeCount, DEPTH_MAX + 1);
  assert.throws(() => new Lineage().next([file(deep(DEPTH_MAX + 1))]), {
    reason: 'invalid',
    message: /depth/,
  });
  const long = `${'n'.repeat(255)}/`.repeat(15);
  assert.equal(new Lineage().next([file(`${long}${'n'.repeat(255)}`)]).nodeCount, 17);
  assert.throws(() => new Lineage().next([file(`${long}n/${'n'.repeat(254)}`)]), {
    reason: 'invalid',
    message: /length of a path/,
  });
});

test('an id, a serial or a time that does not fit makes no image', () => {
  const options = { id: 1, serial: 1, nowSeconds: 1, preserve: false };
  for (const wrong of [
    { id: 0 },
    { id: 2 ** 32 + 5 },
    { serial: -1 },
    { serial: 2 ** 53 },
    { nowSeconds: -1 },
  ]) {
    assert.throws(() => planGeneration([], { ...options, ...wrong }), { reason: 'invalid' });
  }
});

test('read() gives what is there, at any offset, and nothing of what is no file', () => {
  const image = sample();
  const generation = Generation.open(image, inMemory(image));
  const target = Buffer.alloc(8, '.');
  assert.equal(generation.read(1, 1, 100, target, 2), 2);
  assert.equal(target.toString(), '..ne....');
  assert.equal(generation.read(1, 0, 100, target, 7), 1, 'no more than the target holds');
  for (const offset of [3, 4, 2 ** 52, -1, Number.NaN])
    assert.equal(generation.read(1, offset, 4, target, 0), 0);
  for (const length of [0, -1, Number.NaN]) assert.equal(generation.read(1, 0, length, target, 0), 0);
  for (const node of [0, 3, 4]) assert.equal(generation.read(node, 0, 4, target, 0), 0);
  const gone = Generation.open(image, { read: () => 0 });
  assert.equal(gone.read(1, 0, 3, target, 0), 0);
});

test('links have targets, and what is no link or no directory has none and no children', () => {
  const image = sample();
  const generation = Generation.open(image, inMemory(image));
  const target = Buffer.alloc(2);
  assert.equal(generation.copyTarget(4, target, 0), 2);
  assert.equal(target.toString(), 'to');
  assert.equal(generation.target(4), 'to');
  for (const node of [0, 1, 3])
    assert.deepEqual([generation.targetLength(node), generation.target(node)], [0, '']);
  for (const node of [1, 4]) assert.equal(generation.childCount(node), 0);
  assert.equal(generation.child(1, Buffer.from('e'), 0, 1), -1);
});

test('operations are in the order of names, removals depth first, and of what was added only the top', () => {
  const line = new Lineage();
  line.next(
    [
      file('a-gone/x/y'),
      file('a-gone/x/z'),
      file('b-dir-to-file/x'),
      file('c-file-to-dir'),
      file('d-file-to-link'),
      file('e-changed', '1'),
      file('f-same'),
      file('k/changed', '1'),
      directory('m-mode', 0o755),
    ],
    { preserve: true },
  );
  const after = line.next(
    [
      file('b-dir-to-file'),
      file('c-file-to-dir/x'),
      symlink('d-file-to-link', 'x'),
      file('e-changed', '2'),
      file('f-same'),
      file('g-new/x'),
      file('g-new/y'),
      file('k/changed', '2'),
      directory('m-mode', 0o700),
    ],
    { preserve: true },
  );
  const { changes } = line.plan ?? assert.fail();
  assert.deepEqual(
    changes.operations.map(({ kind, path }) => `${kind} ${path}`),
    [
      ...['unlink a-gone/x/y', 'unlink a-gone/x/z', 'rmdir a-gone/x', 'rmdir a-gone'],
      ...['unlink b-dir-to-file/x', 'rmdir b-dir-to-file', 'rename b-dir-to-file'],
      ...['unlink c-file-to-dir', 'rename c-file-to-dir'],
      'rename d-file-to-link',
      'rename e-changed',
      'rename g-new',
      'rename k/changed',
    ],
  );
  assert.deepEqual(
    changes.directories.map((ino) => after.path(after.find(ino))),
    ['', 'k', 'm-mode'],
  );
  assert.deepEqual(changes.counts, { added: 4, changed: 6, removed: 5, unchanged: 2 });
});

test('without a previous generation everything is added and there is nothing to tell', () => {
  const { changes } = planGeneration(ENTRIES, { id: 1, serial: 1, nowSeconds: 1, preserve: false });
  const counts = { added: 7, changed: 0, removed: 0, unchanged: 0 };
  assert.deepEqual(changes, { counts, superseded: [], directories: [], operations: [], files: [] });
});

test('operations are encoded apart too, and a part of them is as good as all', () => {
  const operations = [
    { kind: 'unlink', path: 'd/é' },
    { kind: 'rmdir', path: 'd' },
    { kind: 'rename', path: 'n'.repeat(255), ino: 2 ** 52 - 1 },
  ] as const;
  assert.deepEqual(decodeOperations(encodeOperations(operations)), operations);
  assert.deepEqual(decodeOperations(encodeOperations(operations.slice(1, 2))), operations.slice(1, 2));
  assert.deepEqual(decodeOperations(Buffer.alloc(0)), []);
});

const PATHS = [
  '',
  '/',
  '/a',
  'a/',
  'a//b',
  '.',
  '..',
  'a/../b',
  './a',
  'a\0b',
  'n'.repeat(256),
  `${'a/'.repeat(64)}a`,
];
for (const path of PATHS) {
  test(`decodeOperations() refuses the path ${JSON.stringify(path.slice(0, 20))}`, () => {
    const invalid = { name: 'GenerationError', reason: 'invalid' };
    assert.throws(() => decodeOperations(encodeOperations([{ kind: 'unlink', path }])), invalid);
  });
}

test('decodeChanges() refuses numbers, kinds, text and lengths that none has', () => {
  const encoded = encodeChanges({
    counts: { added: 0, changed: 1, removed: 0, unchanged: 0 },
    superseded: [7],
    directories: [1],
    operations: [
      { kind: 'rename', path: 'ab', ino: 9 },
      { kind: 'unlink', path: 'c' },
    ],
    files: [
      { path: 'ab', change: 'changed' },
      { path: 'c', change: 'removed' },
    ],
  });
  const operation = 40 + 16;
  const unlink = operation + 16 + 2;
  const files = unlink + 16 + 1;
  const broken: readonly (readonly [string, (bytes: Buffer) => unknown])[] = [
    ['magic', (b) => b.write('S')],
    ['number of superseded', (b) => b.writeUInt32LE(0xffff_ffff, 28)],
    ['operations longer than all', (b) => b.writeUInt32LE(0xffff_ffff, 36)],
    ['operations cut', (b) => b.writeUInt32LE(18, 36)],
    ['superseded 0', (b) => b.writeUInt32LE(0, 40)],
    ['superseded above 2^52', (b) => b.writeUInt32LE(1 << 20, 44)],
    ['directory 0', (b) => b.writeUInt32LE(0, 48)],
    ['change 0', (b) => b.writeUInt32LE(0, files)],
    ['change 4', (b) => b.writeUInt32LE(4, files)],
    ['path of a file that leads out', (b) => b.write('..', files + 8)],
    ['path of a file too long', (b) => b.writeUInt32LE(64, files + 4)],
    ['kind 0', (b) => b.writeUInt32LE(0, unlink)],
    ['kind 4', (b) => b.writeUInt32LE(4, unlink)],
    ['unlink with an inode', (b) => b.writeUInt32LE(1, operation)],
    ['path too long', (b) => b.writeUInt32LE(3, operation + 4)],
    ['path too short', (b) => b.writeUInt32LE(1, operation + 4)],
    ['rename of the root', (b) => b.writeUInt32LE(1, operation + 8)],
    ['rename above 2^52', (b) => b.writeUInt32LE(1 << 20, operation + 12)],
    ['no UTF-8', (b) => b.writeUInt8(0xff, operation + 16)],
  ];
  assert.equal(decodeChanges(encoded).operations.length, 2);
  for (const [what, breakIt] of broken) {
    const bytes = Buffer.from(encoded);
    breakIt(bytes);
    assert.throws(() => decodeChanges(bytes), { name: 'GenerationError', reason: 'invalid' }, what);
  }
  assert.throws(() => decodeChanges(encoded.subarray(0, 30)), { name: 'GenerationError', reason: 'invalid' });
  const other = Buffer.from(encoded);
  other.writeUInt32LE(3, 8);
  assert.throws(() => decodeChanges(other), { name: 'GenerationError', reason: 'version' });
});
