import assert from 'node:assert/strict';
import { chmod, lstat, mkdir, readdir, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { ask } from '../../../src/control/client.ts';
import { listNames, makeSocketDirectory, runtimeDirectory } from '../../../src/control/directory.ts';
import type { Status } from '../../../src/control/protocol.ts';
import { type Operations, serveControl, serveListening } from '../../../src/control/server.ts';
import { BundleError } from '../../../src/errors.ts';
import { listenUnix } from '../../../src/system/sockets.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

const uid = process.getuid?.() ?? 0;
const STATUS: Status = {
  instance: 'web',
  name: 'web',
  version: '1',
  pid: 1,
  started: '',
  mountpoint: '/m',
  bundle: 'b',
  driver: 'd',
  driverReason: '',
  state: 'starting',
  live: null,
  lingering: [],
  lastCheck: null,
  error: null,
};

async function serve(t: TestContext, operations: Partial<Operations> = {}, statusGid?: number) {
  const runtimeDir = path.join(await temporaryDirectory(t), 'run');
  const directory = await makeSocketDirectory(runtimeDir, 'web', uid);
  const bugs: unknown[] = [];
  const never = async () => assert.fail('not to be called');
  const all = {
    status: async () => STATUS,
    wait: never,
    remount: never,
    unmount: never,
    upgrade: never,
    hook: never,
    ...operations,
  };
  const server = await serveControl({
    directory,
    operations: all,
    statusGid,
    onBug: (error) => bugs.push(error),
  });
  t.after(() => server.close());
  return { runtimeDir, directory, bugs, server, socket: path.join(directory, 'control.sock') };
}

/** Sends raw bytes and resolves with all that comes back. */
function send(socketPath: string, bytes: string, end = true): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath);
    let text = '';
    socket.setEncoding('utf8').on('data', (chunk) => {
      text += chunk;
    });
    // Whoever is refused while still sending gets EPIPE, after the answer.
    socket.on('error', (error) => (text === '' ? reject(error) : undefined)).on('close', () => resolve(text));
    if (end) socket.end(bytes);
    else socket.write(bytes);
  });
}

test('a status is asked and answered', async (t) => {
  const { runtimeDir } = await serve(t);
  assert.deepEqual(await ask(runtimeDir, 'web', 'status', 1000), STATUS);
  assert.deepEqual(await listNames(runtimeDir), ['web']);
});

test('a failure travels with its code, message, hint and exit code', async (t) => {
  const remount = async () => {
    throw new BundleError('bundle-corrupt', 'cannot open', { hint: 'pack again' });
  };
  const { runtimeDir } = await serve(t, { remount });
  await assert.rejects(ask(runtimeDir, 'web', 'remount', 1000), {
    code: 'bundle-corrupt',
    message: 'cannot open',
    hint: 'pack again',
    exitCode: 6,
  });
});

test('a bug is told as one, without its text, and reported to the daemon', async (t) => {
  const remount = async () => {
    throw new TypeError('with a secret in it');
  };
  const { runtimeDir, bugs, socket } = await serve(t, { remount });
  assert.ok(!(await send(socket, '{"v":1,"op":"remount"}\n')).includes('secret'));
  await assert.rejects(ask(runtimeDir, 'web', 'remount', 1000), /internal error/);
  assert.equal(bugs.length, 2);
});

test('the socket has mode 0600, and the status socket 0660', async (t) => {
  const { directory } = await serve(t, {}, process.getgid?.() ?? 0);
  assert.equal((await lstat(path.join(directory, 'control.sock'))).mode & 0o777, 0o600);
  assert.equal((await lstat(path.join(directory, 'status.sock'))).mode & 0o777, 0o660);
});

