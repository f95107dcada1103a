/**
 * The whole program, from a bundle that is replaced to the bytes that a reader gets, while its processes are killed,
 * stopped and replaced. Readers verify every byte; not one read may fail. What the server alone survives, and for
 * longer: survival.test.ts.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import {
  chmod,
  type FileHandle,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { constants } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { writeArchive } from '../../src/bundle/archive.ts';
import { ask } from '../../src/control/client.ts';
import type { ProcessStatus, Status } from '../../src/control/protocol.ts';
import { KEY, sealTest } from '../support/bundles.ts';
import { file } from '../support/entries.ts';
import { makeMemoryGroup } from '../support/memory-group.ts';
import { listenAsSystemd } from '../support/notify-listener.ts';
import { otherProgram } from '../support/other-program.ts';
import { childrenOf, isStuck, kill, ownBytesOf, stateOf } from '../support/processes.ts';
import { Bench, type Daemon, eventually, must, run } from '../support/program.ts';
import { type Readers, startReaders } from '../support/readers.ts';
import { churnFile } from '../support/serve-kernel.ts';
import { patient } from '../support/slowness.ts';

const FILES = 21;
const BYTES = 9_000;
const SOAK = process.env['SECRETSFS_SOAK'] !== undefined;
const ROTATIONS = SOAK ? 300 : 15;
const SECONDS = SOAK ? 60 : 15;
const UPGRADES = SOAK ? 30 : 10;
/** Rotations over which memory is flat, and those before them until every heap is as large as it gets. */
const FLAT = SOAK ? 1_000 : 20;
const SAMPLES = 10;
const WARM = SOAK ? 100 : 10;
/** Supervisor and agent rise and fall with their collections. */
const GROWTH_MIB_MAX: Readonly<Record<string, number>> = {
  supervisor: 10,
  agent: 10,
  server: 4,
  successor: 4,
  prober: 1,
};
const ASK_MS_MAX = 20_000;
const MIB = 1024 * 1024;
const CHILDREN = ['agent', 'prober', 'server', 'successor'];
const ARGS = ['web.enc', 'mnt', '--key', 'local:key'];

interface Pipeline {
  readonly bench: Bench;
  readonly mountpoint: string;
  /** Puts a bundle in place whose files are all of a new version: that version, which is its serial too. */
  replace(files?: number, ballastBytes?: number): Promise<number>;
  status(): Promise<Status>;
  /** By role, without the supervisor; and without teller and notifier, which come and go. */
  pids(): Promise<Map<string, number>>;
  readers(count: number): Readers;
}

async function setUp(t: TestContext): Promise<Pipeline> {
  const bench = await Bench.create(t);
  const mountpoint = bench.path('mnt');
  await mkdir(mountpoint);
  // A supervisor that was killed leaves its mount behind.
  bench.after(() => run('umount', ['-l', mountpoint]));
  // The agent is to watch the bundle: where it may not, the supervisor looks by itself, every other second.
  await chmod(bench.directory, 0o755);
  await writeFile(bench.path('key'), KEY, { mode: 0o400 });
  let version = 0;
  const processes = async () => ((await status()).processes ?? []) as ProcessStatus[];
  // The agent that answers may be the one that was just killed.
  const status = () => eventually(() => ask(bench.path('run'), 'web', 'status', ASK_MS_MAX));
  const pipeline: Pipeline = {
    bench,
    mountpoint,
    status,
    async replace(files = FILES, ballastBytes = 0) {
      version += 1;
      const churning = Array.from({ length: files }, (_, i) => {
        const data = churnFile(i, version, BYTES);
        return { kind: 'file' as const, path: `churn/${i % 7}/file-${i}`, mode: 0o644, uid: 0, gid: 0, data };
      });
      const entries = [...churning, file('ballast', Buffer.alloc(ballastBytes, version))];
      await writeFile(bench.path('new'), await sealTest(await writeArchive(entries), { serial: version }));
      await rename(bench.path('new'), bench.path('web.enc'));
      return version;
    },
    async pids() {
      const others = (await processes()).filter(
        ({ role }) => !['supervisor', 'teller', 'notifier'].includes(role),
      );
      return new Map(others.map(({ role, pid }) => [role, pid]));
    },
    readers: (count) => {
      const after = (cleanup: () => Promise<void>) => bench.after(cleanup);
      return startReaders(after, mountpoint, { count, files: FILES, bytes: BYTES });
    },
  };
  await pipeline.replace();
  return pipeline;
}

