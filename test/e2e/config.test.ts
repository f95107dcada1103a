/** A config that changes under a running mount: what is applied, what is refused, what waits for a restart. */
import assert from 'node:assert/strict';
import {
  chmod,
  mkdir,
  mkdtemp,
  open,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  unlink,
  writeFile,
} from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Status } from '../../src/control/protocol.ts';
import { Bench, type Daemon, eventually } from '../support/program.ts';
import { script } from '../support/root-directory.ts';

interface Set {
  readonly bench: Bench;
  /** Where nobody but root may write. */
  readonly etc: string;
  readonly config: string;
  /** Packs files of these contents into NAME.enc, of the bundle name web. */
  pack(name: string, contents: Readonly<Record<string, string>>): Promise<void>;
  /** Replaces the config by rename. */
  put(settings: unknown): Promise<void>;
  mount(settings: unknown, args?: readonly string[]): Promise<Daemon>;
  status(): Promise<Status>;
  /** As soon as the config is in that state. */
  state(state: string): Promise<NonNullable<Status['config']>>;
  read(name: string): Promise<string>;
}

async function setUp(t: TestContext): Promise<Set> {
  const bench = await Bench.create(t);
  const etc = await mkdtemp('/run/secretsfs-test-');
  bench.after(() => rm(etc, { recursive: true, force: true }));
  await mkdir(bench.path('mnt'));
  await bench.must(['keygen', 'key']);
  const config = path.join(etc, 'web.yaml');
  const put = async (settings: unknown) => {
    await writeFile(path.join(etc, 'new'), text(settings));
    await rename(path.join(etc, 'new'), config);
  };
  const status = async () => JSON.parse(await bench.must(['status', 'web', '--json']))[0] as Status;
  return {
    bench,
    etc,
    config,
    put,
    status,
    async pack(name, contents) {
      await rm(bench.path('secrets'), { recursive: true, force: true });
      await mkdir(bench.path('secrets'));
      for (const [file, content] of Object.entries(contents)) {
        await writeFile(bench.path('secrets', file), content);
      }
      await bench.must(['pack', '--dir', 'secrets', '--key', 'local:key', '--name', 'web', 'new.enc']);
      await rename(bench.path('new.enc'), bench.path(`${name}.enc`));
    },
    async mount(settings, args = []) {
      await put(settings);
      return bench.mount(['--config', config, '--key', 'local:key', '--driver', 'kernel', ...args]);
    },
    state: (state) =>
      eventually(async () => {
        const { config: found } = await status();
        assert.equal(found?.state, state, JSON.stringify(found));
        return found as NonNullable<Status['config']>;
      }),
    read: (name) => readFile(bench.path('mnt', name), 'utf8'),
  };
}

/** YAML takes JSON. */
function text(settings: unknown): string {
  return typeof settings === 'string' ? settings : JSON.stringify(settings);
}

const BASE = { bundle: 'web.enc', mountpoint: 'mnt', name: 'web' };
const applied = (daemon: Daemon, nth = 1) => daemon.event('config-applied', nth);

test('hooks, another source, and the interval of polls are applied to a mount that serves on', async (t) => {
  const { bench, etc, pack, put, mount, status, read } = await setUp(t);
  await pack('web', { a: 'one' });
  const daemon = await mount(BASE);
  assert.equal((await status()).config?.state, 'current');
  const before = await status();
  const program = await script(etc, 'hook', `#!/bin/sh\ncat >> ${bench.path('told')}\n`);
  const hooks = [{ name: 'h', run: [program], match: ['**'] }];
  await put({ ...BASE, hooks });
  assert.deepEqual((await applied(daemon))['settings'], ['hooks']);
  assert.equal((await status()).hooks?.[0]?.name, 'h');
  await pack('web', { a: 'two' });
  await daemon.event('hook-done');
  assert.equal(await read('a'), 'two');
  assert.match(await readFile(bench.path('told'), 'utf8'), /"path":"a"/);

  await pack('other', { a: 'other' });
  await put({ ...BASE, bundle: 'other.enc', hooks, poll: '45s' });
  assert.deepEqual((await applied(daemon, 2))['settings'], ['bundle', 'poll']);
  await eventually(async () => assert.equal(await read('a'), 'other'));
  await daemon.event('hook-done', 2);
  // What it watches is the other file.
  await pack('other', { a: 'third' });
  await eventually(async () => assert.equal(await read('a'), 'third'));
  const after = await status();
  assert.match(after.bundle, /\/other\.enc$/);
  assert.equal(after.state, 'live');
  const pid = (role: string, of: Status) => of.processes?.find((each) => each.role === role)?.pid;
  for (const role of ['supervisor', 'server']) assert.equal(pid(role, after), pid(role, before), role);
  assert.notEqual(pid('agent', after), pid('agent', before));
  assert.equal(daemon.count('server-died') + daemon.count('agent-died') + daemon.count('bug'), 0);

  await put(BASE);
  await applied(daemon, 3);
  assert.equal((await status()).hooks, undefined);
});

