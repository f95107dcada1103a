import assert from 'node:assert/strict';
import { test } from 'node:test';
import { wrongDescriptor } from '../../../src/daemon/child.ts';
import { childCommand, childEnvironment } from '../../../src/daemon/children.ts';
import { Notifier } from '../../../src/daemon/notifier.ts';

const HOSTILE = {
  PATH: '/bin',
  TZ: 'UTC',
  LANG: 'de_DE',
  HOME: '/root',
  NODE_OPTIONS: '--inspect',
  NODE_EXTRA_CA_CERTS: '/x',
  LD_PRELOAD: '/x.so',
  LD_LIBRARY_PATH: '/x',
  GLIBC_TUNABLES: 'x',
  AWS_ACCESS_KEY_ID: 'id',
  https_proxy: 'http://p',
  HTTPS_PROXY: 'http://p',
  NO_PROXY: 'x',
  NOTIFY_SOCKET: '/run/x',
  PASSWORD: 'x',
};

test('childEnvironment() has what the role needs and nothing else', () => {
  const parent = { SECRETSFS_PARENT: `${process.pid}` };
  const little = { PATH: '/bin', TZ: 'UTC', LANG: 'C', ...parent };
  for (const role of ['server', 'prober', 'notifier'] as const) {
    assert.deepEqual(childEnvironment(role, HOSTILE), little);
  }
  const { HOME, AWS_ACCESS_KEY_ID, https_proxy, HTTPS_PROXY, NO_PROXY } = HOSTILE;
  const more = { ...little, HOME, AWS_ACCESS_KEY_ID, https_proxy, HTTPS_PROXY, NO_PROXY };
  assert.deepEqual(childEnvironment('agent', HOSTILE), more);
  const { GLIBC_TUNABLES, ...rest } = childEnvironment('unsealer', HOSTILE);
  assert.deepEqual(rest, more);
  assert.match(GLIBC_TUNABLES ?? '', /^glibc\.malloc\.perturb=/);
  assert.ok(childEnvironment('server', {})['PATH']);
});

test('childCommand() drops everything before Node runs', () => {
  const command = childCommand({
    role: 'server',
    script: 'server.mjs',
    directory: '/opt/x',
    user: { uid: 5, gid: 6 },
    fds: [],
    emptyNetwork: true,
    fileBytesMax: 99,
  });
  const node = command.indexOf(process.execPath);
  assert.equal(
    command.slice(0, node).join(' '),
    'unshare -n -- prlimit --fsize=99 -- setpriv --reuid 5 --regid 6 --clear-groups --inh-caps=-all ' +
      '--ambient-caps=-all --bounding-set=-all --no-new-privs --pdeathsig KILL --',
  );
  assert.equal(command.at(-1), '/opt/x/server.mjs');
  const prober = { role: 'prober', script: 'p', directory: '/', user: undefined, fds: [] } as const;
  assert.ok(childCommand({ ...prober, capabilities: ['fowner'] }).includes('--bounding-set=-all,+fowner'));
  assert.throws(() => childCommand({ ...prober, capabilities: ['all' as never] }));
  // The one who waits for a pid namespace ends with us, and takes it along.
  assert.match(
    childCommand({ ...prober, ownNamespaces: true }).join(' '),
    /^setpriv --pdeathsig KILL -- unshare --mount --propagation private --pid --fork --kill-child --mount-proc -- setpriv /,
  );
});

test('wrongDescriptor() wants exactly what is listed, and allows what Node opens', () => {
  const base: [number, string][] = [
    [0, '/dev/null'],
    [1, '/dev/null'],
    [2, '/var/log/x'],
    [3, '/dev/fuse'],
    [4, 'socket:[1]'],
    [5, 'anon_inode:[eventpoll]'],
    [6, 'pipe:[2]'],
  ];
  const wanted = [/^\/dev\/fuse$/, /^socket:/];
  const check = (...more: [number, string][]) => wrongDescriptor(wanted, new Map([...base, ...more]));
  assert.equal(check(), undefined);
  assert.equal(check([3, '/dev/null']), 'descriptor 3 is not what it should be');
  assert.equal(check([7, '/dev/fuse']), 'descriptor 7 is not ours');
  assert.equal(check([7, 'socket:[9]']), 'descriptor 7 is not ours');
  assert.equal(check([7, '/gen-1']), 'descriptor 7 is not ours');
  assert.equal(check([0, '/dev/pts/0']), 'descriptor 0 is not ours');
  assert.equal(
    wrongDescriptor([...wanted, /x/, /x/, /x/], new Map(base)),
    'descriptor 5 is not what it should be',
  );
  assert.equal(wrongDescriptor(wanted, new Map(base.slice(0, 4))), 'descriptor 4 is missing');
});

test('the notifier drops lists, ranges and what the pipe brings, and counts the unknown', () => {
  const seen: number[] = [];
  const aliases: number[] = [];
  let result = 40;
  const notifier = new Notifier((buffer) => {
    const ino = Buffer.from(buffer).readUInt32LE(16);
    // The alias of each goes with it.
    if (Buffer.from(buffer).readUInt32LE(20) !== 0) aliases.push(ino);
    else seen.push(ino);
    return ino === 3 ? -2 : result;
  });
  assert.deepEqual(notifier.answer({ drop: [2, 3, 4] }), { ok: true, dropped: 2, unknown: 1 });
  assert.deepEqual(notifier.answer({ drop: { from: 2, to: 5 } }), { ok: true, dropped: 2, unknown: 1 });
  const bytes = Buffer.alloc(64);
  bytes.writeUInt32LE(77, 0);
  bytes.writeUInt32LE(78, 8);
  bytes.fill(9, 16, 19);
  assert.equal(notifier.dropAll(bytes, 19), 3);
  assert.deepEqual([...bytes.subarray(0, 3)], [9, 9, 9]);
  assert.deepEqual(seen, [2, 3, 4, 2, 3, 4, 77, 78]);
  for (const drop of ['all', [0], [1.5], ['2'], null, { from: 1 }, { from: 1, to: -1 }]) {
    assert.deepEqual(notifier.answer({ drop }), { ok: false, errno: 'EINVAL' });
  }
  // ENODEV: unmounted.
  result = -19;
  assert.deepEqual(notifier.answer({ drop: { from: 100, to: 2 ** 40 } }), {
    ok: true,
    dropped: 0,
    unknown: 0,
  });
});
