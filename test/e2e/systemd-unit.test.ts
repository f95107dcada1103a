/** What the unit says beside restarts, under a real systemd: a watchdog, a reload, an upgrade of the program, another Node. */
import assert from 'node:assert/strict';
import { copyFile, readlink, rename } from 'node:fs/promises';
import { test } from 'node:test';
import type { Status } from '../../src/control/protocol.ts';
import { Handed, Readers, UNIT } from '../support/handed-mount.ts';
import { eventually } from '../support/program.ts';
import { patient } from '../support/slowness.ts';

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
