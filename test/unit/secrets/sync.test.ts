import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { localKeyring } from '../../../src/keyring/local.ts';
import { openSecret, readSecretHeader, sealSecret } from '../../../src/secrets/secret.ts';
import { SYNC_KEY, type SyncOptions, sync } from '../../../src/secrets/sync.ts';
import { KEY, refusal } from '../../support/bundles.ts';
import { MemoryStore } from '../../support/memory-store.ts';

const { keyring } = localKeyring(KEY);

async function contentOf(store: MemoryStore, path: string): Promise<Buffer> {
  const bytes = store.current(path) ?? Buffer.alloc(0);
  return (await openSecret(bytes, { keyring, location: store.locate(path) })).plaintext;
}

const optionsOf = (store: MemoryStore, more: Partial<SyncOptions> = {}): SyncOptions => ({
  ...{ store, prefix: 'p', keyring, context: {}, remove: true, dryRun: false },
  open: async (path) => ({ plaintext: await contentOf(store, path), format: 'secretsfs' }),
  now: () => new Date(),
  ...more,
});
const filesOf = (tree: ReadonlyMap<string, string>) =>
  [...tree].map(([path, text]) => ({ path, data: Buffer.from(text) }));

/** What is below the prefix, opened. */
async function treeOf(store: MemoryStore): Promise<Map<string, string>> {
  const tree = new Map<string, string>();
  for await (const { path } of store.list('p/'))
    if (!path.endsWith(SYNC_KEY)) tree.set(path.slice(2), (await contentOf(store, path)).toString());
  return tree;
}

test('after each of any changes the store is as the directory, and no more was written than had changed', async () => {
  const tree = fc.dictionary(
    fc.constantFrom('a', 'b', 'c/d', 'c/e', '.f'),
    fc.constantFrom('', 'one', 'two'),
  );
  const round = fc.record({
    tree,
    remove: fc.boolean(),
    dryRun: fc.boolean(),
    spoil: fc.option(fc.constantFrom('p/a', 'p/x')),
  });
  const property = fc.asyncProperty(fc.array(round, { maxLength: 5 }), async (rounds) => {
    const store = new MemoryStore();
    let isKeyed = false;
    for (const { tree, remove, dryRun, spoil } of rounds) {
      // Somebody else puts one there, as upload does: without a hash.
      if (spoil !== null)
        store.put(
          spoil,
          await sealSecret(Buffer.from('one'), {
            keyring,
            location: store.locate(spoil),
            created: new Date(),
          }),
        );
      const was = await treeOf(store);
      const wanted = new Map(Object.entries(tree));
      let wrote = 0;
      store.step = async (what) => {
        if (what === 'write' || what === 'remove') wrote += 1;
      };
      const result = await sync(filesOf(wanted), optionsOf(store, { remove, dryRun }));
      const now = await treeOf(store);
      if (dryRun) assert.deepEqual([wrote, now], [0, was]);
      else {
        const kept = remove ? [] : [...was].filter(([path]) => !wanted.has(path));
        assert.deepEqual(new Map([...now].sort()), new Map([...kept, ...wanted].sort()));
        const { added, changed, removed } = result;
        assert.equal(wrote, added.length + changed.length + removed.length + (isKeyed ? 0 : 1));
        isKeyed = true;
      }
      assert.deepEqual([...result.added].sort(), [...wanted.keys()].filter((path) => !was.has(path)).sort());
      const gone = [...was.keys()].filter((path) => !wanted.has(path)).sort();
      assert.deepEqual(remove ? result.removed : result.extra, gone);
      for (const path of result.changed)
        assert.ok(
          dryRun || was.get(path) !== wanted.get(path) || `p/${path}` === 'p/a',
          `${path} had not changed`,
        );
      // The same once more writes nothing.
      if (!dryRun)
        assert.equal((await sync(filesOf(wanted), optionsOf(store, { remove }))).unchanged, wanted.size);
      store.step = async () => {};
    }
  });
  await fc.assert(property, { numRuns: 20 });
});

test('equal contents at two paths have different hashes, and none that is known without the key', async () => {
  const hashes = new Set<string | undefined>();
  for (const store of [new MemoryStore(), new MemoryStore()]) {
    await sync(
      filesOf(
        new Map([
          ['a', 'one'],
          ['b', 'one'],
        ]),
      ),
      optionsOf(store),
    );
    for (const path of ['p/a', 'p/b'])
      hashes.add(readSecretHeader(store.current(path) ?? Buffer.alloc(0)).hash);
  }
  assert.ok(hashes.size === 4 && !hashes.has(undefined), [...hashes].join());
});

test('what somebody writes meanwhile is not overwritten', async () => {
  const store = new MemoryStore();
  const files = filesOf(new Map([['a', 'one']]));
  await sync(files, optionsOf(store));
  const theirs = await sealSecret(Buffer.from('theirs'), {
    keyring,
    location: store.locate('p/a'),
    created: new Date(),
  });
  store.step = async (what) => {
    if (what === 'write') store.put('p/a', theirs);
  };
  await assert.rejects(sync(filesOf(new Map([['a', 'two']])), optionsOf(store)), refusalOf('output-changed'));
  assert.equal((await contentOf(store, 'p/a')).toString(), 'theirs');
});

test('what has not the shape of a key of sync is none: whoever put it there would know it', async () => {
  const store = new MemoryStore();
  const at = `p/${SYNC_KEY}`;
  const options = { keyring, location: store.locate(at), created: new Date() };
  const files = filesOf(new Map([['a', 'one']]));
  store.put(at, await sealSecret(Buffer.alloc(31), options));
  await assert.rejects(sync(files, optionsOf(store)), refusal('bundle-format', /31 bytes, want/));
  const open = async () => ({ plaintext: Buffer.alloc(32), format: 'kms' });
  await assert.rejects(sync(files, optionsOf(store, { open })), refusal('bundle-format', /format kms/));
  assert.equal(store.current('p/a'), undefined);
});

const refusalOf = (code: string) => (error: unknown) => (error as { code?: string }).code === code;
