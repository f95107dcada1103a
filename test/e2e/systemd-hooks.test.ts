/** Hooks and checks from inside the hardened unit, under a real systemd: units are told, programs look, as elsewhere. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { writeArchive } from '../../src/bundle/archive.ts';
import { KEY, sealTest } from '../support/bundles.ts';
import { file } from '../support/entries.ts';
import { eventually } from '../support/program.ts';
import { patient } from '../support/slowness.ts';
import { Systemd } from '../support/systemd.ts';

const UNIT = 'secretsfs@web.service';
const SECRET = '/run/secrets/web/secret';
const SETTINGS = `bundle: /etc/secretsfs/web.enc
mountpoint: /run/secrets/web
acceptKey: local:/etc/secretsfs/key
checks:
  exec:
    - { name: good, run: [/bin/sh, /etc/secretsfs/check] }
hooks:
  - { name: units, match: [secret], systemd: { reload: [reloaded, idle], restart: [restarted, idle] } }
  - { name: unknown, match: [other], systemd: { reload: [no-such-unit] } }
`;
const NOTE = (what: string, where: string) => `/bin/sh -c 'echo ${what} $(cat ${SECRET}) >>/run/${where}'`;
const unitOf = (name: string) => `[Service]
ExecStartPre=${NOTE('start', name)}
ExecStart=/bin/sleep infinity
ExecReload=${NOTE('reload', name)}
`;

test('a rotation reloads and restarts the units that run, after programs of the unit have looked at it, and no others', async (t) => {
  const systemd = await Systemd.boot(t);
  let serial = Date.now();
  const put = async (secret: string, name = 'secret') => {
    serial += 1;
    const tar = await writeArchive([
      file('secret', name === 'secret' ? secret : 'two'),
      file('other', secret),
    ]);
    await systemd.write('/etc/secretsfs/web.enc', await sealTest(tar, { serial }));
  };
  const said = (name: string) =>
    readFile(systemd.path(`/run/${name}`), 'utf8').then(
      (text) => text.trim().split('\n'),
      () => [],
    );
  const status = async () => JSON.parse(await systemd.must('secretsfs', ['status', 'web', '--json']))[0];
  for (const name of ['reloaded', 'restarted', 'idle'])
    await systemd.write(`/etc/systemd/system/${name}.service`, unitOf(name));
  await systemd.write('/etc/secretsfs/web.yaml', SETTINGS);
  await systemd.write('/etc/secretsfs/check', `[ "$(cat ${SECRET})" != bad ]\n`);
  await systemd.write('/etc/secretsfs/key', KEY, 0o400);
  await systemd.must('mkdir', ['-p', '/run/secrets/web']);
  await systemd.must('systemctl', ['daemon-reload']);
  await put('one');
  await systemd.must('systemctl', ['start', UNIT]);
  await systemd.must('systemctl', ['start', 'reloaded', 'restarted']);
  const supervisor = await readFile(
    systemd.path(`/proc/${await systemd.property(UNIT, 'MainPID')}/status`),
    'utf8',
  );
  assert.match(supervisor, /^NoNewPrivs:\t1$/m);
  assert.match(supervisor, /^Seccomp:\t2$/m);
  const pids = () =>
    Promise.all(['reloaded', 'restarted', 'idle'].map((name) => systemd.property(name, 'MainPID')));
  const before = await pids();

  await put('two');
  const hook = async (index: number) => (await status()).hooks[index];
  await eventually(async () => assert.equal((await hook(0)).outcome, 'done'), patient(20_000));
  assert.deepEqual(await said('reloaded'), ['start one', 'reload two']);
  assert.deepEqual(await said('restarted'), ['start one', 'start two']);
  assert.deepEqual(await said('idle'), []);
  const after = await pids();
  assert.deepEqual([after[0] === before[0], after[1] === before[1], after[2]], [true, false, '0']);

  // The check sees the new bundle where everybody else sees the old one.
  await put('bad');
  await eventually(async () => assert.equal((await status()).error?.code, 'check-exec'), patient(20_000));
  assert.equal(await readFile(systemd.path(SECRET), 'utf8'), 'two');
  assert.equal((await said('reloaded')).length, 2);

  await put('three', 'other');
  await eventually(
    async () => assert.equal((await hook(1)).error, 'there is no unit no-such-unit.service'),
    patient(20_000),
  );
  assert.equal((await said('reloaded')).length, 2, 'nothing of it matches');
  assert.equal(await systemd.property(UNIT, 'NRestarts'), '0');
  await systemd.must('systemctl', ['stop', UNIT]);
  assert.equal(await systemd.property(UNIT, 'Result'), 'success');
});
