/** Images of single bundles in the store of the kernel driver, as root. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { type TestContext, test } from 'node:test';
import { PartImages } from '../../src/daemon/part-images.ts';
import { HEADER, WORD_BYTES } from '../../src/generation/format.ts';
import { RamfsStore } from '../../src/store/ramfs.ts';
import { file, imageOf, Lineage } from '../support/entries.ts';

const SERVER = 1_879_100_000;
const LIMITS = { nextIno: 2, nodesMax: 3 };

function setUp(t: TestContext) {
  const store = RamfsStore.create({ serverUid: SERVER, serverGid: SERVER });
  t.after(() => store.close());
  let nextId = 1;
  const images = new PartImages(store, () => nextId++);
  const written = (nextIno: number, sparseBytes = 0) => {
    const candidate = images.candidate(undefined);
    const line = new Lineage();
    line.next([file('a', 'secret')]);
    assert.ok(line.plan !== undefined);
    const image = Buffer.from(imageOf(line.plan));
    image.writeUInt32LE(nextIno, HEADER.nextIno * WORD_BYTES);
    fs.writeSync(candidate.imageFd, image);
    if (sparseBytes > 0) fs.ftruncateSync(candidate.imageFd, sparseBytes);
    return candidate;
  };
  const names = () => fs.readdirSync(`/proc/self/fd/${store.directoryFd}/`).filter((name) => /-/.test(name));
  return { images, written, names };
}

test('an image that is kept has the bytes that reading it takes, whatever its unsealer says', async (t) => {
  const { images, written, names } = setUp(t);
  const { bytes, nextIno } = await images.keep(written(3), LIMITS);
  assert.ok(bytes >= 4102 && bytes <= 8192, `${bytes}`);
  assert.equal(nextIno, 3);
  // Holes are no memory yet, but whoever composes of it reads them.
  assert.equal((await images.keep(written(3, 1 << 30), LIMITS)).bytes, 1 << 30);
  assert.deepEqual(names(), ['gen-1', 'gen-2']);
});

test('an image whose inode numbers go back or leap is gone', async (t) => {
  const { images, written, names } = setUp(t);
  const limits = { nextIno: 10, nodesMax: 3 };
  for (const nextIno of [9, 15, 0xffffffff]) {
    const candidate = written(nextIno);
    await assert.rejects(images.keep(candidate, limits), { code: 'generation-refused' });
    assert.deepEqual([names(), candidate.closed], [[], true]);
  }
  await images.keep(written(14), limits);
});

test('an image that somebody can still write to is gone', async (t) => {
  const { images, written, names } = setUp(t);
  const candidate = written(3);
  const other = fs.openSync(`/proc/self/fd/${candidate.imageFd}`, 'r+');
  t.after(() => fs.closeSync(other));
  await assert.rejects(images.keep(candidate, LIMITS), { code: 'generation-refused' });
  assert.deepEqual(names(), []);
});
