/** The unit under a real systemd: what it promises of starting, reloading, stopping, and of what dies. */
import assert from 'node:assert/strict';
import { closeSync, openSync, readSync } from 'node:fs';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { file } from '../support/entries.ts';
import { statusOf } from '../support/processes.ts';
import { eventually, must } from '../support/program.ts';
import { isAlive, RESIDENT } from '../support/secret-mount.ts';
import { patient } from '../support/slowness.ts';
import { UnitMount } from '../support/unit-mount.ts';

const restarted = (mount: UnitMount, times: number) =>
  eventually(async () => {
    assert.equal(await mount.property('NRestarts'), `${times}`);
    assert.equal(await mount.property('ActiveState'), 'active');
  }, patient(60_000));

test('start returns when the mount serves; the processes are three users of their own, as sysusers.d says', async (t) => {
  const mount = await UnitMount.create(t, [file('secret', 'one')]);
  await mount.systemctl('start');
  assert.equal(await readFile(mount.path('secret'), 'utf8'), 'one');
  assert.equal(await mount.property('ActiveState'), 'active');
  assert.match(await mount.property('StatusText'), /^serial \d+ at \/run\/secrets\/web$/);
  const processes = await eventually(async () => {
    const found = await mount.processes();
    assert.deepEqual(
      RESIDENT.filter((role) => !found.some((each) => each.role === role)),
      [],
    );
    return found;
  });
  for (const { role, pid } of processes) {
    const user = { server: 'server', successor: 'server', notifier: 'server', agent: 'agent' }[role];
    const name = user === undefined ? 'root' : `secretsfs-${user}`;
    const [uid, gid] = (await must('getent', ['passwd', name])).split(':').slice(2, 4);
    await eventually(async () => {
      assert.equal(statusOf(pid, 'Uid'), Array(4).fill(uid).join('\t'), role);
      assert.equal(statusOf(pid, 'Gid'), Array(4).fill(gid).join('\t'), role);
    });
    assert.equal(statusOf(pid, 'NoNewPrivs'), '1', role);
    assert.equal(statusOf(pid, 'Seccomp'), '2', role);
    if (user !== undefined) assert.equal(statusOf(pid, 'CapBnd'), '0'.repeat(16), role);
  }
  assert.equal((await mount.cgroup('memory.swap.max')).trim(), '0');
});

test('reload returns when the new bundle is live, and fails for one that can not be; the old one stays', async (t) => {
  const mount = await UnitMount.create(t, [file('secret', 'one')]);
  await mount.systemctl('start');
  await mount.put([file('secret', 'two')]);
  await mount.systemctl('reload');
  assert.equal(await readFile(mount.path('secret'), 'utf8'), 'two');
  await mount.putRaw(Buffer.from('no bundle'));
  assert.notEqual((await mount.trySystemctl('reload')).code, 0);
  assert.equal(await mount.property('ActiveState'), 'active');
  assert.equal(await mount.property('NRestarts'), '0');
  assert.equal(await readFile(mount.path('secret'), 'utf8'), 'two');
});

test('stop unmounts and ends every process, with a file still open', async (t) => {
  const mount = await UnitMount.create(t, [file('secret', 'one')]);
  await mount.systemctl('start');
  const pids = await mount.pids();
  const fd = openSync(mount.path('secret'), 'r');
  try {
    await mount.systemctl('stop');
    assert.equal(await mount.property('Result'), 'success');
    assert.equal(mount.isMounted(), false);
    for (const pid of pids) assert.equal(isAlive(pid), false, `process ${pid}`);
    assert.throws(() => readSync(fd, Buffer.alloc(8), 0, 8, 0), { code: /^(ECONNABORTED|ENOTCONN|EIO)$/ });
    assert.match(await mount.journal(), /"event":"stopped"/);
  } finally {
    closeSync(fd);
  }
});

