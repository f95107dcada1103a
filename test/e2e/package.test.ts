/**
 * The packages, in a Debian that has no Node.js: installed, upgraded and downgraded under a live mount, purged; lines of
 * fstab; what README says to do after installing, across a reboot.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { cp, open as openFile, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { blocksOf } from '../support/documents.ts';
import {
  differences,
  filesOf,
  install,
  machineWith,
  pidOf,
  putBundle,
  readAllTheTime,
  SETTINGS,
  statusOf,
  storeOf,
} from '../support/package-machine.ts';
import { buildRpm, filesOfDeb, filesOfRpm, installRpm, Packages } from '../support/packages.ts';
import { REPOSITORY } from '../support/paths.ts';
import { eventually, must, run } from '../support/program.ts';
import { patient } from '../support/slowness.ts';
import { scriptOf, stepsOf } from '../support/steps.ts';
import type { Systemd } from '../support/systemd.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const [V1, V2, BROKEN] = ['7.1.0', '7.2.0', '7.3.0'];
const UNIT = 'secretsfs@web.service';
const MOUNTPOINT = '/srv/web';
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

test('man finds and reads each page of the package', async (t) => {
  const directory = await temporaryDirectory(t);
  await must('dpkg-deb', ['--extract', debOf('one', V1), directory]);
  const man = path.join(directory, 'usr/share/man');
  await must('mandb', ['--quiet', '--create', '--user-db', man]);
  const files = (await readdir(man, { recursive: true })).filter((name) => name.endsWith('.gz'));
  assert.ok(files.length > 40, `${files.length} pages were found`);
  for (const file of files) {
    const [, name = '', section = ''] = /^man\d\/(.*)\.(\d)\.gz$/.exec(file) ?? [];
    assert.match(await must('whatis', ['-M', man, '-s', section, name]), /^\S+ \(\d\) +- \S/, file);
  }
  const page = await must('man', ['-M', man, '8', 'mount.fuse.secretsfs'], {
    env: { ...process.env, MANPAGER: 'cat' },
  });
  assert.match(page, /encryption-context=VALUE/);
});

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

test('installed, upgraded, downgraded and repaired under a mount no read fails, and purged nothing of it is left', async (t) => {
  const machine = await machineWith(t);
  const sh = (script: string) => machine.run('/bin/sh', ['-c', `{ ${script}; } 2>&1`]);
  const before = await filesOf(machine);
  const users = await machine.must('cat', ['/etc/passwd']);
  const said = await install(machine, debOf('one', V1));
  const next = said.split('\n').filter((line) => line.startsWith('secretsfs: '));
  assert.equal(next.length, 3, said);
  assert.match(said, /systemctl enable --now secretsfs@web/);
  assert.equal((await machine.must('secretsfs', ['--version'])).trim(), V1);
  assert.equal((await machine.run('which', ['node'])).code, 1);
  await putBundle(machine, 'one');
  await machine.must('mkdir', [MOUNTPOINT]);
  await machine.write('/etc/secretsfs/web.yaml', `${SETTINGS}mountpoint: ${MOUNTPOINT}\n`);
  await machine.must('systemctl', ['enable', '--now', UNIT]);
  const secret = machine.path(`${MOUNTPOINT}/secret`);
  const [first, firstServer] = [await pidOf(machine, 'supervisor'), await pidOf(machine, 'server')];
  const reader = readAllTheTime(secret);

  const upgraded = await install(machine, debOf('two', V2));
  assert.match(upgraded, /^web: replaced .*, supervisor$/m);
  assert.doesNotMatch(upgraded, /^secretsfs: next/m);
  assert.equal((await statusOf(machine)).version, V2);
  const [second, server] = [await pidOf(machine, 'supervisor'), await pidOf(machine, 'server')];
  assert.notEqual(second, first);
  assert.notEqual(server, firstServer);
  assert.match(await machine.must('cat', [`/proc/${server}/cmdline`]), /\/usr\/lib\/secretsfs\/bin\/node/);
  for (const name of ['man/man1/secretsfs.1.gz', 'bash-completion/completions/secretsfs'])
    await machine.must('test', ['-s', `/usr/share/${name}`]);

  // What a supervisor of another version would hand over this one can't read.
  const note = `${await storeOf(machine)}/handover`;
  const record = await machine.must('cat', [note]);
  await machine.must('sed', ['-i', 's/"version":1/"version":0/', note]);
  const downgraded = await install(machine, debOf('one', V1));
  assert.match(downgraded, /^web: replaced server/m);
  assert.match(downgraded, /^web: the supervisor stays: this version can not go on with what it holds$/m);
  assert.equal(await pidOf(machine, 'supervisor'), second);
  await machine.write('/root/record', record, 0o600);
  await machine.must('cp', ['/root/record', note]);

  // One whose server does not start: dpkg has nothing against it, and the mount stays with what it has.
  await machine.must('truncate', ['-s', '0', '/usr/lib/secretsfs/dist/server.mjs']);
  const refused = await sh('/usr/lib/secretsfs/after-install');
  assert.match(refused.stdout, /the mount web goes on with the program that it was started with/);
  assert.equal(refused.code, 0);
  assert.equal(await pidOf(machine, 'supervisor'), second);
  // One that does not run at all is dpkg's, until the one before is there again.
  await cp(await packages.broken(debOf('one', V1), BROKEN), machine.path('/root/secretsfs.deb'));
  const failed = await sh('dpkg -i /root/secretsfs.deb');
  assert.match(failed.stdout, /the program does not run here/);
  assert.equal(failed.code, 1);
  const state = async () => {
    const status = await machine.must('dpkg-query', ['-s', 'secretsfs']);
    return /^Status: \S+ ok (.*)$/m.exec(status)?.[1];
  };
  assert.equal(await state(), 'half-configured');
  assert.match(await install(machine, debOf('one', V1)), /^web: replaced .*, supervisor$/m);
  assert.equal(await state(), 'installed');
  const { reads, failed: failures } = await reader.stop();
  assert.deepEqual(failures.slice(0, 3), []);
  assert.ok(reads > 100, `${reads} reads`);

  // Something that nobody answers for keeps the package, and what was stopped comes back.
  const dead =
    'exec 3<>/dev/fuse; mount -i -t fuse -o subtype=secretsfs,fd=3,rootmode=40000,user_id=0,group_id=0 x /mnt';
  await machine.must('systemd-run', ['--unit=dead', 'bash', '-c', `${dead}; exec sleep infinity`]);
  // To look at it would wait for who serves it.
  await eventually(() => machine.must('grep', ['-q', ' /mnt ', '/proc/self/mountinfo']));
  // One that is between two starts has no socket.
  await machine.write(
    '/run/systemd/system/secretsfs@late.service.d/late.conf',
    '[Service]\nExecStartPre=/bin/sleep 1d\n',
  );
  await machine.must('sh', ['-c', 'systemctl daemon-reload; systemctl start --no-block secretsfs@late']);
  const late = async () => (await machine.run('systemctl', ['is-active', 'secretsfs@late'])).stdout.trim();
  await eventually(async () => assert.equal(await late(), 'activating'));
  const kept = await sh('dpkg --remove secretsfs');
  assert.match(kept.stdout, /nothing is removed: this is mounted still, and umount would end it: \/mnt/);
  assert.equal(kept.code, 1);
  assert.doesNotMatch(kept.stdout, /replaced|goes on with the program/);
  assert.equal(await state(), 'installed');
  await eventually(async () => assert.equal(await late(), 'activating'));
  await machine.must('systemctl', ['stop', 'secretsfs@late']);
  await machine.run('systemctl', ['reset-failed', 'secretsfs@late']);
  await machine.must('rm', ['-r', '/run/systemd/system/secretsfs@late.service.d']);
  await machine.must('systemctl', ['daemon-reload']);
  await machine.must('systemctl', ['stop', 'dead']);
  await machine.must('umount', ['/mnt']);
  await machine.must('secretsfs', ['wait', 'web', '--restarts']);

  // Who has a file open keeps no mount from ending.
  const open = await openFile(secret);
  t.after(() => open.close());
  // Whom it leaves without what they start with is told.
  const dropIn = '/etc/systemd/system/nginx.service.d';
  await machine.write(`${dropIn}/secretsfs.conf`, '[Service]\nExecStartPre=+/usr/bin/secretsfs wait web\n');
  await machine.write(`${dropIn}/other.conf`, '[Service]\nNice=1\n');
  const fstab = await machine.must('cat', ['/etc/fstab']);
  await machine.write(
    '/etc/fstab',
    `# a secretsfs line\nweb\t/srv/w\tsecretsfs\tdefaults 0 0\nx /y ext4 defaults 0 0\n`,
  );
  const removed = await machine.must('/bin/sh', ['-c', 'dpkg --purge secretsfs 2>&1']);
  assert.match(removed, new RegExp(`do not start without it, .*: ${dropIn}/secretsfs\\.conf $`, 'm'));
  assert.match(removed, /lines of \/etc\/fstab need it, .*: 2 $/m);
  await machine.write('/etc/fstab', fstab);
  await machine.must('rm', ['-r', dropIn]);
  assert.match(removed, /stopping secretsfs@web\.service, which unmounts it/);
  assert.match(removed, /\/etc\/secretsfs stays, with what is yours: key web\.enc web\.yaml/);
  assert.equal((await machine.run('mountpoint', ['-q', MOUNTPOINT])).code, 32);
  await assert.rejects(open.read(Buffer.alloc(3), 0, 3, 0));
  const mine = ['/etc/secretsfs', ...['key', 'web.enc', 'web.yaml'].map((name) => `/etc/secretsfs/${name}`)];
  assert.deepEqual(await differences(machine, before), [...mine, MOUNTPOINT].sort());
  const inMemory = ['/run', '/tmp', '/dev', '-name', '*secretsfs*'];
  assert.equal(await machine.must('find', inMemory), '');
  assert.equal(
    await machine.must('systemctl', ['list-units', '--all', '--plain', '--no-legend', 'secretsfs*']),
    '',
  );
  // Their numbers are never given to others: packaging/after-remove.
  const left = (await machine.must('cat', ['/etc/passwd'])).replace(users, '').trim().split('\n');
  assert.deepEqual(
    left.map((line) => line.split(':')[0]).sort(),
    ['agent', 'server', 'unsealer'].map((role) => `secretsfs-${role}`),
  );
});

test('doctor knows the unit of its package, and sees another one in its place', async (t) => {
  const machine = await machineWith(t, debOf('one', V1));
  const unit = async () => {
    const env = ['AWS_EC2_METADATA_DISABLED=true', 'secretsfs', 'doctor', 'web', '--json'];
    const { findings } = JSON.parse((await machine.run('env', env)).stdout);
    return findings.find(({ id }: { id: string }) => id === 'unit');
  };
  assert.deepEqual(await unit().then(({ state, found }) => [state, found]), [
    'ok',
    '/usr/lib/systemd/system/secretsfs@.service',
  ]);
  const old = '/etc/systemd/system/secretsfs@.service';
  await machine.write(old, '[Service]\nType=notify\nExecStart=/usr/bin/secretsfs mount\n');
  const { state, found } = await unit();
  assert.deepEqual([state, found], ['warning', `${old} is not the one that this version ships`]);
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

/** Where in the package of npm is what a Debian package installs. */
const OF_NPM: readonly (readonly [RegExp, string])[] = [
  [/^\/etc\/secretsfs\/example\.yaml$/, 'packaging/example.yaml'],
  [/^\/usr\/lib\/secretsfs\/dist\/(.*)$/, 'dist/$1'],
  [/^\/usr\/lib\/systemd\/user\/secretsfs@(.*)$/, 'systemd/secretsfs-user@$1'],
  [/^\/usr\/lib\/systemd\/system\/(.*)$/, 'systemd/$1'],
  [/^\/usr\/lib\/(sysusers|tmpfiles)\.d\/secretsfs\.conf$/, 'systemd/secretsfs.$1.conf'],
  [/^\/usr\/share\/secretsfs\/(.*)$/, 'systemd/$1'],
  [/^\/usr\/share\/man\/(.*)\.gz$/, 'dist/man/$1'],
  [/^\/usr\/share\/bash-completion\/.*$/, 'dist/completions/bash'],
  [/^\/usr\/share\/(zsh|fish)\/.*$/, 'dist/completions/$1'],
  [/^\/usr\/share\/doc\/secretsfs\/README\.md$/, 'README.md'],
  [/^\/usr\/share\/doc\/secretsfs\/changelog\.gz$/, 'CHANGELOG.md'],
  [/^\/usr\/share\/doc\/secretsfs\/(?:examples\/)?(.*\.(?:md|svg|txt|yaml|json))$/, 'docs/$1'],
];
/** Node.js, and packages that npm brings by itself; links that npm makes, or README; what is dpkg's; and names that follow from contents. */
const NOT_OF_NPM =
  /^\/usr\/(lib\/secretsfs\/(bin|node_modules)\/|s?bin\/|lib\/secretsfs\/(after-install|before-remove)$|share\/lintian\/|share\/doc\/secretsfs\/(copyright|changelog\.Debian\.gz)$|lib\/secretsfs\/dist\/\w+-parts\/)/;

