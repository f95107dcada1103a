/** Hooks through a real mount: nginx and haproxy serve a renewed certificate, and nobody touches anything. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { freePort } from '../support/moto.ts';
import { otherProgram } from '../support/other-program.ts';
import { Bench, Daemon, eventually } from '../support/program.ts';
import { script } from '../support/root-directory.ts';
import { patient } from '../support/slowness.ts';
import { makeCertificate, servedSerial, startNginx } from '../support/tls.ts';

interface Set {
  readonly bench: Bench;
  /** Where nobody but root may write, as hooks want it of their config. */
  readonly etc: string;
  /** Packs a certificate of that serial to where the mount looks. */
  renew(serial: string): Promise<void>;
  /** Mounts with these hooks. */
  mount(hooks: unknown): Promise<Daemon>;
  status(): Promise<{ hooks: Record<string, unknown>[]; probes: Record<string, unknown>[] }>;
}

async function setUp(t: TestContext): Promise<Set> {
  const bench = await Bench.create(t);
  const etc = await mkdtemp('/run/secretsfs-test-');
  bench.after(() => rm(etc, { recursive: true, force: true }));
  for (const name of ['secrets', 'mnt']) await mkdir(bench.path(name));
  await bench.must(['keygen', 'key']);
  return {
    bench,
    etc,
    async renew(serial) {
      await makeCertificate(bench.path('secrets'), serial);
      const parts = await Promise.all(
        ['web.crt', 'web.key'].map((name) => readFile(bench.path('secrets', name), 'utf8')),
      );
      // With an empty line, as files that were put together often have.
      await writeFile(bench.path('secrets/web.pem'), parts.join('\n'));
      await bench.must(['pack', '--dir', 'secrets', '--key', 'local:key', '--name', 'web', 'new.enc.tar']);
      await rename(bench.path('new.enc.tar'), bench.path('web.enc.tar'));
    },
    async mount(hooks) {
      // YAML takes JSON.
      await writeFile(path.join(etc, 'web.yaml'), JSON.stringify({ driver: 'kernel', hooks }));
      const config = ['--config', path.join(etc, 'web.yaml')];
      return bench.mount(['web.enc.tar', 'mnt', '--key', 'local:key', ...config]);
    },
    status: async () => JSON.parse(await bench.must(['status', 'web', '--json']))[0],
  };
}

/** The only probe expects that serial, which the checks found in the mount, and sees it served. */
const probed = (status: Set['status'], serial: string) =>
  eventually(async () => {
    const probe = (await status()).probes[0];
    const { verdict, expectedSerial, servedSerial } = probe ?? {};
    const wanted = serial.toLowerCase();
    assert.deepEqual(
      { verdict, expectedSerial, servedSerial },
      {
        verdict: 'served',
        expectedSerial: wanted,
        servedSerial: wanted,
      },
    );
    assert.equal(typeof probe?.['propagationMs'], 'number');
  }, patient(15_000));

const serves = (port: number, serial: string) =>
  eventually(async () => assert.equal(await servedSerial(port), serial), patient(15_000));

test('nginx serves a renewed certificate by itself; a broken configuration is told, and its hook can be repeated', async (t) => {
  const { bench, etc, renew, mount, status } = await setUp(t);
  const port = await freePort();
  await renew('0A01');
  const config = path.join(etc, 'nginx.conf');
  await writeFile(config, `include ${bench.path('nginx.conf')};\n`);
  const daemon = await mount([
    {
      name: 'web',
      match: ['*.crt', '*.key'],
      debounce: '100ms',
      nginx: {
        config,
        probes: [{ address: `127.0.0.1:${port}`, servername: 'web.test', certificate: 'web.crt' }],
      },
    },
  ]);
  await startNginx(bench, bench.path('mnt'), port);
  assert.equal(await servedSerial(port), '0A01');
  await renew('0B02');
  const renewedMs = performance.now();
  await serves(port, '0B02');
  t.diagnostic(`nginx: ${Math.round(performance.now() - renewedMs)} ms from the file to the handshake`);
  await daemon.event('hook-done');
  assert.equal(daemon.count('hook-started'), 1, 'once for all files, and not for the first generation');
  assert.equal((await status()).hooks[0]?.['outcome'], 'done');
  await probed(status, '0B02');

  const right = await readFile(bench.path('nginx.conf'), 'utf8');
  await writeFile(bench.path('nginx.conf'), `${right}\nnonsense;\n`);
  await renew('0C03');
  await daemon.event('hook-failed');
  const broken = await status();
  assert.equal(broken.hooks[0]?.['outcome'], 'failed');
  assert.match(String(broken.hooks[0]?.['error']), /the test of the configuration exited with 1/);
  assert.match(await bench.must(['status', 'web']), /hook +web failed: the test of the configuration/);
  assert.ok(daemon.lines.some(({ event, line }) => event === 'hook-output' && /nonsense/.test(String(line))));
  assert.equal(await servedSerial(port), '0B02');
  assert.equal(broken.probes[0]?.['expectedSerial'], '0c03');
  const again = await bench.secretsfs(['hook', 'run', 'web']);
  assert.equal(again.code, 8);
  assert.match(again.stderr, /the test of the configuration exited with 1 \(hook-failed\)/);

  await writeFile(bench.path('nginx.conf'), right);
  assert.match(await bench.must(['hook', 'run', 'web']), /^web: hook web done in \d+ ms, serial \d+$/m);
  await serves(port, '0C03');
  await probed(status, '0C03');
  assert.equal((await status()).hooks[0]?.['outcome'], 'done');
  assert.match((await bench.secretsfs(['hook', 'run', 'other'])).stderr, /no such hook \(hook-unknown\)/);
});

