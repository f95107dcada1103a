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

test('a server that takes a probe and does not answer is replaced; so is the prober, which waits for it', async () => {
  const { liveness, seen, prober, world, log } = setUp();
  world.taken = 1;
  prober.answers = [late()];
  await liveness.check();
  assert.deepEqual([seen.killed, prober.killed, seen.alive], [[SERVER], [100], 0]);
  assert.deepEqual(log.lines, [{ level: 'error', event: 'server-hung', fields: { pid: SERVER } }]);
});

test('a server that was not asked is not to blame for one lost probe, but for the second in a row', async () => {
  const { liveness, seen, prober, log } = setUp();
  prober.answers = [late(), undefined, late(), late()];
  for (let i = 0; i < 3; i++) await liveness.check();
  assert.deepEqual([seen.killed, prober.killed], [[], [100, 100]]);
  assert.deepEqual(log.events, ['prober-hung', 'prober-hung']);
  await liveness.check();
  assert.deepEqual([seen.killed, prober.killed], [[SERVER], [100, 100, 100]]);
  assert.equal(log.events.at(-1), 'server-hung');
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
  assert.deepEqual(
    [second.seen.killed, second.prober.killed, second.log.events],
    [[SERVER], [100], ['server-hung']],
  );
});

test('the third probe lost in a row is blamed on both; one that is answered begins anew', async () => {
  const { liveness, world, prober, log } = setUp();
  world.taken = 1;
  prober.answers = [late(), late(), undefined, late(), late(), late()];
  for (let i = 0; i < 5; i++) await liveness.check();
  assert.deepEqual(log.events, Array(4).fill('server-hung'));
  await liveness.check();
  assert.deepEqual(log.events.slice(4), ['prober-hung', 'server-hung']);
});

test('from the third on, the next probe comes later each time, up to a limit', async () => {
  const { liveness, prober } = setUp();
  const checks = async (count: number) => {
    const before = prober.asked.length;
    for (let i = 0; i < count; i++) await liveness.check();
    return prober.asked.length - before;
  };
  prober.answers = Array.from({ length: 9 }, late);
  assert.equal(await checks(3), 3);
  for (const pause of [2, 4, 8, 16, 16]) assert.deepEqual([await checks(pause), await checks(1)], [0, 1]);
  // The last one is answered, and all is as before.
  prober.answers = [];
  assert.deepEqual([await checks(16), await checks(3)], [0, 3]);
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
  assert.deepEqual([seen.killed, log.lines], [[], []]);
  // Those that were late before the end.
  assert.equal(prober.killed.length, 2);
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
