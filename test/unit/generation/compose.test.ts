import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ArchiveEntry } from '../../../src/bundle/archive.ts';
import { entriesOf } from '../../../src/generation/assemble.ts';
import { composedEntries } from '../../../src/generation/compose.ts';
import type { Generation } from '../../../src/generation/generation.ts';
import { whyNotSuccessor } from '../../../src/generation/succession.ts';
import { directory, file, Lineage, nodeAt, symlink } from '../../support/entries.ts';

const treeOf = (entries: readonly ArchiveEntry[]) => new Lineage().next(entries, { preserve: true });
const paths = (entries: Iterable<ArchiveEntry>) => [...entries].map(({ path }) => path);

/** Everything that can be seen of an entry, with its path. */
function shown(entries: Iterable<ArchiveEntry>, prefix = ''): Map<string, string> {
  const seen = new Map<string, string>();
  for (const { path, kind, mode, uid, gid, ...rest } of entries) {
    const content =
      'data' in rest ? Buffer.from(rest.data).toString('hex') : 'target' in rest ? rest.target : '';
    seen.set(prefix + path, [kind, mode, uid, gid, content].join());
  }
  return seen;
}

test('each tree stands below its directory, with the attributes of its root, and one that is missing is empty', () => {
  const tls = treeOf([
    directory('', 0o750),
    file('cert', 'c', 0o640),
    directory('d'),
    symlink('d/l', '../cert'),
  ]);
  const entries = [
    ...composedEntries([
      { directory: 'tls', tree: tls },
      { directory: 'app', tree: undefined },
    ]),
  ];
  assert.deepEqual(paths(entries), ['tls', 'tls/cert', 'tls/d', 'tls/d/l', 'app']);
  assert.equal(entries[0]?.mode, 0o750);
  assert.equal(entries[1]?.mode, 0o640);
  const link = entries[3];
  assert.equal(link?.kind === 'symlink' && link.target, '../cert');
});

test('what is too deep or too long below its directory is refused by name', () => {
  const deep = treeOf([file(Array(64).fill('d').join('/'))]);
  const long = treeOf([file(`${`${'x'.repeat(255)}/`.repeat(15)}${'y'.repeat(254)}`)]);
  for (const tree of [deep, long]) {
    assert.throws(() => [...composedEntries([{ directory: 'a', tree }])], {
      code: 'archive-refused',
      message: /below "a"/,
    });
  }
});

function identity(generation: Generation, path: string): number[] {
  const node = nodeAt(generation, path);
  return [generation.ino(node), generation.mtimeSeconds(node)];
}

const name = fc.constantFrom('a', 'b', 'tls', 'ü');
const tree = fc
  .uniqueArray(
    fc.record({
      path: fc.array(name, { minLength: 1, maxLength: 3 }),
      data: fc.constantFrom('', 'one', 'two'),
    }),
    { maxLength: 5, selector: ({ path }) => path.join('/') },
  )
  .map((files): readonly ArchiveEntry[] => {
    const taken = files.map(({ path }) => path.join('/'));
    const leaves = files.filter(({ path }) => !taken.some((each) => each.startsWith(`${path.join('/')}/`)));
    return leaves.map(({ path, data }) => file(path.join('/'), data));
  });

test('composing is prefixing each tree, and a part that stays keeps every inode while another one changes', () => {
  fc.assert(
    fc.property(tree, fc.array(tree, { minLength: 1, maxLength: 4 }), (stays, versions) => {
      const line = new Lineage();
      const own = treeOf(stays);
      let previous: Generation | undefined;
      for (const version of versions) {
        const other = treeOf(version);
        const parts = [
          { directory: 'stays', tree: own },
          { directory: 'turns', tree: other },
        ];
        const next = line.next(composedEntries(parts), { preserve: true });
        const wanted = new Map([
          ['stays', shown(entriesOf(next)).get('stays')],
          ['turns', shown(entriesOf(next)).get('turns')],
          ...shown(entriesOf(own), 'stays/'),
          ...shown(entriesOf(other), 'turns/'),
        ]);
        assert.deepEqual(
          [...shown(entriesOf(next))].sort(),
          [...wanted].sort() as unknown as [string, string][],
        );
        if (previous !== undefined) {
          assert.equal(whyNotSuccessor(previous, next), undefined);
          for (const path of ['stays', ...paths(entriesOf(own)).map((each) => `stays/${each}`)]) {
            assert.deepEqual(identity(next, path), identity(previous, path), path);
          }
          const touched = line.plan?.changes.operations.map((each) => each.path) ?? [];
          assert.deepEqual(
            touched.filter((path) => !path.startsWith('turns/')),
            [],
          );
        }
        previous = next;
      }
    }),
    { numRuns: 150 },
  );
});
