/** What is taken from systemd, and what is not, as root: real stores, devices and mounts. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { type TestContext, test } from 'node:test';
import { examine, isUsable, NAMES } from '../../src/daemon/handed.ts';
import { encodeRecord, HANDOVER, type Same } from '../../src/daemon/handover-record.ts';
import { endLeftStores } from '../../src/daemon/left-store.ts';
import { lastControl } from '../../src/store/handed.ts';
import { RamfsStore } from '../../src/store/ramfs.ts';
import { CONTROL, type Control } from '../../src/store/shared.ts';
import { mountIdOf } from '../../src/system/mountinfo.ts';
import { makeFilesystem } from '../../src/system/mounts.ts';
import { deviceOf } from '../../src/system/statx.ts';
import { FakeLog } from '../support/fake-log.ts';

const SERVER = { serverUid: 1_879_100_000, serverGid: 1_879_100_000 };
const user = (uid: number) => ({ uid, gid: uid });
const SAME: Same = {
  instance: 'web',
  mountpoint: '/nowhere',
  cache: 'page',
  fastOpen: false,
  resend: true,
  preserve: false,
  fsname: 'web',
  selinuxContext: null,
  users: { server: user(SERVER.serverUid), agent: user(2), unsealer: user(3) },
  mounts: null,
};
const PAGE: Control = {
  ...{ live: 1, candidate: 2, handOver: false, closed: false, preserve: false, lingering: [] },
  ...{ fuseMinor: 31, flags: 0, flags2: 0, maxReadBytes: 131072, cachePolicy: 'page', fastOpen: false },
  ...{ resend: true, consistencyWindowMs: 0, token: new Uint8Array(16) },
};
const FACTS = JSON.stringify({ version: 1, rules: [], written: null, parts: [] });

/** As a supervisor leaves it, but for the connection, which is one that was never mounted. */
function handed(t: TestContext) {
  const store = RamfsStore.create(SERVER);
  store.writeControl(PAGE);
  // Another filesystem in the place of the mount.
  const view = makeFilesystem('ramfs', []);
  const device = deviceOf(view);
  store.notes.write(HANDOVER, encodeRecord(SAME, { id: mountIdOf(view), device }));
  store.notes.write('facts-1', FACTS);
  const fds = { fuse: fs.openSync('/dev/fuse', 'r+'), store: store.directoryFd, view };
  const path = `/proc/self/fd/${store.directoryFd}`;
  t.after(() => {
    for (const fd of Object.values(fds)) {
      try {
        fs.closeSync(fd);
      } catch {
        // examine() did.
      }
    }
  });
  const received = () =>
    Object.entries(NAMES).map(([role, name]) => ({ name, fd: fds[role as keyof typeof fds] }));
  return { store, path, fds, received };
}

async function whyNot(received: Parameters<typeof examine>[0]): Promise<string> {
  const found = await examine(received, Date.now());
  assert.ok(!isUsable(found));
  return found.why;
}

const isOpen = (fd: number) => fs.existsSync(`/proc/self/fd/${fd}`);

test('a connection that was never mounted, or was ended, is not used; the store is left to be wiped', async (t) => {
  const { received, fds, store } = handed(t);
  const found = await examine(received(), Date.now());
  assert.ok(!isUsable(found));
  assert.equal(found.why, 'the connection was ended');
  assert.equal(found.store?.directoryFd, store.directoryFd);
  assert.deepEqual([isOpen(fds.fuse), isOpen(fds.store)], [false, true]);
});