async function activated(daemon: Daemon, serial: number, timeoutMs = patient(30_000)): Promise<void> {
  await eventually(async () => {
    const found = daemon.lines.some((line) => line.event === 'activated' && line['serial'] === serial);
    assert.ok(found, `${serial} is not live: ${JSON.stringify(daemon.lines.slice(-6))}`);
  }, timeoutMs);
}

async function allUp(pipeline: Pipeline): Promise<Map<string, number>> {
  return eventually(async () => {
    const pids = await pipeline.pids();
    assert.deepEqual([...pids.keys()].sort(), CHILDREN);
    return pids;
  }, patient(20_000));
}

async function assertNoneFailed(readers: Readers): Promise<number> {
  const results = await readers.stop();
  for (const { failed, stale, failures, reads } of results) {
    assert.deepEqual({ failed, stale, failures }, { failed: 0, stale: 0, failures: [] });
    assert.ok(reads > 0, `${reads} reads`);
  }
  return Math.max(...results.map(({ longestMs }) => longestMs));
}

/** Bytes of the store, once nothing lingers. */
async function storeBytes({ status }: Pipeline): Promise<number> {
  return eventually(async () => {
    const { lingering, memory } = await status();
    assert.deepEqual(lingering, []);
    return memory?.storeBytes ?? 0;
  }, patient(20_000));
}

/** A child of the daemon whose program is that one: unsealers are in no list. */
function runningUnsealer(daemon: Daemon): number | undefined {
  return childrenOf(daemon.child.pid ?? 0).find((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('unsealer.mjs');
    } catch {
      return false;
    }
  });
}

async function until(condition: () => boolean, timeoutMs: number): Promise<boolean> {
  for (const end = Date.now() + timeoutMs; Date.now() < end; await sleep(10)) if (condition()) return true;
  return condition();
}

async function versionAt(pipeline: Pipeline, file = 0): Promise<number> {
  const bytes = await readFile(path.join(pipeline.mountpoint, `churn/${file % 7}/file-${file}`), 'latin1');
  return Number(bytes.split(/[ \n]/)[1]);
}

test(`unsealer, agent and others killed at random instants of ${ROTATIONS} rotations: none leaves anything behind`, async (t) => {
  const pipeline = await setUp(t);
  const { bench } = pipeline;
  const daemon = await bench.mount(ARGS);
  await allUp(pipeline);
  const before = await storeBytes(pipeline);
  const readers = pipeline.readers(2);
  const killed = { unsealer: 0, agent: 0, other: 0 };
  let again = 0;
  for (let i = 1; i <= ROTATIONS; i++) {
    const live = await versionAt(pipeline);
    const serial = await pipeline.replace();
    daemon.child.kill('SIGHUP');
    await sleep(Math.random() * 60);
    const isUnsealersTurn = i % 4 !== 0;
    if (isUnsealersTurn) {
      await until(() => runningUnsealer(daemon) !== undefined, 300);
      await sleep(Math.random() * 120);
      const victim = runningUnsealer(daemon);
      if (victim !== undefined && kill(victim)) killed.unsealer += 1;
    } else {
      const role = (['agent', 'prober', 'successor', 'server'] as const)[(i / 4) % 4] as string;
      const pid = (await pipeline.pids()).get(role);
      if (pid !== undefined && kill(pid)) killed[role === 'agent' ? 'agent' : 'other'] += 1;
    }
    const isLive = () => daemon.lines.some((line) => line.event === 'activated' && line['serial'] === serial);
    if (!(await until(isLive, 400))) {
      // This process may still be in a pass of the generation before (docs/semantics.md).
      const now = await versionAt(pipeline);
      assert.ok(now >= live && now <= serial, `${now} is neither ${live} nor ${serial}`);
      // The one that was killed is not tried at once by itself; whoever asks gets it.
      again += 1;
      daemon.child.kill('SIGHUP');
      await activated(daemon, serial);
    }
    if (i % 10 === 0) assert.equal(await storeBytes(pipeline), before, `after ${i} rotations`);
  }
  assert.ok(killed.unsealer > ROTATIONS / 4, JSON.stringify(killed));
  const longestMs = await assertNoneFailed(readers);
  assert.equal(await storeBytes(pipeline), before);
  const { state, error } = await pipeline.status();
  assert.deepEqual([state, error], ['live', null]);
  for (const [role, pid] of await allUp(pipeline)) assert.ok(!(await isStuck(pid)), `${role} is in D state`);
  assert.equal(daemon.count('bug'), 0);
  t.diagnostic(
    `killed ${JSON.stringify(killed)}, asked again ${again} times, longest read ${longestMs.toFixed(0)} ms`,
  );
});

