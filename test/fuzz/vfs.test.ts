/** Random operations on the filesystem against a model that keeps whole copies of everything. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Generation } from '../../src/generation/generation.ts';
import { VfsError } from '../../src/vfs/errno.ts';
import { PathVfs } from '../../src/vfs/paths.ts';
import { contentOf, file, Lineage } from '../support/entries.ts';

type Tree = Map<string, string>;
interface Opened {
  fh: number;
  generation: number;
  content: string;
}

const names = fc.constantFrom('a', 'b', 'd/a', 'd/b', 'd/e/c', 'x/y');
const tree: fc.Arbitrary<Tree> = fc
  .array(fc.tuple(names, fc.constantFrom('', 'one', 'two', 'three')), { maxLength: 6 })
  .map((pairs) => new Map(pairs));
const operation = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constant('activate' as const), tree }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('open' as const), path: names }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('release' as const), which: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('retire' as const), which: fc.nat() }) },
);

const build = (line: Lineage, from: Tree) => line.next([...from].map(([path, data]) => file(path, data)));

test('any activations, opens, releases and retirements: handles, inodes, mtimes and retirement are as modelled', () => {
  fc.assert(
    fc.property(tree, fc.array(operation, { maxLength: 60 }), (first, operations) => {
      const line = new Lineage();
      const retired: number[] = [];
      const vfs = new PathVfs(build(line, first), { onRetired: (g) => retired.push(g.id) });
      const generations: Generation[] = [vfs.live];
      const trees: Tree[] = [first];
      const expectRetired = new Set<number>();
      let open: Opened[] = [];
      /** path → everything that was ever seen of it */
      const identities = new Map<number, string>();
      const settle = () => {
        for (const g of generations) {
          if (g !== vfs.live && !open.some((o) => o.generation === g.id)) expectRetired.add(g.id);
        }
      };
      for (const op of operations) {
        if (op.do === 'activate') {
          line.nowSeconds += op.tree.size % 2;
          vfs.activate(build(line, op.tree));
          generations.push(vfs.live);
          trees.push(op.tree);
        } else if (op.do === 'open') {
          const content = trees.at(-1)?.get(op.path);
          let fh: number | undefined;
          try {
            fh = vfs.open(vfs.resolve(`/${op.path}`), 0);
          } catch (error) {
            assert.ok(error instanceof VfsError);
          }
          assert.equal(fh !== undefined, content !== undefined);
          if (fh !== undefined && content !== undefined) open.push({ fh, generation: vfs.live.id, content });
        } else if (op.do === 'release' && open.length > 0) {
          const [gone] = open.splice(op.which % open.length, 1);
          if (gone !== undefined) vfs.release(gone.fh);
        } else if (op.do === 'retire') {
          const victim = generations[op.which % generations.length];
          if (victim !== undefined && victim !== vfs.live) {
            vfs.retire(victim);
            for (const o of open.filter((each) => each.generation === victim.id)) {
              assert.throws(() => vfs.read(o.fh, 0, 1, Buffer.alloc(1)), { code: 'ESTALE' });
              vfs.release(o.fh);
            }
            open = open.filter((o) => o.generation !== victim.id);
          }
        }
        settle();
        assert.deepEqual(new Set(retired), expectRetired);
        assert.equal(retired.length, expectRetired.size, 'each once');
        const read = Buffer.alloc(99);
        for (const o of open) assert.equal(read.toString('utf8', 0, vfs.read(o.fh, 0, 99, read)), o.content);
        for (let node = 0; node < vfs.live.nodeCount; node++) {
          if (!vfs.live.isFile(node)) continue;
          const ino = vfs.live.ino(node);
          const what = `${vfs.live.path(node)} ${vfs.live.mtimeSeconds(node)} ${contentOf(vfs.live, node)}`;
          assert.equal(identities.get(ino) ?? what, what, 'an inode never stands for anything else');
          identities.set(ino, what);
        }
      }
      // What is still open pins its generation, and nothing else does.
      vfs.activate(build(line, new Map()));
      for (const { fh } of open) vfs.release(fh);
      assert.deepEqual(new Set(retired), new Set(generations.map(({ id }) => id)));
    }),
    { numRuns: 300 },
  );
});

test('of two successive generations, exactly what is equal shares its inode, and changed mtimes grow', () => {
  fc.assert(
    fc.property(fc.array(tree, { minLength: 2, maxLength: 8 }), (trees) => {
      const line = new Lineage();
      const vfs = new PathVfs(build(line, trees[0] as Tree));
      for (let i = 1; i < trees.length; i++) {
        const [before, after] = [trees[i - 1] as Tree, trees[i] as Tree];
        const old = vfs.live;
        const oldInos = new Map([...before.keys()].map((p) => [p, vfs.getattr(vfs.resolve(`/${p}`))]));
        vfs.activate(build(line, after));
        for (const [path, content] of after) {
          const now = vfs.getattr(vfs.resolve(`/${path}`));
          const was = oldInos.get(path);
          if (was === undefined) assert.ok(old.find(now.ino) < 0);
          else if (before.get(path) === content) assert.deepEqual(now, was);
          else assert.ok(old.find(now.ino) < 0 && now.mtimeSeconds > was.mtimeSeconds);
        }
      }
    }),
    { numRuns: 300 },
  );
});
