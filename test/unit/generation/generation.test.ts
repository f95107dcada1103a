import assert from 'node:assert/strict';
import { performance } from 'node:perf_hooks';
import { test } from 'node:test';
import type { ArchiveEntry } from '../../../src/bundle/archive.ts';
import { type Plan, planGeneration } from '../../../src/generation/build.ts';
import { Generation, inMemory } from '../../../src/generation/generation.ts';
import { contentOf, directory, file, imageOf, Lineage, nodeAt, symlink } from '../../support/entries.ts';

const permissions = (g: Generation, path: string): number => g.mode(nodeAt(g, path)) & 0o777;
const owner = (g: Generation, path: string): number[] => [g.uid(nodeAt(g, path)), g.gid(nodeAt(g, path))];
const ino = (g: Generation, path: string): number => g.ino(nodeAt(g, path));
const mtime = (g: Generation, path: string): number => g.mtimeSeconds(nodeAt(g, path));
const listing = (g: Generation, path: string): string[] => {
  const node = nodeAt(g, path);
  return Array.from({ length: g.childCount(node) }, (_, i) => g.name(g.firstChild(node) + i));
};

test('files belong to root and lose the bits of group and others, unless modes and owners are preserved', () => {
  const entries: ArchiveEntry[] = [
    { ...file('a', 'x', 0o644), uid: 7, gid: 8 },
    file('tool', 'x', 0o755),
    directory('d', 0o755),
    { ...file('implied/f', 'x', 0o4600), uid: 9 },
  ];
  const cleared = new Lineage().next(entries);
  assert.deepEqual(
    ['a', 'tool', 'd', 'implied', 'implied/f'].map((p) => permissions(cleared, p)),
    [0o600, 0o700, 0o700, 0o700, 0o600],
  );
  assert.deepEqual(owner(cleared, 'a'), [0, 0]);

  const own = new Lineage().next(entries, { owner: { uid: 1000, gid: 100 } });
  assert.deepEqual([...owner(own, 'a'), ...owner(own, '')], [1000, 100, 1000, 100]);

  const preserved = new Lineage().next(entries, { preserve: true });
  assert.deepEqual(
    ['a', 'tool', 'd', 'implied', 'implied/f'].map((p) => permissions(preserved, p)),
    [0o644, 0o755, 0o755, 0o755, 0o600],
  );
  assert.deepEqual(
    [owner(preserved, 'a'), owner(preserved, 'implied/f')],
    [
      [7, 8],
      [9, 0],
    ],
  );
});

test('an unchanged file keeps inode and mtime, a changed one gets a new inode and a strictly larger mtime', () => {
  const line = new Lineage();
  const a = line.next([file('same', 'same'), file('new', 'one'), symlink('l', 'same'), file('mode', 'm')]);
  line.nowSeconds -= 3600; // a clock that was set back
  const b = line.next([
    file('same', 'same'),
    file('new', 'two'),
    symlink('l', 'same'),
    { ...file('mode', 'm', 0o700) },
  ]);
  for (const path of ['same', 'l']) {
    assert.equal(ino(b, path), ino(a, path));
    assert.equal(mtime(b, path), mtime(a, path));
  }
  for (const path of ['new', 'mode']) {
    assert.ok(a.find(ino(b, path)) < 0);
    assert.equal(mtime(b, path), mtime(a, path) + 1);
  }
  const c = line.next([file('same', 'same'), file('new', 'one'), symlink('l', 'new'), file('mode', 'm')]);
  assert.ok(a.find(ino(c, 'new')) < 0 && b.find(ino(c, 'new')) < 0, 'old content, new inode');
  assert.notEqual(ino(c, 'l'), ino(b, 'l'));
});

