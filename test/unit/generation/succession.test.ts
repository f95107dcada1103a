import assert from 'node:assert/strict';
import { test } from 'node:test';
import { changesBetween } from '../../../src/generation/diff.ts';
import { HEADER, HEADER_BYTES, NODE, NODE_BYTES } from '../../../src/generation/format.ts';
import { Generation, GenerationError, inMemory } from '../../../src/generation/generation.ts';
import { whyNotPrivate, whyNotSuccessor } from '../../../src/generation/succession.ts';
import { directory, file, imageOf, Lineage, symlink } from '../../support/entries.ts';

const FIRST = [directory('d', 0o755), file('d/same'), file('changes', '1'), file('gone')];
/** Nodes: 0 root, 1 "changes", 2 "d", 3 "d/same", 4 "d/tame" */
const SECOND = [directory('d', 0o700), file('d/same'), file('d/tame'), file('changes', '2')];

function succession(breakIt: (image: Buffer) => unknown): string | undefined {
  const line = new Lineage();
  const first = line.next(FIRST, { preserve: true });
  line.next(SECOND, { preserve: true });
  const image = imageOf(line.plan ?? assert.fail());
  breakIt(image);
  return whyNotSuccessor(first, Generation.open(image, inMemory(image)));
}

const word = (image: Buffer, node: number, field: number, value: number) =>
  image.writeUInt32LE(value, HEADER_BYTES + NODE_BYTES * node + 4 * field);

test('whatever is planned on a generation may follow it', () => {
  assert.equal(
    succession(() => undefined),
    undefined,
  );
  const line = new Lineage();
  let last = line.next(FIRST);
  for (const entries of [SECOND, [], FIRST, FIRST, [file('d')], [file('d/e/f')]]) {
    const next = line.next(entries);
    assert.equal(whyNotSuccessor(last, next), undefined);
    last = next;
  }
});

const CASES: readonly (readonly [string, RegExp, (image: Buffer) => unknown])[] = [
  ['the id of the one before', /id/, (i) => i.writeUInt32LE(1, 4 * HEADER.id)],
  // 2 changes, 3 d, 4 gone, 5 d/same; then 6 changes, 7 d/tame
  ['a number of what is gone', /moved/, (i) => [word(i, 4, NODE.ino, 4), index(i, 0, 2, 4, 3, 1)]],
  ['numbers used up', /uses up/, (i) => i.writeUInt32LE(1, 4 * (HEADER.nextIno + 1))],
  [
    'a number given to another name',
    /another name/,
    (i) => [word(i, 3, NODE.ino, 7), word(i, 4, NODE.ino, 5), index(i, 0, 2, 4, 1, 3)],
  ],
  ['another mode', /attributes/, (i) => word(i, 3, NODE.mode, 0o100644)],
  ['another owner', /attributes/, (i) => word(i, 3, NODE.uid, 1)],
  ['another group', /attributes/, (i) => word(i, 3, NODE.gid, 1)],
  ['another mtime', /attributes/, (i) => word(i, 3, NODE.mtime, 5)],
];

/** Nodes in the order of their inode numbers. */
function index(image: Buffer, ...nodes: number[]): void {
  const start = HEADER_BYTES + NODE_BYTES * nodes.length;
  for (const [i, node] of nodes.entries()) image.writeUInt32LE(node, start + 4 * i);
}

for (const [what, why, breakIt] of CASES) {
  test(`a generation with ${what} may not follow`, () => {
    assert.match(succession(breakIt) ?? 'it may', why);
  });
}

test('a generation that does not know of all inode numbers may not follow', () => {
  const line = new Lineage();
  const first = line.next(FIRST);
  const other = new Lineage();
  other.last = new Lineage().next([]);
  assert.match(whyNotSuccessor(first, other.next([])) ?? '', /again/);
});

test('an inode may neither move to another directory nor come back, and a directory not become a file', () => {
  const line = new Lineage();
  const first = line.next([file('a/f'), file('b/g'), file('x')]);
  const second = line.next([file('a/f'), file('b/g')]);
  const third = line.next([file('a/f'), file('b/g')]);
  assert.equal(whyNotSuccessor(second, third), undefined);
  // Same listing of names, other line: numbers mean other things.
  const moved = new Lineage();
  moved.next([file('z/f'), file('a/f'), file('x')]);
  moved.next([file('z/f'), file('a/f'), file('x')]);
  assert.match(whyNotSuccessor(first, moved.last ?? assert.fail()) ?? '', /moved|name/);
  const back = new Lineage();
  back.next([file('a/f'), file('b/g'), file('x')]);
  back.next([file('a/f'), file('b/g'), file('x')]);
  back.next([file('a/f'), file('b/g'), file('x')]);
  assert.match(whyNotSuccessor(second, back.last ?? assert.fail()) ?? '', /earlier/);
  const files = new Lineage();
  files.next([file('a'), file('b'), file('x')]);
  const kinds = files.next([file('a'), file('b'), file('x')]);
  const directories = new Lineage().next([directory('a'), directory('b'), directory('x')]);
  assert.match(whyNotSuccessor(directories, kinds) ?? '', /attributes/);
  // Whoever tells the kernel all the same must not take one for the other.
  assert.deepEqual(changesBetween(directories, kinds).operations.slice(0, 2), [
    { kind: 'rmdir', path: 'a' },
    { kind: 'rename', path: 'a', ino: 2 },
  ]);
  const others = new Lineage();
  others.next([directory('a'), directory('b'), directory('x')]);
  const becameDirectories = others.next([directory('a'), directory('b'), directory('x')]);
  assert.match(
    whyNotSuccessor(new Lineage().next([file('a'), file('b'), file('x')]), becameDirectories) ?? '',
    /kind/,
  );
  const sizes = new Lineage();
  sizes.next([file('a', '22')]);
  const grown = sizes.next([file('a', '22')]);
  assert.match(whyNotSuccessor(new Lineage().next([file('a', '1')]), grown) ?? '', /attributes/);
});

test('whyNotPrivate() finds what is not root’s alone', () => {
  const of = (change: object) => new Lineage().next([{ ...file('d/f'), ...change }], { preserve: true });
  assert.equal(whyNotPrivate(new Lineage().next([file('d/f')])), undefined);
  assert.match(whyNotPrivate(of({ uid: 1 })) ?? '', /^something is/);
  assert.match(whyNotPrivate(of({ mode: 0o640 })) ?? '', /open to others/);
});

test('a symlink that leads out of the generation makes the image invalid', () => {
  const at = (path: string, target: string) => () => new Lineage().next([symlink(path, target)]);
  for (const [path, target] of [
    ['l', '/etc/shadow'],
    ['l', '..'],
    ['d/l', '../../x'],
    ['d/l', 'a/../../../x'],
  ] as const) {
    assert.throws(at(path, target), GenerationError, target);
  }
  for (const [path, target] of [
    ['d/l', '../x'],
    ['d/l', './a/../b'],
    ['l', 'a/..'],
  ] as const) {
    at(path, target)();
  }
});
