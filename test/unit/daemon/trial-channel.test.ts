import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ChannelError } from '../../../src/daemon/channel.ts';
import { parseFromRunner, parseMountpoint, parseRunOrder } from '../../../src/daemon/trial-channel.ts';

const USER = { name: 'root', uid: 0, gid: 0, home: '/root' };

test('orders and answers are read as they were meant', () => {
  assert.equal(parseMountpoint({ mountpoint: '/run/web' }), '/run/web');
  const order = { run: ['/bin/x', 'a b', ''], user: USER, timeoutMs: 500 };
  assert.deepEqual(parseRunOrder(order), order);
  assert.deepEqual(parseFromRunner({ attached: true }), { attached: true });
  assert.deepEqual(parseFromRunner({ failed: 'move_mount failed: EINVAL' }), {
    failed: 'move_mount failed: EINVAL',
  });
  assert.deepEqual(parseFromRunner({ line: 'x', stream: 'stderr' }), { line: 'x', stream: 'stderr' });
  const ended = { code: undefined, signal: 'SIGKILL', isLate: false, dropped: 3 };
  assert.deepEqual(parseFromRunner({ ended: JSON.parse(JSON.stringify(ended)) }), { ended });
});

test('what is not said is refused with ChannelError, and only with that', () => {
  for (const message of [{ mountpoint: 'run' }, { mountpoint: 1 }, {}])
    assert.throws(() => parseMountpoint(message), ChannelError);
  const order = { run: ['/bin/x'], user: USER, timeoutMs: 500 };
  for (const wrong of [
    { run: [] },
    { run: 'x' },
    { run: [1] },
    { user: null },
    { user: { uid: -1, gid: 0 } },
    { timeoutMs: '1' },
  ])
    assert.throws(() => parseRunOrder({ ...order, ...wrong }), ChannelError);
  for (const wrong of [
    {},
    { attached: 1 },
    { line: 'x', stream: 'log' },
    { ended: null },
    { ended: { code: 0 } },
  ])
    assert.throws(() => parseFromRunner(wrong), ChannelError);
  fc.assert(
    fc.property(
      fc.dictionary(
        fc.constantFrom('attached', 'failed', 'line', 'stream', 'ended', 'run', 'user', 'timeoutMs'),
        fc.jsonValue(),
      ),
      (message) => {
        for (const parse of [parseFromRunner, parseRunOrder]) {
          try {
            parse(message);
          } catch (error) {
            assert.ok(error instanceof ChannelError, String(error));
          }
        }
      },
    ),
  );
});

test('an end that is none of a program counts as a failure', () => {
  const said = parseFromRunner({ ended: { code: 'zero', signal: 'x', isLate: false, dropped: 0 } });
  assert.deepEqual(said, { ended: { code: undefined, signal: undefined, isLate: false, dropped: 0 } });
});
