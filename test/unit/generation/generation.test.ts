import assert from 'node:assert/strict';
import { performance } from 'node:perf_hooks';
import { test } from 'node:test';
import type { ArchiveEntry } from '../../../src/bundle/archive.ts';
import { diffGenerations } from '../../../src/generation/diff.ts';
import { type Generation, type Node, pathOf } from '../../../src/generation/generation.ts';
import { directory, file, Lineage, symlink } from '../../support/entries.ts';

function at(generation: Generation, path: string): Node {
  let node: Node = generation.root;
  for (const name of path.split('/')) {
    assert.ok(node.kind === 'directory');
    const child = node.children.get(name);
    assert.ok(child, `no ${path}`);
    node = child;
  }
  return node;
}

test('files belong to root and lose the bits of group and others, unless modes and owners are preserved', () => {
  const entries: ArchiveEntry[] = [
    { ...file('a', 'x', 0o644), uid: 7, gid: 8 },
    file('tool', 'x', 0o755),
    directory('d', 0o755),
    { ...file('implied/f', 'x', 0o4600), uid: 9 },
  ];
  const cleared = new Lineage().next(entries);
  assert.deepEqual(
    ['a', 'tool', 'd', 'implied', 'implied/f'].map((p) => at(cleared, p).mode),
    [0o600, 0o700, 0o700, 0o700, 0o600],
  );
  assert.deepEqual([at(cleared, 'a').uid, at(cleared, 'a').gid], [0, 0]);

  const own = new Lineage().next(entries, { owner: { uid: 1000, gid: 100 } });
  assert.deepEqual([at(own, 'a').uid, at(own, 'a').gid, own.root.uid], [1000, 100, 1000]);

  const preserved = new Lineage().next(entries, { preserve: true });
  assert.deepEqual(
    ['a', 'tool', 'd', 'implied', 'implied/f'].map((p) => at(preserved, p).mode),
    [0o644, 0o755, 0o755, 0o755, 0o600],
  );
  assert.deepEqual(
    [at(preserved, 'a').uid, at(preserved, 'a').gid, at(preserved, 'implied/f').uid],
    [7, 8, 9],
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
    assert.equal(at(b, path).ino, at(a, path).ino);
    assert.equal(at(b, path).mtimeSeconds, at(a, path).mtimeSeconds);
  }
  for (const path of ['new', 'mode']) {
    assert.ok(!a.nodes.has(at(b, path).ino));
    assert.equal(at(b, path).mtimeSeconds, at(a, path).mtimeSeconds + 1);
  }
  const c = line.next([file('same', 'same'), file('new', 'one'), symlink('l', 'new'), file('mode', 'm')]);
  assert.ok(!a.nodes.has(at(c, 'new').ino) && !b.nodes.has(at(c, 'new').ino), 'old content, new inode');
  assert.notEqual(at(c, 'l').ino, at(b, 'l').ino);
});

test('a directory keeps its inode, and its mtime as long as its listing shows the same inodes', () => {
  const line = new Lineage();
  const a = line.next([file('d/e/f'), file('d/g'), file('x/y')]);
  line.nowSeconds += 10;
  const b = line.next([file('d/e/f', 'changed'), file('d/g'), file('x/y')]);
  assert.equal(at(b, 'd/e').ino, at(a, 'd/e').ino);
  assert.equal(at(b, 'd/e').mtimeSeconds, line.nowSeconds);
  assert.equal(at(b, 'd').mtimeSeconds, at(a, 'd').mtimeSeconds);
  assert.equal(b.root.mtimeSeconds, a.root.mtimeSeconds);
  assert.equal(at(b, 'x').mtimeSeconds, at(a, 'x').mtimeSeconds);
  const c = line.next([file('d/e/f', 'changed'), file('d'.concat('/h')), file('x/y')]);
  assert.equal(at(c, 'd').mtimeSeconds, line.nowSeconds);
  assert.equal(c.root.ino, 1);
});

