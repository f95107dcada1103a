import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assemble, entriesOf, findPath } from '../../../src/generation/assemble.ts';
import { Generation, inMemory } from '../../../src/generation/generation.ts';
import { directory, file, imageOf, Lineage, symlink } from '../../support/entries.ts';

const ENTRIES = [
  directory('a', 0o750),
  file('a/f', 'one', 0o640),
  symlink('a/l', 'f'),
  directory('b'),
  directory('b/c'),
  file('b/c/g', ''),
  file('top', 'two'),
];

test('the entries of a generation make the same generation again', () => {
  const lineage = new Lineage();
  const before = lineage.next(ENTRIES, { preserve: true });
  const after = lineage.next(entriesOf(before), { preserve: true });
  const { added, changed, removed, unchanged } = lineage.plan?.changes.counts ?? {};
  assert.deepEqual([added, changed, removed, unchanged], [0, 0, 0, 7]);
  assert.equal(after.nodeCount, before.nodeCount);
});

test('one directory can be left out, with all that is in it', () => {
  const generation = new Lineage().next(ENTRIES);
  const without = (path: string) => [...entriesOf(generation, { without: path })].map((entry) => entry.path);
  assert.deepEqual(without('b').sort(), ['a', 'a/f', 'a/l', 'top']);
  assert.deepEqual(without('b/c').sort(), ['a', 'a/f', 'a/l', 'b', 'top']);
  assert.equal(without('none').length, 7);
  assert.equal(findPath(generation, 'b/c/g') > 0, true);
  assert.equal(findPath(generation, 'top/x'), -1);
});

test('contents that end too early are an error, not zeros', () => {
  const lineage = new Lineage();
  lineage.next(ENTRIES);
  const image = imageOf(lineage.plan as NonNullable<typeof lineage.plan>);
  const short = Generation.open(image, {
    read: (...args) => Math.min(inMemory(image).read(...args), 1) && 0,
  });
  assert.throws(() => [...entriesOf(short)], RangeError);
});

test('kept entries stand in place of the candidate’s, with the directories that they need', () => {
  const paths = (candidate: Parameters<typeof assemble>[0], kept: Parameters<typeof assemble>[1]) =>
    assemble(candidate, kept)?.map(({ path, kind }) => `${kind} ${path}`);
  assert.deepEqual(paths([file('x')], [file('d/e/f')]), [
    'file x',
    'directory d',
    'directory d/e',
    'file d/e/f',
  ]);
  assert.deepEqual(paths([file('x', 'new')], [symlink('x', 'y')]), ['symlink x']);
  assert.equal(paths([file('d')], [file('d/f')]), undefined);
  assert.equal(paths([directory('d')], [file('d')]), undefined);
});