test('haproxy serves a renewed certificate through its runtime API, and by a reload what that can not do', async (t) => {
  const { bench, etc, renew, mount, status } = await setUp(t);
  const port = await freePort();
  const at = (name: string) => path.join(etc, name);
  await renew('0A01');
  const daemon = await mount([
    {
      name: 'lb',
      match: ['*.pem'],
      debounce: '100ms',
      haproxy: {
        socket: at('admin.sock'),
        pidfile: at('haproxy.pid'),
        probes: [{ address: `127.0.0.1:${port}`, certificate: 'web.pem' }],
      },
    },
  ]);
  await writeFile(
    at('haproxy.cfg'),
    `global
  stats socket ${at('admin.sock')} mode 600 level admin
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
frontend web
  bind 127.0.0.1:${port} ssl crt ${bench.path('mnt/web.pem')}
  http-request return status 200
`,
  );
  bench.start('haproxy', ['-W', '-db', '-p', at('haproxy.pid'), '-f', at('haproxy.cfg')]);
  await serves(port, '0A01');
  const workerOf = async () => {
    const master = (await readFile(at('haproxy.pid'), 'utf8')).trim();
    return readFile(`/proc/${master}/task/${master}/children`, 'utf8');
  };
  const worker = await workerOf();

  await renew('0B02');
  const renewedMs = performance.now();
  await serves(port, '0B02');
  t.diagnostic(`haproxy: ${Math.round(performance.now() - renewedMs)} ms from the file to the handshake`);
  await daemon.event('hook-done');
  assert.equal(await workerOf(), worker, 'it was not reloaded');
  await probed(status, '0B02');

  // A file that it has not loaded: the API can't, so it is reloaded.
  await writeFile(bench.path('secrets/other.pem'), 'x');
  await renew('0C03');
  await serves(port, '0C03');
  await daemon.event('hook-done', 2);
  await probed(status, '0C03');
  await eventually(async () => assert.notEqual(await workerOf(), worker));
  assert.equal(daemon.count('hook-failed'), 0);

  // Whoever may write there could listen instead.
  await chmod(etc, 0o777);
  await renew('0D04');
  assert.match(
    String((await daemon.event('hook-failed'))['error']),
    /cannot use socket .* is writable by everybody/,
  );
  await chmod(etc, 0o755);
});

test('what speaks to haproxy says on its standard error is in the log', async (t) => {
  const { bench, etc, renew, mount } = await setUp(t);
  await renew('0A01');
  bench.program = await otherProgram(bench.path('noisy'), [
    {
      file: 'haproxy.mjs',
      from: /^var require/m,
      to: "process.stderr.write('out of order\\n');\nvar require",
    },
  ]);
  const socket = path.join(etc, 'admin.sock');
  const server = createServer((connection) => connection.destroy()).listen(socket);
  t.after(() => server.close());
  const daemon = await mount([{ name: 'lb', haproxy: { socket } }]);
  await renew('0B02');
  await daemon.event('hook-failed');
  const said = await daemon.event('child-output');
  assert.deepEqual([said['process'], said['text']], ['haproxy', 'out of order']);
});

