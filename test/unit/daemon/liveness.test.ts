import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { NoAnswer } from '../../../src/daemon/helper.ts';
import { isStopped, Liveness } from '../../../src/daemon/liveness.ts';
import { MountError } from '../../../src/errors.ts';
import { FakeHelper } from '../../support/fake-helper.ts';
import { FakeLog } from '../../support/fake-log.ts';
import { patient } from '../../support/slowness.ts';

const SERVER = 7;
const late = () => new NoAnswer('late');

function setUp() {
  const prober = new FakeHelper();
  const log = new FakeLog();
  const seen = { alive: 0, lost: [] as MountError[], killed: [] as (number | undefined)[] };
  const stopped = new Set<number>();
  /** Requests that are taken between two looks. */
  const world = { taken: 0, requests: 0 };
  const servers = {
    pid: SERVER as number | undefined,
    kill: () => void seen.killed.push(servers.pid),
  };
  const liveness = new Liveness({
    prober,
    servers,
    requests: () => {
      const before = world.requests;
      world.requests += world.taken;
      return before;
    },
    isStopped: (pid) => stopped.has(pid),
    onAlive: () => {
      seen.alive += 1;
    },
    onLost: (error) => seen.lost.push(error),
    log,
  });
  return { prober, log, seen, stopped, world, servers, liveness };
}

test('a probe that is answered says that the mount lives', async () => {
  const { liveness, seen, prober } = setUp();
  await liveness.check();
  assert.equal(seen.alive, 1);
  assert.deepEqual(prober.asked, [{ do: 'statfs' }]);
});

test('a server that takes nothing while a probe is lost is replaced, the prober is not', async () => {
  const { liveness, seen, prober, log } = setUp();
  prober.answers = [late()];
  await liveness.check();
  assert.deepEqual([seen.killed, prober.killed, seen.alive], [[SERVER], [], 0]);
  assert.deepEqual(log.lines, [{ level: 'error', event: 'server-hung', fields: { pid: SERVER } }]);
});

test('where the server answers others, it is the prober that hangs', async () => {
  const { liveness, seen, prober, world, log } = setUp();
  world.taken = 2;
  prober.answers = [late()];
  await liveness.check();
  assert.deepEqual([seen.killed, prober.killed], [[], [100]]);
  assert.deepEqual(log.events, ['prober-hung']);
});

test('a prober that is stopped is replaced, and a server that is stopped, whatever was counted', async () => {
  const first = setUp();
  first.stopped.add(100);
  first.prober.answers = [late()];
  await first.liveness.check();
  assert.deepEqual([first.seen.killed, first.prober.killed], [[], [100]]);

  const second = setUp();
  second.stopped.add(SERVER);
  second.world.taken = 5;
  second.prober.answers = [late()];
  await second.liveness.check();
  assert.deepEqual([second.seen.killed, second.prober.killed], [[SERVER], []]);
});

test('the third probe lost in a row replaces both; one that is answered begins anew', async () => {
  const { liveness, seen, prober } = setUp();
  prober.answers = [late(), late(), undefined, late(), late(), late()];
  for (let i = 0; i < 5; i++) await liveness.check();
  assert.deepEqual([seen.killed.length, prober.killed.length], [4, 0]);
  await liveness.check();
  assert.deepEqual([seen.killed.length, prober.killed.length], [5, 1]);
});

test('nobody is to blame for a prober that ended, for a server that is not there or just took over, nor at the end', async () => {
  const { liveness, seen, prober, servers, log } = setUp();
  prober.answers = [new NoAnswer('ended'), late()];
  await liveness.check();
  servers.pid = undefined;
  await liveness.check();
  servers.pid = SERVER;
  const ask = prober.ask.bind(prober);
  prober.ask = async () => {
    servers.pid = SERVER + 1;
    throw late();
  };
  await liveness.check();
  prober.ask = ask;
  prober.answers = [late()];
  liveness.stop();
  await liveness.check();
  assert.deepEqual([seen.killed, prober.killed, log.lines], [[], [], []]);
});

test('the third wrong answer in a row is told, and no process is replaced for it', async () => {
  const { liveness, seen, prober } = setUp();
  const wrong = () => new MountError('mount-failed', 'cannot tell the kernel: ENOTCONN');
  prober.answers = [wrong(), wrong(), undefined, wrong(), wrong(), wrong()];
  for (let i = 0; i < 5; i++) await liveness.check();
  assert.deepEqual(seen.lost, []);
  await liveness.check();
  assert.equal(seen.lost.length, 1);
  assert.deepEqual([seen.killed, prober.killed], [[], []]);
});

test('one probe is under way at a time', async () => {
  const { liveness, prober } = setUp();
  let release = () => {};
  prober.ask = () => new Promise((resolve) => (release = () => resolve({ ok: true })));
  const first = liveness.check();
  let asked = false;
  prober.ask = async () => {
    asked = true;
    return { ok: true };
  };
  await liveness.check();
  assert.equal(asked, false);
  release();
  await first;
  await liveness.check();
  assert.equal(asked, true);
});

test('isStopped() tells a stopped process from one that runs, and from one that is not there', async (t) => {
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  t.after(() => child.kill('SIGKILL'));
  const pid = child.pid as number;
  assert.equal(isStopped(pid), false);
  child.kill('SIGSTOP');
  const end = Date.now() + patient(5000);
  while (!isStopped(pid) && Date.now() < end) await sleep(10);
  assert.equal(isStopped(pid), true);
  assert.equal(isStopped(2 ** 30), false);
});
