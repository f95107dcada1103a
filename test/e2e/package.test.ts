/**
 * The packages, in a Debian that has no Node.js: installed, upgraded and downgraded under a live mount, purged; lines of
 * fstab; what README says to do after installing, across a reboot.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { cp, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { writeArchive } from '../../src/bundle/archive.ts';
import { KEY, sealTest } from '../support/bundles.ts';
import { debianRoot } from '../support/debian.ts';
import { blocksOf } from '../support/documents.ts';
import { file } from '../support/entries.ts';
import { Packages } from '../support/packages.ts';
import { REPOSITORY } from '../support/paths.ts';
import { eventually, must, run } from '../support/program.ts';
import { patient } from '../support/slowness.ts';
import { scriptOf, stepsOf } from '../support/steps.ts';
import { Systemd } from '../support/systemd.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const [V1, V2] = ['7.1.0', '7.2.0'];
const UNIT = 'secretsfs@web.service';
const MOUNTPOINT = '/srv/web';
const SETTINGS = 'bundle: /etc/secretsfs/web.enc\nacceptKey: local:/etc/secretsfs/key\n';
const EVERY_FILE = ['/', '-xdev', '-printf', '%p\\n'];
/** What dpkg, systemd and the account tools write for themselves. */
const OF_THE_SYSTEM =
  /^\/(var\/(log|cache|tmp)\/|var\/lib\/(dpkg|systemd)\/|etc\/(passwd|group|shadow|gshadow)-$|etc\/\.pwd\.lock$|root\/)/;

/** The other architecture, and building twice, in scripts/soak: each is half a minute of work. */
const SOAK = process.env['SECRETSFS_SOAK'] !== undefined;
const ARCHITECTURES = SOAK ? ['amd64', 'arm64'] : ['amd64'];

let packages: Packages;

before(
  async () => {
    packages = await Packages.create();
    await packages.build(V1, 'dist1');
    await packages.make(V1, 'one', [
      '--dist',
      packages.path('dist1'),
      ...ARCHITECTURES.flatMap((arch) => ['--arch', arch]),
    ]);
    await packages.build(V2, 'dist2');
    await packages.make(V2, 'two', ['--arch', 'amd64', '--dist', packages.path('dist2')]);
  },
  { timeout: patient(600_000) },
);
after(() => packages.remove());

const debOf = (out: string, version: string, arch = 'amd64') =>
  packages.path(out, `secretsfs_${version}-1_${arch}.deb`);

async function machineWith(t: TestContext, deb?: string): Promise<Systemd> {
  const machine = await Systemd.machine(t, await debianRoot());
  if (deb !== undefined) await install(machine, deb);
  return machine;
}

/** dpkg -i; what it said. */
async function install(machine: Systemd, deb: string): Promise<string> {
  await cp(deb, machine.path('/root/secretsfs.deb'));
  return machine.must('/bin/sh', ['-c', 'dpkg -i /root/secretsfs.deb 2>&1']);
}

const filesOf = async (machine: Systemd) => new Set((await machine.must('find', EVERY_FILE)).split('\n'));

/** What is there that was not, and the reverse. */
async function differences(machine: Systemd, before: ReadonlySet<string>): Promise<string[]> {
  const now = await filesOf(machine);
  const changed = [...now, ...before].filter((name) => !(now.has(name) && before.has(name)));
  const isOurs = (name: string) => /secretsfs/.test(name) && !name.startsWith('/root/');
  return changed.filter((name) => (isOurs(name) || !OF_THE_SYSTEM.test(name)) && name !== '/root').sort();
}

async function putBundle(machine: Systemd, secret: string): Promise<void> {
  await machine.write('/etc/secretsfs/key', KEY, 0o400);
  const tar = await writeArchive([file('secret', secret)]);
  await machine.write('/etc/secretsfs/web.enc', await sealTest(tar, { serial: Date.now() }));
  await machine.write('/etc/secretsfs/web.yaml', SETTINGS);
}

