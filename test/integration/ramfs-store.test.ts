/** The store of the kernel driver, as root. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { type TestContext, test } from 'node:test';
import { RamfsStore } from '../../src/store/ramfs.ts';
import { type Control, decodeControl, SHARED_BYTES, STATUS, STATUS_MAGIC } from '../../src/store/shared.ts';
import { mapShared } from '../../src/system/shared.ts';
import { unmapShared } from '../support/mappings.ts';

const SERVER = 1_879_100_000;
const OTHER = SERVER + 1;

function makeStore(t: TestContext): RamfsStore {
  const store = RamfsStore.create({ serverUid: SERVER, serverGid: SERVER });
  t.after(() => store.close());
  return store;
}

/** Ids, in ascending order. */
function list({ directoryFd }: RamfsStore) {
  const names = fs.readdirSync(`/proc/self/fd/${directoryFd}/`);
  const ids = (kind: string) =>
    names
      .filter((name) => name.startsWith(`${kind}-`))
      .map((name) => Number(name.slice(kind.length + 1)))
      .sort((a, b) => a - b);
  return { generations: ids('gen'), candidates: ids('candidate') };
}

function generation(store: RamfsStore, id: number, content: Buffer): void {
  const { imageFd, changesFd } = store.createCandidate(id);
  fs.writeSync(imageFd, content);
  fs.writeSync(changesFd, 'changes');
  fs.closeSync(imageFd);
  fs.closeSync(changesFd);
  store.publish(id);
}

/** Runs sh as this user with the store's directory as descriptor 3. */
function asUser(store: RamfsStore, uid: number, script: string): { status: number | null; out: string } {
  const user = ['--reuid', `${uid}`, '--regid', `${uid}`, '--clear-groups', '--inh-caps=-all', '--'];
  const child = spawnSync('setpriv', [...user, 'sh', '-c', `cd /proc/self/fd/3/ && ${script}`], {
    stdio: ['ignore', 'pipe', 'ignore', store.directoryFd],
    encoding: 'utf8',
  });
  return { status: child.status, out: child.stdout };
}

const control: Control = {
  live: 1,
  candidate: 0,
  handOver: false,
  closed: false,
  preserve: true,
  lingering: [],
  fuseMinor: 31,
  flags: 0,
  flags2: 0,
  maxReadBytes: 131072,
  cachePolicy: 'page',
  fastOpen: false,
  consistencyWindowMs: 0,
  resend: false,
  token: new Uint8Array(16).fill(9),
};

test('the store is in no mount table of any process', (t) => {
  const store = makeStore(t);
  const { dev } = fs.statSync(`/proc/self/fd/${store.directoryFd}`);
  const device = `${(dev >> 8) & 0xfff}:${(dev & 0xff) | ((dev >> 12) & 0xfff00)}`;
  for (const pid of fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    let table = '';
    try {
      table = fs.readFileSync(`/proc/${pid}/mountinfo`, 'utf8');
    } catch {
      // It ended, or has no mount namespace any more.
    }
    assert.ok(!table.includes(` ${device} `), table);
  }
});

test('the server reads generations and control, and can change neither', (t) => {
  const store = makeStore(t);
  generation(store, 1, Buffer.from('content'));
  store.writeControl(control);
  assert.equal(asUser(store, SERVER, 'cat gen-1').out, 'content');
  assert.equal(asUser(store, SERVER, 'head -c 4 control').out, 'SFSC');
  for (const script of ['echo > gen-1', 'echo > control', 'echo > new', 'rm gen-1', 'cat changes-1']) {
    assert.notEqual(asUser(store, SERVER, script).status, 0, script);
  }
  assert.equal(asUser(store, SERVER, 'echo > status && echo > request').status, 0);
});

