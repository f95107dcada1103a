/** A directory and a prefix of KMS ciphertexts as a source: both behave the same. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, symlink, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { DeleteObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { AwsAccess } from '../../src/aws/access.ts';
import { readArchive } from '../../src/bundle/archive.ts';
import { ciphertextsIn } from '../../src/bundle/ciphertexts.ts';
import { createSource } from '../../src/daemon/sources.ts';
import { CIPHERTEXTS_MAX } from '../../src/limits.ts';
import { refusal } from '../support/bundles.ts';
import { awsEnv, createBucket, type Moto, motoS3, replaceEnv, startMoto, unique } from '../support/moto.ts';

interface Place {
  readonly kind: string;
  readonly location: string;
  put(name: string, content: string): Promise<unknown>;
  remove(name: string): Promise<unknown>;
}

let moto: Moto;
let restore: () => void;
let aws: AwsAccess;
let root: string;
let bucket: string;

before(async () => {
  moto = await startMoto();
  restore = replaceEnv(awsEnv(moto.url));
  aws = new AwsAccess({ env: process.env, forcePathStyle: true });
  root = await mkdtemp(path.join(tmpdir(), 'ciphertexts-'));
  bucket = await createBucket(moto.url);
});
after(async () => {
  aws?.destroy();
  restore?.();
  await moto?.stop();
  if (root) await rm(root, { recursive: true });
});

async function directory(): Promise<Place> {
  const base = await mkdtemp(`${root}/d-`);
  const put = async (name: string, content: string) => {
    await mkdir(path.dirname(path.join(base, name)), { recursive: true });
    await writeFile(path.join(base, name), content);
  };
  return { kind: 'directory', location: `${base}/`, put, remove: (name) => unlink(path.join(base, name)) };
}

async function prefix(): Promise<Place> {
  const base = unique('p');
  const s3 = motoS3(moto.url);
  const at = (name: string) => ({ Bucket: bucket, Key: `${base}/${name}` });
  return {
    kind: 'prefix',
    location: `s3://${bucket}/${base}/`,
    put: (name, content) => s3.send(new PutObjectCommand({ ...at(name), Body: content })),
    remove: (name) => s3.send(new DeleteObjectCommand(at(name))),
  };
}

const LIMITS = { filesMax: 1000, bytesMax: 1_000_000 };
async function fetched(place: Place, known?: string) {
  const found = await createSource(place.location, aws).fetch({ bytesMax: 1_000_000, knownRevision: known });
  if (found === undefined) return undefined;
  const files = (await readArchive(found.bytes, LIMITS)).flatMap((entry) =>
    entry.kind === 'file' ? [`${entry.path}=${Buffer.from(entry.data).toString()}`] : [],
  );
  return { files, revision: found.revision, uploadedMs: found.uploadedMs ?? 0, bytes: found.bytes };
}

for (const make of [directory, prefix]) {
  test(`${make.name}: every .kms below it is read, and a change of any is another revision`, async () => {
    const place = await make();
    const source = createSource(place.location, aws);
    assert.equal(source.polled, true);
    await assert.rejects(fetched(place), refusal('source-not-found', /no file \*\.kms/));
    await place.put('b.pem.kms', 'one');
    await place.put('tls/a.kms', 'two');
    await place.put('README', 'no ciphertext');
    const first = await fetched(place);
    assert.deepEqual(first?.files, ['b.pem.kms=one', 'tls/a.kms=two']);
    assert.ok(Math.abs(first.uploadedMs - Date.now()) < 600_000);
    assert.equal(await fetched(place, first.revision), undefined);
    assert.deepEqual(await source.check({ knownRevision: first.revision }), { outcome: 'same' });
    // The same size, in place.
    await place.put('b.pem.kms', 'six');
    const second = await fetched(place, first.revision);
    assert.deepEqual(second?.files, ['b.pem.kms=six', 'tls/a.kms=two']);
    assert.deepEqual(await source.check({ knownRevision: first.revision }), {
      outcome: 'changed',
      revision: second?.revision,
    });
    const gone = source.fetch({ bytesMax: 9999, revision: first.revision });
    await assert.rejects(gone, refusal('source-changed'));
    await place.remove('tls/a.kms');
    assert.deepEqual((await fetched(place))?.files, ['b.pem.kms=six']);
    assert.deepEqual(
      (await ciphertextsIn((await fetched(place))?.bytes ?? Buffer.alloc(0)))?.map((file) => file.path),
      ['b.pem'],
    );
    await place.put('large.kms', 'x'.repeat(30_000));
    await assert.rejects(fetched(place), refusal('source-too-large'));
  });
}

test('directory: more than there may be are refused, before any is read', async () => {
  const place = await directory();
  for (let i = 0; i <= CIPHERTEXTS_MAX; i++) await place.put(`${i}.kms`, 'x');
  await assert.rejects(fetched(place), refusal('archive-too-large', /over 256/));
  await place.remove('0.kms');
  assert.equal((await fetched(place))?.files.length, CIPHERTEXTS_MAX);
});

test('directory: links to files are followed, to directories not, and dotfiles are left out', async () => {
  const place = await directory();
  await place.put('.hidden.kms', 'x');
  await place.put('sub/real.kms', 'two');
  await symlink('sub/real.kms', `${place.location}link.kms`);
  await symlink('.', `${place.location}sub/again`);
  await symlink('nowhere', `${place.location}broken.kms`);
  assert.deepEqual((await fetched(place))?.files, ['link.kms=two', 'sub/real.kms=two']);
  await assert.rejects(
    createSource(`${place.location}missing/`, aws).fetch({ bytesMax: 9 }),
    refusal('source-not-found', /cannot read the directory/),
  );
});
