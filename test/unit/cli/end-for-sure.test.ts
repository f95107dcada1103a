import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { test } from 'node:test';
import { endForSure } from '../../../src/cli/end-for-sure.ts';
import { deferred } from '../../../src/daemon/deferred.ts';

function setUp(hangs: boolean) {
  const ending = deferred();
  const done: string[] = [];
  const self = Object.assign(new EventEmitter(), {
    pid: 77,
    kill: (pid: number, signal?: string | number) => {
      done.push(`${signal} ${pid}`);
      return true as const;
    },
  });
  const abandon = () => void done.push('abandoned');
  endForSure({ ending: ending.promise, hangs, abandon }, self as unknown as NodeJS.Process);
  return { ending, done, self };
}

test('an end that hangs, whoever began it, is a SIGKILL after the mount was abandoned', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { ending, done } = setUp(false);
  t.mock.timers.tick(60_000);
  assert.deepEqual(done, []);
  ending.resolve();
  await ending.promise;
  t.mock.timers.tick(19_999);
  assert.deepEqual(done, []);
  t.mock.timers.tick(1);
  assert.deepEqual(done, ['abandoned', 'SIGKILL 77']);
});

test('a process that would wait for what hangs does not exit, it is killed', () => {
  const well = setUp(false);
  well.self.emit('exit');
  assert.deepEqual(well.done, []);
  const hung = setUp(true);
  hung.self.emit('exit');
  assert.deepEqual(hung.done, ['SIGKILL 77']);
});
