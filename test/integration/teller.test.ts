/** The teller against a real mount: a tmpfs that is read-only where it is seen, as root. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Message } from '../../src/daemon/channel.ts';
import { type Child, spawnChild } from '../../src/daemon/children.ts';
import { Teller } from '../../src/daemon/teller.ts';
import { TELLER_CAPABILITIES } from '../../src/daemon/teller-capabilities.ts';
import { openDevice } from '../../src/fuse/device.ts';
import { encodeOperations, type Operation } from '../../src/generation/changes.ts';
import { openDirectoryPath } from '../../src/system/files.ts';
import { mountFuse } from '../../src/system/mounts.ts';
import { mountTmpfs } from '../support/mappings.ts';
import { cleanups, temporaryDirectory } from '../support/server.ts';

const PROCESSES = fileURLToPath(new URL('../../src/processes/', import.meta.url));
const TOKEN = '0123456789abcdef0123456789abcdef';

interface Fixture {
  /** Where the mount is seen. */
  readonly directory: string;
  /** The same, writable. */
  readonly clone: string;
  readonly teller: Child;
  ask(message: Message): Promise<Message>;
  pin(operations: Operation[]): Promise<Message>;
}

async function fixture(t: TestContext, mount = mountTmpfs): Promise<Fixture> {
  const after = cleanups(t);
  const directory = await temporaryDirectory(after);
  const at = openDirectoryPath(directory);
  const { mountFd, cloneFd } = mount(at);
  after(async () => {
    for (const fd of [at, mountFd, cloneFd]) fs.closeSync(fd);
  });
  const teller = spawnChild({
    role: 'teller',
    script: 'teller.js',
    directory: PROCESSES,
    user: undefined,
    capabilities: TELLER_CAPABILITIES,
    fds: [cloneFd, 'channel'],
  });
  after(async () => {
    teller.kill();
    await teller.exited;
  });
  const { channel } = teller;
  assert.ok(channel);
  const ask = (message: Message) => {
    channel.send(message);
    return channel.receive();
  };
  const pin = (operations: Operation[]) => {
    return ask({ do: 'pin', operations: encodeOperations(operations).toString('base64') });
  };
  const clone = `/proc/self/fd/${cloneFd}`;
  if (mount === mountTmpfs) fs.mkdirSync(path.join(clone, TOKEN));
  return { directory, clone, teller, ask, pin };
}

test('the teller asks the filesystem, and has no more than three capabilities and its two descriptors', async (t) => {
  const { ask, teller } = await fixture(t);
  assert.deepEqual(await ask({ do: 'statfs' }), { ok: true });
  const status = fs.readFileSync(`/proc/${teller.pid}/status`, 'utf8');
  const of = (key: string) => parseInt(new RegExp(`^${key}:\\s*(\\S+)`, 'm').exec(status)?.[1] ?? '', 16);
  assert.deepEqual([of('CapEff'), of('CapPrm'), of('CapInh'), of('CapAmb')], [0b1110, 0b1110, 0, 0]);
  assert.equal(of('NoNewPrivs'), 1);
  const links = fs.readdirSync(`/proc/${teller.pid}/fd`).map((fd) => {
    return fs.readlinkSync(`/proc/${teller.pid}/fd/${fd}`);
  });
  assert.ok(!links.includes('/dev/fuse') && !links.includes('/'), links.join(' '));
});