test('a directory keeps its inode, and its mtime as long as its listing shows the same inodes', () => {
  const line = new Lineage();
  const a = line.next([file('d/e/f'), file('d/g'), file('x/y')]);
  line.nowSeconds += 10;
  const b = line.next([file('d/e/f', 'changed'), file('d/g'), file('x/y')]);
  assert.equal(ino(b, 'd/e'), ino(a, 'd/e'));
  assert.equal(mtime(b, 'd/e'), line.nowSeconds);
  assert.equal(mtime(b, 'd'), mtime(a, 'd'));
  assert.equal(mtime(b, ''), mtime(a, ''));
  assert.equal(mtime(b, 'x'), mtime(a, 'x'));
  const c = line.next([file('d/e/f', 'changed'), file('d'.concat('/h')), file('x/y')]);
  assert.equal(mtime(c, 'd'), line.nowSeconds);
  assert.equal(ino(c, ''), 1);
});

test('a file that becomes a directory, and back, never has an old inode', () => {
  const line = new Lineage();
  const seen = new Set<number>();
  for (const entries of [[file('n')], [file('n/x')], [symlink('n', 'y'), file('y')], [file('n')]]) {
    const now = ino(line.next(entries), 'n');
    assert.ok(!seen.has(now));
    seen.add(now);
  }
});

test('contents stand in the image one after another, and none of them in the metadata', () => {
  const line = new Lineage();
  line.next([file('b', 'more'), file('a', 'secret'), file('empty', ''), symlink('link', 'a')]);
  const { plan } = line;
  assert.ok(plan !== undefined);
  assert.deepEqual(
    plan.contents.map(({ position, data }) => [position, Buffer.from(data).toString()]),
    [
      [4096, 'secret'],
      [4102, 'more'],
    ],
  );
  assert.equal(plan.bytes, 4106);
  assert.ok(!plan.metadata.includes('secret'));
  const { last } = line;
  assert.ok(last !== undefined);
  assert.equal(last.imageBytes, plan.bytes);
  assert.equal(last.contentBytes, 10);
  assert.equal(contentOf(last, nodeAt(last, 'b')).toString(), 'more');
  assert.equal(last.target(nodeAt(last, 'link')), 'a');
});

test('what cannot be read of the previous generation counts as changed', () => {
  const line = new Lineage();
  const entries = [file('a', 'secret'), file('empty', '')];
  line.next(entries);
  const { metadata } = planGeneration(entries, { id: 1, serial: 1, nowSeconds: 1, preserve: false });
  const gone = Generation.open(metadata, { read: () => 0 });
  const { changes } = planGeneration(entries, {
    id: 2,
    serial: 2,
    nowSeconds: 1,
    preserve: false,
    previous: gone,
  });
  assert.deepEqual(changes.counts, { added: 0, changed: 1, removed: 0, unchanged: 1 });
});

test('contents are compared to the last byte, and no piece of the previous ones is left behind', () => {
  const big = Buffer.alloc(200_001, 'x');
  const line = new Lineage();
  const before = line.next([file('big', big)]);
  assert.equal(ino(line.next([file('big', Buffer.from(big))]), 'big'), ino(before, 'big'));
  const other = Buffer.from(big);
  other[200_000] = 0;
  const scratches = new Set<Uint8Array>();
  const image = imageOf(line.plan as Plan);
  const previous = Generation.open(image, {
    read(position, length, target, at) {
      scratches.add(target);
      return image.copy(target, at, position, position + length);
    },
  });
  line.last = previous;
  assert.notEqual(ino(line.next([file('big', other)]), 'big'), ino(before, 'big'));
  assert.equal(scratches.size, 1);
  for (const scratch of scratches) assert.ok(scratch.every((byte) => byte === 0));
});

test('inode numbers go on where the previous generation stopped, also when it was empty', () => {
  const line = new Lineage();
  const a = line.next([file('a'), file('b')]);
  assert.deepEqual([ino(a, 'a'), ino(a, 'b'), a.nextIno], [2, 3, 4]);
  const b = line.next([]);
  assert.equal(b.nextIno, 4);
  assert.equal(ino(line.next([file('a')]), 'a'), 4);
});

