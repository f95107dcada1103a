/** What every SecretStore promises, over each of them. */
import assert from 'node:assert/strict';
import { after, before, suite, type TestContext, test } from 'node:test';
import { AwsAccess } from '../../src/aws/access.ts';
import { OutputError, SourceError, UsageError } from '../../src/errors.ts';
import { createStore } from '../../src/secrets/open.ts';
import { selectObjects } from '../../src/secrets/select.ts';
import type { SecretStore, StoredObject } from '../../src/secrets/store.ts';
import { awsEnv, createBucket, type Moto, replaceEnv, startMoto, unique } from '../support/moto.ts';
import { type OneAtATime, startOneAtATime } from '../support/one-at-a-time.ts';
import { temporaryDirectory } from '../support/temporary.ts';

interface Kind {
  readonly name: string;
  /** A store that holds nothing. */
  empty(t: TestContext): Promise<SecretStore>;
  start?(): Promise<void>;
  stop?(): Promise<void>;
}

let moto: Moto;
let inTurn: OneAtATime;
let aws: AwsAccess;
let restoreEnv: () => void;
let bucket: string;

const KINDS: readonly Kind[] = [
  {
    name: 'a prefix in S3',
    async start() {
      moto = await startMoto();
      inTurn = await startOneAtATime(moto.url);
      restoreEnv = replaceEnv(awsEnv(inTurn.url));
      aws = new AwsAccess({ env: process.env, forcePathStyle: true });
      bucket = await createBucket(moto.url);
    },
    async stop() {
      aws.destroy();
      restoreEnv();
      await inTurn.close();
      await moto.stop();
    },
    empty: async () => createStore(`s3://${bucket}/${unique('store')}`, aws, {}),
  },
  {
    name: 'a whole bucket in S3, with versions',
    async start() {
      moto = await startMoto();
      inTurn = await startOneAtATime(moto.url);
      restoreEnv = replaceEnv(awsEnv(inTurn.url));
      aws = new AwsAccess({ env: process.env, forcePathStyle: true });
    },
    async stop() {
      aws.destroy();
      restoreEnv();
      await inTurn.close();
      await moto.stop();
    },
    empty: async () => createStore(`s3://${await createBucket(moto.url, { versioned: true })}`, aws, {}),
  },
  {
    name: 'a directory',
    empty: async (t) => createStore(await temporaryDirectory(t), new AwsAccess({ env: {} }), {}),
  },
];

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}
const pathsOf = (objects: readonly StoredObject[]) => objects.map(({ path }) => path);
const isChanged = (e: unknown) =>
  e instanceof OutputError && e.code === 'output-changed' && e.hint !== undefined;

