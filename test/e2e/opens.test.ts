/** `access:` and `--audit` with the whole program: who may open which file, beside owner and mode, and what the log says of it. */
import assert from 'node:assert/strict';
import { chmod, mkdir, readFile, rename, rm, rmdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { Bench, type Daemon, eventually, run } from '../support/program.ts';
import { rootDirectory } from '../support/root-directory.ts';

const NOBODY = 65534;
const BIN = 2;
const FILES = { 'tls/web.key': 'the key\n', 'tls/web.crt': 'the certificate\n', open: 'for everybody\n' };

interface Place {
  readonly bench: Bench;
  readonly config: string;
  put(access: unknown): Promise<void>;
  mount(access: unknown, args?: readonly string[]): Promise<Daemon>;
  /** `cat` as somebody, in a unit if one is named: what it printed, or what it complained of. */
  cat(file: string, who?: { readonly uid?: number; readonly unit?: string }): Promise<string>;
}

async function setUp(t: TestContext): Promise<Place> {
  const bench = await Bench.create(t);
  await chmod(bench.directory, 0o711);
  await mkdir(bench.path('mnt'));
  for (const [file, content] of Object.entries(FILES)) {
    await mkdir(path.dirname(bench.path('secrets', file)), { recursive: true });
    await writeFile(bench.path('secrets', file), content);
  }
  await bench.must(['keygen', 'key']);
  await bench.must(['pack', '--dir', 'secrets', '--key', 'local:key', '--name', 'web', 'web.enc']);
  const config = path.join(await rootDirectory(t), 'web.yaml');
  const put = async (access: unknown) => {
    const settings = {
      bundle: bench.path('web.enc'),
      mountpoint: bench.path('mnt'),
      files: [{ match: '**', mode: '0444' }],
      access,
    };
    await writeFile(`${config}.new`, JSON.stringify(settings));
    await rename(`${config}.new`, config);
  };
  const slice = await unitsOf(t);
  return {
    bench,
    config,
    put,
    async mount(access, args = []) {
      await put(access);
      return bench.mount(['--config', config, '--key', 'local:key', ...args]);
    },
    async cat(file, { uid = 0, unit } = {}) {
      const enter = unit === undefined ? '' : `echo $$ > '${await slice(unit)}/cgroup.procs'; `;
      const as = `setpriv --reuid ${uid} --regid ${uid} --clear-groups`;
      const { stdout, stderr } = await run('sh', [
        '-c',
        `${enter}exec ${as} cat "$0"`,
        bench.path('mnt', file),
      ]);
      return stdout + stderr;
    },
  };
}

/** Control groups where systemd has its units, of a slice that is nobody else's. */
async function unitsOf(t: TestContext): Promise<(unit: string) => Promise<string>> {
  const mounts = await readFile('/proc/self/mountinfo', 'utf8');
  const root = /^\S+ \S+ \S+ \/ (\S+) .* - cgroup2 /m.exec(mounts)?.[1];
  assert.ok(root !== undefined, 'cgroup2 is not mounted here');
  const slice = path.join(root, `secretsfstest${process.pid}.slice`);
  const made = new Set<string>();
  t.after(async () => {
    for (const directory of [...made].reverse()) await eventually(() => rmdir(directory));
  });
  return async (unit) => {
    for (const directory of [slice, path.join(slice, unit)]) {
      if (made.has(directory)) continue;
      await mkdir(directory);
      made.add(directory);
    }
    return path.join(slice, unit);
  };
}

test('only whom a rule names opens what it matches, root neither; refusals are in the log', async (t) => {
  const { bench, mount, cat } = await setUp(t);
  const daemon = await mount([
    { match: 'tls/*.key', allow: [{ unit: 'nginx.service' }, { user: NOBODY }] },
    { match: 'tls/*', allow: [{ unit: 'nginx*.service', user: 'root' }] },
  ]);
  await daemon.event('ready');
  assert.equal(await cat('tls/web.key', { unit: 'nginx.service' }), FILES['tls/web.key']);
  assert.equal(await cat('tls/web.key', { uid: NOBODY }), FILES['tls/web.key']);
  assert.equal(await cat('open', { uid: BIN }), FILES.open);
  // What one process has read is in the page cache by now.
  for (const who of [{}, { uid: BIN }, { unit: 'other.service' }, { unit: 'nginx-other.service' }])
    assert.match(await cat('tls/web.key', who), /Permission denied/, JSON.stringify(who));
  assert.match(await cat('tls/web.crt', { uid: BIN, unit: 'nginx.service' }), /Permission denied/);
  assert.equal(await cat('tls/web.crt', { unit: 'nginx-other.service' }), FILES['tls/web.crt']);
  const { path: file, uid, unit, generation, process: by } = await daemon.event('open-refused', 3);
  assert.deepEqual(
    { file, uid, unit, generation, by },
    { file: 'tls/web.key', uid: 0, unit: 'other.service', generation: 1, by: 'server' },
  );
  assert.equal(daemon.count('file-opened'), 0);
  // Names and attributes are not what is guarded.
  assert.equal((await run('stat', [bench.path('mnt/tls/web.key')])).code, 0);
});

test('--audit says once who opened what, and goes on over a server that dies', async (t) => {
  const { bench, mount, cat } = await setUp(t);
  const daemon = await mount([], ['--audit']);
  await daemon.event('ready');
  await cat('tls/web.key', { uid: NOBODY, unit: 'app.service' });
  const opened = await daemon.event('file-opened');
  assert.deepEqual(
    [opened['path'], opened['uid'], opened['gid'], opened['unit'], opened['level']],
    ['tls/web.key', NOBODY, NOBODY, 'app.service', 30],
  );
  const { processes } = JSON.parse(await bench.must(['status', 'web', '--json']))[0];
  const server = processes.find(({ role }: { role: string }) => role === 'server');
  process.kill(server.pid, 'SIGKILL');
  const many = `for i in 1 2 3; do exec 3< '${bench.path('mnt/open')}'; exec 3<&-; done; exec cat '${bench.path('mnt/tls/web.crt')}'`;
  const { stdout } = await run('sh', ['-c', many]);
  assert.equal(stdout, FILES['tls/web.crt']);
  await daemon.event('file-opened', 3);
  const seen = daemon.lines.filter(({ event }) => event === 'file-opened').map((line) => line['path']);
  assert.deepEqual(seen, ['tls/web.key', 'open', 'tls/web.crt']);
});

test('rules that change in the config count from then on', async (t) => {
  const { mount, cat, put } = await setUp(t);
  const daemon = await mount([]);
  await daemon.event('ready');
  assert.equal(await cat('tls/web.key'), FILES['tls/web.key']);
  await put([{ match: '**/*.key', allow: [{ user: NOBODY }] }]);
  await daemon.event('config-applied');
  assert.match(await cat('tls/web.key'), /Permission denied/);
  await put([]);
  await daemon.event('config-applied', 2);
  assert.equal(await cat('tls/web.key'), FILES['tls/web.key']);
});

test('what can not be kept is refused: fast opens, fuse-native, nobody of that name', async (t) => {
  const { bench, config, put } = await setUp(t);
  const refused = async (...args: string[]) => {
    const { code, stderr } = await bench.secretsfs([
      'mount',
      '--config',
      config,
      '--key',
      'local:key',
      ...args,
    ]);
    assert.equal(code, 3, stderr);
    return stderr;
  };
  await put([{ match: '**', allow: [{ user: 0 }] }]);
  assert.match(await refused('--fast-open'), /cannot use access with --fast-open: one contradicts the other/);
  assert.match(
    await refused('--driver', 'fuse-native'),
    /cannot use access: this mount takes the driver fuse-native/,
  );
  await put([]);
  assert.match(await refused('--fast-open', '--audit'), /cannot use --audit with --fast-open/);
  await put([{ match: '**', allow: [{ user: 'no-such-user' }] }]);
  assert.match(await refused(), /no-such-user/);
  await rm(config);
});
