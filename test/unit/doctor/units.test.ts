import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { brokenBy } from '../../../src/doctor/systemd.ts';
import { lastOf, listOf, loadUnit, parseUnit, type Unit } from '../../../src/doctor/units.ts';
import { fakeMachine } from '../../support/fake-machine.ts';
import { REPOSITORY } from '../../support/paths.ts';

test('parseUnit() joins continued lines, past comments, and leaves out what assigns nothing', () => {
  const text = '# x\n[Unit]\nAfter=a \\\n# between\n  b\n; y\nnonsense\n[Service]\nUser = web\nEmpty=\n';
  assert.deepEqual(parseUnit(text, 'f'), [
    { section: 'Unit', key: 'After', value: 'a b', file: 'f' },
    { section: 'Service', key: 'User', value: 'web', file: 'f' },
    { section: 'Service', key: 'Empty', value: '', file: 'f' },
  ]);
});

test('loadUnit() takes the first directory, the template, and the drop-ins of all by name', async () => {
  const machine = fakeMachine({
    files: {
      '/usr/lib/systemd/system/secretsfs@.service': '[Unit]\nAfter=old\n[Service]\nUser=old',
      '/etc/systemd/system/secretsfs@.service': '[Unit]\nAfter=net\n[Service]\nUser=root',
      '/usr/lib/systemd/system/secretsfs@.service.d/20-b.conf': '[Service]\nUser=b',
      '/etc/systemd/system/secretsfs@web.service.d/10-a.conf': '[Service]\nUser=a',
      '/etc/systemd/system/service.d/05-all.conf': '[Unit]\nAfter=\nAfter=x y',
      '/run/systemd/system/secretsfs@web.service.d/10-a.conf': '[Service]\nUser=hidden',
    },
  });
  const unit = (await loadUnit(machine, 'secretsfs@web.service')) as Unit;
  assert.equal(unit.file, '/etc/systemd/system/secretsfs@.service');
  assert.equal(lastOf(unit, 'User')?.value, 'b');
  assert.deepEqual(listOf(unit, 'After'), ['x', 'y']);
  assert.equal(lastOf(unit, 'Group'), undefined);
  assert.equal(await loadUnit(machine, 'nginx.service'), undefined);
});

async function shipped(more = ''): Promise<Unit> {
  const text = await readFile(path.join(REPOSITORY, 'systemd/secretsfs@.service'), 'utf8');
  return {
    file: '/u',
    text,
    assignments: [...parseUnit(text, '/u'), ...parseUnit(`[Service]\n${more}`, '/d')],
  };
}

test('the shipped unit breaks nothing', async () => {
  assert.deepEqual(brokenBy(await shipped()), []);
});

for (const setting of [
  'PrivateTmp=yes',
  'ProtectSystem=full',
  'BindPaths=/a',
  'DynamicUser=1',
  'RootDirectory=/x',
  'ProtectHome=read-only',
]) {
  test(`a unit with ${setting} hides the mount`, async () => {
    const [verdict, ...others] = brokenBy(await shipped(setting));
    assert.match(verdict?.found ?? '', new RegExp(`^${setting} of /d hides the mount`));
    assert.deepEqual(others, []);
    // Taken back by a later one.
    assert.deepEqual(brokenBy(await shipped(`${setting}\n${setting.split('=')[0]}=`)), []);
  });
}

for (const setting of [
  'Type=simple',
  'MemorySwapMax=1G',
  'LimitCORE=infinity',
  'KillMode=control-group',
  'OOMPolicy=stop',
  'User=web',
  'NotifyAccess=none',
  'PrivateNetwork=yes',
  'Restart=no',
  'FileDescriptorStoreMax=2',
]) {
  test(`a unit with ${setting} is no longer what a mount relies on`, async () => {
    const verdicts = brokenBy(await shipped(setting));
    assert.equal(verdicts.length, 1);
    assert.match(verdicts[0]?.found ?? '', new RegExp(`^${setting} of /d: `));
    assert.match(verdicts[0]?.fix ?? '', new RegExp(`^take ${setting.split('=')[0]}= out of /d`));
  });
}

test('a unit with nothing that keeps it out of swap says so of its own file', async () => {
  assert.ok(
    brokenBy(await shipped('MemorySwapMax=')).some(({ found }) => /^MemorySwapMax= is not set/.test(found)),
  );
});
