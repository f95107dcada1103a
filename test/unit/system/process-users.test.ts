import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigError } from '../../../src/errors.ts';
import {
  derivedUidBase,
  type ProcessUserOptions,
  resolveProcessUsers,
  type UserSources,
} from '../../../src/system/process-users.ts';

const WHOLE_MAP = '         0          0 4294967295\n';

function machine(passwd: Record<string, string> = {}, uidMap = WHOLE_MAP): UserSources {
  return {
    passwd: async (names) => names.flatMap((name) => passwd[name] ?? []),
    uidMap: async () => uidMap,
  };
}

const installed = {
  'secretsfs-server': 'secretsfs-server:!*:981:971::/:/usr/sbin/nologin\n',
  'secretsfs-agent': 'secretsfs-agent:!*:982:972::/:/usr/sbin/nologin\n',
  'secretsfs-unsealer': 'secretsfs-unsealer:!*:983:973::/:/usr/sbin/nologin\n',
};

async function refused(options: ProcessUserOptions, sources: UserSources, says: RegExp): Promise<void> {
  await assert.rejects(resolveProcessUsers(options, sources), (error) => {
    assert.ok(error instanceof ConfigError);
    assert.match(error.message, says);
    assert.ok(error.hint);
    return true;
  });
}

test('resolveProcessUsers() takes the installed users, and a base before them', async () => {
  const users = await resolveProcessUsers({ instance: 'web' }, machine(installed));
  assert.deepEqual(
    [users.server, users.agent, users.unsealer],
    [
      { uid: 981, gid: 971 },
      { uid: 982, gid: 972 },
      { uid: 983, gid: 973 },
    ],
  );
  const based = await resolveProcessUsers({ instance: 'web', uidBase: 70000 }, machine(installed));
  assert.deepEqual([based.server.uid, based.agent.uid, based.unsealer.gid], [70000, 70001, 70002]);
});

test('resolveProcessUsers() derives a range that nobody hands out, the same for the same name', async () => {
  const one = await resolveProcessUsers({ instance: 'web' }, machine());
  const same = await resolveProcessUsers({ instance: 'web' }, machine());
  const other = await resolveProcessUsers({ instance: 'db' }, machine());
  assert.deepEqual(one, same);
  assert.notEqual(one.server.uid, other.server.uid);
  for (const name of ['web', 'db', 'a', 'b', 'c']) {
    const base = derivedUidBase(name);
    assert.ok(base >= 0x70000000 && base + 3 < 0x80000000 && base % 4 === 0, name);
  }
});

test('resolveProcessUsers() refuses half an installation', async () => {
  const { 'secretsfs-agent': _, ...half } = installed;
  await refused({ instance: 'web' }, machine(half), /no user "secretsfs-agent"/);
});

test('resolveProcessUsers() refuses root and nobody unless forced, and shared or reserved numbers', async () => {
  const nobody = { ...installed, 'secretsfs-agent': 'secretsfs-agent:x:65534:65534::/:\n' };
  await refused({ instance: 'web' }, machine(nobody), /agent would run as nobody/);
  const forced = await resolveProcessUsers({ instance: 'web', force: true }, machine(nobody));
  assert.equal(forced.agent.uid, 65534);
  await refused({ instance: 'web', uidBase: 0 }, machine(), /server would run as root/);
  await refused({ instance: 'web', uidBase: 65532 }, machine(), /unsealer would run as nobody/);
  const same = { ...installed, 'secretsfs-agent': 'secretsfs-agent:x:981:972::/:\n' };
  await refused({ instance: 'web', force: true }, machine(same), /same uid/);
  const group = { ...installed, 'secretsfs-agent': 'secretsfs-agent:x:982:971::/:\n' };
  await refused({ instance: 'web', force: true }, machine(group), /same gid/);
  await refused(
    { instance: 'web' },
    machine({ ...installed, 'secretsfs-agent': 'secretsfs-agent:x' }),
    /no uid and gid/,
  );
});

test('resolveProcessUsers() checks the range of --uid-base, and that the namespace has the numbers', async () => {
  for (const uidBase of [-1, 1.5, Number.NaN, 0xfffffffc, 2 ** 40]) {
    await refused({ instance: 'web', uidBase }, machine(), /--uid-base is/);
  }
  await refused(
    { instance: 'web' },
    machine({}, '0 100000 65536\n'),
    /does not exist in this user namespace/,
  );
  const users = await resolveProcessUsers(
    { instance: 'web', uidBase: 60000 },
    machine({}, '0 100000 65536\n'),
  );
  assert.equal(users.server.uid, 60000);
});

test('resolveProcessUsers() asks this machine', async () => {
  const users = await resolveProcessUsers({ instance: 'web' });
  assert.equal(new Set([users.server.uid, users.agent.uid, users.unsealer.uid]).size, 3);
});