test('a config that is wrong leaves everything as it is, is told with line and column, and is forgotten when it is right', async (t) => {
  const { bench, put, pack, mount, status, state, read } = await setUp(t);
  await pack('web', { a: 'one' });
  const daemon = await mount(BASE);
  await put('bundle: other.enc\nmountpoint: [mnt\n');
  const { error } = await state('refused');
  assert.equal(error?.code, 'config-invalid');
  assert.match(error?.message ?? '', /web\.yaml", line \d+, column \d+: /);
  assert.match(String((await daemon.event('config-refused'))['error']), /line \d+, column \d+/);
  assert.match(await bench.must(['status', 'web']), /config .*refused\n +config .*line \d+, column \d+/);
  await pack('web', { a: 'two' });
  await eventually(async () => assert.equal(await read('a'), 'two'));

  // One that no mount would start with.
  for (const wrong of [
    { ...BASE, pol: '5s' },
    { ...BASE, hooks: [{ name: 'h', match: ['**'], run: ['/run/secretsfs-none'] }] },
    { ...BASE, files: [{ match: '**', owner: 'no-such-user' }] },
    { ...BASE, cache: 'none', fastOpen: true, poll: '10s' },
    { mountpoint: 'mnt' },
  ]) {
    const told = daemon.count('config-refused');
    await put(wrong);
    await daemon.event('config-refused', told + 1);
    assert.equal((await status()).config?.state, 'refused', text(wrong));
  }
  assert.equal(daemon.count('config-applied'), 0, 'nothing of any of them');
  await put({ ...BASE, unsealLimit: 20 });
  assert.deepEqual((await applied(daemon))['settings'], ['unsealLimit']);
  assert.deepEqual((await state('current')).error, null);
});

test('what needs a restart is named and left; what does not is applied; flags go before the file', async (t) => {
  const { bench, put, pack, mount, status, state } = await setUp(t);
  await pack('web', { a: 'one' });
  const daemon = await mount({ ...BASE, poll: '30s' }, ['--retire-after', '10s']);
  await put({ ...BASE, cache: 'none', memoryMax: '256M', retireAfter: '1h', mountpoint: 'other' });
  const { restartNeeded } = await state('restart-needed');
  assert.deepEqual(restartNeeded, ['mountpoint', 'cache']);
  assert.deepEqual((await daemon.event('config-restart-needed'))['settings'], restartNeeded);
  assert.deepEqual((await applied(daemon))['settings'], ['poll', 'memoryMax']);
  const { cache, memory, mountpoint } = await status();
  assert.deepEqual([cache, memory?.maxBytes], ['page', 256 * 1024 * 1024]);
  assert.equal(mountpoint, bench.path('mnt'));
  assert.match(await bench.must(['status', 'web']), /restart is needed for: mountpoint, cache/);
  // A name that the mount goes by is not changed under those who use it.
  await put({ bundle: 'web.enc', mountpoint: 'mnt', name: 'web', instance: 'api' });
  await eventually(async () => assert.deepEqual((await status()).config?.restartNeeded, ['instance']));
  await put(BASE);
  await state('current');
});

test('it is noticed as a rename, a write in place, a symlink that is switched, and at once with SIGHUP', async (t) => {
  const { etc, config, pack, mount, state, status } = await setUp(t);
  await pack('web', { a: 'one' });
  const daemon = await mount({ ...BASE, memoryMax: '201M' });
  const max = async () => ((await status()).memory?.maxBytes ?? 0) / 1024 / 1024;
  // In place, in two parts: what is there between them is a config, and not the one that is meant.
  const whole = `bundle: web.enc\nmountpoint: mnt\nname: web\nmemoryMax: 202M\n`;
  const handle = await open(config, 'w');
  await handle.writeFile(whole.slice(0, 30));
  await new Promise((resolve) => setTimeout(resolve, 100));
  await handle.writeFile(whole.slice(30));
  await handle.close();
  await applied(daemon);
  assert.equal(await max(), 202);
  assert.equal(daemon.count('config-refused'), 0);
  // As ConfigMaps do: the file is a symlink through a directory that is switched.
  for (const [name, size] of [
    ['v1', '203M'],
    ['v2', '204M'],
  ] as const) {
    await mkdir(path.join(etc, name));
    await writeFile(path.join(etc, name, 'web.yaml'), text({ ...BASE, memoryMax: size }));
  }
  await symlink('v1', path.join(etc, 'data'));
  await unlink(config);
  await symlink('data/web.yaml', config);
  await applied(daemon, 2);
  assert.equal(await max(), 203);
  await symlink('v2', path.join(etc, 'switch'));
  await rename(path.join(etc, 'switch'), path.join(etc, 'data'));
  await applied(daemon, 3);
  assert.equal(await max(), 204);
  // Gone, and back.
  await rename(config, `${config}.away`);
  assert.equal((await state('refused')).error?.code, 'config-unreadable');
  await rename(`${config}.away`, config);
  await state('current');
  assert.equal(await max(), 204);
  await writeFile(path.join(etc, 'v2/web.yaml'), text({ ...BASE, memoryMax: '205M' }));
  daemon.child.kill('SIGHUP');
  await eventually(async () => assert.equal(await max(), 205));
});

test('a config that others than root may change is not read', async (t) => {
  const { config, etc, put, pack, mount, state, status } = await setUp(t);
  await pack('web', { a: 'one' });
  const daemon = await mount(BASE);
  await chmod(config, 0o664);
  const { error } = await state('refused');
  assert.equal(error?.code, 'config-untrusted');
  assert.match(error?.message ?? '', /writable by its group/);
  await chmod(config, 0o644);
  await state('current');
  await chmod(etc, 0o777);
  await put({ ...BASE, memoryMax: '210M' });
  assert.match((await state('refused')).error?.message ?? '', /writable by everybody/);
  assert.equal((await status()).memory?.maxBytes, null);
  await chmod(etc, 0o755);
  await state('current');
  assert.equal((await status()).memory?.maxBytes, 210 * 1024 * 1024);
  assert.equal(daemon.count('bug'), 0);
});

test('files: is applied to what is live, and servers that start meanwhile serve it; a window reaches the server', async (t) => {
  const { bench, put, pack, mount, status, read } = await setUp(t);
  await pack('web', { a: 'one', b: 'two' });
  const daemon = await mount(BASE);
  const mode = async (name: string) => ((await stat(bench.path('mnt', name))).mode & 0o7777).toString(8);
  assert.equal(await mode('a'), '600');
  const inode = async (name: string) => (await stat(bench.path('mnt', name))).ino;
  const before = await inode('b');
  await put({ ...BASE, files: [{ match: 'a', mode: '0644' }] });
  await eventually(async () => assert.equal(await mode('a'), '644'));
  assert.deepEqual([await mode('b'), await inode('b'), await read('a')], ['600', before, 'one']);
  const server = async () => (await status()).processes?.find(({ role }) => role === 'server')?.pid ?? 0;
  process.kill(await server(), 'SIGKILL');
  await daemon.event('server-died');
  assert.equal(await mode('a'), '644');
  const old = await server();
  await put({ ...BASE, consistencyWindow: '5s', files: [{ match: 'a', mode: '0640' }] });
  await eventually(async () => assert.equal(await mode('a'), '640'));
  assert.notEqual(await server(), old);
  assert.equal((await status()).consistencyWindowMs, 5000);
  // A bundle that can't be had: the rules of what is live are known to who takes over.
  await rename(bench.path('web.enc'), bench.path('away'));
  await put({ ...BASE, files: [{ match: 'a', mode: '0604' }] });
  await applied(daemon, 3);
  for (let i = 1; i <= 2; i++) {
    process.kill(await server(), 'SIGKILL');
    await daemon.event('server-died', i + 1);
    assert.equal(await read('a'), 'one');
  }
  await rename(bench.path('away'), bench.path('web.enc'));
  await eventually(async () => assert.equal(await mode('a'), '604'));
  assert.equal(daemon.count('generation-unreadable') + daemon.count('bug'), 0);
});

test('a key that is no longer accepted, or a check that fails, is told; what is live stays', async (t) => {
  const { bench, put, pack, mount, status, read } = await setUp(t);
  await pack('web', { a: 'one' });
  await bench.must(['keygen', 'key2']);
  const daemon = await mount({ ...BASE, acceptKey: 'local:key' });
  const failing = (code: string | undefined) =>
    eventually(async () => assert.equal((await status()).error?.code, code));
  await put({ ...BASE, acceptKey: 'local:key2' });
  await failing('key-not-accepted');
  assert.equal(await read('a'), 'one');
  await put({ ...BASE, acceptKey: 'local:key', checks: { required: ['missing'] } });
  await failing('check-failed');
  await pack('web', { a: 'two', missing: 'there' });
  await eventually(async () => assert.equal(await read('a'), 'two'));
  await failing(undefined);
  await put({ ...BASE, acceptKey: 'local:key', name: 'api' });
  await failing('bundle-name');
  assert.equal((await status()).floor?.serial, null, 'what is live says nothing of bundles of another name');
  await put({ ...BASE, acceptKey: 'local:key' });
  await failing(undefined);
  assert.notEqual((await status()).floor?.serial, null);
  assert.equal(daemon.count('bug'), 0);
});
