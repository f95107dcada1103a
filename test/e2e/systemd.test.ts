/** The unit, and what the daemon tells systemd. */
import assert from 'node:assert/strict';
import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import type { Status } from '../../src/control/protocol.ts';
import { resolveProcessUsers } from '../../src/system/process-users.ts';
import { listenAsSystemd } from '../support/notify-listener.ts';
import { PROGRAM, REPOSITORY } from '../support/paths.ts';
import { kill, statusOf } from '../support/processes.ts';
import { Bench, eventually, must, run } from '../support/program.ts';

const UNIT = path.join(REPOSITORY, 'systemd', 'secretsfs@.service');

test('systemd finds nothing wrong with the units, and every option of its command exists', async (t) => {
  const bench = await Bench.create(t);
  const unit = await readFile(UNIT, 'utf8');
  const file = bench.path('secretsfs@.service');
  await writeFile(file, unit.replaceAll('/usr/bin/secretsfs', PROGRAM));
  const { code, stdout, stderr } = await run('systemd-analyze', ['verify', '--man=no', file]);
  assert.equal(stdout + stderr, '');
  assert.equal(code, 0);
  for (const name of ['secretsfs-hibernate.service', 'secretsfs-user@.service']) {
    const other = await readFile(path.join(REPOSITORY, 'systemd', name), 'utf8');
    await writeFile(bench.path(name), other.replaceAll('/usr/bin/secretsfs', PROGRAM));
    const manager = name.includes('user') ? ['--user'] : [];
    const env = { ...process.env, XDG_RUNTIME_DIR: bench.directory };
    const args = ['verify', ...manager, '--man=no', bench.path(name)];
    const verified = await run('systemd-analyze', args, { env });
    assert.equal(verified.stdout + verified.stderr, '');
  }
  // The control: it does look.
  await writeFile(file, unit.replaceAll('/usr/bin/secretsfs', PROGRAM).replace('Type=notify', 'Typo=notify'));
  assert.match((await run('systemd-analyze', ['verify', '--man=no', file])).stderr, /Typo/);

  await writeFile(
    bench.path('web.yaml'),
    `bundle: ${bench.path('none.enc')}\nmountpoint: ${bench.directory}\n`,
  );
  const command = /^ExecStart=\S+ (.*)$/m.exec(unit)?.[1] ?? '';
  const args = command
    .replace('/etc/secretsfs/%i.yaml', bench.path('web.yaml'))
    .replace('%i', 'web')
    .split(' ');
  assert.match((await bench.secretsfs(args)).stderr, /no key given/);
});

/** Tenths: a unit that mounts for the whole machine, as root, can't have most of what brings this down. */
const EXPOSURE_MAX = 52;

test('the unit is exposed no more than it must be, and keeps the mount in sight of the machine', async (t) => {
  const bench = await Bench.create(t);
  const unit = await readFile(UNIT, 'utf8');
  const file = bench.path('secretsfs@.service');
  const security = async (text: string) => {
    await writeFile(file, text);
    return run('systemd-analyze', ['security', '--offline=true', `--threshold=${EXPOSURE_MAX}`, file]);
  };
  const { code, stdout } = await security(unit);
  assert.equal(code, 0, stdout);
  // The control: it does measure.
  assert.notEqual((await security(unit.replace(/^(System|Capability).*$/gm, ''))).code, 0);
  // systemd.exec(5): each of these gives the unit a mount namespace of its own.
  const hiding =
    /^(Root\w+|Protect(System|Home|Proc|Kernel\w+|ControlGroups)|Private(Tmp|Devices|Mounts|Network|IPC|Users)|ProcSubset|Mount\w+|DynamicUser|TemporaryFileSystem|Bind\w*Paths|(ReadWrite|ReadOnly|Inaccessible|Exec|NoExec)Paths)=/m;
  assert.doesNotMatch(unit, hiding);
});

test('sysusers.d and tmpfiles.d make what the program looks for', async (t) => {
  const bench = await Bench.create(t);
  const root = bench.path('root');
  await mkdir(path.join(root, 'etc'), { recursive: true });
  await must('systemd-sysusers', [
    `--root=${root}`,
    path.join(REPOSITORY, 'systemd', 'secretsfs.sysusers.conf'),
  ]);
  await must('systemd-tmpfiles', [
    `--root=${root}`,
    '--create',
    path.join(REPOSITORY, 'systemd', 'secretsfs.tmpfiles.conf'),
  ]);
  assert.equal((await stat(path.join(root, 'etc/secretsfs'))).mode & 0o7777, 0o700);
  const passwd = await readFile(path.join(root, 'etc/passwd'), 'utf8');
  const users = await resolveProcessUsers(
    { instance: 'web' },
    {
      passwd: async () => passwd.split('\n'),
      uidMap: async () => '',
    },
  );
  assert.equal(users.origin, 'secretsfs-server, secretsfs-agent, secretsfs-unsealer');
});

