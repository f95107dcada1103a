/** Faults that no namespace can plant: other kernels, other users, other drivers. The rest is in test/e2e/doctor.test.ts. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import type { Status } from '../../../src/control/protocol.ts';
import type { PartOptions } from '../../../src/daemon/mount-options.ts';
import { CHECKS } from '../../../src/doctor/checks.ts';
import type { Cloud, CredentialFacts } from '../../../src/doctor/cloud.ts';
import { AREAS, type Check, type Verdict } from '../../../src/doctor/finding.ts';
import type { Subject } from '../../../src/doctor/subject.ts';
import { formatMiB, formatSpan } from '../../../src/doctor/words.ts';
import { ConfigError, ControlError } from '../../../src/errors.ts';
import { fakeSubject } from '../../support/fake-machine.ts';
import { REPOSITORY } from '../../support/paths.ts';

async function look(id: string, subject: Subject): Promise<readonly Verdict[]> {
  const check = CHECKS.find((each) => each.id === id) as Check;
  const verdict = await check.run(subject);
  return verdict === undefined ? [] : ([verdict].flat() as Verdict[]);
}

async function finds(
  id: string,
  subject: Subject,
  state: Verdict['state'],
  found: RegExp,
  fix?: RegExp,
): Promise<void> {
  const verdicts = await look(id, subject);
  const fitting = verdicts.find((each) => each.state === state && found.test(each.found));
  assert.ok(fitting !== undefined, JSON.stringify(verdicts));
  if (fix !== undefined) assert.match(fitting.fix ?? '', fix);
}

const notRunning = { status: async () => new ControlError('control-not-running', 'no mount') };

test('each check has an id of its own and an area that there is; docs/doctor.md has them all, and no other', () => {
  const ids = CHECKS.map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length);
  for (const { area } of CHECKS) assert.ok(AREAS.includes(area));
  const text = readFileSync(path.join(REPOSITORY, 'docs/doctor.md'), 'utf8');
  const documented = [...text.matchAll(/^\| `([a-z-]+)` \| ([a-z]+) \|/gm)].map(
    ([, id, area]) => `${id} ${area}`,
  );
  assert.deepEqual(documented.sort(), CHECKS.map(({ id, area }) => `${id} ${area}`).sort());
});

test('credentials says of which lines of the unit it can not tell what they set', async () => {
  const source = { bundle: 's3://b/k', aws: {} };
  const part = { sources: [source], acceptedKeys: [], aws: {} } as unknown as PartOptions;
  const facts: CredentialFacts = {
    ...{ source: 'the environment', expiresMs: undefined, renewed: true, fromInstance: false },
  };
  const subject = fakeSubject(
    {},
    {
      plan: { parts: [part] },
      outside: { cloud: () => ({ credentials: async () => facts }) as Cloud },
      unitHides: ['AWS_PROFILE', 'EnvironmentFile=/a'],
    },
  );
  const words = /without what secretsfs@web\.service sets by AWS_PROFILE, EnvironmentFile=\/a$/;
  await finds('credentials', subject, 'unknown', words, /as root/);
});

test('fuse-device tells what is missing from what is closed', async () => {
  await finds(
    'fuse-device',
    fakeSubject({ openError: async () => 'ENOENT' }),
    'problem',
    /not there/,
    /modprobe fuse/,
  );
  await finds(
    'fuse-device',
    fakeSubject({ openError: async () => 'EACCES' }),
    'problem',
    /may not open/,
    /chmod 0666/,
  );
  await finds('fuse-device', fakeSubject({ openError: async () => 'EIO' }), 'problem', /EIO/, /mknod/);
});

test('fuse-conf counts for a user with fuse-native alone', async () => {
  const plan = { driver: 'fuse-native' as const };
  const at = (text: string) => ({ files: { '/etc/fuse.conf': text }, uid: 1000 });
  await finds(
    'fuse-conf',
    fakeSubject(at('#user_allow_other'), { plan }),
    'warning',
    /not set/,
    /tee -a \/etc\/fuse\.conf/,
  );
  await finds('fuse-conf', fakeSubject({ uid: 1000 }, { plan }), 'warning', /not set/);
  await finds('fuse-conf', fakeSubject(at('x\n user_allow_other '), { plan }), 'ok', /is set/);
  assert.deepEqual(await look('fuse-conf', fakeSubject(at(''), { plan: {} })), []);
  assert.deepEqual(await look('fuse-conf', fakeSubject({ uid: 0 }, { plan })), []);
});

test('kernel refuses what is too old, and what has no pidfd', async () => {
  await finds('kernel', fakeSubject({ kernel: '4.19.0-26' }), 'problem', /needs 5\.4/, /driver: fuse-native/);
  await finds('kernel', fakeSubject({ kernel: '6.1.0' }), 'ok', /taken over from memory/);
  await finds('kernel', fakeSubject({ kernel: '6.9.1' }), 'ok', /sends lost requests again/);
  await finds(
    'kernel',
    fakeSubject({ pidfdProblem: () => 'EPERM' }),
    'problem',
    /pidfd_open\(2\) fails: EPERM/,
    /seccomp/,
  );
});

test('a config that may not be read is unknown to who is not root, and a problem to root', async () => {
  const configError = new ConfigError('config-unreadable', 'cannot read config "x"', {
    hint: 'give another',
  });
  await finds(
    'config',
    fakeSubject({ uid: 1000 }, { configError }),
    'unknown',
    /cannot read/,
    /sudo secretsfs doctor/,
  );
  await finds('config', fakeSubject({}, { configError }), 'problem', /config-unreadable/, /give another/);
});

test('swap is no problem where the control group of the mount, or its unit, forbids it', async () => {
  const swaps = 'Filename Type\n/dev/vda2 partition';
  const cgroup2 = [{ fstype: 'cgroup2', mountpoint: '/sys/fs/cgroup' }] as never;
  const unit = { '/etc/systemd/system/secretsfs@.service': '[Service]\nMemorySwapMax=0' };
  const controllers = { '/sys/fs/cgroup/cgroup.controllers': 'cpu memory' };
  const machine = (files: object, more = {}) => ({
    files: { '/proc/swaps': swaps, ...files },
    mounts: async () => cgroup2,
    ...more,
  });
  const running = { status: async () => ({ pid: 5 }) as Status };
  await finds(
    'swap',
    fakeSubject(machine({}), { plan: {}, outside: running }),
    'ok',
    /control group of the mount/,
  );
  const options = { plan: {}, outside: notRunning };
  await finds(
    'swap',
    fakeSubject(machine({ ...unit, ...controllers }), options),
    'ok',
    /the unit forbids it/,
  );
  await finds('swap', fakeSubject(machine(unit), options), 'problem', /does nothing/, /swapoff -a/);
  await finds('swap', fakeSubject(machine({}), options), 'problem', /no unit is installed/, /swapoff -a/);
  await finds(
    'swap',
    fakeSubject(machine({}), { plan: { allowSwap: true }, outside: notRunning }),
    'warning',
    /allowSwap/,
  );
});

test('memlock is of the mount, its unit or the shell; too little is a problem with the kernel driver, which does not start then', async () => {
  const limits = (text: string) => ({ '/proc/self/limits': `Max locked memory         ${text}     x bytes` });
  const at = (text: string, unit = '', driver: 'kernel' | 'fuse-native' = 'kernel') => {
    const file = { '/etc/systemd/system/secretsfs@.service': `[Service]\n${unit}` };
    const plan = { driver, parts: [{ bytesMax: 4 << 20 } as PartOptions] };
    return fakeSubject({ files: { ...limits(text), ...file } }, { plan, outside: notRunning });
  };
  const short = /^1048591 bytes, of this shell, want 1048592: the mount does not start/;
  await finds('memlock', at('1048591'), 'problem', short, /LimitMEMLOCK=infinity/);
  for (const enough of ['1048592', 'unlimited']) await finds('memlock', at(enough), 'ok', /of this shell/);
  await finds('memlock', at('0', 'LimitMEMLOCK=infinity'), 'ok', /^no limit, of the unit/);
  await finds('memlock', at('0', 'LimitMEMLOCK=2M:4M'), 'ok', /^2\.0 MiB, of the unit/);
  await finds('memlock', at('unlimited', 'LimitMEMLOCK=64K'), 'problem', /^65536 bytes, of the unit/);
  await finds('memlock', at('2097152', '', 'fuse-native'), 'warning', /want 4194304: .* swapped out/);
  // Of a machine without a config: as whoever asks would mount.
  await finds('memlock', fakeSubject({ files: limits('0') }), 'problem', /does not start/);
  await finds('memlock', fakeSubject({ files: limits('0'), uid: 1000 }), 'warning', /swapped out/);
  const running = { status: async () => ({ pid: 5 }) as Status };
  const files = { '/proc/5/limits': limits('65536')['/proc/self/limits'] };
  await finds('memlock', fakeSubject({ files }, { plan: {}, outside: running }), 'problem', /of the mount/);
});

test('hibernation is guarded by a unit of ours, or by a mask', async () => {
  const files = {
    '/sys/power/state': 'freeze mem disk',
    '/sys/power/disk': '[platform] shutdown',
    '/proc/swaps': 'x\n/dev/a b',
  };
  await finds('hibernation', fakeSubject({ files }), 'warning', /can hibernate/, /systemctl mask/);
  const guard = { '/etc/systemd/system/systemd-hibernate.service.requires/secretsfs-hibernate.service': 'x' };
  await finds(
    'hibernation',
    fakeSubject({ files: { ...files, ...guard } }),
    'ok',
    /secretsfs-hibernate\.service unmounts/,
  );
  await finds(
    'hibernation',
    fakeSubject({ files: { ...files, '/etc/systemd/system/hibernate.target': '' } }),
    'ok',
    /masked/,
  );
  await finds(
    'hibernation',
    fakeSubject({ files: { ...files, '/sys/power/disk': '[disabled]' } }),
    'ok',
    /can not/,
  );
});

test('core-pattern is content with a systemd-coredump that keeps nothing', async () => {
  const files = { '/proc/sys/kernel/core_pattern': '|/usr/lib/systemd/systemd-coredump %P\n' };
  const none = { '/etc/systemd/coredump.conf.d/none.conf': '[Coredump]\nStorage=none\n' };
  await finds('core-pattern', fakeSubject({ files }), 'warning', /systemd-coredump/, /Storage=none/);
  await finds('core-pattern', fakeSubject({ files: { ...files, ...none } }), 'ok', /no process of a mount/);
  const apport = { '/proc/sys/kernel/core_pattern': '|/usr/share/apport/apport' };
  await finds(
    'core-pattern',
    fakeSubject({ files: apport }),
    'warning',
    /apport/,
    /sysctl -w kernel\.core_pattern=core/,
  );
});

const part = (more: Partial<PartOptions>): PartOptions =>
  ({
    sources: [],
    acceptedKeys: [],
    aws: {},
    bytesMax: 1024,
    directory: undefined,
    name: 'web',
    ...more,
  }) as never;
const source = { bundle: 's3://b/web.enc', aws: {} } as never;

test("memory-headroom counts the unit's limit where nothing runs yet", async () => {
  const unit = { '/etc/systemd/system/secretsfs@.service': '[Service]\nMemoryMax=2M' };
  const plan = { parts: [part({ sources: [source] })] };
  const outside = { ...notRunning, open: async () => ({ bytes: 1024 * 1024, content: undefined }) };
  await finds(
    'memory-headroom',
    fakeSubject({ files: unit }, { plan, outside }),
    'problem',
    /2\.0 MiB can be had.*3\.0 MiB/,
    /raise MemoryMax= of secretsfs@web/,
  );
  await finds('memory-headroom', fakeSubject({}, { plan, outside }), 'ok', /no limit/);
});

const cloud = (credentials: Partial<CredentialFacts>): Partial<Cloud> => ({
  credentials: async () => ({
    source: 'x',
    expiresMs: undefined,
    renewed: true,
    fromInstance: false,
    ...credentials,
  }),
});
const inS3 = { parts: [part({ sources: [source] })] };

test('credentials that expired are a problem, whoever renews them', async () => {
  const at = (more: Partial<CredentialFacts>) =>
    fakeSubject({}, { plan: inS3, outside: { cloud: () => cloud(more) as Cloud, nowMs: () => 100_000_000 } });
  await finds('credentials', at({ expiresMs: 1 }), 'problem', /expired 28 h ago/, /why they are not renewed/);
  await finds('credentials', at({ expiresMs: 100_003_000, renewed: true }), 'ok', /renewed by itself/);
  await finds('credentials', at({ expiresMs: 100_003_000, renewed: false }), 'warning', /can't renew/);
  await finds('credentials', at({}), 'ok', /^from x$/);
});

test('a metadata service that is closed to the agent as well is a problem of its own', async () => {
  const users = [{ name: 'secretsfs-agent', uid: 7, gids: [7] }];
  const env = { AWS_EC2_METADATA_SERVICE_ENDPOINT: 'http://imds.test' };
  const statusAs = async (uid: number, { method }: { method: string }) =>
    method === 'PUT' && uid === 0 ? 200 : 401;
  const outside = { cloud: () => cloud({ fromInstance: true }) as Cloud };
  const subject = fakeSubject({ env, users, statusAs }, { plan: inS3, outside });
  await finds(
    'imds',
    subject,
    'problem',
    /secretsfs-agent does not reach it/,
    /--uid-owner secretsfs-agent -j ACCEPT/,
  );
  await finds('imds', subject, 'ok', /other users do not reach http/);
  await finds(
    'imds',
    subject,
    'ok',
    /how many hops .*HttpPutResponseHopLimit 1.*: aws ec2 describe-instances/,
  );
  // --strict can pass on an instance.
  assert.ok((await look('imds', subject)).every(({ state }) => state !== 'unknown'));
  await finds(
    'imds',
    fakeSubject({ env, uid: 1000, statusAs: async () => 200 }),
    'unknown',
    /whether other users/,
    /sudo secretsfs doctor/,
  );
  assert.deepEqual(await look('imds', fakeSubject({ env: { AWS_EC2_METADATA_DISABLED: 'true' } })), []);
});

test('a mount that fails, waits or does not answer is said so', async () => {
  const status = {
    instance: 'web',
    mountpoint: '/srv/web',
    driver: 'kernel',
    state: 'live',
    live: null,
    error: null,
  };
  const at = (more: object, machine = {}) =>
    fakeSubject(machine, { plan: {}, outside: { status: async () => ({ ...status, ...more }) as never } });
  const error = {
    code: 'key-denied',
    message: 'cannot open it',
    hint: 'grant kms:Decrypt',
    since: 'now',
    attempts: 3,
  };
  await finds(
    'mount',
    at({ state: 'failing', error }),
    'problem',
    /cannot open it \(key-denied\), since now/,
    /grant kms:Decrypt/,
  );
  await finds('mount', at({ state: 'starting' }), 'warning', /serves nothing yet/, /secretsfs wait web/);
  await finds(
    'mount',
    at({ hooks: [{ name: 'n', outcome: 'failed', error: 'why' }] }),
    'problem',
    /hook n failed: why/,
    /secretsfs hook run n web/,
  );
  const hangs = {
    run: async () => ({ code: undefined, stdout: '', stderr: '', found: true, timedOut: true }),
  };
  await finds('mount', at({}, hangs), 'problem', /does not answer/);
  await finds(
    'mount',
    at({ mountpoint: '/srv/other' }),
    'warning',
    /mounted at "\/srv\/other"/,
    /systemctl restart/,
  );
  const kept = { stale: true, confirmed: 'yesterday', problem: null };
  await finds(
    'mount',
    at({ bundleCache: kept }),
    'warning',
    /kept on the disk.*yesterday/,
    /secretsfs remount web/,
  );
  await finds(
    'mount',
    at({ bundleCache: { stale: false, problem: 'full' } }),
    'warning',
    /for the next start: full/,
  );
  await finds(
    'mount',
    at({ floor: { problem: 'read-only' } }),
    'warning',
    /forgotten at the next start: read-only/,
  );
  await finds('mount', at({ successorProblem: 'gone' }), 'warning', /no server could take over: gone/);
  await finds('mount', at({}), 'ok', /live/);
});

test('spans and sizes are said as a person would', () => {
  assert.deepEqual([1000, 119_000, 7_000_000, 90_000_000, 864_000_000].map(formatSpan), [
    '1 s',
    '119 s',
    '117 min',
    '25 h',
    '10 days',
  ]);
  assert.deepEqual([1024 * 1024, 1e9, Number.POSITIVE_INFINITY].map(formatMiB), [
    '1.0 MiB',
    '954 MiB',
    'no limit',
  ]);
});
