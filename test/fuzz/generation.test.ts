/** Random trees as images: what was put in comes out, and no image, however broken, leads an accessor out of bounds. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ArchiveEntry } from '../../src/bundle/archive.ts';
import { planGeneration } from '../../src/generation/build.ts';
import { decodeChanges, encodeChanges, type Operation } from '../../src/generation/changes.ts';
import { HEADER_BYTES, NODE_BYTES } from '../../src/generation/format.ts';
import { type Contents, Generation, GenerationError, inMemory } from '../../src/generation/generation.ts';
import { contentOf, imageOf, Lineage, nodeAt } from '../support/entries.ts';

/** Names with prefixes of each other, beyond the BMP, and as long as they may be. */
const name = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.constantFrom('a', 'b', 'ab', 'a.', '.a', '...', 'é', '\u{10000}', '\uffee', '-'),
  },
  { weight: 1, arbitrary: fc.constantFrom('n'.repeat(255), 'é'.repeat(127)) },
);
const entry = fc.record({
  path: fc.array(name, { minLength: 1, maxLength: 4 }).map((names) => names.join('/')),
  kind: fc.constantFrom('file' as const, 'file' as const, 'directory' as const, 'symlink' as const),
  content: fc.constantFrom('', 'one', 'two', 'x'.repeat(70_000)),
  mode: fc.constantFrom(0o600, 0o644, 0o755),
  uid: fc.constantFrom(0, 7, 2 ** 32 - 2),
});
type Wanted = typeof entry extends fc.Arbitrary<infer T> ? T : never;

/** What an archive lets through: of entries that don't go together, the first. */
const tree = fc.array(entry, { maxLength: 12 }).map((wanted) => {
  const kinds = new Map<string, ArchiveEntry['kind']>();
  return wanted.filter(({ path, kind }) => {
    const above = path.split('/').map((_, i, names) => names.slice(0, i).join('/'));
    if (above.some((directory) => (kinds.get(directory) ?? 'directory') !== 'directory')) return false;
    const already = kinds.get(path);
    const isAbove = [...kinds.keys()].some((other) => other.startsWith(`${path}/`));
    if (already !== undefined || (isAbove && kind !== 'directory')) return false;
    kinds.set(path, kind);
    return true;
  });
});

function toEntry({ path, kind, content, mode, uid }: Wanted): ArchiveEntry {
  const base = { path, uid, gid: 3 };
  if (kind === 'directory') return { ...base, kind, mode };
  if (kind === 'symlink') return { ...base, kind, mode: 0o777, target: `t${content.slice(0, 5)}/${path}` };
  return { ...base, kind, mode, data: Buffer.from(content) };
}

/** path → all that can be seen of it, but for what a generation chooses itself. */
function describe(generation: Generation): Map<string, string> {
  const seen = new Map<string, string>();
  for (let node = 0; node < generation.nodeCount; node++) {
    const of = generation.isFile(node) ? contentOf(generation, node).toString() : generation.target(node);
    const mode = generation.mode(node).toString(8);
    seen.set(generation.path(node), `${mode} ${generation.uid(node)}:${generation.gid(node)} ${of}`);
  }
  return seen;
}

function describeEntries(wanted: readonly Wanted[]): Map<string, string> {
  const seen = new Map<string, string>([['', '40755 0:0 ']]);
  for (const { path } of wanted) {
    const names = path.split('/');
    for (let i = 1; i < names.length; i++) seen.set(names.slice(0, i).join('/'), '40755 0:0 ');
  }
  for (const each of wanted) {
    const made = toEntry(each);
    const mode = { file: 0o100000, directory: 0o040000, symlink: 0o120000 }[made.kind] | made.mode;
    const of = made.kind === 'file' ? `${made.data}` : made.kind === 'symlink' ? made.target : '';
    seen.set(made.path, `${mode.toString(8)} ${made.uid}:${made.gid} ${of}`);
  }
  return seen;
}