test('listings are sorted by the bytes of names, link counts are those of a Unix directory', () => {
  const names = ['b', 'a/x', 'c/y', '\u{10000}', '\uffee', 'é', 'ab', 'a b'];
  const generation = new Lineage().next([...names.map((name) => file(name)), directory('B')]);
  assert.deepEqual(listing(generation, ''), ['B', 'a', 'a b', 'ab', 'b', 'c', 'é', '\uffee', '\u{10000}']);
  assert.equal(generation.nlink(0), 5);
  assert.equal(generation.path(nodeAt(generation, 'a/x')), 'a/x');
  assert.equal(generation.path(0), '');
  assert.deepEqual([generation.files, generation.directories, generation.symlinks], [8, 4, 0]);
});

test('names that objects inherit are ordinary names', () => {
  const generation = new Lineage().next([file('__proto__/constructor', 'x'), file('toString')]);
  assert.ok(generation.isFile(nodeAt(generation, '__proto__/constructor')));
});

test('the order of entries does not matter, a directory after its files included', () => {
  const entries = [file('d/f'), directory('d', 0o755), file('a')];
  const generation = new Lineage().next(entries, { preserve: true });
  assert.equal(generation.mode(nodeAt(generation, 'd')), 0o040755);
  const other = new Lineage().next(entries.toReversed(), { preserve: true });
  assert.deepEqual(listing(other, ''), listing(generation, ''));
});

test('duplicates and paths through files are bugs of the archive layer, and do not pass', () => {
  for (const entries of [
    [file('a'), file('a')],
    [file('a'), file('a/b')],
    [file('a/b'), file('a')],
    [directory('a'), directory('a')],
    [file('a/b'), symlink('a', 'x')],
  ]) {
    assert.throws(() => new Lineage().next(entries));
  }
});

test('an owner that is no 32-bit number does not become another', () => {
  for (const uid of [2 ** 32, -1, 0.5]) {
    assert.throws(() => new Lineage().next([{ ...file('a'), uid }], { preserve: true }), RangeError);
  }
  const largest = new Lineage().next([{ ...file('a'), uid: 2 ** 32 - 2 }], { preserve: true });
  assert.deepEqual(owner(largest, 'a'), [2 ** 32 - 2, 0]);
});

test('100,000 entries are planned and opened in time that grows with their number only', () => {
  const entries = Array.from({ length: 100_000 }, (_, i) => file(`d${i % 300}/f${i}`, `content ${i}`));
  const line = new Lineage();
  const started = performance.now();
  line.next(entries);
  const built = performance.now();
  line.next(entries.toSpliced(500, 1));
  const rebuilt = performance.now();
  const { plan } = line;
  assert.ok(plan !== undefined);
  assert.deepEqual(plan.changes.operations, [{ kind: 'unlink', path: 'd200/f500' }]);
  assert.equal(plan.changes.counts.unchanged, 100_299);
  const image = imageOf(plan);
  const before = performance.now();
  const generation = Generation.open(image, inMemory(image));
  const opened = performance.now() - before;
  const [first, second] = [built - started, rebuilt - built];
  console.log(`# plan ${first.toFixed(0)} ms, next ${second.toFixed(0)} ms, open ${opened.toFixed(0)} ms`);
  assert.ok(first < 4000 && second < 4000 && opened < 500, `${first} ${second} ${opened}`);
  for (const path of ['d0/f0', 'd99/f99999']) {
    assert.equal(generation.find(ino(generation, path)), nodeAt(generation, path));
  }
  // One directory of 100,000 must not be slower than many.
  const flat = Array.from({ length: 100_000 }, (_, i) => file(`f${i}`, ''));
  const flatStarted = performance.now();
  new Lineage().next(flat);
  assert.ok(performance.now() - flatStarted < 4000);
});
