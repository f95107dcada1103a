import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { chmod, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { KeyError, type OutputError, SourceError } from '../../../src/errors.ts';
import { localKeyring } from '../../../src/keyring/local.ts';
import { type RotateAllOptions, rotateAll } from '../../../src/secrets/rotate-all.ts';
import { FileJournal } from '../../../src/secrets/rotation-journal.ts';
import { targetsOf } from '../../../src/secrets/rotation-pair.ts';
import { openSecret, readSecretHeader, sealSecret } from '../../../src/secrets/secret.ts';
import type { StoredObject } from '../../../src/secrets/store.ts';
import { refusal } from '../../support/bundles.ts';
import { MemoryStore } from '../../support/memory-store.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

const keyOf = (name: string) => {
  const { keyring, keyName, accepted } = localKeyring(createHash('sha256').update(name).digest());
  return { keyring, keyName, accepted };
};
const OLD = keyOf('old');
const NEW = keyOf('new');
const SUBJECT = { store: 's3://bucket/prefix', patterns: [], keyNames: [NEW.keyName], fromKeys: [] };

/** Time that goes on by one each time that somebody looks. */
let clockMs = 1_800_000_000_000;
const now = () => clockMs++;

const seal = (store: MemoryStore, at: string, content: string, { keyring } = OLD) =>
  sealSecret(Buffer.from(content), {
    keyring,
    location: store.locate(at),
    created: new Date(now()),
    context: { a: 'b' },
  });

async function openWith(store: MemoryStore, at: string, bytes: Buffer, keys = [OLD, NEW]): Promise<string> {
  for (const { keyring, keyName } of keys) {
    if (!readSecretHeader(bytes).encryptedDataKeys.some((key) => key.keyName === keyName)) continue;
    const { plaintext } = await openSecret(bytes, { keyring, location: store.locate(at) });
    return plaintext.toString();
  }
  throw new Error(`${at} is under no key that is known`);
}

async function storeOf(contents: Readonly<Record<string, string>>): Promise<MemoryStore> {
  const store = new MemoryStore();
  for (const [at, content] of Object.entries(contents)) store.put(at, await seal(store, at, content));
  return store;
}

async function listed(store: MemoryStore): Promise<StoredObject[]> {
  const objects: StoredObject[] = [];
  for await (const object of store.list()) objects.push(object);
  return objects;
}

class Killed extends Error {}

const NO_JOURNAL = { startedMs: 0, has: () => false, add: () => undefined };
const optionsOf = (store: MemoryStore, more: Partial<RotateAllOptions> = {}): RotateAllOptions => ({
  store,
  keyring: NEW.keyring,
  keyNames: [NEW.keyName],
  journal: { ...NO_JOURNAL, startedMs: now() },
  purge: false,
  dryRun: false,
  now,
  pause: async () => undefined,
  concurrency: 4,
  signal: new AbortController().signal,
  async open(at, stored) {
    const bytes = stored?.bytes ?? assert.fail('there are no halves');
    const key = readSecretHeader(bytes).encryptedDataKeys[0]?.keyName === NEW.keyName ? NEW : OLD;
    const { header, plaintext } = await openSecret(bytes, {
      keyring: key.keyring,
      location: store.locate(at),
    });
    return { plaintext, context: header.context };
  },
  async proveDone(at, { bytes }) {
    await openSecret(bytes, { keyring: NEW.keyring, location: store.locate(at) });
  },
  ...more,
});
const rotate = async (store: MemoryStore, more: Partial<RotateAllOptions> = {}) =>
  rotateAll(await listed(store), optionsOf(store, more));

test('every secret is under the new key afterwards, with its content, context and hash', async () => {
  const store = await storeOf({ a: 'one', 'b/c': 'two' });
  const hash = 'f'.repeat(64);
  store.put(
    'd',
    await sealSecret(Buffer.from('three'), {
      keyring: OLD.keyring,
      location: store.locate('d'),
      created: new Date(now()),
      hash,
    }),
  );
  const summary = await rotate(store);
  assert.equal(summary.rotated, 3);
  assert.deepEqual(summary.failed, []);
  for (const [at, content] of [
    ['a', 'one'],
    ['b/c', 'two'],
    ['d', 'three'],
  ] as const)
    assert.equal(await openWith(store, at, store.current(at) ?? Buffer.alloc(0), [NEW]), content);
  assert.deepEqual(readSecretHeader(store.current('a') ?? Buffer.alloc(0)).context, { a: 'b' });
  assert.equal(readSecretHeader(store.current('d') ?? Buffer.alloc(0)).hash, hash);
});

test('two halves become one secret, and go only when that is written; killed in between, they go the next time', async () => {
  const paths = ['a', 'a.aes', 'a.kms', 'b.kms', 'c', 'd.aes', 'e.aes', 'e.kms', 'e.kms.aes'];
  const objects = paths.map((at) => ({ path: at, bytes: 1, modifiedMs: 0, etag: at }));
  const names = targetsOf(objects).map((target) => [
    target.path,
    target.halves?.map(({ path: half }) => half),
  ]);
  assert.deepEqual(names, [
    ['a', ['a.kms', 'a.aes']],
    ['b.kms', undefined],
    ['c', undefined],
    ['d.aes', undefined],
    ['e', ['e.kms', 'e.aes']],
    ['e.kms.aes', undefined],
  ]);

  const store = await storeOf({});
  for (const half of ['x.kms', 'x.aes']) store.put(half, Buffer.from(half));
  const opened = { plaintext: Buffer.from('old content'), context: {} };
  const options = optionsOf(store, {
    open: async () => ({ ...opened, plaintext: Buffer.from(opened.plaintext) }),
  });
  store.step = async (what) => {
    if (what === 'remove') throw new Killed();
  };
  await assert.rejects(rotateAll(targetsOf(await listed(store)), options), Killed);
  assert.deepEqual(
    (await listed(store)).map((each) => each.path),
    ['x', 'x.aes', 'x.kms'],
  );
  store.step = async () => {};
  const summary = await rotateAll(targetsOf(await listed(store)), options);
  assert.deepEqual([summary.rotated, summary.already, summary.failed], [0, 1, []]);
  assert.deepEqual(
    (await listed(store)).map((each) => each.path),
    ['x'],
  );
  assert.equal(await openWith(store, 'x', store.current('x') ?? Buffer.alloc(0), [NEW]), 'old content');
});

test('what somebody writes between the read and the write is what is rotated', async () => {
  const store = await storeOf({ a: 'first' });
  const writes = [await seal(store, 'a', 'second'), await seal(store, 'a', 'third')];
  store.step = async (what, at) => {
    const next = what === 'write' ? writes.shift() : undefined;
    if (next !== undefined) store.put(at, next);
  };
  const summary = await rotate(store);
  assert.equal(summary.rotated, 1);
  assert.equal(await openWith(store, 'a', store.current('a') ?? Buffer.alloc(0), [NEW]), 'third');
});

test('what is written to all the time is given up, and is as its last writer left it', async () => {
  const store = await storeOf({ a: 'x', b: 'y' });
  const another = await seal(store, 'a', 'z');
  const other = await seal(store, 'a', 'zz');
  let last = another;
  store.step = async (what, at) => {
    if (what !== 'write' || at !== 'a') return;
    last = last === another ? other : another;
    store.put(at, last);
  };
  const summary = await rotate(store);
  assert.equal(summary.rotated, 1);
  assert.deepEqual(
    summary.failed.map(({ path: at, error }) => [at, error.code]),
    [['a', 'output-changed']],
  );
  assert.equal(store.current('a'), last);
});

test('a server that is too busy is asked again, later each time', async () => {
  const store = await storeOf({ a: 'x' });
  let refusals = 3;
  store.step = async (what) => {
    if (what === 'read' && refusals-- > 0) throw new SourceError('source-throttled', 'slow down');
  };
  const pauses: number[] = [];
  const summary = await rotate(store, { pause: async (ms) => void pauses.push(ms) });
  assert.equal(summary.rotated, 1);
  assert.equal(pauses.length, 3);
  for (const [i, ms] of pauses.entries()) assert.ok(ms > 250 * 2 ** i && ms <= 500 * 2 ** i, String(pauses));
});

test('new keys that can not be used end it at once; secrets that can not be opened do not', async () => {
  const contents = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`s${i}`, 'x']));
  const store = await storeOf(contents);
  const denied = () => Promise.reject(new KeyError('key-denied', 'no'));
  const broken = Object.create(NEW.keyring, { onEncrypt: { value: denied } });
  const ended = await rotate(store, { keyring: broken, concurrency: 2 });
  assert.ok(ended.failed.length <= 2 && ended.left >= 18, `${ended.failed.length} failed`);
  const open = optionsOf(store).open;
  const summary = await rotate(store, { open: (at, stored) => (at === 's7' ? denied() : open(at, stored)) });
  assert.equal(summary.rotated, 19);
  assert.deepEqual([summary.failed.length, summary.left], [1, 0]);
  assert.equal(await openWith(store, 's7', store.current('s7') ?? Buffer.alloc(0), [OLD]), 'x');
});

