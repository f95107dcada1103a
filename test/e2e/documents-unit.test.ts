/**
 * What README.md says to do after npm, in a systemd of its own; and one mount, in the hardened unit, whose config is made of
 * all that the documents show: checks, owners, access, hooks for nginx, haproxy, units, a pidfile and a program, metrics.
 */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { parse, stringify } from 'yaml';
import { writeArchive } from '../../src/bundle/archive.ts';
import { KEY, sealTest } from '../support/bundles.ts';
import { issue } from '../support/certificates.ts';
import { blocksOf } from '../support/documents.ts';
import { file } from '../support/entries.ts';
import { eventually } from '../support/program.ts';
import { patient } from '../support/slowness.ts';
import { scriptOf, stepsOf } from '../support/steps.ts';
import { Systemd } from '../support/systemd.ts';

const MOUNTPOINT = '/srv/web-secrets';
const LEAST = {
  bundle: '/etc/secretsfs/web.enc.tar',
  mountpoint: MOUNTPOINT,
  acceptKey: 'local:/etc/secretsfs/key',
};
const NGINX = `events {}
http {
  access_log off;
  server {
    listen 127.0.0.1:443 ssl;
    ssl_certificate ${MOUNTPOINT}/tls/www.crt;
    ssl_certificate_key ${MOUNTPOINT}/tls/www.key;
  }
}
`;
const HAPROXY = `global
  user haproxy
  group haproxy
  stats socket /run/haproxy/admin.sock mode 660 level admin
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
frontend web
  bind [::1]:8443 ssl crt ${MOUNTPOINT}/haproxy/www.pem
  http-request return status 200
`;
const NOTED = '/run/noted';
/** A service that notes what becomes of it. */
const unitOf = (name: string) => `[Service]
ExecStartPre=/bin/sh -c 'echo start >>${NOTED}/${name}'
ExecStart=/bin/sleep infinity
ExecReload=/bin/sh -c 'echo reload >>${NOTED}/${name}'
`;
const MAIL = `trap 'echo HUP >>${NOTED}/mail' HUP
echo $$ >/run/mail.pid
while :; do sleep 1 & wait; done
`;
const RELOAD_APP = `#!/bin/sh
[ "$1" = --soft ] && cat >${NOTED}/app/stdin
`;
/** Of the machine that the documents speak of. */
const SET_UP = `ip link set lo up
groupadd nginx && groupadd dba && useradd app
mkdir -p ${NOTED}/app ${MOUNTPOINT} && chown app ${NOTED}/app
systemd-tmpfiles --create haproxy.conf
chmod 755 /usr/local/sbin/reload-app
rm /usr/bin/secretsfs /usr/lib/systemd/system/secretsfs@.service /usr/lib/sysusers.d/secretsfs.conf
mkdir -p "$(npm root -g 2>/dev/null)"
ln -sfn /opt/secretsfs "$(npm root -g 2>/dev/null)/secretsfs"
ln -sf /opt/secretsfs/dist/secretsfs.mjs /usr/local/bin/secretsfs
`;

/** Every key of every block of the group; those of `checks` from two of them. */
function configOf(): string {
  const all: Record<string, object> = {};
  for (const { body } of blocksOf('unit')) {
    for (const [key, value] of Object.entries(parse(body) as Record<string, object>))
      all[key] = key in all ? { ...all[key], ...value } : value;
  }
  return stringify({ ...LEAST, ...all });
}

function entriesOf(round: string) {
  const names = ['DNS:www.example.org', 'DNS:*.example.org', 'IP:192.0.2.7'];
  const { certificate, key } = issue({ cn: 'www', names, serial: round });
  return [
    file('tls/www.crt', certificate),
    file('tls/www.key', key),
    file('tls/mail.crt', certificate),
    file('tls/mail.key', key),
    file('live/a.test/fullchain.pem', certificate),
    file('live/a.test/privkey.pem', key),
    file('haproxy/www.pem', certificate + key),
    file('db-password', round),
    file('db/password', round),
    file('app/settings.json', JSON.stringify({ round })),
    file('public/motd', 'hello'),
  ];
}

