import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mountUnitIn } from '../../../src/cli/mount-unit.ts';

test('mountUnitIn() is a unit of ours, and what ends it: root or a user has it', () => {
  const stop = (cgroup: string) => mountUnitIn(cgroup)?.stop;
  const ours = '/system.slice/system-secretsfs.slice/secretsfs@web.service';
  assert.deepEqual(mountUnitIn(`0::${ours}\n`), {
    name: 'secretsfs@web.service',
    stop: 'systemctl stop secretsfs@web.service',
  });
  assert.equal(stop(`0::${ours}/supervisor\n`), 'systemctl stop secretsfs@web.service');
  const user = '/user.slice/user-1000.slice/user@1000.service/app.slice/secretsfs@db.service';
  assert.equal(stop(`0::${user}\n`), 'systemctl --user stop secretsfs@db.service');
  assert.equal(
    stop('0::/system.slice/secretsfs@a\\x2db.service\n'),
    "systemctl stop 'secretsfs@a\\x2db.service'",
  );
});

test('mountUnitIn() is nothing for a mount of a session, of fstab, or of another service', () => {
  for (const group of [
    '/user.slice/user-0.slice/session-1.scope',
    '/system.slice/srv-web.mount',
    '/system.slice/ssh.service',
    '/system.slice/secretsfs@web.service/cron.service',
    '/',
  ])
    assert.equal(mountUnitIn(`0::${group}\n`), undefined, group);
  assert.equal(mountUnitIn(''), undefined);
});