test(`a bundle a second for ${SECONDS} s goes live by itself: no failed read, old descriptors read old bytes`, async (t) => {
  const pipeline = await setUp(t);
  const { bench } = pipeline;
  const daemon = await bench.mount([...ARGS, '--poll', '1s']);
  const pids = await allUp(pipeline);
  const bytesBefore = await storeBytes(pipeline);
  const readers = pipeline.readers(2);
  const held: { handle: FileHandle; bytes: Buffer }[] = [];
  bench.after(async () => {
    for (const { handle } of held) await handle.close();
  });
  const ownBefore = new Map<string, number>();
  let serial = 0;
  for (let i = 0; i < SECONDS; i++) {
    const started = Date.now();
    serial = await pipeline.replace();
    if (i % 3 === 0) {
      const handle = await open(path.join(pipeline.mountpoint, `churn/${i % 7}/file-${i % 7}`), 'r');
      held.push({ handle, bytes: await readAll(handle) });
    }
    if (i === Math.floor(SECONDS / 3)) for (const [role, pid] of pids) ownBefore.set(role, ownBytesOf(pid));
    await sleep(Math.max(0, 1_000 - (Date.now() - started)));
  }
  await activated(daemon, serial);
  assert.equal(await versionAt(pipeline), serial);
  for (const { handle, bytes } of held) assert.deepEqual(await readAll(handle), bytes);
  for (const { handle } of held.splice(0)) await handle.close();
  const longestMs = await assertNoneFailed(readers);
  assert.ok(daemon.count('activated') > SECONDS / 2, `${daemon.count('activated')} activated`);
  assert.equal(await storeBytes(pipeline), bytesBefore);
  assert.deepEqual(await pipeline.pids(), pids, 'a process was replaced');
  for (const [role, pid] of pids) {
    const growth = ownBytesOf(pid) - (ownBefore.get(role) ?? 0);
    assert.ok(growth < 12 * MIB, `${role} grew by ${growth} bytes`);
  }
  t.diagnostic(`${daemon.count('activated')} generations live, longest read ${longestMs.toFixed(0)} ms`);
});

test(`memory is flat over ${FLAT} rotations: the store, and every process`, async (t) => {
  const pipeline = await setUp(t);
  const { bench } = pipeline;
  const daemon = await bench.mount(ARGS);
  const pids = await allUp(pipeline);
  pids.set('supervisor', daemon.child.pid ?? 0);
  const rotate = async (times: number) => {
    for (let i = 0; i < times; i++) {
      const serial = await pipeline.replace();
      daemon.child.kill('SIGHUP');
      await activated(daemon, serial);
      daemon.lines.length = 0;
    }
    return {
      store: await storeBytes(pipeline),
      own: new Map([...pids].map(([role, pid]) => [role, ownBytesOf(pid)])),
    };
  };
  const before = await rotate(WARM);
  const samples = [before];
  for (let i = 0; i < SAMPLES; i++) samples.push(await rotate(FLAT / SAMPLES));
  for (const { store } of samples) assert.equal(store, before.store);
  const kibOf = (role: string) => samples.map(({ own }) => (own.get(role) ?? 0) / 1024);
  for (const role of pids.keys()) t.diagnostic(`${role}, KiB: ${kibOf(role).join(' ')}`);
  const running = await pipeline.pids();
  for (const role of pids.keys()) {
    const [first = 0, ...others] = kibOf(role);
    assert.ok(role === 'supervisor' || running.get(role) === pids.get(role), `${role} was replaced`);
    const growthMax = (GROWTH_MIB_MAX[role] ?? 0) * 1024;
    assert.ok(first > 0 && others.every((kib) => kib > 0 && kib - first < growthMax), `${role} grows`);
  }
});

async function readAll(handle: FileHandle): Promise<Buffer> {
  const buffer = Buffer.alloc(BYTES + 1);
  const { bytesRead } = await handle.read(buffer, 0, buffer.length, 0);
  return Buffer.from(buffer.subarray(0, bytesRead));
}

