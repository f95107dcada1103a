import assert from 'node:assert/strict';
import { chmod, chown, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { AwsAccess } from '../../../src/aws/access.ts';
import { SourceError } from '../../../src/errors.ts';
import { FactsCache } from '../../../src/secrets/facts-cache.ts';
import { listSecrets } from '../../../src/secrets/listing.ts';
import { createStore } from '../../../src/secrets/open.ts';
import type { ReadOptions, SecretStore } from '../../../src/secrets/store.ts';
import { sealTestSecret } from '../../support/secrets.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

/** A store whose reads are counted, and fail where `deny` says so. */
function watched(store: SecretStore, deny: ReadonlySet<string> = new Set()) {
  const reads: string[] = [];
  const read = (name: string, options?: ReadOptions) => {
    reads.push(name);
    if (deny.has(name)) return Promise.reject(new SourceError('source-denied', 'denied'));
    return store.read(name, options);
  };
  const watching: SecretStore = {
    location: store.location,
    versioned: store.versioned,
    locate: (name) => store.locate(name),
    list: (prefix, options) => store.list(prefix, options),
    check: (name, verb) => store.check(name, verb),
    write: (name, bytes, expected) => store.write(name, bytes, expected),
    remove: (name, expected, version) => store.remove(name, expected, version),
    versions: (name) => store.versions(name),
    read,
  };
  return { store: watching, reads };
}

test('what was found out is remembered until an object is another one', async (t) => {
  const directory = await temporaryDirectory(t);
  const env = { XDG_CACHE_HOME: await temporaryDirectory(t) };
  const { store, reads } = watched(createStore(directory, new AwsAccess({ env: {} }), {}));
  const { etag } = await store.write('a', await sealTestSecret('1'), 'absent');
  await store.write('b', await sealTestSecret('22'), 'absent');
  const list = async () => {
    reads.length = 0;
    const listed = await listSecrets(store, [], { cache: await FactsCache.open(env, store.location) });
    return listed.map((each) => `${each.path} ${each.facts?.plaintextBytes}`);
  };
  assert.deepEqual(await list(), ['a 1', 'b 2']);
  assert.equal(reads.length, 2);
  assert.deepEqual(await list(), ['a 1', 'b 2']);
  assert.deepEqual(reads, []);
  await store.write('a', await sealTestSecret('333'), { etag });
  assert.deepEqual(await list(), ['a 3', 'b 2']);
  assert.deepEqual(reads, ['a']);
  await store.remove('b', 'any');
  assert.deepEqual(await list(), ['a 3']);
});

test('what was written need not be read, until it is another one', async (t) => {
  const directory = await temporaryDirectory(t);
  const env = { XDG_CACHE_HOME: await temporaryDirectory(t) };
  const { store, reads } = watched(createStore(directory, new AwsAccess({ env: {} }), {}));
  const cache = () => FactsCache.open(env, store.location);
  const list = async () => {
    reads.length = 0;
    const listed = await listSecrets(store, [], { cache: await cache() });
    return listed.map((each) => `${each.path} ${each.facts?.plaintextBytes}`);
  };
  const writing = await cache();
  const write = async (bytes: Buffer, expected: 'absent' | { etag: string }) => {
    const written = await store.write('a', bytes, expected);
    writing.add('a', bytes, written);
    await writing.save();
    return written;
  };
  const first = await write(await sealTestSecret('1'), 'absent');
  assert.deepEqual([await list(), reads], [['a 1'], []]);
  assert.deepEqual([await list(), reads], [['a 1'], []]);
  const second = await write(await sealTestSecret('22'), first);
  assert.deepEqual([await list(), reads], [['a 2'], []]);
  // The same bytes at another time: it may be another version.
  const bytes = (await store.read('a'))?.bytes ?? Buffer.alloc(0);
  await store.remove('a', second);
  await store.write('a', bytes, 'absent');
  assert.deepEqual([await list(), reads], [['a 2'], ['a']]);
});

test('what is remembered is for this user alone, and what others could have written is not read', async (t) => {
  const home = await temporaryDirectory(t);
  const cache = await FactsCache.open({ HOME: home }, 'file:///x');
  const object = { path: 'a', bytes: 1, modifiedMs: 1, etag: 'e' };
  const facts = {
    format: 'unknown',
    plaintextBytes: undefined,
    keys: [],
    created: undefined,
    context: {},
    sealedFor: undefined,
  } as const;
  cache.set(object, { facts, version: 'v' });
  await cache.save();
  const directory = path.join(home, '.cache', 'secretsfs');
  const [name = ''] = await readdir(directory);
  assert.equal((await stat(path.join(directory, name))).mode & 0o777, 0o600);
  const reopened = () =>
    FactsCache.open({ HOME: home }, 'file:///x').then((each) => each.get(object)?.version);
  assert.equal(await reopened(), 'v');
  assert.equal((await FactsCache.open({ HOME: home }, 'file:///y')).get(object), undefined);
  await chmod(directory, 0o777);
  assert.equal(await reopened(), undefined);
});

test('nothing is made or remembered below the home of another user', async (t) => {
  const home = await temporaryDirectory(t);
  const elsewhere = await temporaryDirectory(t);
  await symlink(elsewhere, path.join(home, '.cache'));
  if (process.geteuid?.() === 0) await chown(home, 65534, 65534);
  else t.mock.method(process as Required<Pick<NodeJS.Process, 'geteuid'>>, 'geteuid', () => 65534);
  await FactsCache.open({ HOME: home }, 'file:///x');
  assert.deepEqual(await readdir(elsewhere), []);
});

test('a cache that holds anything else is an empty one', async (t) => {
  const home = await temporaryDirectory(t);
  const object = { path: 'a', bytes: 1, modifiedMs: 1, etag: 'e' };
  const cache = await FactsCache.open({ HOME: home }, 'file:///x');
  const facts = {
    format: 'unknown',
    plaintextBytes: 3,
    keys: [{ providerId: 'p', keyName: 'k' }],
    created: 'c',
    context: { a: 'b' },
    sealedFor: 's',
  } as const;
  cache.set(object, { facts, version: undefined });
  await cache.save();
  const directory = path.join(home, '.cache', 'secretsfs');
  const file = path.join(directory, (await readdir(directory))[0] ?? '');
  const whole = JSON.parse(await readFile(file, 'utf8'));
  const read = async (text: string) => {
    await mkdir(directory, { recursive: true });
    await writeFile(file, text);
    return (await FactsCache.open({ HOME: home }, 'file:///x')).get(object);
  };
  assert.deepEqual((await read(JSON.stringify(whole)))?.facts, facts);
  await fc.assert(
    fc.asyncProperty(fc.jsonValue(), fc.nat(4), async (value, at) => {
      const entry = [...whole.entries.a];
      entry[at] = value;
      for (const each of [
        value,
        { ...whole, entries: value },
        { ...whole, entries: { a: value } },
        { ...whole, entries: { a: entry } },
      ]) {
        const known = await read(JSON.stringify(each));
        if (known !== undefined) assert.equal(typeof known.facts.format, 'string');
      }
    }),
    { numRuns: 100 },
  );
});

test('the pair that a secret of kms-secrets was is listed as one, and half of one as it is', async (t) => {
  const store = createStore(await temporaryDirectory(t), new AwsAccess({ env: {} }), {});
  const sealed = Buffer.alloc(12 + 9 + 16, 0xaa);
  for (const name of ['a.aes', 'a.b', 'a.kms', 'c.kms', 'd.aes']) await store.write(name, sealed, 'absent');
  const listed = await listSecrets(store, [], { cache: await FactsCache.open({}, store.location) });
  assert.deepEqual(
    listed.map((each) => `${each.path} ${each.facts?.format} ${each.facts?.plaintextBytes}`),
    ['a kms-secrets 9', 'a.b unknown undefined', 'c.kms unknown undefined', 'd.aes kms-secrets 9'],
  );
});

test('what may not be read is listed all the same, and what is gone meanwhile is not', async (t) => {
  const whole = createStore(await temporaryDirectory(t), new AwsAccess({ env: {} }), {});
  for (const name of ['a', 'b', 'c']) await whole.write(name, await sealTestSecret(name), 'absent');
  const { store } = watched(whole, new Set(['a']));
  const cache = await FactsCache.open({}, store.location);
  const vanishing = {
    ...store,
    async *list() {
      for await (const object of whole.list()) {
        if (object.path === 'b') await whole.remove('b', 'any');
        yield object;
      }
    },
  };
  const listed = await listSecrets(vanishing, [], { cache });
  assert.deepEqual(
    listed.map((each) => `${each.path} ${each.facts?.format}`),
    ['a undefined', 'c secretsfs'],
  );
});