test('kill -9 of any process but the supervisor restarts that one, not the unit', async (t) => {
  const mount = await UnitMount.create(t, [file('secret', 'one')]);
  await mount.systemctl('start');
  for (const role of RESIDENT.filter((each) => each !== 'supervisor')) {
    const pid = await eventually(() => mount.pidOf(role));
    process.kill(pid, 'SIGKILL');
    await eventually(async () => assert.notEqual(await mount.pidOf(role), pid));
    assert.equal(await readFile(mount.path('secret'), 'utf8'), 'one');
  }
  await mount.put([file('secret', 'two')]);
  await mount.systemctl('reload');
  assert.equal(await readFile(mount.path('secret'), 'utf8'), 'two');
  assert.equal(await mount.property('NRestarts'), '0');
});

test('kill -9 of the supervisor: none of its processes survives, and the next one goes on with the mount', async (t) => {
  const mount = await UnitMount.create(t, [file('secret', 'one')], 'RestartSec=2');
  await mount.systemctl('start');
  const pids = await mount.pids();
  process.kill(await mount.supervisor(), 'SIGKILL');
  await restarted(mount, 1);
  for (const pid of pids) assert.equal(isAlive(pid), false, `process ${pid}`);
  assert.equal(await readFile(mount.path('secret'), 'utf8'), 'one');
  assert.match(await mount.journal(), /"event":"resumed"/);
});

test('a supervisor that hangs is noticed by the watchdog, and another goes on with the mount', async (t) => {
  const mount = await UnitMount.create(t, [file('secret', 'one')], 'RestartSec=2\nWatchdogSec=15');
  await mount.systemctl('start');
  const pid = await mount.supervisor();
  // Not for nothing: it lives through more than one period when it does not hang.
  await new Promise((resolve) => setTimeout(resolve, 40_000));
  assert.equal(await mount.supervisor(), pid);
  process.kill(pid, 'SIGSTOP');
  await restarted(mount, 1);
  assert.notEqual(await mount.supervisor(), pid);
  assert.equal(isAlive(pid), false);
  assert.equal(await readFile(mount.path('secret'), 'utf8'), 'one');
  assert.match(await must('journalctl', ['-u', mount.unit, '--no-pager', '-o', 'cat']), /Watchdog timeout/);
});

test('out of memory in its control group, the kernel ends the agent first, and the unit goes on', async (t) => {
  const mount = await UnitMount.create(t, [file('secret', 'one')]);
  await mount.systemctl('start');
  const before = await eventually(() => mount.pidOf('agent'));
  const kills = async () => Number(/^oom_kill (\d+)$/m.exec(await mount.cgroup('memory.events'))?.[1]);
  const limit = await mount.cgroupPath('memory.max');
  assert.equal(await kills(), 0);
  // Lower and lower, until what can be reclaimed is not enough.
  let bytes = Number(await mount.cgroup('memory.current'));
  while ((await kills()) === 0 && bytes > 0) {
    bytes -= 4 * 1024 * 1024;
    await writeFile(limit, `${bytes}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await writeFile(limit, 'max');
  assert.ok((await kills()) >= 1);
  await eventually(async () => assert.notEqual(await mount.pidOf('agent'), before));
  assert.equal(await readFile(mount.path('secret'), 'utf8'), 'one');
  assert.equal(await mount.property('ActiveState'), 'active');
  assert.equal(await mount.property('NRestarts'), '0');
});

test('the mount is seen from outside of the unit, and by a unit that has a mount namespace of its own', async (t) => {
  const mount = await UnitMount.create(t, [file('secret', 'one')]);
  await mount.systemctl('start');
  const properties = ['PrivateTmp=yes', 'ProtectSystem=strict'].flatMap((each) => ['-p', each]);
  const args = ['--wait', '--pipe', '--quiet', ...properties, '--', 'cat', mount.path('secret')];
  assert.equal(await must('systemd-run', args), 'one');
  assert.equal((await stat(mount.path('secret'))).size, 3);
});