/** Reads the file until it is told to stop. */
function readAllTheTime(name: string): { stop(): Promise<{ reads: number; failed: string[] }> } {
  const failed: string[] = [];
  let [reads, goesOn] = [0, true];
  const reading = (async () => {
    while (goesOn) {
      reads += 1;
      const text = await readFile(name, 'utf8').catch((error: unknown) => String(error));
      if (text !== 'one') failed.push(text);
    }
  })();
  return {
    async stop() {
      goesOn = false;
      await reading;
      return { reads, failed };
    },
  };
}

async function sha256(name: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(name))
    .digest('hex');
}

async function areTheSame(): Promise<void> {
  // Built anew, later, into another directory.
  await packages.make(V1, 'again', ['--arch', 'amd64']);
  const names = await readdir(packages.path('again'));
  assert.deepEqual(names.sort(), [`secretsfs-${V1}-linux-amd64.tar.gz`, `secretsfs_${V1}-1_amd64.deb`]);
  for (const name of names)
    assert.equal(await sha256(packages.path('again', name)), await sha256(packages.path('one', name)), name);
}
if (SOAK) test('the same sources make the same packages, byte for byte', areTheSame);

/** elf.h: e_machine. */
const MACHINES: Readonly<Record<number, string>> = { 62: 'amd64', 183: 'arm64' };

for (const arch of ARCHITECTURES) {
  test(`all that is machine code in the ${arch} package is ${arch}`, async (t) => {
    const directory = await temporaryDirectory(t);
    const deb = debOf('one', V1, arch);
    await must('dpkg-deb', ['--extract', deb, directory]);
    const found: string[] = [];
    for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
      const name = path.join(entry.parentPath, entry.name);
      const head = entry.isFile() ? (await readFile(name)).subarray(0, 20) : Buffer.alloc(0);
      if (!head.subarray(0, 4).equals(Buffer.from('\x7fELF'))) continue;
      assert.equal(MACHINES[head.readUInt16LE(18)], arch, name);
      found.push(entry.name);
    }
    const driver = arch === 'amd64' ? ['node.napi.node'] : [];
    assert.deepEqual(found.sort(), ['koffi.node', 'node', ...driver].sort());
    assert.equal((await must('dpkg-deb', ['--field', deb, 'Architecture'])).trim(), arch);
    // Whose code it is goes along.
    assert.match(await readFile(path.join(directory, 'usr/lib/secretsfs/bin/LICENSE'), 'utf8'), /Node\.js/);
    const others = await readFile(path.join(directory, 'usr/lib/secretsfs/dist/licenses.txt'), 'utf8');
    assert.match(others, /^@aws-sdk\/client-s3 [\d.]+: Apache-2\.0$/m);
  });
}