test('many failures without a success in between end it', async () => {
  const store = await storeOf(Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`s${i}`, 'x'])));
  const summary = await rotate(store, { open: () => Promise.reject(new KeyError('key-denied', 'no')) });
  assert.ok(summary.failed.length >= 25 && summary.failed.length < 30, String(summary.failed.length));
  assert.equal(summary.failed.length + summary.left, 60);
});

test('an interruption ends what is begun, and begins nothing more', async () => {
  const store = await storeOf(Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`s${i}`, 'x'])));
  const interrupt = new AbortController();
  store.step = async (what) => {
    if (what === 'write') interrupt.abort();
  };
  const summary = await rotate(store, { signal: interrupt.signal });
  assert.ok(summary.rotated >= 1 && summary.rotated <= 4, String(summary.rotated));
  assert.equal(summary.rotated + summary.left, 20);
  assert.equal(summary.interrupted, true);
});

test('a dry run writes nothing, opens nothing, and counts the same', async () => {
  const store = await storeOf({ a: 'x', b: 'y' });
  store.put('c', await seal(store, 'c', 'z', NEW));
  const before = new Map(store.objects);
  const concerns: RotateAllOptions['concerns'] = (header) =>
    header.encryptedDataKeys.some((key) => OLD.accepted.accepts(key));
  const open = () => assert.fail('it was opened');
  const dry = await rotate(store, { dryRun: true, concerns, open });
  assert.deepEqual([dry.rotated, dry.otherKeys], [2, 1]);
  assert.deepEqual(store.objects, before);
  const wet = await rotate(store, { concerns });
  assert.deepEqual([wet.rotated, wet.otherKeys], [2, 1]);
});

