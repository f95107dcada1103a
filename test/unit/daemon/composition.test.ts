import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Candidate } from '../../../src/daemon/candidate.ts';
import type { ComposingRequest } from '../../../src/daemon/composing.ts';
import { Composition } from '../../../src/daemon/composition.ts';
import type { PartFacts } from '../../../src/daemon/facts.ts';
import { MountError } from '../../../src/errors.ts';
import { FakeLog } from '../../support/fake-log.ts';

const COUNTS = { added: 0, changed: 1, removed: 0, unchanged: 0 };
const WRITTEN = { files: 1, directories: 1, symlinks: 0, contentBytes: 1, counts: COUNTS };

/** The composition looks at none of it. */
const FACTS = {} as PartFacts;

/** A composition of a and b, whose store is a list of numbers. */
function setUp({ availableBytes = 1e6, optional = [] as string[] } = {}) {
  let nextId = 1;
  const images = new Set<number>();
  const composed: string[] = [];
  const activated: number[] = [];
  const kept: object[] = [];
  const serialOf = new Map<number, number>();
  const log = new FakeLog();
  const world = {
    fails: undefined as Error | undefined,
    failsWith: undefined as string | undefined,
    refuses: undefined as Error | undefined,
    refusesAt: undefined as number | undefined,
    held: Promise.resolve(),
    drop: undefined as Error | undefined,
  };
  const candidate = (): Candidate => {
    const id = nextId++;
    return { id, imageFd: -1, changesFd: -1, previousFd: undefined, closed: true };
  };
  const composition = new Composition({
    parts: ['a', 'b'].map((directory) => ({ directory, filesMax: 1, bytesMax: 1 })),
    optional: new Set(optional),
    rules: [],
    preserve: false,
    memoryMax: () => undefined,
    log,
    user: () => ({ uid: 1, gid: 1 }),
    availableBytes: async () => availableBytes,
    engine: () => ({
      candidate,
      discard: async () => undefined,
      storeBytes: 0,
      partImages: {
        candidate,
        keep: async ({ id }: Candidate, limits: object) => {
          images.add(id);
          kept.push(limits);
          return { bytes: 10, nextIno: 100 + id };
        },
        // No descriptor: what is closed is nobody's.
        open: (id: number) => {
          assert.ok(images.has(id), `image ${id}`);
          return 1_000_000 + id;
        },
        drop: async (id: number) => {
          if (world.drop !== undefined) throw world.drop;
          images.delete(id);
        },
      } as never,
    }),
    activate: async ({ id }) => {
      if (world.refuses !== undefined) throw world.refuses;
      if (world.refusesAt !== undefined && serialOf.get(id) === world.refusesAt)
        throw new MountError('check-exec', 'cannot');
      activated.push(id);
      return activated.length === 1 ? undefined : { counts: COUNTS, files: [] };
    },
    compose: async ({ parts, serial, candidate: { id } }: ComposingRequest) => {
      serialOf.set(id, serial);
      await world.held;
      if (world.fails !== undefined) throw world.fails;
      const of = parts.map(
        ({ directory, imageFd }) => `${directory}${imageFd === undefined ? '' : imageFd - 1_000_000}`,
      );
      if (of.some((one) => one === world.failsWith)) throw new MountError('composer-failed', 'cannot');
      composed.push(`${of.join()} at ${serial}`);
      return WRITTEN;
    },
  });
  const add = (directory: string, serial: number) =>
    composition.add(directory, { candidate: composition.candidate(directory), serial, facts: FACTS });
  return { composition, composed, images, kept, world, log, add };
}

test('the first generation is of all that arrived, and who arrived waits for it', async () => {
  const { composition, composed, add } = setUp();
  const [a, b] = [add('a', 5), add('b', 7)];
  await Promise.all([composition.arrival('a'), composition.arrival('b')]);
  assert.deepEqual(composed, []);
  await composition.begin();
  assert.deepEqual([(await a).id, (await b).id, (await a).changes], [3, 3, undefined]);
  assert.deepEqual(composed, ['a1,b2 at 7']);
});

test('a generation is of what one part has anew and the others have live, and what was replaced is gone', async () => {
  const { composition, composed, images, add } = setUp();
  void add('a', 5);
  await composition.arrival('a');
  await composition.begin();
  // At once: the second is composed of what the first made live.
  await Promise.all([add('b', 7), add('a', 6)]);
  assert.deepEqual(composed, ['a1,b at 5', 'a1,b3 at 7', 'a4,b3 at 7']);
  assert.deepEqual([...images].sort(), [3, 4]);
});