test('what is put into an image comes out of it, each inode and each name is found, listings are in order', () => {
  fc.assert(
    fc.property(tree, (wanted) => {
      const generation = new Lineage().next(wanted.map(toEntry), { preserve: true });
      assert.deepEqual(
        new Map([...describe(generation)].sort()),
        new Map([...describeEntries(wanted)].sort()),
      );
      const inos = new Set<number>();
      for (let node = 0; node < generation.nodeCount; node++) {
        inos.add(generation.ino(node));
        assert.equal(generation.find(generation.ino(node)), node);
        assert.equal(nodeAt(generation, generation.path(node)), node);
        const bytes = Buffer.alloc(generation.nameLength(node));
        generation.copyName(node, bytes, 0);
        assert.equal(bytes.toString(), generation.name(node));
        if (node === 0) continue;
        const first = generation.firstChild(generation.parent(node));
        if (node > first) assert.ok(generation.compareName(node - 1, generation, node) < 0);
      }
      assert.equal(inos.size, generation.nodeCount);
      assert.equal(generation.find(generation.nextIno), -1);
    }),
    { numRuns: 300 },
  );
});

/** What the operations do to names; throws where a filesystem would refuse. Added directories come whole. */
function apply(names: Map<string, string>, operations: readonly Operation[], after: Generation): void {
  const below = (path: string) => [...names.keys()].filter((other) => other.startsWith(`${path}/`));
  const isDirectory = (path: string) => names.get(path)?.startsWith('4') === true;
  for (const operation of operations) {
    const { kind, path } = operation;
    if (kind !== 'rename') {
      assert.ok(names.has(path), path);
      assert.equal(isDirectory(path), kind === 'rmdir');
      assert.deepEqual(below(path), []);
      names.delete(path);
      continue;
    }
    const node = nodeAt(after, path);
    assert.equal(after.ino(node), operation.ino);
    const now = describe(after);
    if (names.has(path)) assert.deepEqual([isDirectory(path), after.isDirectory(node)], [false, false], path);
    for (const [other, what] of now) {
      if (other === path || other.startsWith(`${path}/`)) names.set(other, what);
    }
  }
}

test('the operations of a list make the old names the new ones, and the rest of it is as a naive model counts', () => {
  fc.assert(
    fc.property(tree, tree, (first, second) => {
      const line = new Lineage();
      const before = line.next(first.map(toEntry), { preserve: true });
      const after = line.next(second.map(toEntry), { preserve: true });
      const changes = line.plan?.changes;
      assert.ok(changes !== undefined);
      assert.deepEqual(decodeChanges(encodeChanges(changes)), changes);

      const names = describe(before);
      const old = describe(before);
      const now = describe(after);
      apply(names, changes.operations, after);
      // Attributes of directories that stay are not told by operations.
      for (const [path, what] of now)
        if (old.get(path)?.startsWith('4') && what.startsWith('4')) names.set(path, what);
      assert.deepEqual(new Map([...names].sort()), new Map([...now].sort()));

      const paths = [...new Set([...old.keys(), ...now.keys()])].filter((path) => path !== '');
      const counts = { added: 0, changed: 0, removed: 0, unchanged: 0 };
      for (const path of paths) {
        if (!old.has(path)) counts.added += 1;
        else if (!now.has(path)) counts.removed += 1;
        else if (old.get(path) === now.get(path)) counts.unchanged += 1;
        else counts.changed += 1;
      }
      assert.deepEqual(changes.counts, counts);

      const isDirectory = (what: string | undefined) => what?.startsWith('4') === true;
      const files = new Map<string, string>();
      for (const path of paths) {
        const [was, is] = [old, now].map((names) =>
          isDirectory(names.get(path)) ? undefined : names.get(path),
        );
        if (was !== is)
          files.set(path, was === undefined ? 'added' : is === undefined ? 'removed' : 'changed');
      }
      assert.deepEqual(
        new Map(changes.files.map(({ path, change }) => [path, change] as const).sort()),
        new Map([...files].sort()),
      );
      assert.equal(changes.files.length, files.size);

      const inosOf = (g: Generation) => new Map(Array.from({ length: g.nodeCount }, (_, n) => [g.ino(n), n]));
      const [oldInos, newInos] = [inosOf(before), inosOf(after)];
      assert.deepEqual(
        new Set(changes.superseded),
        new Set([...oldInos.keys()].filter((each) => !newInos.has(each))),
      );
      const attributes = (g: Generation, n: number) => [
        g.mode(n),
        g.uid(n),
        g.gid(n),
        g.nlink(n),
        g.mtimeSeconds(n),
      ];
      const touched = [...oldInos].filter(([each, n]) => {
        const node = newInos.get(each);
        return node !== undefined && String(attributes(before, n)) !== String(attributes(after, node));
      });
      assert.deepEqual(new Set(changes.directories), new Set(touched.map(([each]) => each)));
    }),
    { numRuns: 500 },
  );
});

