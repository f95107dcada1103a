import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { slicesOf, Telling } from '../../../src/daemon/telling.ts';
import { MountError } from '../../../src/errors.ts';
import { type ChangeList, decodeOperations } from '../../../src/generation/changes.ts';
import { FakeHelper } from '../../support/fake-helper.ts';
import { FakeLog } from '../../support/fake-log.ts';

const TOKEN = 'ab'.repeat(16);
const NO_COUNTS = { added: 0, changed: 0, removed: 0, unchanged: 0 };

function changesOf(...paths: string[]): ChangeList {
  const operations = paths.map((path, i) => ({ kind: 'rename' as const, path, ino: 10 + i }));
  return { counts: NO_COUNTS, superseded: [], directories: [5], operations, files: [] };
}

function setUp() {
  const teller = new FakeHelper();
  const log = new FakeLog();
  const dropped: (readonly number[])[] = [];
  const inodes = { dropAttributes: async (inos: readonly number[]) => void dropped.push(inos) };
  return { teller, log, dropped, telling: new Telling({ teller, inodes, token: TOKEN, log }) };
}

test('names are pinned before, applied after, and then attributes of directories are dropped', async () => {
  const { teller, dropped, telling } = setUp();
  const changes = changesOf('a', 'b');
  await telling.pin(changes);
  assert.deepEqual(teller.words, ['discard', 'pin']);
  await telling.tell(changes);
  assert.deepEqual(teller.words, ['discard', 'pin', 'apply']);
  assert.deepEqual(teller.asked[2], { do: 'apply', token: TOKEN, count: 2 });
  assert.deepEqual(dropped, [[5]]);
  assert.equal(telling.owes, false);
});

test('a teller that ended since it pinned is told the operations again', async () => {
  const { teller, telling } = setUp();
  const changes = changesOf('a');
  await telling.pin(changes);
  teller.pid = undefined;
  await telling.tell(changes);
  assert.deepEqual(teller.words, ['discard', 'pin', 'discard', 'pin', 'apply']);
});

test('names are looked at once more, and what was pinned before is pinned anew', async () => {
  const { teller, telling } = setUp();
  const changes = changesOf('a');
  await telling.pin(changes);
  teller.answers = [undefined, 'dies'];
  await telling.look(changes);
  assert.deepEqual(teller.words, ['discard', 'pin', 'discard', 'pin', 'discard', 'pin', 'discard']);
  await telling.tell(changes);
  assert.deepEqual(teller.words.slice(7), ['discard', 'pin', 'apply']);
});

test('a teller that ends over a question is asked again from the beginning', async () => {
  const { teller, telling, log } = setUp();
  const changes = changesOf('a');
  teller.answers = [undefined, 'dies'];
  await telling.pin(changes);
  assert.deepEqual(teller.words, ['discard', 'pin', 'discard', 'pin']);
  teller.answers = ['dies'];
  await telling.tell(changes);
  assert.deepEqual(teller.words.slice(4), ['apply', 'discard', 'pin', 'apply']);
  assert.deepEqual(log.lines, []);
});

test('what could not be told is owed, in the log, and told by settle()', async () => {
  const { teller, telling, log } = setUp();
  const changes = changesOf('a');
  await telling.pin(changes);
  teller.answers = Array(10).fill('dies');
  await telling.tell(changes);
  assert.equal(telling.owes, true);
  assert.deepEqual(log.events, ['names-not-replaced']);
  await assert.rejects(telling.settle(), MountError);
  teller.answers = [];
  await telling.settle();
  assert.equal(telling.owes, false);
  assert.deepEqual(teller.words.slice(-3), ['discard', 'pin', 'apply']);
  const asked = teller.asked.length;
  await telling.settle();
  assert.equal(teller.asked.length, asked);
});

test('pin() gives up after some attempts, and says so', async () => {
  const { teller, telling } = setUp();
  teller.answers = Array(10).fill('dies');
  await assert.rejects(telling.pin(changesOf('a')), (error: MountError) => error.code === 'mount-failed');
});

test('names that the server refused are counted in the log', async () => {
  const { teller, telling, log } = setUp();
  const failed = [{ errno: 'ENOENT', count: 1 }];
  teller.answers = [undefined, undefined, { ok: true, failed }];
  const changes = changesOf('a');
  await telling.pin(changes);
  await telling.tell(changes);
  assert.deepEqual(log.lines[0]?.fields, { failed });
  assert.equal(telling.owes, false);
});

test('slices have all operations in their order, none is empty, and each fits into a line', async () => {
  const path = fc.string({ minLength: 1, maxLength: 4000, unit: fc.constantFrom('x', 'é') });
  await fc.assert(
    fc.property(fc.array(path, { maxLength: 200 }), (paths) => {
      const { operations } = changesOf(...paths);
      const slices = [...slicesOf(operations)];
      assert.deepEqual(slices.flat(), operations);
      for (const slice of slices) {
        assert.ok(slice.length > 0 && slice.length <= 1024);
        const bytes = slice.reduce((sum, each) => sum + Buffer.byteLength(each.path), 0);
        assert.ok(slice.length === 1 || bytes <= 64 * 1024);
      }
    }),
  );
  const many = changesOf(...Array.from({ length: 2500 }, (_, i) => `${i}`));
  assert.deepEqual(
    [...slicesOf(many.operations)].map(({ length }) => length),
    [1024, 1024, 452],
  );
});

test('pins go in slices that the teller can decode', async () => {
  const { teller, telling } = setUp();
  await telling.pin(changesOf(...Array.from({ length: 1030 }, (_, i) => `${i}`)));
  const lengths = teller.asked
    .slice(1)
    .map(({ operations }) => decodeOperations(Buffer.from(String(operations), 'base64')).length);
  assert.deepEqual(lengths, [1024, 6]);
});
