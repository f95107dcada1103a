import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CachedStart } from '../../../src/daemon/cached-start.ts';
import { type ErrorCode, SecretsfsError } from '../../../src/errors.ts';
import { FakeLog } from '../../support/fake-log.ts';

const failure = (code: ErrorCode) => new SecretsfsError(code, 'cannot do it');

function setUp(isThere = true) {
  const world: {
    failing: ErrorCode | undefined;
    begun: number;
    nowMs: number;
    refused: string[];
    served: number;
  } = {
    ...{ failing: undefined, begun: 0, nowMs: 0, refused: [], served: 0 },
  };
  const log = new FakeLog();
  const start = new CachedStart({
    cache: {
      ...{ file: '/cache/web.bundle', isThere },
      refused: (problem) => world.refused.push(problem),
      served: () => {
        world.served += 1;
      },
      describe: () => ({ file: '/cache/web.bundle', stale: false, confirmed: null, problem: null }),
    },
    ...{ log, nowMs: () => world.nowMs, random: () => 1 },
    retries: () => ({ ownMs: 1_000, sharedMs: 10_000 }),
    async begin() {
      world.begun += 1;
      if (world.failing !== undefined) throw failure(world.failing);
    },
  });
  return { world, log, start };
}

test('where no source can be asked, or has only what is refused, a start goes by what is kept', async () => {
  for (const code of [
    'source-unreachable',
    'source-not-found',
    'credentials-missing',
    'bundle-corrupt',
  ] as const) {
    const { world, log, start } = setUp();
    assert.equal(await start.insteadOf(failure(code)), true);
    assert.deepEqual([world.begun, world.served, log.events], [1, 1, ['started-from-cache']]);
  }
});

test('not in place of a mistake, nor of keys that would fail of it too, nor where nothing is kept', async () => {
  for (const code of ['config-invalid', 'key-denied', 'key-unreachable', 'mount-failed'] as const) {
    const { world, start } = setUp();
    assert.equal(await start.insteadOf(failure(code)), false);
    assert.equal(world.begun, 0);
  }
  assert.equal(await setUp().start.insteadOf(new TypeError('a bug')), false);
  assert.equal(await setUp(false).start.insteadOf(failure('source-unreachable')), false);
});

test('one that is refused for what it is is said to be, and not opened again', async () => {
  const { world, start } = setUp();
  world.failing = 'bundle-serial-low';
  const failed = failure('source-unreachable');
  assert.deepEqual([await start.insteadOf(failed), await start.insteadOf(failed)], [false, false]);
  assert.deepEqual([world.begun, world.refused], [1, ['cannot do it (bundle-serial-low)']]);
});

test('one that KMS denies is tried again at the rate of all; one that KMS could not be asked for, each time', async () => {
  const { world, start } = setUp();
  const failed = failure('source-unreachable');
  world.failing = 'key-denied';
  await start.insteadOf(failed);
  world.nowMs = 9_999;
  await start.insteadOf(failed);
  assert.equal(world.begun, 1);
  world.nowMs = 10_000;
  world.failing = 'key-unreachable';
  await start.insteadOf(failed);
  world.failing = undefined;
  assert.equal(await start.insteadOf(failed), true);
  assert.equal(world.begun, 3);
});
