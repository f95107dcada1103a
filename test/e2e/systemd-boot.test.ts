/** Boot as systemd does it: what comes after what, what waits for what, and what outlives what. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { writeArchive } from '../../src/bundle/archive.ts';
import { KEY, sealTest } from '../support/bundles.ts';
import { issue } from '../support/certificates.ts';
import { file } from '../support/entries.ts';
import { REPOSITORY } from '../support/paths.ts';
import { eventually } from '../support/program.ts';
import { patient } from '../support/slowness.ts';
import { Systemd } from '../support/systemd.ts';

const WEB = 'secretsfs@web.service';
const APP = 'secretsfs@app.service';
const PATIENT_MS = patient(30_000);
const NGINX = `
events {}
http {
  access_log off;
  server {
    listen 127.0.0.1:443 ssl;
    ssl_certificate /run/secrets/web/tls.crt;
    ssl_certificate_key /run/secrets/web/tls.key;
  }
}
`;
const HAPROXY = `
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
frontend tls
  bind 127.0.0.1:443 ssl crt /run/secrets/web/all.pem
  http-request return status 200
`;
/** Of what the unit says itself, only how long it waits is otherwise. */
const QUICK = '[Service]\nRestartSec=100ms\n';
/** Also how long a reload may take: for the first start alone. */
const SHORT = '[Service]\nTimeoutStartSec=5\n';
const SHORT_AT = '/etc/systemd/system/secretsfs@web.service.d/short.conf';

let serial = Date.now();

/** A bundle of that name, with a certificate of that serial. */
async function bundle(name: string, certificate: string): Promise<Buffer> {
  serial += 1;
  const issued = issue({ cn: name, serial: certificate });
  const tar = await writeArchive([
    file('tls.crt', issued.certificate),
    file('tls.key', issued.key),
    file('all.pem', `${issued.certificate}${issued.key}`),
  ]);
  return sealTest(tar, { serial, name });
}

async function configure(systemd: Systemd, name: string): Promise<void> {
  const settings = `bundle: /etc/secretsfs/${name}.enc\nmountpoint: /run/secrets/${name}\nacceptKey: local:/etc/secretsfs/key\n`;
  await systemd.write(`/etc/secretsfs/${name}.yaml`, settings);
  await systemd.must('mkdir', ['-p', `/run/secrets/${name}`]);
}

async function boot(t: Parameters<typeof Systemd.boot>[0]): Promise<Systemd> {
  const systemd = await Systemd.boot(t);
  await systemd.write('/etc/secretsfs/key', KEY, 0o400);
  await systemd.write('/etc/systemd/system/secretsfs@.service.d/quick.conf', QUICK);
  return systemd;
}

const states = (systemd: Systemd, ...units: string[]) =>
  Promise.all(units.map((unit) => systemd.property(unit, 'ActiveState')));
const becomes = (systemd: Systemd, unit: string, wanted: string) =>
  eventually(async () => assert.deepEqual(await states(systemd, unit), [wanted]), PATIENT_MS);
const mainPid = (systemd: Systemd, unit: string) => systemd.property(unit, 'MainPID');

/** The serial of the certificate that nginx serves. */
async function served(systemd: Systemd): Promise<string> {
  const look = 'openssl s_client -connect 127.0.0.1:443 </dev/null 2>/dev/null | openssl x509 -noout -serial';
  return (await systemd.must('sh', ['-c', look])).trim().toLowerCase().replace('serial=', '');
}

/** The metadata service's address refuses everybody here, and is not even asked by who is in the unit. */
async function isKeptFromMetadata(systemd: Systemd, unit: string): Promise<void> {
  const connect = `exec python3 -c 'import socket; socket.create_connection(("169.254.169.254", 80), 1)'`;
  const within = `echo $$ >/sys/fs/cgroup/system.slice/${unit}.service/cgroup.procs`;
  await systemd.must('ip', ['address', 'add', '169.254.169.254/32', 'dev', 'lo']);
  assert.match((await systemd.run('sh', ['-c', connect])).stderr, /ConnectionRefusedError/);
  assert.match(
    (await systemd.run('sh', ['-c', `${within}; ${connect}`])).stderr,
    /PermissionError|TimeoutError|timed out/,
  );
}