/** Calls everything there is, and finds each node by its names. The contents below tell whether a read leaves the image. */
function walk(generation: Generation): void {
  const target = Buffer.alloc(4096);
  for (let node = 0; node < generation.nodeCount; node++) {
    assert.ok(node === 0 ? generation.parent(node) === 0 : generation.parent(node) < node);
    assert.ok(generation.firstChild(node) + generation.childCount(node) <= generation.nodeCount);
    assert.equal(generation.find(generation.ino(node)), node);
    assert.equal(nodeAt(generation, generation.path(node)), node);
    assert.ok(Buffer.byteLength(generation.path(node)) <= 4095);
    const length = generation.copyName(node, target, 0);
    assert.equal(target.toString('utf8', 0, length), generation.name(node));
    assert.equal(Buffer.byteLength(generation.name(node)), length, 'a name leaves the strings');
    assert.ok(node === 0 || !['', '.', '..'].includes(generation.name(node)));
    assert.ok(!generation.name(node).includes('/') && !generation.name(node).includes('\0'));
    assert.equal(Buffer.byteLength(generation.target(node)), generation.copyTarget(node, target, 0));
    assert.ok(!generation.target(node).includes('\0'));
    for (const offset of [0, generation.size(node) - 1, generation.size(node)]) {
      generation.read(node, offset, 4096, target, 0);
    }
    for (const value of [generation.uid(node), generation.gid(node), generation.mtimeSeconds(node)]) {
      assert.ok(Number.isSafeInteger(value));
    }
    assert.ok(generation.ino(node) < generation.nextIno);
  }
}

function watched(image: Buffer): Contents {
  const contents = inMemory(image);
  return {
    bytes: image.length,
    read(position, length, target, at) {
      assert.ok(position >= 0 && position + length <= image.length, 'a read leaves the image');
      return contents.read(position, length, target, at);
    },
  };
}

const SAMPLE: ArchiveEntry[] = [
  { kind: 'directory', path: 'd', mode: 0o755, uid: 1, gid: 1 },
  { kind: 'file', path: 'd/a', mode: 0o644, uid: 1, gid: 1, data: Buffer.from('some bytes') },
  { kind: 'file', path: 'd/b', mode: 0o600, uid: 1, gid: 1, data: Buffer.from('others') },
  { kind: 'symlink', path: 'd/é/l', mode: 0o777, uid: 1, gid: 1, target: '../a' },
  { kind: 'file', path: 'z', mode: 0o600, uid: 1, gid: 1, data: Buffer.alloc(0) },
];

/** Opens a broken image: the reason for which it was refused, or undefined if it can be used safely. */
function outcome(image: Buffer): string | undefined {
  let generation: Generation;
  try {
    generation = Generation.open(image, watched(image));
  } catch (error) {
    assert.ok(error instanceof GenerationError, String(error));
    return error.reason;
  }
  walk(generation);
  return undefined;
}