test('a purge removes what is below the version that it wrote, and nothing else', async () => {
  const store = await storeOf({ a: 'one' });
  store.put('a', undefined);
  store.put('a', await seal(store, 'a', 'two'));
  const kept = await rotate(store);
  assert.deepEqual([kept.keptVersions, kept.purgedVersions, store.objects.get('a')?.length], [true, 0, 4]);
  const above = await seal(store, 'a', 'three');
  store.step = async (what) => {
    if (what === 'versions') store.put('a', above);
  };
  const purged = await rotate(store, { purge: true });
  assert.deepEqual([purged.keptVersions, purged.purgedVersions], [false, 4]);
  assert.equal(store.objects.get('a')?.length, 2);
  assert.equal(store.current('a'), above);
});

test('a header that says "done" destroys nothing unless what it is of opens, and is not believed about a time to come', async () => {
  for (const [created, tag] of [
    ['2099-01-01T00:00:00.000Z', 0],
    [undefined, 1],
  ] as const) {
    for (const purge of [true, false]) {
      const store = await storeOf({ a: 'good', x: 'whole' });
      for (const half of ['x.kms', 'x.aes']) store.put(half, Buffer.from(half));
      const startedMs = now();
      for (const at of ['a', 'x']) {
        const forged = await seal(store, at, 'forged', NEW);
        const own = Buffer.from(readSecretHeader(forged).created);
        if (created !== undefined) forged.write(created, forged.indexOf(own));
        forged.writeUInt8((forged.at(-1) ?? 0) ^ tag, forged.length - 1);
        store.put(at, forged);
      }
      const before = new Map([...store.objects].map(([at, versions]) => [at, [...versions]]));
      const options = optionsOf(store, { purge, journal: { ...NO_JOURNAL, startedMs } });
      const summary = await rotateAll(targetsOf(await listed(store)), options);
      assert.deepEqual(summary.failed.map(({ path: at }) => at).sort(), ['a', 'x']);
      assert.deepEqual([summary.already, summary.purgedVersions], [0, 0]);
      assert.deepEqual(store.objects, before);
    }
  }
});