test('a file that becomes a directory, and back, never has an old inode', () => {
  const line = new Lineage();
  const seen = new Set<number>();
  for (const entries of [[file('n')], [file('n/x')], [symlink('n', 'y'), file('y')], [file('n')]]) {
    const node = at(line.next(entries), 'n');
    assert.ok(!seen.has(node.ino));
    seen.add(node.ino);
  }
});

test('contents are copied into one arena, so the archive can be wiped', () => {
  const packed = Buffer.from('secret');
  let arena = Buffer.alloc(0);
  let calls = 0;
  const generation = new Lineage().next([file('a', packed), file('b', 'more'), file('empty', '')], {
    allocate: (bytes) => {
      calls += 1;
      arena = Buffer.alloc(bytes);
      return arena;
    },
  });
  packed.fill(0);
  const node = at(generation, 'a');
  assert.ok(node.kind === 'file');
  assert.equal(Buffer.from(node.data).toString(), 'secret');
  assert.equal(node.data.buffer, arena.buffer);
  assert.deepEqual([calls, arena.length, generation.contentBytes], [1, 10, 10]);
});

test('listings are sorted by name, link counts are those of a Unix directory', () => {
  const generation = new Lineage().next([file('b'), file('a/x'), file('c/y'), directory('B')]);
  assert.deepEqual([...generation.root.children.keys()], ['B', 'a', 'b', 'c']);
  assert.equal(generation.root.nlink, 5);
  assert.equal(pathOf(at(generation, 'a/x')), 'a/x');
  assert.equal(pathOf(generation.root), '');
  assert.deepEqual([generation.files, generation.directories, generation.symlinks], [3, 4, 0]);
});

test('names that objects inherit are ordinary names', () => {
  const generation = new Lineage().next([file('__proto__/constructor', 'x'), file('toString')]);
  assert.equal(at(generation, '__proto__/constructor').kind, 'file');
});

test('the order of entries does not matter, a directory after its files included', () => {
  const entries = [file('d/f'), directory('d', 0o755), file('a')];
  const generation = new Lineage().next(entries, { preserve: true });
  assert.equal(at(generation, 'd').mode, 0o755);
  const other = new Lineage().next(entries.toReversed(), { preserve: true });
  assert.deepEqual([...other.root.children.keys()], [...generation.root.children.keys()]);
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

test('diffGenerations() names what was added, removed and changed, and counts the rest', () => {
  const line = new Lineage();
  const a = line.next([
    file('keep'),
    file('change', '1'),
    file('gone/x'),
    file('was/file'),
    symlink('l', 'keep'),
  ]);
  const b = line.next([
    file('keep'),
    file('change', '2'),
    file('new/y'),
    file('was'),
    symlink('l', 'change'),
  ]);
  assert.deepEqual(diffGenerations(a, b), {
    added: ['new', 'new/y'],
    removed: ['was/file', 'gone', 'gone/x'],
    changed: ['change', 'l', 'was'],
    unchangedCount: 1,
  });
  assert.deepEqual(diffGenerations(b, b).unchangedCount, 6);
  assert.equal(diffGenerations(undefined, a).added.length, 7);
});

test('100,000 entries build and diff in time that grows with their number only', () => {
  const entries = Array.from({ length: 100_000 }, (_, i) => file(`d${i % 300}/f${i}`, `content ${i}`));
  const line = new Lineage();
  const started = performance.now();
  const a = line.next(entries);
  const built = performance.now();
  const b = line.next(entries.toSpliced(500, 1));
  const rebuilt = performance.now();
  const { removed, unchangedCount } = diffGenerations(a, b);
  assert.deepEqual([removed, unchangedCount], [['d200/f500'], 100_299]);
  const [first, second, diff] = [built - started, rebuilt - built, performance.now() - rebuilt];
  console.log(`# build ${first.toFixed(0)} ms, rebuild ${second.toFixed(0)} ms, diff ${diff.toFixed(0)} ms`);
  assert.ok(first < 4000 && second < 4000, `${first} ${second}`);
  // One directory of 100,000 must not be slower than many.
  const flat = Array.from({ length: 100_000 }, (_, i) => file(`f${i}`, ''));
  const before = performance.now();
  new Lineage().next(flat);
  assert.ok(performance.now() - before < 4000);
});
