/** What every Source promises, over each of them. */
import assert from 'node:assert/strict';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import { DeleteObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { AwsAccess } from '../../src/aws/access.ts';
import { SourceError } from '../../src/errors.ts';
import { FileSource } from '../../src/source/file.ts';
import { S3Source } from '../../src/source/s3.ts';
import { parseS3Url } from '../../src/source/s3-url.ts';
import type { Source } from '../../src/source/source.ts';
import { awsEnv, createBucket, type Moto, motoS3, replaceEnv, startMoto, unique } from '../support/moto.ts';

interface Place {
  /** A source of its own, with nothing there yet. */
  source(): Source;
  put(bytes: Buffer): Promise<void>;
  remove(): Promise<void>;
}
interface Kind {
  readonly name: string;
  readonly polled: boolean;
  readonly keepsVersions: boolean;
  start(): Promise<void>;
  stop(): Promise<void>;
  place(): Place;
}

let directory: string;
const file: Kind = {
  name: 'file',
  polled: false,
  keepsVersions: false,
  async start() {
    directory = await mkdtemp(path.join(tmpdir(), 'source-'));
  },
  stop: () => rm(directory, { recursive: true }),
  place() {
    const name = path.join(directory, unique('bundle'));
    return {
      source: () => new FileSource(name, { debounceMs: 20 }),
      async put(bytes) {
        await writeFile(`${name}.new`, bytes);
        await rename(`${name}.new`, name);
      },
      remove: () => rm(name),
    };
  },
};

function s3(versioned: boolean): Kind {
  let moto: Moto;
  let restore: () => void;
  let aws: AwsAccess;
  let bucket: string;
  return {
    name: versioned ? 's3 with versions' : 's3',
    polled: true,
    keepsVersions: versioned,
    async start() {
      moto = await startMoto();
      bucket = await createBucket(moto.url, { versioned });
      restore = replaceEnv(awsEnv(moto.url));
      aws = new AwsAccess({ env: process.env, forcePathStyle: true });
    },
    async stop() {
      aws.destroy();
      restore();
      await moto.stop();
    },
    place() {
      const Key = `some/${unique('key')}`;
      return {
        source: () => new S3Source(parseS3Url(`s3://${bucket}/${Key}`), aws),
        async put(bytes) {
          const client = motoS3(moto.url);
          await client.send(new PutObjectCommand({ Bucket: bucket, Key, Body: bytes }));
          client.destroy();
        },
        async remove() {
          const client = motoS3(moto.url);
          await client.send(new DeleteObjectCommand({ Bucket: bucket, Key }));
          client.destroy();
        },
      };
    },
  };
}

for (const kind of [file, s3(false), s3(true)]) {
  suite(`source: ${kind.name}`, () => {
    before(() => kind.start());
    after(() => kind.stop());
    const first = Buffer.from('first bundle');
    const second = Buffer.from('second bundle, longer');

    test('fetch() returns the bytes and a revision', async () => {
      const place = kind.place();
      await place.put(first);
      const got = await place.source().fetch({ bytesMax: 100 });
      assert.deepEqual(got?.bytes, first);
      assert.match(got?.revision ?? '', /./);
    });

    test('fetch() returns undefined while the revision is the known one', async () => {
      const place = kind.place();
      await place.put(first);
      const source = place.source();
      const got = await source.fetch({ bytesMax: 100 });
      assert.equal(await source.fetch({ bytesMax: 100, knownRevision: got?.revision }), undefined);
      assert.equal(await place.source().fetch({ bytesMax: 100, knownRevision: got?.revision }), undefined);
    });

    test('fetch() returns what is new under a new revision', async () => {
      const place = kind.place();
      await place.put(first);
      const source = place.source();
      const before = await source.fetch({ bytesMax: 100 });
      await place.put(second);
      const got = await source.fetch({ bytesMax: 100, knownRevision: before?.revision });
      assert.deepEqual(got?.bytes, second);
      assert.notEqual(got?.revision, before?.revision);
    });

    test('fetch() takes a revision that it does not know for an old one', async () => {
      const place = kind.place();
      await place.put(first);
      for (const knownRevision of ['', 'x', 'file:1:2:3:4:5', '"0123"', 'v "0123"']) {
        assert.deepEqual((await place.source().fetch({ bytesMax: 100, knownRevision }))?.bytes, first);
      }
    });

    test('fetch() carries an empty file and one of a megabyte', async () => {
      const place = kind.place();
      for (const bytes of [Buffer.alloc(0), Buffer.alloc(1_000_003, 7)]) {
        await place.put(bytes);
        const got = await place.source().fetch({ bytesMax: 2_000_000 });
        assert.ok(got?.bytes.equals(bytes));
      }
    });

    test('fetch() says source-not-found before there is one and after it was removed', async () => {
      const place = kind.place();
      const source = place.source();
      const missing = (error: unknown): boolean =>
        error instanceof SourceError && error.code === 'source-not-found' && error.hint !== undefined;
      await assert.rejects(source.fetch({ bytesMax: 100 }), missing);
      await place.put(first);
      const got = await source.fetch({ bytesMax: 100 });
      await place.remove();
      // moto says of a delete marker to HEAD only that it is one.
      const gone = (error: unknown): boolean =>
        missing(error) || (kind.keepsVersions && (error as SourceError).code === 'source-deleted');
      await assert.rejects(source.fetch({ bytesMax: 100, knownRevision: got?.revision }), gone);
    });

    test('fetch() refuses what is larger than asked for, and takes what is just as large', async () => {
      const place = kind.place();
      await place.put(second);
      const source = place.source();
      assert.ok(await source.fetch({ bytesMax: second.length }));
      await assert.rejects(
        source.fetch({ bytesMax: second.length - 1 }),
        (error: unknown) => error instanceof SourceError && error.code === 'source-too-large',
      );
    });

    test('fetch() ends when its signal does', async () => {
      const place = kind.place();
      await place.put(first);
      await assert.rejects(place.source().fetch({ bytesMax: 100, signal: AbortSignal.abort() }), {
        name: 'AbortError',
      });
    });

    test('check() says same while fetch() would bring nothing, and never once it would', async () => {
      const place = kind.place();
      await place.put(first);
      const source = place.source();
      const got = await source.fetch({ bytesMax: 100 });
      const knownRevision = got?.revision ?? '';
      assert.deepEqual(await source.check({ knownRevision }), { outcome: 'same' });
      await place.put(second);
      const found = await place.source().check({ knownRevision });
      assert.equal(found.outcome, 'changed');
      for (const unknown of ['', 'x', 'file:1:2:3:4:5', '"0123"', 'v "0123"']) {
        assert.equal((await source.check({ knownRevision: unknown })).outcome, 'changed');
      }
      assert.equal((await source.check({ knownRevision: undefined })).outcome, 'changed');
    });

    test('what check() saw is exactly what fetch() brings, or source-changed', async () => {
      const place = kind.place();
      await place.put(first);
      const source = place.source();
      const look = async () => {
        const found = await source.check({ knownRevision: undefined });
        assert.ok(found.outcome === 'changed' && found.revision !== undefined);
        return found.revision;
      };
      const revision = await look();
      const got = await source.fetch({ bytesMax: 100, revision });
      assert.deepEqual([got?.revision, got?.bytes], [revision, first]);
      await place.put(second);
      const late = await source.fetch({ bytesMax: 100, revision }).catch((error: unknown) => error);
      // Also where it could be had still: it may have been withdrawn.
      assert.ok(late instanceof SourceError && late.code === 'source-changed', String(late));
      assert.deepEqual((await source.fetch({ bytesMax: 100, revision: await look() }))?.bytes, second);
    });

    test('fetch() says when it was put there', async () => {
      const place = kind.place();
      const before = Date.now() - 2_000;
      await place.put(first);
      const { uploadedMs = 0 } = (await place.source().fetch({ bytesMax: 100 })) ?? {};
      assert.ok(uploadedMs >= before && uploadedMs <= Date.now() + 2_000, String(uploadedMs));
    });

    test('check() fails as fetch() does: removed, or no longer wanted', async () => {
      const place = kind.place();
      await place.put(first);
      const source = place.source();
      const knownRevision = (await source.fetch({ bytesMax: 100 }))?.revision ?? '';
      await assert.rejects(source.check({ knownRevision, signal: AbortSignal.abort() }), {
        name: 'AbortError',
      });
      await place.remove();
      const code = kind.keepsVersions ? 'source-deleted' : 'source-not-found';
      await assert.rejects(source.check({ knownRevision }), { code });
    });

    test(
      kind.polled
        ? 'a source that has to be asked hints nothing'
        : 'watch() hints after a change, and never after close()',
      async () => {
        const place = kind.place();
        await place.put(first);
        let hints = 0;
        let hinted: () => void = () => {};
        const source = place.source();
        assert.equal(source.polled, kind.polled);
        const watch = source.watch(() => {
          hints++;
          hinted();
        });
        if (kind.polled) {
          await place.put(second);
          await watch.close();
          assert.equal(hints, 0);
          return;
        }
        try {
          await new Promise((resolve) => setTimeout(resolve, 500));
          const next = new Promise<void>((resolve) => {
            hinted = resolve;
          });
          await place.put(second);
          await next;
        } finally {
          await watch.close();
        }
        const before = hints;
        await place.put(first);
        await new Promise((resolve) => setTimeout(resolve, 300));
        assert.equal(hints, before);
      },
    );
  });
}