test('an image with any byte of its metadata changed is refused, or is another that can be used safely', () => {
  const plan = planGeneration(SAMPLE, { id: 3, serial: 4, nowSeconds: 5, preserve: true });
  const image = imageOf(plan);
  assert.equal(outcome(image), undefined);
  /** Bytes of the header and of nodes that may be anything: ids, times, owners, permissions, inode numbers. */
  let accepted = 0;
  for (let at = 0; at < plan.metadata.length; at++) {
    const was = image[at] as number;
    for (const value of [0, 1, was ^ 1, was ^ 0x80, was + 1, was - 1, 0x2f, 0x7f, 0xff]) {
      image[at] = value;
      if ((value & 0xff) !== was && outcome(image) === undefined) accepted += 1;
    }
    image[at] = was;
  }
  assert.ok(accepted > 0);
  assert.equal(outcome(image), undefined);
});

test('an image with any words changed, cut off or not aligned is refused, or can be used safely', () => {
  const plan = planGeneration(SAMPLE, { id: 3, serial: 4, nowSeconds: 5, preserve: true });
  const words = plan.metadata.length >>> 2;
  const value = fc.oneof(fc.nat({ max: 20 }), fc.constantFrom(0xffff_ffff, 0x8000_0000, 4096), fc.nat());
  const change = fc.tuple(fc.nat({ max: words - 1 }), value);
  fc.assert(
    fc.property(
      fc.array(change, { maxLength: 4 }),
      fc.nat({ max: plan.metadata.length - 1 }),
      (changed, cut) => {
        const image = imageOf(plan);
        for (const [word, to] of changed) image.writeUInt32LE(to, word * 4);
        const result = outcome(image);
        assert.notEqual(outcome(image.subarray(0, cut)), undefined);
        const unaligned = Buffer.concat([Buffer.alloc(1), image]).subarray(1);
        assert.equal(outcome(unaligned), result);
      },
    ),
    { numRuns: 5000 },
  );
});

test('two nodes exchanged with each other, in whole or in any word, are refused or can be used safely', () => {
  const plan = planGeneration(SAMPLE, { id: 3, serial: 4, nowSeconds: 5, preserve: true });
  const node = (n: number) => HEADER_BYTES + NODE_BYTES * n;
  for (let a = 0; a < 7; a++) {
    for (let b = 0; b < a; b++) {
      const image = imageOf(plan);
      const copy = Buffer.from(image.subarray(node(a), node(a) + NODE_BYTES));
      image.copy(image, node(a), node(b), node(b) + NODE_BYTES);
      copy.copy(image, node(b));
      assert.equal(outcome(image), 'invalid', `${a} and ${b}`);
      for (let word = 0; word < NODE_BYTES; word += 4) {
        const other = imageOf(plan);
        const [x, y] = [other.readUInt32LE(node(a) + word), other.readUInt32LE(node(b) + word)];
        other.writeUInt32LE(y, node(a) + word);
        other.writeUInt32LE(x, node(b) + word);
        outcome(other);
      }
    }
  }
});

test('a list of changes with any byte changed or cut off is refused, or has valid paths and numbers', () => {
  const line = new Lineage();
  line.next(SAMPLE, { preserve: true });
  line.next([{ kind: 'file', path: 'd', mode: 0o600, uid: 0, gid: 0, data: Buffer.from('x') }]);
  const encoded = encodeChanges(line.plan?.changes ?? assert.fail());
  const valid = decodeChanges(encoded);
  const outcomeOf = (bytes: Buffer) => {
    try {
      const { operations, superseded, directories, files } = decodeChanges(bytes);
      for (const { path } of [...operations, ...files]) {
        assert.ok(Buffer.byteLength(path) <= 4095);
        for (const part of path.split('/'))
          assert.ok(!['', '.', '..'].includes(part) && !part.includes('\0'));
      }
      for (const ino of [...superseded, ...directories]) assert.ok(ino >= 1 && ino < 2 ** 52);
    } catch (error) {
      assert.ok(error instanceof GenerationError, String(error));
    }
  };
  for (let at = 0; at < encoded.length; at++) {
    const was = encoded[at] as number;
    for (let value = 0; value < 256; value++) {
      encoded[at] = value;
      outcomeOf(encoded);
    }
    encoded[at] = was;
    outcomeOf(encoded.subarray(0, at));
  }
  assert.deepEqual(decodeChanges(encoded), valid);
});
