import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkLocking } from '../../../src/system/locking.ts';
import { loadNative, type Mapping, SystemCallError } from '../../../src/system/native.ts';
import { refusal } from '../../support/bundles.ts';

const BYTES = 1_048_592;
const limits = (value: string) =>
  `Max processes             7000                 7000                 processes
Max locked memory         ${value.padEnd(21)}unlimited            bytes
`;

test('checkLocking() passes where a page can be locked and the limit is as much as is wanted, and leaves nothing mapped', async () => {
  const native = await loadNative();
  const unmapped: bigint[] = [];
  const watched = {
    map: (bytes: number) => native.map(bytes),
    lock: (mapping: Mapping) => native.lock(mapping),
    unmap(address: bigint, bytes: number) {
      unmapped.push(address);
      native.unmap(address, bytes);
    },
  };
  for (const value of [`${BYTES}`, 'unlimited']) checkLocking(watched, BYTES, limits(value));
  assert.equal(unmapped.length, 2);
  const refusing = {
    ...watched,
    lock() {
      throw new SystemCallError('mlock', 1);
    },
  };
  assert.throws(
    () => checkLocking(refusing, BYTES, limits('unlimited')),
    refusal('mount-denied', /^cannot lock memory: mlock failed: EPERM$/),
  );
  assert.equal(unmapped.length, 3);
});

test('checkLocking() refuses a limit that root is not held to and a server is', async () => {
  const native = await loadNative();
  assert.throws(
    () => checkLocking(native, BYTES, limits('65536')),
    refusal('mount-denied', /RLIMIT_MEMLOCK is 65536 bytes, want 1048592$/),
  );
});