test('the teller applies operations through the mount, in their order', async (t) => {
  const { ask, pin, clone, directory } = await fixture(t);
  for (const name of ['gone', 'changed', `${TOKEN}/77`, `${TOKEN}/78`]) {
    fs.writeFileSync(path.join(clone, name), name);
  }
  fs.mkdirSync(path.join(clone, 'dir/below'), { recursive: true });
  const first = await pin([
    { kind: 'unlink', path: 'gone' },
    { kind: 'rmdir', path: 'dir/below' },
    { kind: 'rmdir', path: 'dir' },
  ]);
  assert.deepEqual(first, { ok: true, pinned: 3 });
  const second = await pin([
    { kind: 'rename', path: 'changed', ino: 77 },
    { kind: 'rename', path: 'added', ino: 78 },
  ]);
  assert.deepEqual(second, { ok: true, pinned: 1 });
  assert.deepEqual(await ask({ do: 'apply', token: TOKEN, count: 5 }), { ok: true, applied: 5, failed: [] });
  assert.deepEqual(fs.readdirSync(directory).sort(), [TOKEN, 'added', 'changed']);
  assert.equal(fs.readFileSync(path.join(directory, 'changed'), 'utf8'), `${TOKEN}/77`);
  // Nothing of it is left for the next.
  assert.deepEqual(await ask({ do: 'apply', token: TOKEN, count: 0 }), { ok: true, applied: 0, failed: [] });
});

test('who watches a file sees it replaced when the pin is let go', async (t) => {
  const { ask, pin, clone, directory } = await fixture(t);
  fs.writeFileSync(path.join(clone, 'f'), 'old');
  fs.writeFileSync(path.join(clone, TOKEN, '9'), 'new');
  const events: string[] = [];
  const watchers = [fs.watch(path.join(directory, 'f')), fs.watch(directory)];
  for (const [i, watcher] of watchers.entries()) {
    watcher.on('change', (event, name) => events.push(`${i} ${event} ${name}`));
    t.after(() => watcher.close());
  }
  await pin([{ kind: 'rename', path: 'f', ino: 9 }]);
  await ask({ do: 'apply', token: TOKEN, count: 1 });
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.ok(events.includes('1 rename f'), events.join());
  assert.ok(
    events.some((event) => event.startsWith('0 ')),
    events.join(),
  );
});

test('pins hold what is there, as many as they may, and discard lets go of them', async (t) => {
  const { ask, pin, clone, teller } = await fixture(t);
  const open = () => fs.readdirSync(`/proc/${teller.pid}/fd`).length;
  for (const name of ['a', 'b']) fs.writeFileSync(path.join(clone, name), '');
  await ask({ do: 'statfs' });
  const before = open();
  await pin([
    { kind: 'unlink', path: 'a' },
    { kind: 'unlink', path: 'b' },
    { kind: 'unlink', path: 'c' },
  ]);
  assert.equal(open(), before + 2);
  assert.deepEqual(await ask({ do: 'discard' }), { ok: true });
  assert.equal(open(), before);
  assert.deepEqual(await ask({ do: 'apply', token: TOKEN, count: 0 }), { ok: true, applied: 0, failed: [] });
  assert.ok(fs.existsSync(path.join(clone, 'a')));
});

test('the teller pins no more than it may, and applies all the same', async (t) => {
  const { clone, directory } = await fixture(t);
  const operations: Operation[] = ['a', 'b', 'c'].map((name) => ({ kind: 'unlink', path: name }));
  for (const { path: name } of operations) fs.writeFileSync(path.join(clone, name), '');
  const teller = new Teller(2, clone);
  const operationsText = encodeOperations(operations).toString('base64');
  assert.deepEqual(teller.answer({ do: 'pin', operations: operationsText }), { ok: true, pinned: 2 });
  assert.deepEqual(teller.answer({ do: 'apply', token: TOKEN, count: 3 }), {
    ok: true,
    applied: 3,
    failed: [],
  });
  assert.deepEqual(fs.readdirSync(directory), [TOKEN]);
});

test('a teller that was started since what was pinned refuses to apply', async (t) => {
  const { ask } = await fixture(t);
  assert.deepEqual(await ask({ do: 'apply', token: TOKEN, count: 1 }), { ok: false, errno: 'ESTALE' });
});

