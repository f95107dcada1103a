/**
 * docs/containers.md, with containers made from a Debian root: by systemd-nspawn, and by runc as Kubernetes has it run them.
 * Docker is run by container-docker.test.ts.
 */
import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { writeArchive } from '../../src/bundle/archive.ts';
import { KEY, sealTest } from '../support/bundles.ts';
import { issue } from '../support/certificates.ts';
import { ContainerHost } from '../support/container-host.ts';
import { FLAGS, showTheTable } from '../support/container-table.ts';
import { type Bind, nspawn, runc } from '../support/containers.ts';
import { blocksOf } from '../support/documents.ts';
import { file } from '../support/entries.ts';
import { freePort } from '../support/moto.ts';
import { REPOSITORY } from '../support/paths.ts';
import { Bench, eventually } from '../support/program.ts';
import { script } from '../support/root-directory.ts';
import { Shell } from '../support/shell.ts';
import { patient } from '../support/slowness.ts';
import { servedSerial } from '../support/tls.ts';

const UNIT = 'machine-box.scope';
const above = (host: ContainerHost): Bind => ({
  source: host.above,
  target: '/secrets',
  propagation: 'rslave',
});

test('systemd-nspawn: which bind sees a rotation, an unmount and a new mount', async (t) => {
  const host = await ContainerHost.create(t);
  const start = (binds: readonly Bind[]) => nspawn(host.bench, { binds, unit: UNIT });
  await showTheTable(host, { start, flagsOfBound: FLAGS });
});

/** What containerd's CRI plugin makes of mountPropagation. */
const PROPAGATION: Readonly<Record<string, string>> = { HostToContainer: 'rslave', None: 'rprivate' };

/** The bind of the document's pod. */
function bindOfPod(host: ContainerHost): unknown {
  const { volumes, containers } = parse(blocksOf('kubernetes')[0].body);
  const [{ name, readOnly, mountPath, mountPropagation }] = containers[0].volumeMounts;
  assert.deepEqual([name, readOnly], [volumes[0].name, true]);
  const source = volumes[0].hostPath.path.replace('/srv/secrets', host.above);
  return { source, target: mountPath, propagation: PROPAGATION[mountPropagation] };
}

test('runc, as containerd has it for the pod of the document and for one without mountPropagation: the same', async (t) => {
  const host = await ContainerHost.create(t);
  const start = (binds: readonly Bind[]) => {
    assert.deepEqual(binds[0], bindOfPod(host));
    return runc(host.bench, { binds, unit: 'cri-containerd-1.scope' });
  };
  await showTheTable(host, { start, flagsOfBound: ['ro'] });
});

test('in a pid namespace: consistency per process, access by unit and user, and the pid of the host in the log', async (t) => {
  const host = await ContainerHost.create(t);
  const entries = (text: string) => ['crt', 'key', 'app', 'here', 'there'].map((name) => file(name, text));
  const daemon = await host.mount('web', entries('one'), {
    audit: true,
    consistencyWindow: '10s',
    files: [{ match: 'app', owner: 1000, mode: '0400' }],
    access: [
      { match: 'here', allow: [{ unit: 'machine-*.scope' }] },
      { match: 'there', allow: [{ unit: 'docker-*.scope' }] },
    ],
  });
  const box = await nspawn(host.bench, { binds: [above(host)], unit: UNIT });
  await box.must('cd /secrets/web');

  assert.equal(await box.must('cat here'), 'one');
  assert.match((await box.run('cat there')).text, /Permission denied/);
  const refused = await daemon.event('open-refused');
  assert.deepEqual([refused['path'], refused['unit'], refused['uid']], ['there', UNIT, 0]);
  const as1000 = 'setpriv --reuid 1000 --regid 1000 --clear-groups cat';
  assert.equal(await box.must(`${as1000} app`), 'one');
  assert.match((await box.run(`${as1000} key`)).text, /Permission denied/);

  // The shell is in the middle of opening a set of files; cat is another process.
  await box.must('exec 3<crt');
  await host.rotate('web', daemon, entries('two'));
  await box.must('exec 4<key');
  assert.equal(await box.must('cat <&3; echo; cat <&4; echo; cat key'), 'one\none\ntwo');

  const opened = await eventually(async () => {
    const found = daemon.lines.find(({ event, path }) => event === 'file-opened' && path === 'crt');
    assert.ok(found !== undefined);
    return found;
  });
  assert.equal(opened['unit'], UNIT);
  const status = await readFile(`/proc/${opened['opener']}/status`, 'utf8');
  const inside = /^NSpid:.*\t(\d+)$/m.exec(status)?.[1];
  assert.equal(inside, await box.must('echo $$'));
  assert.notEqual(inside, String(opened['opener']));
});

test('in a user namespace owners are numbers of the host', async (t) => {
  const host = await ContainerHost.create(t);
  await host.mount('web', [file('of-its-root'), file('of-its-1000'), file('of-nobody-there')], {
    files: [
      { match: 'of-its-root', owner: 100_000, mode: '0400' },
      { match: 'of-its-1000', owner: 101_000, mode: '0400' },
    ],
  });
  const users = ['--private-users=100000:65536', '--private-users-ownership=off'];
  const box = await nspawn(host.bench, { binds: [above(host)], unit: UNIT, options: users });
  assert.equal(await box.must('id -u'), '0');
  await box.must('cd /secrets/web');
  assert.equal(await box.must('stat -c %u of-its-root of-its-1000 of-nobody-there'), '0\n1000\n65534');
  assert.equal(await box.must('cat of-its-root'), 'of-its-root');
  const as1000 = 'setpriv --reuid 1000 --regid 1000 --clear-groups cat';
  assert.equal(await box.must(`${as1000} of-its-1000`), 'of-its-1000');
  for (const command of ['cat of-its-1000', 'cat of-nobody-there', `${as1000} of-its-root`])
    assert.match((await box.run(command)).text, /Permission denied/, command);
});