test('inode numbers of a tree follow those of the tree that it replaces', async () => {
  const { composition, kept, add } = setUp();
  const first = add('a', 5);
  await composition.arrival('a');
  await composition.begin();
  await first;
  await add('b', 7);
  await add('a', 6);
  const follows = (nextIno: number) => ({ nextIno, nodesMax: 2 });
  assert.deepEqual(kept, [follows(2), follows(2), follows(101)]);
});

test('what can not be composed, or not go live, is gone, and the others are what they were', async () => {
  const { composition, composed, images, world, add } = setUp();
  const first = [add('a', 5), add('b', 7)];
  await Promise.all([composition.arrival('a'), composition.arrival('b')]);
  await composition.begin();
  await Promise.all(first);
  for (const failure of ['fails', 'refuses'] as const) {
    world[failure] = new MountError('composer-failed', 'cannot');
    await assert.rejects(add('a', 6), { code: 'composer-failed' });
    world[failure] = undefined;
  }
  assert.deepEqual([...images], [1, 2]);
  composed.length = 0;
  await add('b', 8);
  assert.match(composed[0] ?? '', /^a1,b\d+ at 8$/);
});

for (const why of ['can not be composed', 'is not let through by a program'] as const)
  test(`what is optional and ${why} does not keep the others from beginning`, async () => {
    const { composition, composed, images, world, add } = setUp({ optional: ['b'] });
    const [a, b] = [add('a', 5), add('b', 7)];
    const code = why === 'can not be composed' ? 'composer-failed' : 'check-exec';
    const refused = assert.rejects(b, { code });
    await Promise.all([composition.arrival('a'), composition.arrival('b')]);
    if (code === 'composer-failed') world.failsWith = 'b2';
    else world.refusesAt = 7;
    const { id } = await composition.begin();
    assert.equal((await a).id, id);
    await refused;
    assert.deepEqual([[...images], composition.has('b')], [[1], false]);
    assert.equal(composed.filter((one) => one === 'a1,b at 5').length, 1);
    world.refusesAt = undefined;
    const { changes } = await add('b', 8);
    assert.equal(changes?.counts, COUNTS);
  });

test('of several that are optional the one that can be composed is live right after the first generation', async () => {
  const { composition, composed, world, add } = setUp({ optional: ['a', 'b'] });
  const [a, b] = [add('a', 5), add('b', 7)];
  await Promise.all([composition.arrival('a'), composition.arrival('b')]);
  world.failsWith = 'b2';
  await Promise.all([composition.begin(), a, assert.rejects(b, { code: 'composer-failed' })]);
  assert.deepEqual(composed, ['a,b at 1', 'a1,b at 5']);
});

for (const [whose, optional, failure] of [
  ['one that is required', [], 'failsWith'],
  ['the mount', ['b'], 'refuses'],
] as const)
  test(`what fails of ${whose} keeps all from beginning`, async () => {
    const { composition, composed, world, add } = setUp({ optional: [...optional] });
    const adds = [add('a', 5), add('b', 7)].map((one) => assert.rejects(one, { code: /-failed$/ }));
    await Promise.all([composition.arrival('a'), composition.arrival('b')]);
    if (failure === 'failsWith') world.failsWith = 'b2';
    else world.refuses = new MountError('mount-failed', 'cannot');
    await assert.rejects(composition.begin());
    await Promise.all(adds);
    // The engine was given one at the most.
    assert.equal(composed.length, failure === 'refuses' ? 1 : 0);
  });

test('what went live stays, also where what it replaced can not be dropped', async () => {
  const { composition, composed, images, world, log, add } = setUp();
  const first = add('a', 5);
  await composition.arrival('a');
  await composition.begin();
  await first;
  world.drop = new Error('EIO');
  await add('a', 6);
  world.drop = undefined;
  assert.deepEqual(log.events, ['bug']);
  assert.deepEqual([...images], [1, 3]);
  await add('b', 7);
  assert.equal(composed.at(-1), 'a3,b5 at 7');
});

test('a generation for which there is no memory is refused before anything is begun', async () => {
  const { composition, composed, add } = setUp({ availableBytes: 39 });
  add('a', 5).catch(() => undefined);
  add('b', 7).catch(() => undefined);
  await Promise.all([composition.arrival('a'), composition.arrival('b')]);
  await assert.rejects(composition.begin(), {
    code: 'memory-exceeded',
    message: /takes 40 bytes, 39 are left/,
  });
  assert.deepEqual(composed, []);
});

test('who waits for a first generation that will not come gets an error when the mount stops', async () => {
  const { composition, add } = setUp();
  const waits = add('a', 5);
  await composition.arrival('a');
  composition.stop();
  await assert.rejects(waits, { code: 'mount-failed' });
  await assert.rejects(composition.begin());
});