test('a unit that README.md sets up after npm mounts what the documents show, and tells everybody', async (t) => {
  const systemd = await Systemd.boot(t);
  let serial = Date.now();
  const put = async (round: string) => {
    serial += 1;
    await systemd.write(
      '/etc/secretsfs/web.enc.tar',
      await sealTest(await writeArchive(entriesOf(round)), { serial }),
    );
  };
  const shell = (script: string) => systemd.must('bash', ['-euc', script]);
  const noted = async (name: string) =>
    (await readFile(systemd.path(`${NOTED}/${name}`), 'utf8').catch(() => '')).trim();
  const served = async (address: string) =>
    (
      await shell(`openssl s_client -connect ${address} </dev/null 2>/dev/null | openssl x509 -noout -serial`)
    ).trim();

  for (const [name, text] of [
    ['/root/web.yaml', configOf()],
    ['/usr/local/sbin/reload-app', RELOAD_APP],
    ['/usr/local/sbin/mail', MAIL],
    ['/etc/nginx/nginx.conf', NGINX],
    ['/etc/haproxy/haproxy.cfg', HAPROXY],
    ['/etc/systemd/system/mail.service', '[Service]\nExecStart=/bin/sh /usr/local/sbin/mail\n'],
    // The log of the machine is not this systemd's.
    ['/etc/systemd/system/haproxy.service.d/log.conf', '[Service]\nBindReadOnlyPaths=\n'],
    ...['worker', 'legacy'].map((name) => [`/etc/systemd/system/${name}.service`, unitOf(name)] as const),
  ] as const)
    await systemd.write(name, text);
  await systemd.write('/etc/secretsfs/key', KEY, 0o400);
  await put('01');
  await shell(SET_UP);
  await shell(`cd /root\n${scriptOf(stepsOf('npm-unit'))}`);
  await systemd.must('systemctl', ['start', 'nginx', 'haproxy', 'worker', 'legacy', 'mail']);
  assert.deepEqual([await served('127.0.0.1:443'), await served('[::1]:8443')], ['serial=01', 'serial=01']);

  // Who may open what, and as whose it appears.
  const opens = (user: string, name: string) =>
    systemd.run('setpriv', [
      '--reuid',
      user,
      '--regid',
      user,
      '--clear-groups',
      'cat',
      `${MOUNTPOINT}/${name}`,
    ]);
  assert.equal((await opens('app', 'app/settings.json')).stdout, '{"round":"01"}');
  // Root, but neither nginx nor the unit.
  for (const name of ['tls/www.key', 'db/password'])
    assert.match((await opens('root', name)).stderr, /Permission denied/, name);
  const looks = ['tls/www.key', 'app/settings.json', 'public/motd'].map((name) => `${MOUNTPOINT}/${name}`);
  assert.equal(
    await systemd.must('stat', ['-c', '%a %U %G', ...looks]),
    '440 root nginx\n400 app root\n444 root root\n',
  );

  await put('02');
  await eventually(async () => {
    assert.deepEqual([await served('127.0.0.1:443'), await served('[::1]:8443')], ['serial=02', 'serial=02']);
    assert.deepEqual(
      [await noted('worker'), await noted('legacy'), await noted('mail')],
      ['start\nreload', 'start\nstart', 'HUP'],
    );
    const [{ body }] = blocksOf('hook-input');
    const [told, shown] = [JSON.parse(await noted('app/stdin')), JSON.parse(body)];
    assert.deepEqual(Object.keys(told), Object.keys(shown));
    // Of what changed, what the hook is for.
    assert.deepEqual(told.changed, [{ ...shown.changed[0], path: 'app/settings.json' }]);
  }, patient(20_000));

  const said = await shell(scriptOf(stepsOf('unit-commands')));
  assert.match(said, /web: live$/m);
  assert.match(said, /"event":"ready"/);
  assert.match(said, /^secretsfs_certificate_not_after_time_seconds\{.*path="tls\/www\.crt"/m);
});