test('npm -g installs what the Debian package does, but for Node.js, and it runs', async (t) => {
  const directory = await temporaryDirectory(t);
  // Without prepack: it would build dist/ below the tests that use it.
  await must('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', directory, REPOSITORY]);
  const [archive = ''] = await readdir(directory);
  const packed = (await must('tar', ['-tzf', path.join(directory, archive)])).split('\n');
  const installedByDebian = (await filesOfDeb(debOf('one', V1))).filter(({ mode }) => !mode.startsWith('d'));
  assert.ok(installedByDebian.length > 100, `${installedByDebian.length} files were found`);
  for (const { name } of installedByDebian) {
    if (NOT_OF_NPM.test(name)) continue;
    const [pattern, place] = OF_NPM.find(([each]) => each.test(name)) ?? [];
    assert.ok(pattern !== undefined && place !== undefined, `${name} has no place in the package of npm`);
    assert.ok(packed.includes(`package/${name.replace(pattern, place)}`), name);
  }
  const prefix = path.join(directory, 'prefix');
  const flags = ['--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts', '--silent'];
  await must('npm', ['install', '-g', '--prefix', prefix, ...flags, path.join(directory, archive)], {
    timeoutMs: patient(120_000),
  });
  const { version } = JSON.parse(await readFile(path.join(REPOSITORY, 'package.json'), 'utf8'));
  assert.equal((await must(path.join(prefix, 'bin/secretsfs'), ['--version'])).trim(), version);
  for (const page of ['man1/secretsfs.1', 'man5/secretsfs.yaml.5', 'man8/mount.secretsfs.8'])
    assert.match(await readFile(path.join(prefix, 'share/man', page), 'utf8'), /^\.TH /);
  const keygen = await run(path.join(prefix, 'bin/secretsfs'), ['keygen', path.join(directory, 'key')]);
  assert.equal(keygen.code, 0, keygen.stderr);
});