test('another user finds nothing, even with the descriptor', (t) => {
  const store = makeStore(t);
  generation(store, 1, Buffer.from('content'));
  const candidate = store.createCandidate(2);
  t.after(() => {
    fs.closeSync(candidate.imageFd);
    fs.closeSync(candidate.changesFd);
  });
  for (const script of ['ls', 'cat gen-1', 'cat control', 'cat status', 'cat request', 'cat candidate-2']) {
    const { status, out } = asUser(store, OTHER, script);
    assert.notEqual(status, 0, script);
    assert.equal(out, '', script);
  }
});

test('a candidate is written through its descriptor, and becomes a generation by publish()', (t) => {
  const store = makeStore(t);
  const { imageFd, changesFd } = store.createCandidate(3);
  fs.writeSync(imageFd, 'abc');
  assert.deepEqual(list(store), { generations: [], candidates: [3] });
  assert.throws(() => store.createCandidate(3), { code: 'EEXIST' });
  fs.writeSync(changesFd, 'changes');
  fs.closeSync(imageFd);
  fs.closeSync(changesFd);
  assert.equal(store.readChanges(3, 7)?.toString(), 'changes');
  assert.equal(store.readChanges(3, 6), undefined);
  assert.equal(store.readChanges(4, 6), undefined);
  store.publish(3);
  assert.deepEqual(list(store), { generations: [3], candidates: [] });
  assert.throws(() => store.createCandidate(3), /exists/);
  const fd = store.openPrevious(3);
  const bytes = Buffer.alloc(10);
  assert.equal(fs.readSync(fd, bytes), 3);
  assert.throws(() => fs.writeSync(fd, 'x'), { code: 'EBADF' });
  fs.closeSync(fd);
});

test('publish() refuses a candidate that any descriptor can still write to', (t) => {
  const store = makeStore(t);
  const { imageFd, changesFd } = store.createCandidate(3);
  fs.closeSync(changesFd);
  assert.equal(store.publish(3), false);
  assert.deepEqual(list(store), { generations: [], candidates: [3] });
  fs.closeSync(imageFd);
  assert.equal(store.publish(3), true);
});

test('wiping a candidate with holes does not fill them', async (t) => {
  const store = makeStore(t);
  const { imageFd, changesFd } = store.createCandidate(3);
  fs.writeSync(imageFd, 'secret', 8_000_000);
  fs.ftruncateSync(imageFd, 64 * 1024 * 1024);
  const wiped = store.discard(3);
  assert.ok(fs.fstatSync(imageFd).blocks * 512 <= 3 * 4096, `${fs.fstatSync(imageFd).blocks} blocks`);
  const page = Buffer.alloc(4096);
  fs.readSync(imageFd, page, 0, 4096, 7_999_488);
  assert.ok(page.every((byte) => byte === 0));
  await wiped;
  for (const fd of [imageFd, changesFd]) fs.closeSync(fd);
});

test('bytes counts what is in memory, and comes back to nothing', async (t) => {
  const store = makeStore(t);
  assert.equal(store.bytes, 0);
  generation(store, 1, Buffer.alloc(10_000, 1));
  assert.equal(store.bytes, 12_288 + 4096);
  await store.removeChanges(1);
  assert.equal(store.bytes, 12_288);
  await store.wipe(1);
  assert.equal(store.bytes, 0);
  await store.wipe(1);
});

test('what is wiped is zeros in memory before it goes', async (t) => {
  const store = makeStore(t);
  const content = Buffer.alloc(3 * 1024 * 1024 + 5, 0xab);
  generation(store, 1, content);
  const fd = store.openPrevious(1);
  t.after(() => fs.closeSync(fd));
  // A reader that has the pages themselves: what it sees is what was in memory when they went.
  const seen = watchTruncation(fd, content.length);
  assert.deepEqual(seen.bytes(), { nonzero: content.length });
  const wiping = store.wipe(1);
  const late = seen.mostBeforeTruncation();
  await wiping;
  assert.equal(late(), 0);
  assert.deepEqual(list(store).generations, []);
  assert.equal(fs.fstatSync(fd).size, 0);
});