/** Makes `current` lead to another version. */
async function install(bench: Bench, version: string): Promise<void> {
  await symlink(version, bench.path('next'));
  await rename(bench.path('next'), bench.path('current'));
}

test(`${UPGRADES} upgrades replace every process but the supervisor, and fail no read`, async (t) => {
  const pipeline = await setUp(t);
  const { bench } = pipeline;
  for (const version of ['v1', 'v2']) await otherProgram(bench.path(version));
  await install(bench, 'v1');
  bench.program = bench.path('current/secretsfs.mjs');
  const daemon = await bench.mount(ARGS);
  const readers = pipeline.readers(2);
  let before = await allUp(pipeline);
  for (let i = 1; i <= UPGRADES; i++) {
    const version = i % 2 === 0 ? 'v1' : 'v2';
    await install(bench, version);
    if (i % 3 === 0) daemon.child.kill('SIGUSR2');
    else await ask(bench.path('run'), 'web', 'upgrade', ASK_MS_MAX);
    await daemon.event('upgraded', i);
    before = await eventually(async () => {
      const now = await allUp(pipeline);
      for (const [role, pid] of now) {
        assert.ok(![...before.values()].includes(pid), `${role} is still ${pid}`);
        const command = readFileSync(`/proc/${pid}/cmdline`, 'latin1');
        assert.ok(command.includes(`/${version}/`), `${role} is of another version: ${command}`);
      }
      return now;
    }, 20_000);
  }
  const longestMs = await assertNoneFailed(readers);
  const serial = await pipeline.replace();
  await activated(daemon, serial);
  assert.equal((await pipeline.status()).pid, daemon.child.pid);
  for (const event of ['server-died', 'prober-died', 'teller-died', 'notifier-died', 'agent-died'])
    assert.equal(daemon.count(event), 0, event);
  t.diagnostic(`longest read ${longestMs.toFixed(0)} ms`);
});

test('a server that can not read the store is refused by an upgrade, up and down; the old one goes on', async (t) => {
  const pipeline = await setUp(t);
  const { bench } = pipeline;
  await otherProgram(bench.path('v1'));
  await otherProgram(bench.path('other-images'), [
    { file: 'server.mjs', from: /(?<![A-Z_])VERSION=1;/, to: 'VERSION=2;' },
  ]);
  await otherProgram(bench.path('other-control'), [
    { file: 'server.mjs', from: /CONTROL_VERSION=1;/, to: 'CONTROL_VERSION=2;' },
  ]);
  await otherProgram(bench.path('broken'), [{ file: 'server.mjs', from: /^/, to: 'no program;' }]);
  await install(bench, 'v1');
  bench.program = bench.path('current/secretsfs.mjs');
  const daemon = await bench.mount(ARGS);
  const readers = pipeline.readers(2);
  const before = await allUp(pipeline);
  for (const [i, version] of ['other-images', 'other-control', 'broken'].entries()) {
    await install(bench, version);
    const { code, stderr } = await bench.secretsfs(['upgrade', 'web']);
    assert.equal(code, 7, stderr);
    assert.match(stderr, /cannot upgrade: .*\(upgrade-refused\)\nsecretsfs: hint: /);
    if (version !== 'broken') assert.match(stderr, /does not know the format of the store/);
    daemon.child.kill('SIGUSR2');
    const failed = await daemon.event('upgrade-failed', i + 1);
    assert.equal(failed['code'], 'upgrade-refused');
    assert.deepEqual(await pipeline.pids(), before);
  }
  const serial = await pipeline.replace();
  await install(bench, 'v1');
  daemon.child.kill('SIGHUP');
  await activated(daemon, serial);
  await ask(bench.path('run'), 'web', 'upgrade', ASK_MS_MAX);
  assert.notEqual((await allUp(pipeline)).get('server'), before.get('server'));
  await assertNoneFailed(readers);
});