test('haproxy starts when its certificate is mounted and not before, serves it, and outlives the mount', async (t) => {
  const systemd = await boot(t);
  const dropIn = await readFile(path.join(REPOSITORY, 'systemd/haproxy-drop-in.conf'), 'utf8');
  await systemd.write('/etc/systemd/system/haproxy.service.d/secretsfs.conf', dropIn);
  await systemd.write('/etc/haproxy/haproxy.cfg', HAPROXY);
  await configure(systemd, 'web');
  await systemd.must('ip', ['link', 'set', 'lo', 'up']);
  await systemd.must('systemctl', ['daemon-reload']);
  await systemd.must('systemctl', ['start', '--no-block', 'haproxy']);
  await eventually(async () => {
    assert.match(await systemd.property(WEB, 'StatusText'), /^waits: /);
  }, PATIENT_MS);
  assert.deepEqual(await states(systemd, WEB, 'haproxy'), ['activating', 'inactive']);

  await systemd.write('/etc/secretsfs/web.enc', await bundle('web', '01'));
  await becomes(systemd, 'haproxy', 'active');
  assert.equal(await served(systemd), '01');
  await isKeptFromMetadata(systemd, 'haproxy');
  assert.equal(await systemd.property('haproxy', 'MemorySwapMax'), '0');

  const haproxy = await mainPid(systemd, 'haproxy');
  await systemd.write('/etc/secretsfs/web.enc', await bundle('web', '02'));
  await systemd.must('systemctl', ['reload', WEB]);
  await systemd.must('systemctl', ['reload', 'haproxy']);
  await eventually(async () => assert.equal(await served(systemd), '02'), PATIENT_MS);
  await systemd.must('systemctl', ['stop', WEB]);
  assert.equal(await served(systemd), '02');
  assert.equal(await mainPid(systemd, 'haproxy'), haproxy);

  // A mount that failed is no reason to start without its certificate.
  await systemd.write('/etc/secretsfs/web.yaml', 'nonsense: true\n');
  await systemd.must('systemctl', ['stop', 'haproxy']);
  await systemd.must('systemctl', ['start', '--no-block', 'haproxy']);
  await becomes(systemd, WEB, 'failed');
  await eventually(async () => assert.equal(await systemd.property('haproxy', 'SubState'), 'start-pre'));
  assert.equal(await systemd.property('haproxy', 'NRestarts'), '0');
});

test('nginx starts when its certificate is mounted and not before, and outlives whatever happens to the mount', async (t) => {
  const systemd = await boot(t);
  const dropIn = await readFile(path.join(REPOSITORY, 'systemd/nginx-drop-in.conf'), 'utf8');
  await systemd.write('/etc/systemd/system/nginx.service.d/secretsfs.conf', dropIn);
  await systemd.write('/etc/nginx/nginx.conf', NGINX);
  for (const name of ['web', 'app']) await configure(systemd, name);
  await systemd.write('/etc/secretsfs/app.enc', await bundle('app', '0a'));
  await systemd.must('ip', ['link', 'set', 'lo', 'up']);
  await systemd.write(SHORT_AT, SHORT);
  await systemd.write('/etc/systemd/system/boot.target', `[Unit]\nWants=nginx.service ${WEB} ${APP}\n`);
  await systemd.must('systemctl', ['daemon-reload']);
  await systemd.must('systemctl', ['start', '--no-block', 'boot.target']);

  // One instance has what it needs; the other waits, longer than it may without asking, and nginx with it.
  await becomes(systemd, APP, 'active');
  await eventually(async () => {
    assert.match(await systemd.property(WEB, 'StatusText'), /^waits: .*no such file.*\(source-not-found\)$/);
  }, PATIENT_MS);
  await sleep(6_000);
  assert.deepEqual(await states(systemd, WEB, 'nginx'), ['activating', 'inactive']);
  assert.equal(await systemd.property(WEB, 'NRestarts'), '0');

  await systemd.write('/etc/secretsfs/web.enc', await bundle('web', '01'));
  await becomes(systemd, 'nginx', 'active');
  await systemd.must('rm', [SHORT_AT]);
  await systemd.must('systemctl', ['daemon-reload']);
  assert.equal(await served(systemd), '01');
  const at = async (unit: string, property: string) => Number(await systemd.property(unit, property));
  const ready = await at(WEB, 'ActiveEnterTimestampMonotonic');
  assert.ok(ready > 0 && ready <= (await at('nginx', 'ExecMainStartTimestampMonotonic')));
  const nginx = await mainPid(systemd, 'nginx');
  const app = await mainPid(systemd, APP);

  // Whoever owns a worker of nginx can't ask for the credentials of the instance; everybody else can.
  await isKeptFromMetadata(systemd, 'nginx');
  assert.equal(await systemd.property('nginx', 'MemorySwapMax'), '0');

  // Killed, and ended in order but not by systemctl: it comes again.
  for (const end of [
    async (pid: string) => systemd.must('kill', ['-9', pid]),
    async () => {
      const { code, stderr } = await systemd.run('secretsfs', ['unmount', 'web']);
      assert.equal(code, 0, stderr);
      assert.match(stderr, /its unit mounts it again; to end it: systemctl stop secretsfs@web\.service$/m);
    },
  ]) {
    const before = await mainPid(systemd, WEB);
    await end(before);
    const others = ['0', before];
    await eventually(async () => assert.ok(!others.includes(await mainPid(systemd, WEB))), PATIENT_MS);
    await becomes(systemd, WEB, 'active');
  }
  await systemd.write('/etc/secretsfs/web.enc', await bundle('web', '02'));
  await systemd.must('systemctl', ['reload', WEB]);
  await systemd.must('systemctl', ['reload', 'nginx']);
  await eventually(async () => assert.equal(await served(systemd), '02'));
  await systemd.must('systemctl', ['restart', WEB]);
  await systemd.must('systemctl', ['stop', WEB]);
  assert.deepEqual(await states(systemd, WEB, 'nginx', APP), ['inactive', 'active', 'active']);
  assert.equal(await served(systemd), '02');
  assert.deepEqual([await mainPid(systemd, 'nginx'), await mainPid(systemd, APP)], [nginx, app]);
  const mounts = await systemd.must('cat', ['/proc/self/mountinfo']);
  assert.deepEqual([mounts.includes('/run/secrets/web'), mounts.includes('/run/secrets/app')], [false, true]);

  // A mount that fails for good is no reason for nginx to start, nor one to give up.
  await systemd.write('/etc/secretsfs/web.yaml', 'nonsense: true\n');
  await systemd.must('systemctl', ['stop', 'nginx']);
  await systemd.must('systemctl', ['start', '--no-block', 'nginx']);
  await becomes(systemd, WEB, 'failed');
  assert.equal(await systemd.property(WEB, 'ExecMainStatus'), '3');
  await becomes(systemd, 'nginx', 'activating');
  await configure(systemd, 'web');
  await systemd.must('systemctl', ['start', WEB]);
  await becomes(systemd, 'nginx', 'active');
});