test('upgraded and downgraded under a mount no read fails, and purged nothing of it is left', async (t) => {
  const machine = await machineWith(t);
  const before = await filesOf(machine);
  await install(machine, debOf('one', V1));
  assert.equal((await machine.must('secretsfs', ['--version'])).trim(), V1);
  assert.equal((await machine.run('which', ['node'])).code, 1);
  await putBundle(machine, 'one');
  await machine.must('mkdir', [MOUNTPOINT]);
  await machine.write('/etc/secretsfs/web.yaml', `${SETTINGS}mountpoint: ${MOUNTPOINT}\n`);
  await machine.must('systemctl', ['enable', '--now', UNIT]);
  const status = async () => JSON.parse(await machine.must('secretsfs', ['status', 'web', '--json']))[0];
  const pids = async () => {
    const { processes } = (await status()) as { processes: { role: string; pid: number }[] };
    const pidOf = (role: string) => processes.find((each) => each.role === role)?.pid;
    return { supervisor: pidOf('supervisor'), server: pidOf('server') };
  };
  const [first] = [await pids()];
  const reader = readAllTheTime(machine.path(`${MOUNTPOINT}/secret`));

  const upgraded = await install(machine, debOf('two', V2));
  assert.match(upgraded, /web: replaced /);
  assert.equal((await machine.must('secretsfs', ['--version'])).trim(), V2);
  const second = await pids();
  assert.equal(second.supervisor, first.supervisor);
  assert.notEqual(second.server, first.server);
  const program = await machine.must('cat', [`/proc/${second.server}/cmdline`]);
  assert.match(program, /\/usr\/lib\/secretsfs\/bin\/node/);
  for (const name of ['man/man1/secretsfs.1.gz', 'bash-completion/completions/secretsfs'])
    await machine.must('test', ['-s', `/usr/share/${name}`]);

  assert.match(await install(machine, debOf('one', V1)), /web: replaced /);
  assert.equal((await machine.must('secretsfs', ['--version'])).trim(), V1);
  assert.equal((await pids()).supervisor, first.supervisor);
  const { reads, failed } = await reader.stop();
  assert.deepEqual(failed.slice(0, 3), []);
  assert.ok(reads > 100, `${reads} reads`);

  const removed = await machine.must('/bin/sh', ['-c', 'dpkg --purge secretsfs 2>&1']);
  assert.match(removed, /stopping secretsfs@web\.service, which unmounts it/);
  assert.match(removed, /\/etc\/secretsfs stays, with what is yours: key web\.enc web\.yaml/);
  assert.equal((await machine.run('mountpoint', ['-q', MOUNTPOINT])).code, 32);
  const mine = ['/etc/secretsfs', ...['key', 'web.enc', 'web.yaml'].map((name) => `/etc/secretsfs/${name}`)];
  assert.deepEqual(await differences(machine, before), [...mine, MOUNTPOINT].sort());
  assert.deepEqual(
    await readdir(machine.path('/run')).then((names) => names.filter((name) => /secretsfs/.test(name))),
    [],
  );
});

test('install.sh of the tarball installs, upgrades and removes the same', async (t) => {
  const machine = await machineWith(t);
  const before = await filesOf(machine);
  const foreign = async () =>
    (await machine.run('find', ['/', '-xdev', '-uid', '1000', '!', '-path', '/root/*'])).stdout;
  const installSh = async (out: string, version: string, ...args: string[]) => {
    const name = `secretsfs-${version}-linux-amd64`;
    await must('tar', ['-xzf', packages.path(out, `${name}.tar.gz`), '-C', machine.path('/root')]);
    // As somebody who is not root has unpacked it.
    await machine.must('chown', ['-R', '1000:1000', `/root/${name}`]);
    return machine.must('/bin/sh', ['-c', 'sh "$@" 2>&1', 'sh', `/root/${name}/install.sh`, ...args]);
  };
  await installSh('one', V1);
  assert.equal(await foreign(), '');
  await putBundle(machine, 'one');
  await machine.must('mkdir', [MOUNTPOINT]);
  await machine.write('/etc/fstab', `web ${MOUNTPOINT} secretsfs defaults 0 0\n`);
  await machine.must('mount', ['-a']);
  const reader = readAllTheTime(machine.path(`${MOUNTPOINT}/secret`));
  assert.match(await installSh('two', V2), /web: replaced /);
  assert.equal((await machine.must('secretsfs', ['--version'])).trim(), V2);
  const { reads, failed } = await reader.stop();
  assert.deepEqual(failed.slice(0, 3), []);
  assert.ok(reads > 10, `${reads} reads`);
  // What only the version of before had is gone: parts are named by their contents.
  const parts = await readdir(machine.path('/usr/lib/secretsfs/dist/secretsfs-parts'));
  assert.deepEqual(parts.sort(), (await readdir(packages.path('dist2/secretsfs-parts'))).sort());
  assert.match(await installSh('two', V2, '--uninstall', '--purge'), /unmounting web/);
  await machine.must('rm', ['-r', '/etc/secretsfs', MOUNTPOINT]);
  assert.deepEqual(await differences(machine, before), []);
  // Where a package manager did it, it is for that to do.
  await install(machine, debOf('one', V1));
  const { code, stderr } = await machine.run('sh', [`/root/secretsfs-${V1}-linux-amd64/install.sh`]);
  assert.deepEqual([code, /installed in another way/.test(stderr)], [1, true]);
});