const NGINX = (port: number) => `error_log /tmp/nginx.log; pid /tmp/nginx.pid; worker_processes 1; events {}
http {
  access_log off;
  server {
    listen 127.0.0.1:${port} ssl;
    ssl_certificate /secrets/web/tls/web.crt;
    ssl_certificate_key /secrets/web/tls/web.key;
  }
}
`;

/** Nobody but `nginx` has it. */
async function startNginx(box: Shell, port: number): Promise<void> {
  await box.must(`cat >/etc/nginx/nginx.conf <<'END'\n${NGINX(port)}END\nnginx`);
  await eventually(() => servedSerial(port));
}

test('an nginx in a container serves what is mounted, and a hook on the host reloads it', async (t) => {
  const host = await ContainerHost.create(t);
  const port = await freePort();
  const entries = (serial: string) => {
    const { certificate, key } = issue({ cn: 'web.test', serial });
    return [file('tls/web.crt', certificate), file('tls/web.key', key)];
  };
  const reload = await script(host.etc, 'reload', '');
  const daemon = await host.mount('web', entries('0A01'), {
    audit: true,
    hooks: [
      {
        name: 'web',
        match: ['tls/*'],
        run: [reload],
        probes: [{ address: `127.0.0.1:${port}`, servername: 'web.test', certificate: 'tls/web.crt' }],
      },
    ],
  });
  const box = await nspawn(host.bench, { binds: [above(host)], unit: UNIT });
  // The log names the shell by its number on the host; with that the hook does what `docker exec` does.
  await box.must(': </secrets/web/tls/web.crt');
  const { opener } = await daemon.event('file-opened');
  await startNginx(box, port);
  assert.equal(await servedSerial(port), '0A01');
  await writeFile(reload, `#!/bin/sh\nexec nsenter --target ${opener} --all nginx -s reload\n`);

  await host.rotate('web', daemon, entries('0B02'));
  await daemon.event('hook-done');
  // Its old workers answer for a moment.
  await eventually(async () => assert.equal(await servedSerial(port), '0B02'));
  await eventually(async () => {
    const [{ probes }] = JSON.parse(await host.bench.must(['status', 'web', '--json']));
    assert.deepEqual([probes[0].verdict, probes[0].servedSerial], ['served', '0b02']);
  }, patient(15_000));
});

const ASK = `exec 5<>/dev/tcp/169.254.169.254/80 && printf 'PUT /latest/api/token HTTP/1.1\\r\\n\\r\\n' >&5; timeout 3 cat <&5; exec 5>&-`;

test('the metadata service, with a hop limit of 1, answers no container behind a bridge, and any with the network of the host', async (t) => {
  const bench = await Bench.create(t);
  const machine = await Shell.start(
    (cleanup) => bench.after(cleanup),
    [
      ...['unshare', '--mount', '--propagation', 'slave', '--net', '--pid', '--fork', '--kill-child'],
      ...['/bin/sh', path.join(REPOSITORY, 'test/support/metadata-network.sh')],
    ],
  );
  const pid = await machine.must('read -r pid rest </proc/self/stat; echo $pid');
  const inNetwork = (network: string) =>
    nspawn(bench, { binds: [], unit: UNIT, before: ['nsenter', `--net=/proc/${pid}/${network}`] });
  const bridged = await inNetwork('root/run/netns/box');
  const likeTheHost = await inNetwork('ns/net');
  const answers = async (shell: Shell) => /token$/.test((await shell.run(ASK)).text);
  await eventually(async () => assert.ok(await answers(machine)));
  assert.deepEqual([await answers(bridged), await answers(likeTheHost)], [false, true]);
  await machine.must('echo 2 >/run/hops');
  assert.equal(await answers(bridged), true);
});

test('secretsfs in a container mounts where it has the device, CAP_SYS_ADMIN and memory to lock, and says which it has not', async (t) => {
  const bench = await Bench.create(t);
  await mkdir(bench.path('in'));
  await writeFile(bench.path('in/key'), KEY, { mode: 0o400 });
  await writeFile(bench.path('in/web.enc'), await sealTest(await writeArchive([file('secret')])));
  const program = [
    `${REPOSITORY}:/opt/secretsfs`,
    `${process.execPath}:/usr/bin/node`,
    `${bench.path('in')}:/in`,
  ];
  const binds = program.map((bind) => `--bind-ro=${bind}`);
  const box = (...options: string[]) =>
    nspawn(bench, { binds: [], unit: UNIT, options: [...binds, ...options] });
  const [device, locking] = ['--bind=/dev/fuse', '--capability=CAP_IPC_LOCK'];
  // nspawn gives its first process a NOTIFY_SOCKET, for which a start that fails takes 10 s, as in a unit.
  const mount =
    'unset NOTIFY_SOCKET; node /opt/secretsfs/dist/secretsfs.mjs mount /in/web.enc /mnt --driver kernel --key local:/in/key';
  const refused = async (shell: Shell) => (await shell.run(mount)).text;
  assert.match(await refused(await box(locking)), /\(fuse-missing\)\n.*docker run --device \/dev\/fuse/s);
  assert.match(await refused(await box(device, '--drop-capability=CAP_SYS_ADMIN')), /CAP_SYS_ADMIN/);
  assert.match(await refused(await box(device)), /mlock failed: EPERM \(mount-denied\)\n.*CAP_IPC_LOCK/s);
  const all = await box(device, locking);
  await all.must(`{ ${mount}; } 2>/dev/null &`);
  await eventually(async () => assert.equal(await all.must('cat /mnt/secret'), 'secret'));
});