test('a mount says READY=1 to systemd once it serves, and STOPPING=1 when it ends', async (t) => {
  const bench = await Bench.create(t);
  await mkdir(bench.path('mnt'));
  await mkdir(bench.path('dir'));
  await writeFile(bench.path('dir/secret'), 'content');
  await bench.must(['keygen', 'key']);
  await bench.must(['pack', '--dir', 'dir', '--key', 'local:key', 'web.enc']);
  const systemd = await listenAsSystemd(bench);
  const env = { ...bench.env, NOTIFY_SOCKET: systemd.path };
  const daemon = await bench.mount(['web.enc', 'mnt', '--key', 'local:key'], env);
  await eventually(async () => assert.match(systemd.said(), /^READY=1$/m));
  assert.match(systemd.said(), /^STATUS=serial \d+ at /m);
  assert.ok(!systemd.said().includes('STOPPING'));
  await daemon.stop();
  await eventually(async () => assert.match(systemd.said(), /^STOPPING=1$/m));
});

/** All that a mount goes through, started by `before`. What it logged. */
async function liveThrough(bench: Bench, before: readonly string[], meanwhile: (pid: number) => void) {
  await mkdir(bench.path('mnt'));
  await mkdir(bench.path('dir'));
  await bench.must(['keygen', 'key']);
  const pack = async (content: string) => {
    await writeFile(bench.path('dir/secret'), content);
    await rm(bench.path('web.enc'), { force: true });
    await bench.must(['pack', '--dir', 'dir', '--key', 'local:key', 'web.enc']);
  };
  const live = () => readFile(bench.path('mnt/secret'), 'utf8');
  bench.before = before;
  await pack('one');
  const daemon = await bench.mount(['web.enc', 'mnt', '--key', 'local:key']);
  meanwhile(daemon.child.pid ?? 0);
  assert.equal(await live(), 'one');
  await pack('two');
  await bench.must(['remount', 'web']);
  assert.equal(await live(), 'two');
  await writeFile(bench.path('web.enc'), 'no bundle');
  assert.notEqual((await bench.secretsfs(['remount', 'web'])).code, 0);
  await bench.must(['upgrade', 'web']);
  const server = await pidOf(bench, 'server');
  assert.match(statusOf(server, 'CapBnd'), /^0+$/);
  bench.after(async () => kill(server));
  process.kill(server, 'SIGSTOP');
  await daemon.event('server-died');
  await pack('three');
  await bench.must(['remount', 'web']);
  assert.equal(await live(), 'three');
  await bench.must(['unmount', 'web']);
  assert.equal(await daemon.ended, 0);
  assert.doesNotMatch(daemon.text, /EPERM|EACCES|not permitted|"bug"/);
}

async function pidOf(bench: Bench, role: string): Promise<number> {
  const [{ processes }] = JSON.parse(await bench.must(['status', '--json'])) as [Status];
  return processes?.find((each) => each.role === role)?.pid ?? 0;
}

/** Words of a setting that may be given more than once. */
async function settings(name: string): Promise<string[]> {
  const lines = (await readFile(UNIT, 'utf8')).matchAll(new RegExp(`^${name}=(.*)$`, 'gm'));
  return [...lines].flatMap(([, words = '']) => words.split(' ').filter(Boolean));
}

function bitsOf(hex: string): number {
  return [...BigInt(`0x${hex}`).toString(2)].filter((digit) => digit === '1').length;
}

test('a mount comes up, rotates, is upgraded and ends with no more than the capabilities of the unit', async (t) => {
  const bench = await Bench.create(t);
  const capabilities = await settings('CapabilityBoundingSet');
  const bounding = ['-all', ...capabilities.map((name) => `+${name.replace('CAP_', '').toLowerCase()}`)];
  const before = ['setpriv', `--bounding-set=${bounding.join(',')}`, '--no-new-privs', '--'];
  await liveThrough(bench, before, (pid) => {
    // The control: of the many that root has here, only these are left.
    const [left, had] = [bitsOf(statusOf(pid, 'CapEff')), bitsOf(statusOf(process.pid, 'CapEff'))];
    assert.ok(left > 0 && left <= capabilities.length && left < had, `${left} of ${had}`);
  });
});

/** Of groups as systemd.exec(5) has them, and of single ones. */
async function systemCalls(names: readonly string[]): Promise<string[]> {
  const calls = await Promise.all(
    names.map(async (name) => {
      if (!name.startsWith('@')) return [name];
      const lines = (await must('systemd-analyze', ['syscall-filter', name])).split('\n').slice(1);
      const members = lines.map((line) => line.trim()).filter((line) => /^[@\w-]+$/.test(line));
      return systemCalls(members.filter((member) => member !== name));
    }),
  );
  return calls.flat();
}

test('a mount comes up, rotates, is upgraded and ends with every system call failing that the unit refuses', async (t) => {
  const bench = await Bench.create(t);
  const allowed = new Set(await systemCalls(await settings('SystemCallFilter')));
  const refused = (await systemCalls(['@known'])).filter((call) => !allowed.has(call));
  const [error] = await settings('SystemCallErrorNumber');
  // Those that strace, or this machine, does not know are marked.
  const set = refused.map((call) => `?${call}`).join(',');
  const injection = ['-e', `trace=${set}`, '-e', `inject=${set}:error=${error}`];
  const log = bench.path('refused');
  const strace = ['strace', '-D', '-f', '--seccomp-bpf', '-qq', '-o', log, ...injection, '--'];
  // The control: a call that no unit would allow.
  await run('strace', [...strace.slice(1), 'swapoff', '/dev/null']);
  assert.match(await readFile(log, 'utf8'), /INJECTED/);
  await liveThrough(bench, strace, () => undefined);
});