test('lines of fstab are mounted by mount -a and at boot, and unmounted by umount', async (t) => {
  const machine = await machineWith(t, debOf('one', V1));
  await putBundle(machine, 'one');
  await machine.must('mkdir', ['/srv/web', '/srv/app', '/srv/direct']);
  await machine.write('/etc/secretsfs/other.yaml', SETTINGS);
  const context = 'context="system_u:object_r:cert_t:s0:c1,c2"';
  const options = `accept-key=local:/etc/secretsfs/key,instance=direct,name=web,log=/var/log/direct.log`;
  await machine.write(
    '/etc/fstab',
    `web /srv/web secretsfs _netdev,nofail,ro,x-systemd.mount-timeout=60s,${context} 0 0
secretsfs#app /srv/app fuse.secretsfs config=/etc/secretsfs/other.yaml 0 0
/etc/secretsfs/web.enc /srv/direct secretsfs noauto,${options} 0 0
`,
  );
  const content = (name: string) => readFile(machine.path(`${name}/secret`), 'utf8');
  const table = async () =>
    (await machine.must('findmnt', ['-rno', 'SOURCE,TARGET', '-t', 'fuse.secretsfs']))
      .trim()
      .split('\n')
      .sort();
  const supervisors = async () => {
    const statuses = JSON.parse(await machine.must('secretsfs', ['status', '--json'])) as {
      instance: string;
    }[];
    return statuses.map(({ instance }) => instance).sort();
  };
  await machine.must('mount', ['-a']);
  assert.deepEqual(await table(), ['secretsfs#app /srv/app', 'web /srv/web']);
  assert.deepEqual([await content('/srv/web'), await content('/srv/app')], ['one', 'one']);
  // It knows what is mounted already.
  await machine.must('mount', ['-a']);
  await machine.must('mount', ['/srv/direct']);
  assert.equal(await content('/srv/direct'), 'one');
  assert.deepEqual(await supervisors(), ['app', 'direct', 'web']);
  assert.match(await readFile(machine.path('/var/log/direct.log'), 'utf8'), /"event":"ready"/);
  assert.match(await machine.must('journalctl', ['-t', 'secretsfs', '-o', 'cat']), /"event":"ready"/);

  await machine.must('umount', ['/srv/app', '/srv/direct']);
  await eventually(async () => assert.deepEqual(await supervisors(), ['web']));
  assert.deepEqual(await table(), ['web /srv/web']);

  const fails = async (...args: string[]) => {
    const { code, stderr } = await machine.run('mount', ['-t', 'secretsfs', ...args]);
    assert.notEqual(code, 0);
    return stderr;
  };
  assert.match(await fails('web', '/srv/app', '-o', 'fast-opne'), /unknown mount option "fast-opne"/);
  assert.match(await fails('web', '/srv/app', '-o', 'fast-opne'), /hint: /);
  assert.match(await fails('none', '/srv/app'), /no bundle given/);
  assert.match(await fails('/etc/none.enc', '/srv/app', '-o', options), /there is no such file/);
  assert.deepEqual(await table(), ['web /srv/web']);

  await machine.must('systemctl', ['daemon-reload']);
  await machine.must('systemctl', ['start', 'srv-app.mount']);
  assert.equal(await content('/srv/app'), 'one');
  await machine.must('systemctl', ['stop', 'srv-app.mount']);
  await eventually(async () => assert.deepEqual(await supervisors(), ['web']));
  await machine.reboot();
  assert.deepEqual([await content('/srv/web'), await content('/srv/app')], ['one', 'one']);
});

