import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { KeptChanges } from '../../../src/daemon/kept-changes.ts';

const lingering = (...ids: number[]) => ids.map((id) => ({ id }));

test('a list of changes is kept while it is of what is live, or something older lingers', async () => {
  const removed: number[] = [];
  const changes = new KeptChanges({ removeChanges: async (id) => void removed.push(id) }, [1]);
  changes.add(2);
  await changes.settle(2, lingering(1));
  assert.deepEqual(removed, [1]);
  changes.add(4);
  await changes.settle(4, lingering(1, 2));
  assert.deepEqual(removed, [1]);
  // 1 is held still, 2 went: what took the place of 1 must be known.
  await changes.settle(4, lingering(1));
  assert.deepEqual(removed, [1]);
  await changes.settle(4, []);
  assert.deepEqual(removed, [1, 2]);
});

test('whatever lingers, what took its place is kept, and nothing twice removed', async () => {
  const generations = fc.array(fc.boolean(), { minLength: 1, maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(generations, async (held) => {
      const there = new Set<number>();
      const changes = new KeptChanges(
        {
          removeChanges: async (id) => {
            assert.ok(there.delete(id));
          },
        },
        [],
      );
      for (const [live] of held.entries()) {
        there.add(live);
        changes.add(live);
        const lingers = lingering(...held.flatMap((isHeld, id) => (isHeld && id < live ? [id] : [])));
        await changes.settle(live, lingers);
        assert.ok(there.has(live));
        for (const { id } of lingers) assert.ok(there.has(id + 1));
        if (lingers.length === 0) assert.deepEqual([...there], [live]);
      }
    }),
  );
});