/** Counts bytes that are not zero, now and just before the file is cut. */
function watchTruncation(fd: number, length: number) {
  const count = () => {
    const bytes = Buffer.alloc(length);
    const got = fs.readSync(fd, bytes, 0, length, 0);
    let nonzero = 0;
    for (let i = 0; i < got; i += 1) if (bytes[i] !== 0) nonzero += 1;
    return nonzero;
  };
  return {
    bytes: () => ({ nonzero: count() }),
    mostBeforeTruncation() {
      const { ftruncateSync } = fs;
      let most = -1;
      fs.ftruncateSync = (...args: Parameters<typeof ftruncateSync>) => {
        most = Math.max(most, count());
        ftruncateSync(...args);
      };
      return () => {
        fs.ftruncateSync = ftruncateSync;
        return most;
      };
    },
  };
}

test('a large image is wiped in turns with the event loop', async (t) => {
  const store = makeStore(t);
  generation(store, 1, Buffer.alloc(16 * 1024 * 1024, 1));
  let turns = 0;
  const count = () => {
    turns += 1;
    timer = setImmediate(count);
  };
  let timer = setImmediate(count);
  await store.wipe(1);
  clearImmediate(timer);
  assert.ok(turns >= 10, `${turns}`);
});

test('wipeAll() and two wipes at once leave nothing', async (t) => {
  const store = makeStore(t);
  for (const id of [1, 2]) generation(store, id, Buffer.alloc(2 * 1024 * 1024, 1));
  await Promise.all([store.wipe(1), store.wipe(1), store.wipeAll()]);
  assert.deepEqual(list(store), { generations: [], candidates: [] });
  assert.equal(store.bytes, 0);
});

test('writeControl() shows a mapping all or nothing, and the sequence goes on after a resume', (t) => {
  const store = makeStore(t);
  const fd = fs.openSync(`/proc/self/fd/${store.directoryFd}/control`, 'r');
  const mapping = mapShared(fd, SHARED_BYTES, { write: false });
  t.after(() => {
    unmapShared(mapping);
    fs.closeSync(fd);
  });
  const words = new Uint32Array(mapping.memory);
  assert.equal(decodeControl(words), undefined);
  assert.equal(store.writeControl(control), 1);
  assert.equal(decodeControl(words)?.live, 1);
  const { writeSync } = fs;
  const states: (number | undefined)[] = [];
  fs.writeSync = ((...args: Parameters<typeof writeSync>) => {
    const written = writeSync(...args);
    states.push(decodeControl(words)?.live);
    return written;
  }) as typeof writeSync;
  t.after(() => {
    fs.writeSync = writeSync;
  });
  store.writeControl({ ...control, live: 2, lingering: [1] });
  fs.writeSync = writeSync;
  assert.deepEqual(states, [undefined, undefined, undefined, 2]);
});

test('readStatus() has what a server wrote into its mapping', (t) => {
  const store = makeStore(t);
  assert.equal(store.readStatus(), undefined);
  const fd = fs.openSync(`/proc/self/fd/${store.directoryFd}/status`, 'r+');
  const mapping = mapShared(fd, SHARED_BYTES, { write: true });
  t.after(() => {
    unmapShared(mapping);
    fs.closeSync(fd);
  });
  const words = new Uint32Array(mapping.memory);
  words[STATUS.magic] = STATUS_MAGIC;
  words[STATUS.version] = 1;
  words[STATUS.candidateLoaded] = 6;
  assert.equal(store.readStatus()?.candidateLoaded, 6);
});

test('close() leaves no descriptor behind', () => {
  const count = () => fs.readdirSync('/proc/self/fd').length;
  RamfsStore.create({ serverUid: SERVER, serverGid: SERVER }).close();
  const before = count();
  for (let i = 0; i < 5; i += 1) RamfsStore.create({ serverUid: SERVER, serverGid: SERVER }).close();
  assert.equal(count(), before);
});