/** What the RPM leaves to Debian. */
const OF_DEBIAN = /^\/usr\/share\/(lintian\/|doc\/secretsfs\/changelog)/;

async function isAnRpm(t: TestContext): Promise<void> {
  const directory = await temporaryDirectory(t);
  const rpm = await buildRpm(packages.path('one', `secretsfs-${V1}-linux-amd64.tar.gz`), directory);
  const ofDeb = (await filesOfDeb(debOf('one', V1))).filter(
    ({ name, mode }) => !OF_DEBIAN.test(name) && (!mode.startsWith('d') || /\/secretsfs(\/|$)/.test(name)),
  );
  const ofRpm = await filesOfRpm(rpm);
  assert.deepEqual(
    ofRpm.map(({ flags: _, ...rest }) => rest),
    ofDeb,
  );
  assert.deepEqual(
    ofRpm.filter(({ flags }) => flags.includes('c')).map(({ name, flags }) => [name, flags]),
    [['/etc/secretsfs/example.yaml', 'cn']],
  );
  const root = path.join(directory, 'root');
  await installRpm(rpm, root);
  assert.match(
    await must('chroot', [root, '/usr/bin/secretsfs', 'version']),
    new RegExp(`^secretsfs ${V1} `),
  );
}
if (SOAK) test('rpmbuild makes an RPM of the tarball, with the files of the Debian package', isAnRpm);
