import assert from 'node:assert/strict';
import { openSync } from 'node:fs';
import { test } from 'node:test';
import { Handover, type KeepingSystemd } from '../../../src/daemon/handover.ts';
import { HANDOVER, readRecord, type Same, whatDiffers } from '../../../src/daemon/handover-record.ts';
import type { ServiceState } from '../../../src/system/systemd-job.ts';
import { FakeLog } from '../../support/fake-log.ts';

const SAME: Same = {
  instance: 'web',
  mountpoint: '/run/secrets/web',
  cache: 'page',
  fastOpen: false,
  resend: true,
  preserve: false,
  fsname: 'web',
  selinuxContext: null,
  users: { server: { uid: 5, gid: 5 }, agent: { uid: 6, gid: 6 }, unsealer: { uid: 7, gid: 7 } },
  mounts: null,
};

/** A systemd that keeps whatever it is given, and says `state`. */
function setUp(state: ServiceState | undefined, isThere = true, isHanded = false) {
  const kept: [string, number][] = [];
  const notes = new Map<string, string>();
  const systemd: KeepingSystemd = {
    isHanded: () => isHanded,
    received: () => [],
    async keep(name, fd) {
      kept.push([name, fd]);
      return isThere;
    },
    async forget(name) {
      kept.splice(0, kept.length, ...kept.filter(([each]) => each !== name));
      return isThere;
    },
    state: async () => state,
  };
  const log = new FakeLog();
  const handover = new Handover({ log, nowMs: Date.now, end: async () => assert.fail() }, systemd);
  const ground = {
    fuseFd: 11,
    store: { directoryFd: 12, notes: { write: (name: string, text: string) => void notes.set(name, text) } },
    mount: { cloneFd: 13, identity: { id: 99, device: '0:42' } },
  };
  return { handover, kept, notes, log, systemd, keep: () => handover.keep(ground as never, SAME) };
}

test('a mount is given to systemd as a connection, a store and a view, with a record of which it is', async () => {
  const { handover, keep, kept, notes } = setUp(undefined);
  await keep();
  assert.deepEqual(kept, [
    ['secretsfs-fuse', 11],
    ['secretsfs-store', 12],
    ['secretsfs-view', 13],
  ]);
  assert.deepEqual(readRecord({ read: (name) => notes.get(name) }), {
    version: 1,
    same: SAME,
    mount: { id: 99, device: '0:42' },
  });
  await handover.forget();
  assert.deepEqual(kept, []);
});

test('another process is expected only in a restart, with all that it needs', async () => {
  const expected = async (state: ServiceState | undefined, isThere = true) => {
    const { handover, keep } = setUp(state, isThere);
    await keep();
    return handover.isExpected();
  };
  assert.equal(await expected({ job: 'restart', descriptors: 3 }), true);
  assert.equal(await expected({ job: 'stop', descriptors: 3 }), false);
  assert.equal(await expected({ job: undefined, descriptors: 3 }), false);
  assert.equal(await expected({ job: 'start', descriptors: 3 }), false);
  assert.equal(await expected({ job: 'restart', descriptors: 2 }), false, 'FileDescriptorStoreMax=');
  assert.equal(await expected(undefined), false, 'systemd does not say');
  assert.equal(await expected({ job: 'restart', descriptors: 3 }, false), false, 'there is no systemd');
});

test('before anything is mounted, and once it is forgotten, nobody is expected', async () => {
  const { handover, keep } = setUp({ job: 'restart', descriptors: 3 });
  assert.equal(await handover.isExpected(), false);
  await keep();
  assert.equal(await handover.isExpected(), true);
  await handover.forget();
  assert.equal(await handover.isExpected(), false);
});

test('what was handed over and not looked at yet is for the next process: a second restart is no stop', async () => {
  const { handover, systemd } = setUp({ job: 'restart', descriptors: 3 }, true, true);
  assert.equal(await handover.isExpected(), true);
  // What nothing can be made of is this process's to end.
  systemd.received = () => [{ name: 'secretsfs-fuse', fd: openSync('/dev/null', 'r') }];
  await handover.takeNothing('another driver is wanted');
  assert.equal(await handover.isExpected(), false);
  const stopped = setUp({ job: 'stop', descriptors: 3 }, true, true);
  assert.equal(await stopped.handover.isExpected(), false);
});

test('a systemd that can not be told keeps nothing, and the log says so', async () => {
  const { handover, keep, systemd, log } = setUp({ job: 'restart', descriptors: 3 });
  systemd.keep = async () => {
    throw new Error('no');
  };
  await keep();
  assert.equal(await handover.isExpected(), false);
  assert.deepEqual(log.events, ['notify-failed']);
});

test('whatDiffers() names the first of what has to be the same; another version is no record', () => {
  assert.equal(whatDiffers(SAME, structuredClone(SAME)), undefined);
  for (const [key, value] of Object.entries({
    instance: 'other',
    mountpoint: '/',
    cache: 'none',
    fastOpen: true,
    resend: false,
    preserve: true,
    users: { ...SAME.users, agent: { uid: 8, gid: 6 } },
    mounts: ['a'],
  })) {
    assert.equal(whatDiffers(SAME, { ...SAME, [key]: value }), key);
  }
  const record = { version: 1, same: SAME, mount: { id: 1, device: '0:1' } };
  const read = (text: string | undefined) =>
    readRecord({ read: (name) => (name === HANDOVER ? text : undefined) });
  assert.deepEqual(read(JSON.stringify(record)), record);
  for (const other of [
    { ...record, version: 2 },
    { ...record, more: 1 },
    { ...record, same: { ...SAME, users: { ...SAME.users, server: { uid: 0, gid: 0 } } } },
  ]) {
    assert.equal(read(JSON.stringify(other)), undefined);
  }
  assert.equal(read(undefined), undefined);
  assert.equal(read('{'), undefined);
});
