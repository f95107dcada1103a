import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { forgetDescriptors, keepDescriptor, receivedDescriptors } from '../../../src/system/fd-store.ts';
import { receiveOne } from '../../support/notify-listener.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

test('receivedDescriptors() names what systemd gave this process, once', () => {
  const env = { LISTEN_PID: '7', LISTEN_FDS: '3', LISTEN_FDNAMES: 'a:b', HOME: '/' };
  assert.deepEqual(receivedDescriptors(env, 7), [
    { name: 'a', fd: 3 },
    { name: 'b', fd: 4 },
    { name: '', fd: 5 },
  ]);
  assert.deepEqual(env, { HOME: '/' });
  assert.deepEqual(receivedDescriptors(env, 7), []);
});

test('what was given to another process, or is no number of descriptors, is nothing', () => {
  for (const env of [
    { LISTEN_PID: '8', LISTEN_FDS: '1' },
    { LISTEN_FDS: '1' },
    { LISTEN_PID: '7' },
    ...['0', '-1', '1e3', '99999', ' 1', '0x1', ''].map((LISTEN_FDS) => ({ LISTEN_PID: '7', LISTEN_FDS })),
  ]) {
    assert.deepEqual(receivedDescriptors({ ...env }, 7), [], JSON.stringify(env));
  }
});

test('whatever the variables say, descriptors come in order from 3 on, and the variables go', () => {
  const texts = fc.oneof(fc.string(), fc.nat({ max: 2000 }).map(String), fc.constant('7'));
  fc.assert(
    fc.property(texts, texts, fc.string(), (LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES) => {
      const env = { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES };
      const received = receivedDescriptors(env, 7);
      assert.deepEqual(env, {});
      assert.deepEqual(
        received.map(({ fd }) => fd),
        received.map((_, i) => i + 3),
      );
      assert.ok(received.length <= 1024);
    }),
  );
});

test('keepDescriptor() sends the descriptor itself, with its name; without a socket it sends nothing', async (t) => {
  const directory = await temporaryDirectory(t);
  const socket = path.join(directory, 'notify');
  const receiver = await receiveOne(t, socket);
  const fd = openSync(path.join(directory, 'file'), 'w');
  try {
    assert.equal(await keepDescriptor('the-name', fd, socket), true);
    assert.equal(await receiver.said(), "'FDSTORE=1\\nFDNAME=the-name\\nFDPOLL=0' 1");
    assert.equal(readFileSync(path.join(directory, 'file'), 'utf8'), 'received');
    assert.equal(await keepDescriptor('the-name', fd, ''), false);
  } finally {
    closeSync(fd);
  }
});

test('forgetDescriptors() names them, and sends none; who is not there is an error', async (t) => {
  const directory = await temporaryDirectory(t);
  const receiver = await receiveOne(t, path.join(directory, 'notify'));
  assert.equal(await forgetDescriptors('the-name', path.join(directory, 'notify')), true);
  assert.equal(await receiver.said(), "'FDSTOREREMOVE=1\\nFDNAME=the-name' 0");
  await assert.rejects(forgetDescriptors('x', path.join(directory, 'other')), { code: 'ENOENT' });
  await assert.rejects(forgetDescriptors('x', `/${'x'.repeat(200)}`), RangeError);
});
