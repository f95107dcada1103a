import assert from 'node:assert/strict';
import { test } from 'node:test';
import { endForSure } from '../../../src/cli/end-for-sure.ts';
import { deferred } from '../../../src/daemon/deferred.ts';

function setUp() {
  const ending = deferred();
  const done: string[] = [];
  const self = {
    pid: 77,
    kill: (pid: number, signal?: string | number) => {
      done.push(`${signal} ${pid}`);
      return true as const;
    },
  };
  const abandon = () => void done.push('abandoned');
  endForSure({ ending: ending.promise, abandon }, self);
  return { ending, done };
}

test('an end that hangs, whoever began it, is a SIGKILL after the mount was abandoned', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { ending, done } = setUp();
  t.mock.timers.tick(60_000);
  assert.deepEqual(done, []);
  ending.resolve();
  await ending.promise;
  t.mock.timers.tick(19_999);
  assert.deepEqual(done, []);
  t.mock.timers.tick(1);
  assert.deepEqual(done, ['abandoned', 'SIGKILL 77']);
});