test('no mount is there while the machine hibernates, and each is afterwards that was before', async (t) => {
  const systemd = await boot(t);
  for (const name of ['web', 'app']) {
    await configure(systemd, name);
    await systemd.write(`/etc/secretsfs/${name}.enc`, await bundle(name, '01'));
  }
  // The machine does not sleep; what it would find when it does is written down.
  const look = 'grep -c fuse.secretsfs /proc/self/mountinfo >>/run/found; true';
  const asleep = `[Service]\nExecStart=\nExecStart=/bin/sh -c '${look}'\n`;
  await systemd.write('/etc/systemd/system/systemd-hibernate.service.d/test.conf', asleep);
  await systemd.must('systemctl', ['daemon-reload']);
  await systemd.must('systemctl', ['start', WEB]);
  const found = async () => (await readFile(systemd.path('/run/found'), 'utf8')).trim().split('\n');
  // The control: without the guard it is there.
  await systemd.must('systemctl', ['start', 'hibernate.target']);
  assert.deepEqual(await found(), ['1']);
  await systemd.must('systemctl', ['enable', 'secretsfs-hibernate.service']);
  await systemd.must('systemctl', ['start', 'hibernate.target']);
  assert.deepEqual(await found(), ['1', '0']);
  await becomes(systemd, WEB, 'active');
  assert.deepEqual(await states(systemd, APP, 'secretsfs-hibernate'), ['inactive', 'inactive']);

  // One that no unit started keeps the machine awake; what was ended for it is there again.
  const alone = ['--unit=alone', 'secretsfs', 'mount', '--config', '/etc/secretsfs/app.yaml', '--allow-swap'];
  await systemd.must('systemd-run', ['-p', 'Type=notify', ...alone]);
  assert.notEqual((await systemd.run('systemctl', ['start', 'hibernate.target'])).code, 0);
  assert.deepEqual(await found(), ['1', '0']);
  await becomes(systemd, WEB, 'active');
});

const USER_MANAGER = `[Service]
User=tester
Type=notify
Delegate=yes
Environment=XDG_RUNTIME_DIR=/run/tester
RuntimeDirectory=tester
ExecStart=/lib/systemd/systemd --user
KillMode=mixed
`;

test("a user's unit mounts without root, through fuse-native", async (t) => {
  const systemd = await boot(t);
  await systemd.must('useradd', ['--create-home', 'tester']);
  const home = '/home/tester';
  const settings = `bundle: ${home}/web.enc\nmountpoint: ${home}/mnt\nacceptKey: local:${home}/key\n`;
  await systemd.write(`${home}/.config/secretsfs/web.yaml`, settings);
  await systemd.write(`${home}/web.enc`, await bundle('web', '01'));
  await systemd.write(`${home}/key`, KEY, 0o400);
  await systemd.must('mkdir', [`${home}/mnt`]);
  await systemd.must('chown', ['-R', 'tester:', home]);
  await systemd.write('/etc/systemd/system/tester.service', USER_MANAGER);
  await systemd.must('systemctl', ['daemon-reload']);
  await systemd.must('systemctl', ['start', 'tester']);
  const asUser = (...command: string[]) =>
    systemd.must('setpriv', [
      ...['--reuid=tester', '--regid=tester', '--init-groups', 'env', 'XDG_RUNTIME_DIR=/run/tester'],
      ...command,
    ]);
  await asUser('systemctl', '--user', 'start', 'secretsfs@web');
  assert.match(await asUser('cat', `${home}/mnt/tls.crt`), /BEGIN CERTIFICATE/);
  const [status] = JSON.parse(await asUser('secretsfs', 'status', 'web', '--json'));
  assert.equal(status.driver, 'fuse-native');
  assert.match(
    await asUser('systemctl', '--user', 'show', '-p', 'StatusText', 'secretsfs@web'),
    /serial \d+ at/,
  );
  await asUser('systemctl', '--user', 'stop', 'secretsfs@web');
  const mounts = await systemd.must('cat', ['/proc/self/mountinfo']);
  assert.ok(!mounts.includes(`${home}/mnt`));
});