test('what is as good as done, but says a time to come, is rotated once more', async () => {
  const store = await storeOf({});
  const startedMs = now();
  const created = new Date(clockMs + 3_600_000);
  const location = store.locate('a');
  store.put('a', await sealSecret(Buffer.from('one'), { keyring: NEW.keyring, location, created }));
  const summary = await rotate(store, { journal: { ...NO_JOURNAL, startedMs } });
  assert.deepEqual([summary.rotated, summary.already], [1, 0]);
});

test('a journal is kept only where nobody else may write, and is written over nothing', async (t) => {
  const directory = await temporaryDirectory(t);
  const options = { nowMs: 1, restart: false };
  FileJournal.open(directory, SUBJECT, options).close(false);
  const [file = ''] = (await readdir(directory)).filter((name) => name.endsWith('.journal'));
  const victim = path.join(await temporaryDirectory(t), 'victim');
  await writeFile(victim, 'precious');
  await symlink(victim, path.join(directory, `${file}.new`));
  FileJournal.open(directory, SUBJECT, options).close(false);
  assert.equal(await readFile(victim, 'utf8'), 'precious');
  for (const mode of [0o720, 0o702]) {
    await chmod(directory, mode);
    assert.throws(
      () => FileJournal.open(directory, SUBJECT, options),
      refusal('config-invalid', /go-w|nobody else/),
    );
  }
  await chmod(directory, 0o700);
  const link = path.join(await temporaryDirectory(t), 'rotations');
  await symlink(directory, link);
  assert.throws(() => FileJournal.open(link, SUBJECT, options), refusal('config-invalid'));
});

test('a journal is continued by the same rotation alone, survives a line that was cut off, and is gone at the end', async (t) => {
  const directory = await temporaryDirectory(t);
  const open = (more: object = {}, nowMs = 1) =>
    FileJournal.open(directory, { ...SUBJECT, ...more }, { nowMs, restart: false });
  const first = open({}, 5);
  assert.equal(first.resumed, undefined);
  first.add('a', '"1"');
  first.add('b\n"c"', '"2"');
  assert.throws(
    () => open(),
    (error) => (error as OutputError).code === 'output-failed',
  );
  first.close(false);
  const [file = ''] = (await readdir(directory)).filter((name) => name.endsWith('.journal'));
  await writeFile(
    path.join(directory, file),
    `${await readFile(path.join(directory, file), 'utf8')}["cut","o`,
  );
  const second = open({}, 9);
  assert.deepEqual([second.startedMs, second.resumed], [5, 2]);
  assert.ok(
    second.has('a', '"1"') &&
      second.has('b\n"c"', '"2"') &&
      !second.has('a', '"2"') &&
      !second.has('cut', 'o'),
  );
  second.add('d', '"3"');
  second.close(false);
  const other = open({ keyNames: ['another'] }, 10);
  assert.deepEqual([other.startedMs, other.resumed], [10, undefined]);
  other.close(true);
  const third = open({}, 11);
  assert.deepEqual([third.startedMs, third.resumed, third.has('d', '"3"')], [5, 3, true]);
  third.close(true);
  assert.deepEqual(await readdir(directory), []);
  await writeFile(path.join(directory, file), 'no journal at all');
  const fourth = open({}, 12);
  assert.deepEqual([fourth.startedMs, fourth.resumed], [12, undefined]);
  fourth.close(true);
  const old = open({}, 13);
  old.close(false);
  const anew = FileJournal.open(directory, SUBJECT, { nowMs: 14, restart: true });
  assert.equal(anew.startedMs, 14);
  anew.close(true);
});