test('while the program on disk can not serve, that is said, and what ends waits for one that can', async (t) => {
  const pipeline = await setUp(t);
  const { bench } = pipeline;
  await otherProgram(bench.path('v1'));
  await otherProgram(bench.path('other'), [
    { file: 'server.mjs', from: /CONTROL_VERSION=1;/, to: 'CONTROL_VERSION=2;' },
  ]);
  await install(bench, 'v1');
  bench.program = bench.path('current/secretsfs.mjs');
  const daemon = await bench.mount(ARGS);
  const readers = pipeline.readers(2);
  const before = await allUp(pipeline);
  assert.equal((await pipeline.status()).successorProblem, null);
  await install(bench, 'other');
  assert.equal((await bench.secretsfs(['upgrade', 'web'])).code, 7);
  kill(before.get('successor') ?? 0);
  assert.match(`${(await daemon.event('successor-not-ready'))['error']}`, /format of the store/);
  assert.match((await pipeline.status()).successorProblem ?? '', /format of the store/);
  assert.match(await bench.must(['status']), /warning +no successor is ready: it does not know the format/);
  // It is tried again and again, and said once.
  await sleep(2_000);
  assert.equal(daemon.count('successor-not-ready'), 1);
  kill(before.get('server') ?? 0);
  await daemon.event('server-died');
  await install(bench, 'v1');
  await daemon.event('successor-ready');
  const after = await allUp(pipeline);
  assert.notEqual(after.get('server'), before.get('server'));
  assert.equal((await pipeline.status()).successorProblem, null);
  await assertNoneFailed(readers);
});

test('an upgrade to a program that calls its processes otherwise is refused before anything ends', async (t) => {
  const pipeline = await setUp(t);
  const { bench } = pipeline;
  await otherProgram(bench.path('v1'));
  await otherProgram(bench.path('renamed'));
  await rename(bench.path('renamed/teller.mjs'), bench.path('renamed/names.mjs'));
  await install(bench, 'v1');
  bench.program = bench.path('current/secretsfs.mjs');
  const daemon = await bench.mount(ARGS);
  const readers = pipeline.readers(1);
  const before = await allUp(pipeline);
  await install(bench, 'renamed');
  const { code, stderr } = await bench.secretsfs(['upgrade', 'web']);
  assert.equal(code, 7, stderr);
  assert.match(stderr, /cannot upgrade: the program in ".*renamed" has no teller\.mjs \(upgrade-refused\)/);
  assert.match(stderr, /hint: .*mount it again/);
  assert.deepEqual(await pipeline.pids(), before);
  // Who keeps the new one can't rotate, and reads why; the old one on disk mends that.
  const serial = await pipeline.replace();
  assert.match(
    `${(await daemon.event('teller-died'))['error']}`,
    /cannot start a process: ".*renamed\/teller\.mjs" is missing/,
  );
  await install(bench, 'v1');
  await activated(daemon, serial);
  await assertNoneFailed(readers);
});

test('while the program is gone from the disk, what dies comes back when it does', async (t) => {
  const pipeline = await setUp(t);
  const { bench } = pipeline;
  await otherProgram(bench.path('v1'));
  await install(bench, 'v1');
  bench.program = bench.path('current/secretsfs.mjs');
  const daemon = await bench.mount(ARGS);
  const before = await allUp(pipeline);
  const readers = pipeline.readers(1);
  await rename(bench.path('current'), bench.path('elsewhere'));
  for (const pid of before.values()) kill(pid);
  await daemon.event('server-not-started');
  await daemon.event('agent-not-started');
  await sleep(1_000);
  await rename(bench.path('elsewhere'), bench.path('current'));
  for (const [role, pid] of await allUp(pipeline)) assert.notEqual(pid, before.get(role), role);
  await assertNoneFailed(readers);
  const serial = await pipeline.replace();
  await activated(daemon, serial);
});

test('an agent that dies or hangs is replaced, and what it watched is watched again', async (t) => {
  const pipeline = await setUp(t);
  const { bench } = pipeline;
  const daemon = await bench.mount(ARGS);
  const first = (await allUp(pipeline)).get('agent') as number;
  kill(first);
  await daemon.event('agent-died');
  assert.equal(await versionAt(pipeline), 1);
  const second = (await allUp(pipeline)).get('agent') as number;
  assert.notEqual(second, first);
  await activated(daemon, await pipeline.replace());
  process.kill(second, 'SIGSTOP');
  const whileStopped = await pipeline.replace();
  const hung = await daemon.event('agent-hung', 1, 60_000);
  assert.equal(hung['pid'], second);
  await activated(daemon, whileStopped);
  const agent = (await pipeline.status()).processes?.find(({ role }) => role === 'agent');
  assert.notEqual(agent?.pid, second);
  assert.equal(agent?.restarts, 2);
  await activated(daemon, await pipeline.replace());
});