test('the status socket answers status and refuses what changes anything', async (t) => {
  const { directory } = await serve(t, {}, process.getgid?.() ?? 0);
  const socket = path.join(directory, 'status.sock');
  assert.match(await send(socket, '{"v":1,"op":"status"}\n'), /"ok":true/);
  for (const op of ['remount', 'unmount', 'upgrade']) {
    assert.match(await send(socket, `{"v":1,"op":"${op}"}\n`), /"code":"control-denied"/);
  }
});

test('a hook is run through the control socket alone, by its name', async (t) => {
  const names: unknown[] = [];
  const { runtimeDir, directory } = await serve(
    t,
    {
      hook: async ({ hook }) => {
        names.push(hook);
        return { hook: hook ?? '', outcome: 'done', generation: 1, serial: 2, ms: 3 };
      },
    },
    process.getgid?.(),
  );
  assert.equal((await ask(runtimeDir, 'web', 'hook', 1000, { hook: 'nginx' })).hook, 'nginx');
  const request = '{"v":1,"op":"hook","hook":"nginx"}\n';
  assert.match(await send(path.join(directory, 'status.sock'), request), /control-denied/);
  assert.deepEqual(names, ['nginx']);
});

test('malformed, oversized, cut off and foreign requests are answered with an error, and the next one works', async (t) => {
  const { runtimeDir, socket } = await serve(t);
  const requests = [
    '\n',
    '{}\n',
    '[]\n',
    '{"v":2,"op":"status"}\n',
    '{"v":1,"op":"toString"}\n',
    '{"v":1',
    '\0\n',
  ];
  for (const request of requests) {
    assert.match(await send(socket, request), /"code":"control-protocol"/, request);
  }
  assert.match(await send(socket, 'x'.repeat(1_000_000), false), /"code":"control-protocol"/);
  assert.equal((await ask(runtimeDir, 'web', 'status', 1000)).instance, 'web');
});

test('a daemon that is dead gives its socket up; one that lives does not', async (t) => {
  const { directory, runtimeDir, server } = await serve(t);
  const operations = { status: async () => STATUS } as unknown as Operations;
  const again = () => serveControl({ directory, operations, onBug: (error) => assert.fail(String(error)) });
  await assert.rejects(again(), { code: 'control-busy' });
  await server.close();
  // What a killed daemon leaves: a socket nobody listens on.
  await mkdir(directory, { recursive: true });
  const dead = createServer().listen(path.join(directory, 'control.sock'));
  await new Promise((resolve) => dead.once('listening', resolve));
  const copy = path.join(directory, 'copy.sock');
  const { link, rename } = await import('node:fs/promises');
  await link(path.join(directory, 'control.sock'), copy);
  await new Promise((resolve) => dead.close(resolve));
  await rename(copy, path.join(directory, 'control.sock'));
  await assert.rejects(ask(runtimeDir, 'web', 'status', 1000), { code: 'control-not-running' });
  const second = await again();
  t.after(() => second.close());
  assert.equal((await ask(runtimeDir, 'web', 'status', 1000)).instance, 'web');
});

test('a client gives up after its time, and a daemon that answers nonsense is an error', async (t) => {
  const { runtimeDir } = await serve(t, { wait: () => new Promise(() => undefined) });
  await assert.rejects(ask(runtimeDir, 'web', 'wait', 50), { code: 'wait-timeout', exitCode: 9 });
  const directory = path.join(runtimeDir, 'odd');
  await mkdir(directory);
  for (const answer of ['nonsense\n', '{"v":1,"ok":true,"result":7}\n', '', 'x'.repeat(2_000_000)]) {
    const odd = createServer((socket) => {
      socket.on('error', () => undefined).resume();
      socket.end(answer);
    }).listen(path.join(directory, 'control.sock'));
    await new Promise((resolve) => odd.once('listening', resolve));
    await assert.rejects(ask(runtimeDir, 'odd', 'status', 1000), { code: 'control-protocol' });
    await new Promise((resolve) => odd.close(resolve));
  }
});