test('failures are counted by what they were, and the rest is applied', async (t) => {
  const { ask, pin, clone } = await fixture(t);
  fs.mkdirSync(path.join(clone, 'full/x'), { recursive: true });
  fs.writeFileSync(path.join(clone, 'f'), '');
  await pin([
    { kind: 'unlink', path: 'none' },
    { kind: 'unlink', path: 'nothing' },
    { kind: 'rmdir', path: 'full' },
    { kind: 'unlink', path: 'f' },
  ]);
  const { applied, failed } = await ask({ do: 'apply', token: TOKEN, count: 4 });
  assert.equal(applied, 1);
  assert.deepEqual(failed, [
    { errno: 'ENOENT', count: 2 },
    { errno: 'ENOTEMPTY', count: 1 },
  ]);
});

test('no path leads out of the mount, symlinks and all', async (t) => {
  const { ask, pin, clone } = await fixture(t);
  const outside = path.join(await temporaryDirectory(cleanups(t)), 'precious');
  fs.writeFileSync(outside, '');
  fs.symlinkSync(path.dirname(outside), path.join(clone, 'absolute'));
  fs.symlinkSync(`../../../../../..${path.dirname(outside)}`, path.join(clone, 'relative'));
  await pin([
    { kind: 'unlink', path: 'absolute/precious' },
    { kind: 'unlink', path: 'relative/precious' },
  ]);
  const { failed } = await ask({ do: 'apply', token: TOKEN, count: 2 });
  assert.deepEqual(failed, [{ errno: 'ENOENT', count: 2 }]);
  assert.ok(fs.existsSync(outside));
  // The same without the confinement: the links do lead there.
  const loose = new Teller(10, clone);
  const operations = encodeOperations([{ kind: 'unlink', path: 'absolute/precious' }]).toString('base64');
  loose.answer({ do: 'pin', operations });
  assert.equal(loose.answer({ do: 'apply', token: TOKEN, count: 1 })['applied'], 1);
  assert.ok(!fs.existsSync(outside));
});

test('what is no valid order is refused and forgets what came before', async (t) => {
  const { ask, pin, clone } = await fixture(t);
  fs.writeFileSync(path.join(clone, 'f'), '');
  await pin([{ kind: 'unlink', path: 'f' }]);
  const climbing = encodeOperations([{ kind: 'unlink', path: '../f' }]).toString('base64');
  for (const operations of [climbing, 'AAAA', 7, undefined]) {
    assert.deepEqual(await ask({ do: 'pin', operations }), { ok: false, errno: 'EINVAL' });
  }
  assert.deepEqual(await ask({ do: 'apply', token: TOKEN, count: 0 }), { ok: true, applied: 0, failed: [] });
  for (const message of [{ do: 'apply', token: '../..' }, { do: 'apply' }, { do: 'x' }, {}]) {
    assert.deepEqual(await ask(message), { ok: false, errno: 'EINVAL' });
  }
  assert.ok(fs.existsSync(path.join(clone, 'f')));
});

test('of a mount whose connection was aborted it says so, each time, and lives', async (t) => {
  const { ask, teller } = await fixture(t, (directoryFd) => {
    const fuseFd = openDevice();
    try {
      return mountFuse({ directoryFd, fuseFd, source: 'aborted' });
    } finally {
      fs.closeSync(fuseFd);
    }
  });
  for (const message of [{ do: 'statfs' }, { do: 'statfs' }, { do: 'discard' }, { do: 'statfs' }]) {
    const { ok, errno } = await ask(message);
    assert.equal(ok, false);
    assert.match(String(errno), /^(ENOTCONN|ECONNABORTED)$/);
  }
  teller.channel?.close();
  assert.deepEqual(await teller.exited, { code: 0, signal: undefined });
});

test('the teller ends with its channel', async (t) => {
  const { teller, ask } = await fixture(t);
  await ask({ do: 'statfs' });
  teller.channel?.close();
  assert.deepEqual(await teller.exited, { code: 0, signal: undefined });
});