test('no child outlives a supervisor that is killed; readers get ENOTCONN; the next start clears the mount', async (t) => {
  const pipeline = await setUp(t);
  const { bench, mountpoint } = pipeline;
  for (let round = 0; round < 3; round++) {
    const daemon = await bench.mount(ARGS);
    if (round > 0) assert.equal(daemon.count('stale-mount-cleared'), 1);
    const children = [...(await allUp(pipeline)).values()];
    const readers = pipeline.readers(3);
    await sleep(1_000);
    // In the middle of a rotation.
    if (round === 1) await pipeline.replace();
    if (round === 1) await until(() => runningUnsealer(daemon) !== undefined, 3_000);
    const all = new Set([...children, ...childrenOf(daemon.child.pid ?? 0)]);
    daemon.child.kill('SIGKILL');
    const killedMs = Date.now();
    const gone = await until(() => [...all].every((pid) => /^[ZX]?$/.test(stateOf(pid) ?? '')), 5_000);
    const tookMs = Date.now() - killedMs;
    assert.ok(gone, 'a child goes on');
    assert.ok(readFileSync('/proc/self/mountinfo', 'utf8').includes(mountpoint), 'control: it is mounted');
    // ECONNABORTED, for a moment, while the connection is being torn down.
    await eventually(() =>
      assert.rejects(readFile(path.join(mountpoint, 'churn/0/file-0')), { code: 'ENOTCONN' }),
    );
    for (const { failures, failed } of await readers.stop()) {
      assert.ok(failed > 0);
      for (const failure of failures) assert.match(failure, /ENOTCONN|ECONNABORTED|ENODEV/);
    }
    t.diagnostic(`the last of ${all.size} children was gone after ${tookMs} ms`);
  }
  const daemon = await bench.mount(ARGS);
  const readers = pipeline.readers(1);
  await sleep(1_500);
  await assertNoneFailed(readers);
  assert.equal(await daemon.stop(), 0);
  assert.deepEqual(await readdir(mountpoint), []);
});

test('WATCHDOG=1 comes while the mount answers, and stops while nobody can answer', async (t) => {
  const pipeline = await setUp(t);
  const { bench } = pipeline;
  const systemd = await listenAsSystemd(bench);
  const env = { ...bench.env, NOTIFY_SOCKET: systemd.path, WATCHDOG_USEC: '30000000' };
  const count = () => systemd.said().match(/^WATCHDOG=1$/gm)?.length ?? 0;
  const daemon = await bench.mount(ARGS, env);
  await eventually(async () => assert.ok(count() >= 3), 20_000);
  const stopAll = () => {
    for (const pid of childrenOf(daemon.child.pid ?? 0)) {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'latin1');
      if (command.includes('server.mjs')) kill(pid, 'SIGSTOP');
    }
  };
  const stopping = setInterval(() => {
    try {
      stopAll();
    } catch {
      // One ended while we looked.
    }
  }, 20);
  bench.after(async () => clearInterval(stopping));
  await sleep(1_500);
  const before = count();
  await sleep(5_000);
  const meanwhile = count() - before;
  assert.ok(meanwhile <= 1, `${meanwhile} of 5 came`);
  clearInterval(stopping);
  for (const pid of childrenOf(daemon.child.pid ?? 0)) kill(pid, 'SIGCONT');
  await eventually(async () => assert.ok(count() > before + meanwhile + 2, `${count()}`), 30_000);
  assert.equal(await versionAt(pipeline), 1);
});

test('an unsealer that stands still is ended: a clear failure, what was live stays, and the next one works', async (t) => {
  const pipeline = await setUp(t);
  const { bench } = pipeline;
  // How long one may be silent grows with what it may have to open.
  const daemon = await bench.mount([...ARGS, '--max-bytes', '1M']);
  const live = await versionAt(pipeline);
  const readers = pipeline.readers(1);
  const bytes = await storeBytes(pipeline);
  await pipeline.replace();
  let stopped = 0;
  const caught = await until(() => {
    stopped = runningUnsealer(daemon) ?? 0;
    return stopped > 0 && kill(stopped, 'SIGSTOP');
  }, patient(10_000));
  assert.ok(caught, 'control: there was an unsealer to stop');
  const failed = await daemon.event('refresh-failed', 1, patient(60_000));
  assert.equal(failed['code'], 'unsealer-failed');
  assert.match(`${failed['error']}`, /it said nothing for 2\d s/);
  assert.equal(stateOf(stopped), undefined);
  assert.equal(await versionAt(pipeline), live);
  assert.equal(await storeBytes(pipeline), bytes);
  assert.match(await bench.must(['remount', 'web']), /serial/);
  assert.equal(await versionAt(pipeline), live + 1);
  await assertNoneFailed(readers);
});