for (const kind of KINDS) {
  suite(`${kind.name}:`, () => {
    before(() => kind.start?.());
    after(() => kind.stop?.());

    test('what was written is read back, with its size and etag, whole and by its head', async (t) => {
      const store = await kind.empty(t);
      const bytes = Buffer.from('0123456789'.repeat(10));
      const { etag } = await store.write('a/b', bytes, 'absent');
      const read = await store.read('a/b');
      assert.deepEqual(read?.bytes, bytes);
      assert.equal(read.size, 100);
      assert.equal(read.etag, etag);
      assert.ok(Math.abs(read.modifiedMs - Date.now()) < 60_000);
      const head = await store.read('a/b', { headBytes: 10 });
      assert.deepEqual([String(head?.bytes), head?.size, head?.etag], ['0123456789', 100, etag]);
      assert.equal((await store.read('a/b', { headBytes: 1000 }))?.bytes.length, 100);
    });

    test('an empty object has an empty head', async (t) => {
      const store = await kind.empty(t);
      await store.write('empty', Buffer.alloc(0), 'absent');
      const head = await store.read('empty', { headBytes: 10 });
      assert.deepEqual([head?.bytes.length, head?.size], [0, 0]);
    });

    test('what is not there reads as undefined, also below a secret', async (t) => {
      const store = await kind.empty(t);
      await store.write('a', Buffer.from('x'), 'absent');
      for (const path of ['b', 'a/b', 'c/d/e']) assert.equal(await store.read(path), undefined);
    });

    test('more than bytesMax is refused, not cut', async (t) => {
      const store = await kind.empty(t);
      await store.write('a', Buffer.alloc(11), 'absent');
      await assert.rejects(store.read('a', { bytesMax: 10 }), (e: unknown) => {
        return e instanceof SourceError && e.code === 'source-too-large';
      });
    });

    test('a write that expects nothing, or another etag, than what is there changes nothing', async (t) => {
      const store = await kind.empty(t);
      await assert.rejects(store.write('a', Buffer.from('0'), { etag: '"none"' }), isChanged);
      assert.equal(await store.read('a'), undefined);
      const first = await store.write('a', Buffer.from('1'), 'absent');
      await assert.rejects(store.write('a', Buffer.from('2'), 'absent'), isChanged);
      const second = await store.write('a', Buffer.from('3'), first);
      assert.notEqual(second.etag, first.etag);
      await assert.rejects(store.write('a', Buffer.from('4'), first), isChanged);
      assert.equal(String((await store.read('a'))?.bytes), '3');
    });

    test('a removal that expects another etag than what is there removes nothing', async (t) => {
      const store = await kind.empty(t);
      const first = await store.write('d/a', Buffer.from('1'), 'absent');
      const second = await store.write('d/a', Buffer.from('2'), first);
      await assert.rejects(store.remove('d/a', first), isChanged);
      assert.equal(String((await store.read('d/a'))?.bytes), '2');
      await store.remove('d/a', second);
      assert.equal(await store.read('d/a'), undefined);
      await assert.rejects(store.remove('d/a', second), isChanged);
      assert.deepEqual(await collect(store.list()), []);
    });

    test('removing any of what is not there is no error, and writing there again is none', async (t) => {
      const store = await kind.empty(t);
      await store.remove('x/y', 'any');
      await store.write('x/y', Buffer.from('1'), 'absent');
      await store.remove('x/y', 'any');
      await store.write('x/y', Buffer.from('2'), 'absent');
      assert.equal(String((await store.read('x/y'))?.bytes), '2');
    });

    test('a listing has each path once, in the order of its bytes, with what read() says', async (t) => {
      const store = await kind.empty(t);
      const paths = ['a b/c+d', 'a-b', 'a/b', 'a/c/d', 'ab', 'z%20z', 'ä', '\uff5e', '\u{1f511}'];
      for (const path of [...paths].reverse()) await store.write(path, Buffer.from(path), 'absent');
      const listed = await collect(store.list());
      const inOrder = [...paths].sort((x, y) => Buffer.from(x).compare(Buffer.from(y)));
      assert.deepEqual(pathsOf(listed), inOrder);
      for (const { path, bytes, etag } of listed) {
        const read = await store.read(path);
        assert.deepEqual([read?.size, read?.etag], [bytes, etag]);
      }
    });

    test('a listing of a prefix has what begins with its text, and of one that is nowhere nothing', async (t) => {
      const store = await kind.empty(t);
      for (const path of ['app/web/a', 'app/web2', 'app/x', 'apq']) {
        await store.write(path, Buffer.from('x'), 'absent');
      }
      assert.deepEqual(pathsOf(await collect(store.list('app/we'))), ['app/web/a', 'app/web2']);
      assert.deepEqual(pathsOf(await collect(store.list('app/web/'))), ['app/web/a']);
      assert.deepEqual(await collect(store.list('b/')), []);
    });

    test('a place is below the location, and paths that leave it are refused by every method', async (t) => {
      const store = await kind.empty(t);
      assert.equal(store.locate('a/b'), `${store.location}/a/b`);
      for (const path of [
        '',
        '/a',
        'a/',
        'a//b',
        '.',
        '../a',
        'a/../b',
        'a\nb',
        '.secretsfs/lock',
        'x'.repeat(1100),
      ]) {
        assert.throws(() => store.locate(path), UsageError);
        await assert.rejects(store.read(path), UsageError);
        await assert.rejects(store.write(path, Buffer.from('x'), 'absent'), UsageError);
        await assert.rejects(store.remove(path, 'any'), UsageError);
        await assert.rejects(collect(store.versions(path)), UsageError);
      }
      // Nor had any of it begun.
      await store.write('b', Buffer.from('x'), 'absent');
      assert.deepEqual(pathsOf(await collect(store.list())), ['b']);
    });

    test('of writers at the same time one wins, and its bytes are what is there', async (t) => {
      const store = await kind.empty(t);
      const { etag } = await store.write('a', Buffer.from('before'), 'absent');
      const attempts = Array.from({ length: 8 }, (_, i) =>
        store.write('a', Buffer.from(`writer ${i}`), { etag }),
      );
      const results = await Promise.allSettled(attempts);
      const winners = results.flatMap((result, i) => (result.status === 'fulfilled' ? [i] : []));
      for (const result of results) if (result.status === 'rejected') assert.ok(isChanged(result.reason));
      assert.equal(winners.length, 1);
      assert.equal(String((await store.read('a'))?.bytes), `writer ${winners[0]}`);
    });

    test('patterns select what they match, and one that matches nothing is named at the end', async (t) => {
      const store = await kind.empty(t);
      for (const path of ['app/a', 'app/b', 'app/c/d', 'db'])
        await store.write(path, Buffer.from('x'), 'absent');
      const select = async (...patterns: string[]) => pathsOf(await collect(selectObjects(store, patterns)));
      assert.deepEqual(await select(), ['app/a', 'app/b', 'app/c/d', 'db']);
      assert.deepEqual(await select('/app/*,db'), ['app/a', 'app/b', 'db']);
      assert.deepEqual(await select('app/'), ['app/a', 'app/b', 'app/c/d']);
      await assert.rejects(select('app/*', 'nothing*'), (e: unknown) => {
        return e instanceof SourceError && e.code === 'source-not-found' && e.message.includes('nothing*');
      });
    });
  });
}