test('killed at any instant and run again, with others writing: each is rotated once for each that was written, none is lost', async (t) => {
  const directory = await temporaryDirectory(t);
  const script = fc.record({
    secrets: fc.integer({ min: 1, max: 6 }),
    concurrency: fc.integer({ min: 1, max: 4 }),
    kills: fc.array(fc.integer({ min: 1, max: 12 }), { maxLength: 4 }),
    // At which step somebody writes which secret, under which key; or removes it.
    others: fc.array(
      fc.record({ step: fc.nat(40), secret: fc.nat(5), what: fc.constantFrom('old', 'new', 'removed') }),
      { maxLength: 4 },
    ),
    loseJournal: fc.boolean(),
  });
  const property = fc.asyncProperty(script, async ({ secrets, concurrency, kills, others, loseJournal }) => {
    const names = Array.from({ length: secrets }, (_, i) => `s${i}`);
    const store = await storeOf(Object.fromEntries(names.map((name) => [name, `${name} 0`])));
    const model = new Map<string, string | undefined>(names.map((name) => [name, `${name} 0`]));
    const sealings = new Map(names.map((name) => [name, 0]));
    const writes = new Map(names.map((name) => [name, 1]));
    /** In which of the runs it was written last. */
    const writtenIn = new Map<string, number>();
    let run = 0;
    let steps = 0;
    let killAt = Number.POSITIVE_INFINITY;
    store.step = async (what, at) => {
      if (what === 'wrote') sealings.set(at, (sealings.get(at) ?? 0) + 1);
      steps += 1;
      for (const other of others.filter(({ step }) => step === steps)) {
        const name = names[other.secret % secrets] ?? '';
        const content = other.what === 'removed' ? undefined : `${name} ${steps}`;
        const key = other.what === 'new' ? NEW : OLD;
        const sealed = content === undefined ? undefined : await seal(store, name, content, key);
        model.set(name, content);
        store.put(name, sealed);
        writes.set(name, (writes.get(name) ?? 0) + 1);
        writtenIn.set(name, run);
      }
      // At every instant each opens, with the content that was written last.
      for (const [name, content] of model) {
        const bytes = store.current(name);
        assert.equal(bytes === undefined ? undefined : await openWith(store, name, bytes), content);
      }
      if (steps >= killAt) throw new Killed();
    };
    const startMs = now();
    for (const kill of [...kills, Number.POSITIVE_INFINITY]) {
      run += 1;
      killAt = steps + kill;
      const journal = FileJournal.open(directory, SUBJECT, { nowMs: startMs, restart: false });
      const running = rotate(store, { journal, concurrency });
      const outcome = await running.catch((error: unknown) => error);
      // The others of the pool are dead too.
      killAt = 0;
      await new Promise((resolve) => setTimeout(resolve, 5));
      journal.close(!(outcome instanceof Killed) || loseJournal);
      if (outcome instanceof Killed) continue;
      if (outcome instanceof Error) throw outcome;
      assert.deepEqual((outcome as { failed: unknown }).failed, []);
    }
    for (const [name, content] of model) {
      const bytes = store.current(name);
      // What was written in the last run may have been written after it was looked at.
      const keys = writtenIn.get(name) === run ? [OLD, NEW] : [NEW];
      if (content !== undefined)
        assert.equal(await openWith(store, name, bytes ?? Buffer.alloc(0), keys), content);
      else assert.equal(bytes, undefined);
      assert.ok(
        (sealings.get(name) ?? 0) <= (writes.get(name) ?? 0),
        `${name} was rotated more often than written`,
      );
    }
  });
  await fc.assert(property, { numRuns: 15 });
});
