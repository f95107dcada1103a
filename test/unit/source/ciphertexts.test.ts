/** A directory whose files are replaced while they are read: what is fetched was there all at once, or nothing is. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ciphertextsIn } from '../../../src/bundle/ciphertexts.ts';
import { type CiphertextPlace, CiphertextsSource } from '../../../src/source/ciphertexts.ts';
import { refusal } from '../../support/bundles.ts';

/** Of two files with the content `version()`, which every read of the first one may raise. */
function placeOf(version: () => number, onRead: () => void): CiphertextPlace {
  return {
    location: '/etc/app/',
    async *list() {
      for (const path of ['b.kms', 'a.kms']) yield { path, revision: `${version()}`, modifiedMs: 7 };
    },
    async read(path) {
      const content = Buffer.alloc(40, 200 + version());
      if (path === 'a.kms') onRead();
      return content;
    },
  };
}

test('what was replaced meanwhile is read again', async () => {
  let version = 0;
  const place = placeOf(
    () => version,
    () => {
      if (version < 2) version++;
    },
  );
  const fetched = await new CiphertextsSource(place).fetch({ bytesMax: 1000 });
  const files = await ciphertextsIn(fetched?.bytes ?? Buffer.alloc(0));
  assert.deepEqual(
    files?.map(({ path, blob }) => `${path} ${blob[0]}`),
    ['a 202', 'b 202'],
  );
});

test('what changes all the time is given up', async () => {
  let version = 0;
  const place = placeOf(
    () => version % 50,
    () => version++,
  );
  await assert.rejects(
    new CiphertextsSource(place).fetch({ bytesMax: 1000 }),
    refusal('source-invalid', /changed while it was read/),
  );
  assert.equal(version, 5);
});