test('a mount that is not running is said to be so', async (t) => {
  const { runtimeDir } = await serve(t);
  await assert.rejects(ask(runtimeDir, 'db', 'status', 1000), { code: 'control-not-running', exitCode: 8 });
});

test('a socket directory that others may write to, or that is no directory, is refused', async (t) => {
  const runtimeDir = path.join(await temporaryDirectory(t), 'run');
  await makeSocketDirectory(runtimeDir, 'web', uid);
  await chmod(path.join(runtimeDir, 'web'), 0o777);
  await assert.rejects(makeSocketDirectory(runtimeDir, 'web', uid), { code: 'control-directory' });
  await writeFile(path.join(runtimeDir, 'file'), '');
  await assert.rejects(makeSocketDirectory(runtimeDir, 'file', uid), { code: 'control-directory' });
  await assert.rejects(makeSocketDirectory(runtimeDir, 'n'.repeat(120), uid), /too long/);
});

test('close() removes sockets and directory', async (t) => {
  const { runtimeDir, server } = await serve(t, {}, process.getgid?.() ?? 0);
  await server.close();
  assert.deepEqual(await readdir(runtimeDir), []);
});

test('sockets are under /run for root, under XDG_RUNTIME_DIR for others, or where one says', () => {
  assert.equal(runtimeDirectory({ uid: 0, env: {} }), '/run/secretsfs');
  assert.equal(
    runtimeDirectory({ uid: 7, env: { XDG_RUNTIME_DIR: '/run/user/7' } }),
    '/run/user/7/secretsfs',
  );
  assert.equal(runtimeDirectory({ chosen: '/x', uid: 7, env: {} }), '/x');
  assert.throws(() => runtimeDirectory({ uid: 7, env: {} }), { code: 'control-directory' });
});

test('what an older daemon does not tell is missing, and what a newer one tells is taken', async (t) => {
  const newer: Status = {
    ...STATUS,
    lingering: [{ id: 3, bytes: 7, reason: '2 inodes are in use', heldSince: '2026-11-22T00:00:00.000Z' }],
    cache: 'none',
    fastOpen: true,
    resend: false,
    processes: [{ role: 'agent', pid: 9, user: 'secretsfs-agent', started: '', restarts: 1 }],
    memory: { storeBytes: 4096, maxBytes: null, availableBytes: 1 },
  };
  let status = newer;
  const { runtimeDir } = await serve(t, { status: async () => status });
  assert.deepEqual(await ask(runtimeDir, 'web', 'status', 1000), newer);
  status = STATUS;
  assert.equal('processes' in (await ask(runtimeDir, 'web', 'status', 1000)), false);
});

test('sockets that somebody else listens on are served by their descriptors, and left where they are', async (t) => {
  const runtimeDir = path.join(await temporaryDirectory(t), 'run');
  const directory = await makeSocketDirectory(runtimeDir, 'web', uid);
  const [controlFd = -1, statusFd = -1] = ['control.sock', 'status.sock'].map((name) =>
    listenUnix(path.join(directory, name), 0o600, uid, process.getgid?.() ?? 0),
  );
  const upgrade = async () => ({ replaced: ['agent'], processes: [] });
  const never = async () => assert.fail('not to be called');
  const server = await serveListening({
    controlFd,
    statusFd,
    operations: {
      status: async () => STATUS,
      wait: never,
      remount: never,
      unmount: never,
      upgrade,
      hook: never,
    },
    onBug: (error) => assert.fail(String(error)),
  });
  t.after(() => server.close());
  assert.deepEqual((await ask(runtimeDir, 'web', 'upgrade', 1000)).replaced, ['agent']);
  assert.match(await send(path.join(directory, 'status.sock'), '{"v":1,"op":"status"}\n'), /"ok":true/);
  assert.match(await send(path.join(directory, 'status.sock'), '{"v":1,"op":"upgrade"}\n'), /control-denied/);
  await server.close();
  assert.ok((await lstat(path.join(directory, 'control.sock'))).isSocket());
});
