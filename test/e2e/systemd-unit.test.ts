/** What the unit says beside restarts, under a real systemd: a watchdog, a reload, an upgrade of the program, another Node. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, readlink, rename } from 'node:fs/promises';
import { test } from 'node:test';
import type { Status } from '../../src/control/protocol.ts';
import { Handed, Readers, UNIT } from '../support/handed-mount.ts';
import { eventually, run } from '../support/program.ts';
import { patient } from '../support/slowness.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const pidsOf = ({ processes }: Status) => new Map((processes ?? []).map(({ role, pid }) => [role, pid]));
const NODE = '/usr/local/sbin/node';

test('reload, upgrade, another Node, a supervisor that hangs: the unit goes on, and no read fails', async (t) => {
  const handed = await Handed.start(t);
  const { systemd } = handed;
  const readers = new Readers(t, handed);
  await readers.verified();
  const isResumed = async (times: number) => {
    assert.equal((await handed.events('resumed')).length, times);
    assert.deepEqual(await handed.events('not-resumed'), []);
    await readers.verified();
  };

  const serial = await handed.put();
  await systemd.must('systemctl', ['reload', UNIT]);
  assert.equal((await handed.status()).live?.serial, serial);
  const before = await eventually(async () => {
    const pids = pidsOf(await handed.status());
    assert.ok(pids.has('agent') && pids.has('successor'));
    return pids;
  });
  await systemd.must('secretsfs', ['upgrade', 'web']);
  await eventually(async () => {
    const after = pidsOf(await handed.status());
    assert.deepEqual(
      [...after].filter(([role, pid]) => before.get(role) === pid).map(([role]) => role),
      ['supervisor'],
    );
    assert.equal(after.size, before.size);
  });
  await isResumed(0);

  // As a package replaces it: another file in its place.
  const runs = async () => readlink(systemd.path(`/proc/${await handed.supervisor()}/exe`));
  await copyFile(process.execPath, systemd.path('/usr/local/sbin/node-next'));
  await rename(systemd.path('/usr/local/sbin/node-next'), systemd.path(NODE));
  assert.notEqual(await runs(), NODE);
  await systemd.must('systemctl', ['restart', UNIT]);
  assert.equal(await runs(), NODE);
  await isResumed(1);

  // Long enough for a busy machine: the mount answers once a second.
  await handed.dropIn(`WatchdogSec=${patient(5_000) / 1000}`);
  await systemd.must('systemctl', ['restart', UNIT]);
  const hung = await handed.supervisor();
  await systemd.must('kill', ['-STOP', `${hung}`]);
  await handed.isFollowed(hung);
  assert.equal(await systemd.property(UNIT, 'NRestarts'), '1');
  await isResumed(3);
  assert.equal((await handed.events('unsealed')).length, 2, 'no bundle was opened for it');
});

/** Of a file system that is frozen: who writes to it can not end, killed or not. $1: a directory, $2: a control group. */
const FREEZE = `
  truncate -s 8M "$1/image"; mkfs.ext4 -q "$1/image"
  mkdir "$1/frozen"; mount -o loop "$1/image" "$1/frozen"; fsfreeze -f "$1/frozen"
  sh -c 'echo 0 >"$2/cgroup.procs"; echo $$; exec >"$1/frozen/file"' sh "$1" "$2" &
`;
const THAW = 'fsfreeze -u "$1/frozen"; umount -l "$1/frozen"';

test('a process that can not end, as one whose request the killed server had taken, keeps no reader waiting', async (t) => {
  const handed = await Handed.start(t);
  const { systemd } = handed;
  const group = systemd.path(`/sys/fs/cgroup${await systemd.property(UNIT, 'ControlGroup')}`);
  const directory = await temporaryDirectory(t);
  try {
    const [enter, ...args] = systemd.amongPids;
    const stuck = spawn(enter, [...args, '/bin/sh', '-euc', FREEZE, 'sh', directory, group], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const pid = `${(await once(stuck.stdout, 'data'))[0]}`.trim();
    const isStuck = async () => {
      assert.match(await systemd.must('cat', [`/proc/${pid}/status`]), /^State:\tD/m);
      assert.match(await systemd.must('cat', [`/proc/${pid}/cgroup`]), /secretsfs@web\.service/);
    };
    await eventually(isStuck);
    const readers = new Readers(t, handed);
    await readers.verified();
    await handed.killSupervisor();
    await readers.verified();
    await isStuck();
    assert.equal((await handed.events('resumed')).length, 1);
  } finally {
    // Before anything else is cleaned up, which would wait for it.
    await run('/bin/sh', ['-c', THAW, 'sh', directory]);
  }
});

test('what a supervisor had started and left behind is killed at its end, in a restart and in a stop', async (t) => {
  const handed = await Handed.start(t);
  const { systemd } = handed;
  const group = systemd.path(`/sys/fs/cgroup${await systemd.property(UNIT, 'ControlGroup')}/cgroup.procs`);
  const leave = async () => {
    const [enter, ...args] = systemd.amongPids;
    const script = 'echo 0 >"$1"; trap "" TERM; echo there; while :; do sleep 1; done';
    const left = spawn(enter, [...args, 'setsid', '/bin/sh', '-c', script, 'sh', group]);
    t.after(() => left.kill('SIGKILL'));
    await once(left.stdout, 'data');
    return { hasEnded: once(left, 'close') };
  };
  const { hasEnded } = await leave();
  assert.equal((await systemd.run('secretsfs', ['status', 'web'])).code, 0);
  await systemd.must('systemctl', ['restart', UNIT]);
  await hasEnded;
  assert.equal((await handed.events('resumed')).length, 1);
  const another = await leave();
  await systemd.must('systemctl', ['stop', UNIT]);
  await another.hasEnded;
});
