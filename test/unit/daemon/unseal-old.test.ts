/** Packs of before in a mount: which are taken, and which serial they are given. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { AwsAccess } from '../../../src/aws/access.ts';
import { openOld, recogniseOld, sealedAs } from '../../../src/daemon/unseal-old.ts';
import { refusal, sealTest } from '../../support/bundles.ts';
import { oldFile } from '../../support/old-vectors.ts';

const NOW = 1_800_000_000_000;
const aws = new AwsAccess({ env: {} });
const measured = (change: object = {}, old: object = {}) => ({
  nowMs: NOW,
  sha256: 'a'.repeat(64),
  old: { formats: [] as const, acceptedKeys: ['local:/k'], aws, uploadedMs: undefined, ...old },
  ...change,
});

test('only what formats: names is taken for what it is', async () => {
  const sneaker = oldFile('c-2015-04-21.pack');
  const tar = oldFile('a-2015-02-05.pack');
  await assert.rejects(recogniseOld(sneaker, measured()), refusal('bundle-format', /a pack of sneaker/));
  const formats = { formats: ['sneaker'] as const };
  assert.equal((await recogniseOld(sneaker, measured({}, formats)))?.format, 'sneaker');
  await assert.rejects(recogniseOld(tar, measured({}, formats)), refusal('bundle-format', /of kms-secrets/));
  assert.equal(await recogniseOld(await sealTest(Buffer.alloc(1024)), measured({}, formats)), undefined);
  assert.equal(await recogniseOld(oldFile('pack.tar'), measured({}, formats)), undefined);
});

test('key files do not open them, and KMS is not asked for whatever key there is', async () => {
  const pack = await recogniseOld(oldFile('c-2015-04-21.pack'), measured({}, { formats: ['sneaker'] }));
  assert.ok(pack);
  await assert.rejects(openOld(pack, measured()), refusal('key-not-accepted', /no key of KMS/));
});

test('a serial is above that of whatever was live, and the same for the same bytes', () => {
  fc.assert(
    fc.property(
      fc.option(fc.integer({ min: -5, max: NOW + 10_000_000 }), { nil: undefined }),
      fc.option(fc.record({ serial: fc.integer({ min: 1, max: NOW + 3_600_000 }), isSame: fc.boolean() }), {
        nil: undefined,
      }),
      (uploadedMs, before) => {
        const sha256 = (before?.isSame === true ? 'a' : 'b').repeat(64);
        const floor = before === undefined ? undefined : { serial: before.serial, sha256 };
        const { serial, created } = sealedAs(measured({ floor }, { uploadedMs }));
        assert.ok(Number.isSafeInteger(serial) && serial >= 1);
        assert.ok(Date.parse(created) <= NOW);
        if (before === undefined) assert.ok(serial <= NOW);
        else if (before.isSame) assert.equal(serial, before.serial);
        else assert.ok(serial > before.serial);
      },
    ),
  );
});
