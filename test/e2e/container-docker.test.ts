/** What docs/containers.md has of Docker, docker-compose and ECS, run by a Docker of its own. Only scripts/soak installs that. */
import assert from 'node:assert/strict';
import { chmod, mkdir, readdir, writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { parse } from 'yaml';
import { issue } from '../support/certificates.ts';
import { ContainerHost, sharedMount } from '../support/container-host.ts';
import { showTheTable } from '../support/container-table.ts';
import type { Bind } from '../support/containers.ts';
import { Docker, IMAGE } from '../support/docker.ts';
import { blocksOf } from '../support/documents.ts';
import { file } from '../support/entries.ts';
import { Bench, eventually } from '../support/program.ts';
import { script } from '../support/root-directory.ts';
import { BASH } from '../support/shell.ts';
import { patient } from '../support/slowness.ts';

let docker: Docker;
let shared: string;
const ends: (() => unknown)[] = [];
before(
  async () => {
    const bench = await Bench.create({ after: (end) => void ends.push(end as () => unknown) });
    await chmod(bench.directory, 0o711);
    shared = await sharedMount(bench);
    docker = await Docker.start(bench);
  },
  { timeout: patient(300_000) },
);
after(async () => {
  for (const end of ends) await end();
});

const entries = (text: string) => [file('key', text)];
const blockOf = (group: string) => blocksOf(group)[0].body;

/** As the document's line says it of another bind; private is what Docker makes of it where it says nothing. */
function mountOptions(binds: readonly Bind[]): string[] {
  const [, said] = /^docker run --mount (\S+) nginx\n$/.exec(blockOf('docker')) ?? [];
  assert.ok(said !== undefined);
  return binds.flatMap(({ source, target, propagation }) => {
    const there = said.replace('/srv/secrets', source).replace('=/secrets', `=${target}`);
    return ['--mount', propagation === 'rslave' ? there : there.replace(',bind-propagation=rslave', '')];
  });
}

test('docker run: which bind sees a rotation, an unmount and a new mount', async (t) => {
  const host = await ContainerHost.create(t, shared);
  await showTheTable(host, {
    start: (binds) => docker.shell(['run', '--rm', '-i', ...mountOptions(binds), IMAGE, ...BASH]),
    flagsOfBound: ['ro'],
  });
});

test('a source that is missing is refused with --mount and made with -v; one on no shared mount is refused', async (t) => {
  const host = await ContainerHost.create(t, shared);
  const source = host.bench.path('missing');
  const options = mountOptions([{ source, target: '/secrets', propagation: 'rslave' }]);
  const refused = async () => {
    const { code, stderr } = await docker.run(['run', '--rm', ...options, IMAGE, 'true']);
    assert.notEqual(code, 0);
    return stderr;
  };
  assert.match(await refused(), /bind source path does not exist/);
  assert.equal(
    await docker.must(['run', '--rm', '-v', `${source}:/secrets:ro`, IMAGE, 'ls', '/secrets']),
    '',
  );
  assert.deepEqual(await readdir(source), []);
  assert.match(await refused(), /not a shared or slave mount/);
});

test('docker-compose: a mount that begins after the container is seen', async (t) => {
  const host = await ContainerHost.create(t, shared);
  const { services } = parse(blockOf('compose').replace('/srv/secrets', host.above));
  services.web.image = IMAGE;
  const config = host.bench.path('compose.yaml');
  await writeFile(config, JSON.stringify({ services }));
  const run = ['--file', config, '--project-name', 'test', 'run', '--rm', '-T', 'web', ...BASH];
  const box = await docker.shell(run, 'docker-compose');
  await host.mount('web', entries('one'));
  assert.equal(await box.must('cat /secrets/web/key'), 'one');
});

test("an ECS task's volume, as the agent hands it to Docker: what is mounted before is followed, what comes later is not seen", async (t) => {
  const host = await ContainerHost.create(t, shared);
  const task = JSON.parse(`{${blockOf('ecs')}}`);
  const [{ containerPath, sourceVolume, readOnly }] = task.mountPoints;
  const [{ name, host: volume }] = task.volumes;
  assert.deepEqual([name, readOnly, volume.sourcePath], [sourceVolume, true, '/srv/secrets']);
  const daemon = await host.mount('web', entries('one'));
  const bind = ['-v', `${host.above}:${containerPath}:ro`];
  const box = await docker.shell(['run', '--rm', '-i', ...bind, IMAGE, ...BASH]);
  await host.rotate('web', daemon, entries('two'));
  assert.equal(await box.must('cat /secrets/web/key'), 'two');
  await host.mount('app', entries('one'));
  assert.equal(await box.must('ls /secrets/app'), '');
});

const NGINX = `error_log /tmp/nginx.log; pid /tmp/nginx.pid; events {}
http {
  access_log off;
  server {
    listen unix:/sockets/tls ssl;
    ssl_certificate /secrets/web/tls/www.crt;
    ssl_certificate_key /secrets/web/tls/www.key;
  }
}
`;

test('a hook that runs docker exec reloads the nginx of a container, which has no unit', async (t) => {
  const host = await ContainerHost.create(t, shared);
  const certificate = (serial: string) => {
    const { certificate, key } = issue({ cn: 'www.example.com', serial });
    return [file('tls/www.crt', certificate), file('tls/www.key', key), file('guarded')];
  };
  const sockets = host.bench.path('sockets');
  await mkdir(sockets);
  await chmod(sockets, 0o777);
  const { hooks } = parse(blockOf('container-hook'));
  const [program, ...args] = hooks[0].run;
  assert.equal(program, '/usr/bin/docker');
  const client = await script(
    host.etc,
    'docker',
    `#!/bin/sh\nexec ${program} --host unix://${docker.socket} "$@"\n`,
  );
  hooks[0].run = [client, ...args];
  hooks[0].probes[0].address = `${sockets}/tls`;
  const access = [{ match: 'guarded', allow: [{ unit: 'docker-*.scope' }] }];
  const daemon = await host.mount('web', certificate('0A01'), { hooks, access });
  const binds = mountOptions([{ source: host.above, target: '/secrets', propagation: 'rslave' }]);
  const run = ['run', '--rm', '-i', '--name', 'web', '-v', `${sockets}:/sockets`, ...binds, IMAGE, ...BASH];
  const box = await docker.shell(run);
  await box.must(`cat >/etc/nginx/nginx.conf <<'END'\n${NGINX}END\nnginx && chmod 666 /sockets/tls`);
  const serves = (serial: string) =>
    eventually(async () => {
      const [{ probes }] = JSON.parse(await host.bench.must(['status', 'web', '--json']));
      assert.deepEqual([probes[0].verdict, probes[0].servedSerial], ['served', serial]);
    }, patient(15_000));
  await host.rotate('web', daemon, certificate('0B02'));
  await daemon.event('hook-done');
  await serves('0b02');
  assert.match((await box.run('cat /secrets/web/guarded')).text, /Permission denied/);
  const { unit, path } = await daemon.event('open-refused');
  assert.deepEqual([path, unit], ['guarded', '']);
});