test('a store alone is one that nobody goes on with: it is left to be wiped, and what is still mounted of it is found', async (t) => {
  const { received, fds, store } = handed(t);
  const [, alone] = received();
  assert.ok(alone);
  const found = await examine([alone], Date.now());
  assert.ok(!isUsable(found));
  assert.equal(found.why, 'it is not a connection, a store and a view');
  assert.equal(found.store?.directoryFd, store.directoryFd);
  assert.equal(found.mount, undefined, 'another filesystem is not unmounted for it');
  const directory = fs.openSync('/run', fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
  assert.match(await whyNot([{ ...alone, fd: directory }]), /ENOENT|no ramfs/);
  assert.deepEqual([isOpen(directory), isOpen(fds.store)], [false, true]);
});

test('endLeftStores() wipes what a process holds of one instance, and touches nothing else', async (t) => {
  const { store, path, fds } = handed(t);
  fs.writeFileSync(`${path}/gen-1`, 'a secret');
  const image = fs.openSync(`${path}/gen-1`, 'r');
  t.after(() => fs.closeSync(image));
  const content = () => fs.readFileSync(`/proc/self/fd/${image}`, 'latin1').replaceAll('\0', '');
  fs.writeFileSync(`/proc/self/fd/${fds.view}/handover`, JSON.stringify({ instance: 'web' }));
  const log = new FakeLog();
  assert.equal(await endLeftStores('other', log, process.pid), 0);
  assert.equal(content(), 'a secret');
  assert.equal(await endLeftStores('web', log, process.pid), 1);
  assert.equal(content(), '');
  assert.deepEqual(
    fs.readdirSync(path).filter((name) => name.startsWith('gen-')),
    [],
  );
  assert.deepEqual(log.events, ['not-resumed']);
  assert.deepEqual(fs.readdirSync(`/proc/self/fd/${fds.view}/`), ['handover'], 'it is no store of ours');
  assert.ok(isOpen(store.directoryFd), 'and what the process itself has open stays so');
});

test('what is not exactly a connection, a store and a view is closed, but for the store', async (t) => {
  for (const spoil of [
    (all: ReturnType<ReturnType<typeof handed>['received']>) => all.slice(1),
    (all: ReturnType<ReturnType<typeof handed>['received']>) => [
      ...all,
      { name: NAMES.view, fd: all[2]?.fd ?? -1 },
    ],
    (all: ReturnType<ReturnType<typeof handed>['received']>) => all.map(({ fd }) => ({ name: 'x', fd })),
  ]) {
    const { received, fds } = handed(t);
    const all = spoil(received());
    assert.equal(await whyNot(all), 'it is not a connection, a store and a view');
    const isOurs = (name: string) => name === NAMES.store;
    for (const { name, fd } of all) assert.equal(isOpen(fd), isOurs(name), 'a store is left to be wiped');
    assert.ok(!isOpen(fds.view));
  }
});

test('a store that others could have written to is not used', async (t) => {
  for (const [spoil, why] of [
    [(path: string) => fs.chmodSync(`${path}/.`, 0o777), 'its directory has another owner or mode'],
    [(path: string) => fs.chmodSync(`${path}/control`, 0o666), 'its control has another owner, mode or size'],
    [(path: string) => fs.chownSync(`${path}/request`, 9, 9), 'its request has another owner, mode or size'],
    [(path: string) => fs.truncateSync(`${path}/passes`, 4096), 'its passes has another owner, mode or size'],
    [
      (path: string) => fs.linkSync(`${path}/control`, `${path}/more`),
      'its control has another owner, mode or size',
    ],
    [(path: string) => fs.unlinkSync(`${path}/request`), 'it has no request'],
  ] as const) {
    const { received, path } = handed(t);
    spoil(path);
    assert.equal(await whyNot(received()), `the store is none of ours: ${why}`);
  }
});

test('a store that is a directory of the machine is not used', async (t) => {
  const { received, fds } = handed(t);
  const directory = fs.openSync('/run', fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
  t.after(() => isOpen(directory) && fs.closeSync(directory));
  const others = received().map((each) => (each.fd === fds.store ? { ...each, fd: directory } : each));
  assert.match(await whyNot(others), /ENOENT|no ramfs/);
});

test("the store and the view in each other's place are noticed without asking the mount", async (t) => {
  const { received, fds } = handed(t);
  const swapped = received().map(({ name, fd }) => ({ name, fd: fd === fds.store ? fds.view : fd }));
  assert.equal(await whyNot(swapped), 'the store is the mount');
});

test('another version, another view, another device: not used', async (t) => {
  const cases: [string, (made: ReturnType<typeof handed>) => void][] = [
    ['it is of another version', ({ store }) => store.notes.write(HANDOVER, '{"version":2}')],
    ['it is of another version', ({ store }) => store.notes.write('facts-1', '{"version":2}')],
    ['it is of another version', ({ path }) => fs.chmodSync(`${path}/facts-1`, 0o644)],
    [
      'the store is of another version',
      ({ path }) =>
        fs.writeFileSync(`${path}/control`, Buffer.from([0x53, 0x46, 0x53, 0x43, 2]), { flag: 'r+' }),
    ],
    [
      'the view is of another filesystem',
      ({ store }) => store.notes.write(HANDOVER, encodeRecord(SAME, { id: 1, device: '0:0' })),
    ],
    [
      'the store has another owner',
      ({ store }) => {
        const users = { ...SAME.users, server: user(9) };
        store.notes.write(HANDOVER, encodeRecord({ ...SAME, users }, { id: 1, device: '0:0' }));
      },
    ],
    ['it was being unmounted', ({ store }) => store.writeControl({ ...PAGE, closed: true })],
  ];
  for (const [why, spoil] of cases) {
    const made = handed(t);
    spoil(made);
    assert.equal(await whyNot(made.received()), why);
  }
  const { received, fds } = handed(t);
  const zero = fs.openSync('/dev/zero', 'r+');
  const others = received().map((each) => (each.fd === fds.fuse ? { ...each, fd: zero } : each));
  assert.equal(await whyNot(others), 'the connection is none');
});

test('a control page that was cut off says what it was to say', (t) => {
  const { path, store } = handed(t);
  store.writeControl({ ...PAGE, live: 7 });
  const page = fs.readFileSync(`${path}/control`);
  // The last write is of this word.
  page.writeUInt32LE(page.readUInt32LE(CONTROL.sequence * 4) - 1, CONTROL.sequence * 4);
  fs.writeFileSync(`${path}/control`, page, { flag: 'r+' });
  assert.equal(lastControl(store.directoryFd)?.live, 7);
});