/** As a reader does, who takes the package that he made: this one is of another version. */
async function installAsReadmeSays(machine: Systemd): Promise<void> {
  const [make, apt, ...more] = stepsOf('make-package').map(({ command }) => command);
  // What is in `one`.
  assert.deepEqual([make, more], ['scripts/package --arch amd64', []]);
  const [, deb = ''] = /^sudo apt install \.\/(\S+)$/.exec(apt ?? '') ?? [];
  await machine.must('mkdir', ['-p', path.dirname(`/root/${deb}`)]);
  await cp(debOf('one', V1), machine.path(`/root/${deb}`));
  await machine.must('sh', ['-ec', `cd /root; ${apt?.replace('sudo ', '')}`]);
}

test('after what README says to do, nginx has its certificate from memory, after a renewal and a reboot too', async (t) => {
  const machine = await machineWith(t);
  await installAsReadmeSays(machine);
  const steps = stepsOf('package');
  assert.ok(steps.length >= 8, `${steps.length} steps were found`);
  const settings = '/etc/secretsfs/web.yaml';
  const bash = (script: string) => machine.must('bash', ['-c', `cd /root\n${script}`]);
  await bash(scriptOf(steps));
  const served = async () => {
    const ask =
      'openssl s_client -connect 127.0.0.1:443 </dev/null 2>/dev/null | openssl x509 -noout -subject -serial';
    return (await machine.must('bash', ['-c', ask])).trim().split('\n');
  };
  const [subject, first] = await served();
  assert.equal(subject, 'subject=CN = web.test');

  const [{ body: hooks }] = blocksOf('renew');
  await machine.write(settings, `${await readFile(machine.path(settings), 'utf8')}${hooks}`);
  await eventually(async () => {
    const [status] = JSON.parse(await machine.must('secretsfs', ['status', 'web', '--json']));
    assert.equal(status.hooks.length, 1);
  });
  const again = steps.filter(({ command }) => /^(mkdir|openssl|secretsfs pack|rm) /.test(command));
  await bash(scriptOf(again));
  const renewed = await eventually(async () => {
    const now = await served();
    assert.notEqual(now[1], first);
    return now;
  }, patient(20_000));
  await machine.reboot();
  assert.deepEqual(await served(), renewed);
  // In memory, and nowhere else.
  assert.equal(
    (await machine.run('grep', ['-rlsI', 'PRIVATE KEY', '/root', '/etc', '/var', '/tmp'])).stdout,
    '',
  );

  const [{ body: fstab }] = blocksOf('fstab');
  await machine.must('systemctl', ['stop', UNIT]);
  await machine.write('/etc/fstab', fstab);
  await machine.must('mount', ['/srv/web-secrets']);
  assert.match(await readFile(machine.path('/srv/web-secrets/tls/web.crt'), 'utf8'), /BEGIN CERTIFICATE/);
  await machine.must('umount', ['/srv/web-secrets']);
});

test('npm -g installs the package of npm pack, and it runs', async (t) => {
  const directory = await temporaryDirectory(t);
  // Without prepack: it would build dist/ below the tests that use it.
  await must('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', directory, REPOSITORY]);
  const [archive = ''] = await readdir(directory);
  const prefix = path.join(directory, 'prefix');
  const flags = ['--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts', '--silent'];
  await must('npm', ['install', '-g', '--prefix', prefix, ...flags, path.join(directory, archive)], {
    timeoutMs: patient(120_000),
  });
  const { version } = JSON.parse(await readFile(path.join(REPOSITORY, 'package.json'), 'utf8'));
  assert.equal((await must(path.join(prefix, 'bin/secretsfs'), ['--version'])).trim(), version);
  const installed = path.join(prefix, 'lib/node_modules/secretsfs');
  const systemd = (await readdir(path.join(installed, 'systemd'))).sort();
  assert.deepEqual(systemd, (await readdir(path.join(REPOSITORY, 'systemd'))).sort());
  const keygen = await run(path.join(prefix, 'bin/secretsfs'), ['keygen', path.join(directory, 'key')]);
  assert.equal(keygen.code, 0, keygen.stderr);
});