test('of two supervisors of one instance that start at once one serves, and the other takes nothing from it', async (t) => {
  const pipeline = await setUp(t);
  const { bench } = pipeline;
  await mkdir(bench.path('mnt2'));
  bench.after(() => run('umount', ['-l', bench.path('mnt2')]));
  for (let round = 0; round < 5; round++) {
    const both = ['mnt', 'mnt2'].map((place) => ({
      place: bench.path(place),
      daemon: bench.startMount(['web.enc', place, '--key', 'local:key', '--instance', 'web']),
    }));
    const [winner, loser] = await Promise.race(
      both
        .map(async (each, i) => {
          await each.daemon.event('ready');
          return [each, both[1 - i] as typeof each] as const;
        })
        .map((found) => found.catch(() => new Promise<never>(() => {}))),
    );
    assert.equal(await loser.daemon.ended, 8, loser.daemon.text);
    assert.match(loser.daemon.text, /\(control-busy\)/);
    assert.ok((await readFile(path.join(winner.place, 'churn/0/file-0'), 'latin1')).startsWith('0 1 '));
    assert.equal((await pipeline.status()).mountpoint, winner.place);
    assert.deepEqual(await readdir(loser.place), []);
    assert.equal(await winner.daemon.stop(), 0);
  }
});

test('an end that hangs leaves no mount, and readers with an error', async (t) => {
  const pipeline = await setUp(t);
  const { bench, mountpoint } = pipeline;
  bench.program = await otherProgram(bench.path('hangs'), [
    { file: 'secretsfs-parts', from: /(?<=STOP_MS_MAX\s*=\s*)2e4/, to: '1e3' },
    {
      file: 'secretsfs-parts',
      from: /(?<=this\.#notices\s*\.\s*stopping\(\);)/,
      to: 'await new Promise(()=>{});',
    },
  ]);
  const daemon = await bench.mount(ARGS);
  const held = await open(path.join(mountpoint, 'churn/0/file-0'), 'r');
  bench.after(() => held.close().catch(() => undefined));
  daemon.child.kill('SIGTERM');
  assert.equal(await daemon.ended, 'SIGKILL', daemon.text);
  assert.equal(daemon.count('stopping'), 0, 'control: it came to no end');
  assert.ok(!readFileSync('/proc/self/mountinfo', 'utf8').includes(mountpoint));
  await assert.rejects(held.read(Buffer.alloc(1), 0, 1, 0), { code: /ENOTCONN|ECONNABORTED/ });
});

test('SIGSTOP of the prober is told in log and status, and no server is replaced for it', async (t) => {
  const pipeline = await setUp(t);
  const daemon = await pipeline.bench.mount(ARGS);
  const before = await allUp(pipeline);
  process.kill(before.get('prober') as number, 'SIGSTOP');
  const hung = await daemon.event('prober-hung');
  assert.equal(hung['pid'], before.get('prober'));
  const after = await allUp(pipeline);
  assert.equal(after.get('server'), before.get('server'));
  assert.equal(daemon.count('server-hung'), 0);
  await eventually(async () => {
    const { processes } = await pipeline.status();
    assert.equal(processes?.find(({ role }) => role === 'prober')?.restarts, 1);
  });
});

test('a bundle that does not fit is refused with memory-exceeded, and what was live stays', async (t) => {
  const pipeline = await setUp(t);
  const { bench } = pipeline;
  await bench.mount([...ARGS, '--memory-max', '2M']);
  const bytes = await storeBytes(pipeline);
  const serial = await pipeline.replace(10 * FILES);
  const { code, stderr } = await bench.secretsfs(['remount', 'web']);
  assert.equal(code, 7);
  assert.match(
    stderr,
    /want at most 2097152 together \(--memory-max\) \(memory-exceeded\)\nsecretsfs: hint: /,
  );
  assert.equal(await versionAt(pipeline), serial - 1);
  assert.equal(await storeBytes(pipeline), bytes);
  const { state, error } = await pipeline.status();
  assert.deepEqual([state, error?.code], ['failing', 'memory-exceeded']);
  await pipeline.replace();
  assert.match(await bench.must(['remount', 'web']), /serial/);
});

test('a bundle that does not fit into what an ancestor control group leaves is refused, and what was live stays', async (t) => {
  const pipeline = await setUp(t);
  const { bench } = pipeline;
  const group = await makeMemoryGroup(bench);
  bench.before = group.entering;
  await bench.mount(ARGS);
  const pids = await allUp(pipeline);
  const bytes = await storeBytes(pipeline);
  const live = await versionAt(pipeline);
  // Enough for an unsealer, and for the bundle itself; not for opening it.
  await group.leave(96 * MIB);
  await pipeline.replace(FILES, 48 * MIB);
  const { code, stderr } = await bench.secretsfs(['remount', 'web']);
  assert.equal(code, 7, stderr);
  assert.match(
    stderr,
    /\d+ are available \(of the machine, or of a control group\) \(memory-exceeded\)\nsecretsfs: hint: /,
  );
  assert.equal(await versionAt(pipeline), live);
  assert.equal(await storeBytes(pipeline), bytes);
  const { state, error } = await pipeline.status();
  assert.deepEqual([state, error?.code], ['failing', 'memory-exceeded']);
  assert.deepEqual([await group.kills(), await pipeline.pids()], [0, pids]);
  // The control: it was the limit, not the bundle.
  await group.leave(undefined);
  assert.match(await bench.must(['remount', 'web']), /serial/);
  assert.equal(await versionAt(pipeline), live + 1);
});

test('--retire-after: an old descriptor answers ESTALE after it, and its generation is gone', async (t) => {
  const pipeline = await setUp(t);
  const daemon = await pipeline.bench.mount([...ARGS, '--retire-after', '1s']);
  const handle = await open(path.join(pipeline.mountpoint, 'churn/0/file-0'), 'r');
  try {
    const bytes = await storeBytes(pipeline);
    await activated(daemon, await pipeline.replace());
    const retired = await daemon.event('retired');
    assert.equal(retired['why'], 'expired');
    await eventually(async () => {
      // What the kernel has cached may be read until it has dropped it.
      await assert.rejects(handle.read(Buffer.alloc(100), 0, 100, 0), { errno: -constants.errno.ESTALE });
    });
    assert.equal(await storeBytes(pipeline), bytes);
  } finally {
    await handle.close();
  }
});

test('a tool that is missing, and one that is not permitted, are named; nothing is left', async (t) => {
  const { bench, mountpoint } = await setUp(t);
  await mkdir(bench.path('bin'));
  const tools = ['umount', 'getent', 'unshare', 'prlimit', 'setpriv'];
  for (const tool of tools) await symlink(await pathOf(tool), bench.path('bin', tool));
  const env = { ...bench.env, PATH: bench.path('bin') };
  for (const tool of ['unshare', 'prlimit', 'setpriv']) {
    await rename(bench.path('bin', tool), bench.path('elsewhere'));
    const { code, stderr } = await bench.secretsfs(['mount', ...ARGS], { env });
    assert.equal(code, 7, stderr);
    assert.match(
      stderr,
      new RegExp(`cannot start the \\w+: ${tool} is missing \\(driver-missing\\)\nsecretsfs: hint: `),
    );
    await rename(bench.path('elsewhere'), bench.path('bin', tool));
  }
  await rename(bench.path('bin/unshare'), bench.path('elsewhere'));
  const refusing = '#!/bin/sh\necho "unshare: unshare failed: Operation not permitted" >&2\nexit 1\n';
  await writeFile(bench.path('bin/unshare'), refusing, { mode: 0o755 });
  const { code, stderr } = await bench.secretsfs(['mount', ...ARGS], { env });
  assert.equal(code, 7, stderr);
  assert.match(stderr, /unshare failed: Operation not permitted/);
  assert.match(stderr, /cannot start the server: it ended with code 1 .*\nsecretsfs: hint: /);
  assert.ok(!readFileSync('/proc/self/mountinfo', 'utf8').includes(mountpoint));
});

async function pathOf(tool: string): Promise<string> {
  return (await must('sh', ['-c', `command -v ${tool}`])).trim();
}