test('a mount does not start whose hooks take what others could exchange, and names it', async (t) => {
  const { bench, etc, renew } = await setUp(t);
  await renew('0A01');
  const open = path.join(etc, 'open');
  await mkdir(open);
  await writeFile(path.join(open, 'file'), '');
  await chmod(open, 0o777);
  const refused = async (hook: object, pattern: RegExp) => {
    await writeFile(
      path.join(etc, 'web.yaml'),
      JSON.stringify({ driver: 'kernel', hooks: [{ name: 'a', ...hook }] }),
    );
    const mount = [
      'mount',
      'web.enc.tar',
      'mnt',
      '--key',
      'local:key',
      '--config',
      path.join(etc, 'web.yaml'),
    ];
    const { code, stderr } = await bench.secretsfs(mount);
    assert.equal(code, 3);
    assert.match(stderr, pattern);
    assert.match(stderr, /open\\?" is writable by everybody \(mode 0777\) \(config-untrusted\)/);
  };
  await refused({ run: ['/bin/sh', path.join(open, 'file')] }, /cannot use argument .* of "\/bin\/sh"/);
  await refused(
    { nginx: { config: path.join(open, 'file') } },
    /cannot use argument .* of "\/usr\/sbin\/nginx"/,
  );
  await refused(
    { haproxy: { socket: path.join(open, 'sock'), unit: 'haproxy' } },
    /cannot use socket .*sock/,
  );
});

test('a program of a hook has no descriptor of the mount', async (t) => {
  const { renew, mount } = await setUp(t);
  await renew('0A01');
  const hook = { name: 'ls', atStart: true, run: ['/bin/ls', '-l', '/proc/self/fd'] };
  const daemon = await mount([hook, { ...hook, name: 'nobody', user: 'nobody' }]);
  await daemon.event('hook-done', 2);
  for (const name of ['ls', 'nobody']) {
    const said = daemon.lines.filter(({ event, hook }) => event === 'hook-output' && hook === name);
    const fds = said.map(({ line }) => / (\d+) -> (.*)$/.exec(String(line))).filter((each) => each !== null);
    // The fourth is the directory that ls reads.
    assert.deepEqual(
      fds.map(([, fd]) => fd),
      ['0', '1', '2', '3'],
    );
    for (const [, , target = ''] of fds)
      assert.match(target, /^(\/memfd:secretsfs \(deleted\)|socket:.*|\/proc\/\d+\/fd)$/);
  }
});

test('units that run are reloaded by systemctl, those that do not are left alone, and one that is none fails', async (t) => {
  const { bench, etc, renew } = await setUp(t);
  await renew('0A01');
  // In a mount namespace of its own, systemctl is a program that says what it was asked.
  const fake = await script(
    etc,
    'systemctl',
    `#!/bin/sh
echo "$*" >> ${etc}/said
case "$*" in
  *none.service*) printf 'Id=none.service\\nLoadState=not-found\\nActiveState=inactive\\n' ;;
  *show*) printf 'Id=a.service\\nLoadState=loaded\\nActiveState=active\\n\\nId=b.service\\nLoadState=loaded\\nActiveState=inactive\\n' ;;
esac
`,
  );
  const hooks = [
    { name: 'units', atStart: true, systemd: { reload: ['a', 'b'], restart: ['c'] } },
    { name: 'none', atStart: true, systemd: { reload: ['none'] } },
  ];
  await writeFile(path.join(etc, 'web.yaml'), JSON.stringify({ hooks }));
  const mount = ['mount', 'web.enc.tar', 'mnt', '--key', 'local:key', '--config', path.join(etc, 'web.yaml')];
  const inside = 'mount --bind "$1" /usr/bin/systemctl && shift && exec "$@"';
  const command = ['-m', '/bin/sh', '-c', inside, 'sh', fake, process.execPath, bench.program, ...mount];
  const child = spawn('unshare', command, {
    cwd: bench.directory,
    env: bench.env,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const daemon = new Daemon(child);
  bench.after(() => daemon.stop());
  await daemon.event('hook-done');
  assert.equal((await daemon.event('hook-failed'))['error'], 'there is no unit none.service');
  const said = (await readFile(path.join(etc, 'said'), 'utf8'))
    .split('\n')
    .filter((line) => /[abc]\.service/.test(line));
  assert.deepEqual(said, [
    '--no-ask-password --no-pager show --property=Id,LoadState,ActiveState -- a.service b.service',
    '--no-ask-password --no-pager reload -- a.service',
    '--no-ask-password --no-pager try-restart -- c.service',
  ]);
});

test('a config that others than root may write to runs no hooks: which directory, and what mends it', async (t) => {
  const { bench, renew } = await setUp(t);
  await renew('0A01');
  const config = JSON.stringify({ hooks: [{ name: 'web', run: ['/bin/true'] }] });
  await writeFile(bench.path('web.yaml'), config);
  const refused = await bench.secretsfs([
    ...['mount', 'web.enc.tar', 'mnt', '--key', 'local:key', '--driver', 'kernel'],
    ...['--config', bench.path('web.yaml')],
  ]);
  assert.equal(refused.code, 3);
  assert.match(refused.stderr, /"\/tmp" is writable by everybody \(mode 1777\) \(config-untrusted\)/);
  assert.match(refused.stderr, /hint: keep it elsewhere than in \/tmp: /);
  const alone = await bench.secretsfs([
    ...['mount', 'web.enc.tar', 'mnt', '--key', 'local:key', '--driver', 'fuse-native'],
    ...['--config', bench.path('web.yaml')],
  ]);
  assert.equal(alone.code, 3);
  assert.match(alone.stderr, /cannot use hooks: this mount takes the driver fuse-native \(config-invalid\)/);
});
