import assert from 'node:assert/strict';
import { closeSync, readSync, writeSync } from 'node:fs';
import { constants } from 'node:os';
import { type TestContext, test } from 'node:test';
import { LATENCY_CELLS, Latencies, readLatencies } from '../../../../src/fuse/kernel/latencies.ts';
import { type Device, type LoopOptions, serve } from '../../../../src/fuse/kernel/loop.ts';
import { Session } from '../../../../src/fuse/kernel/session.ts';
import { Staging } from '../../../../src/fuse/kernel/staging.ts';
import { STALE_ANSWERS_WORDS } from '../../../../src/fuse/kernel/stale-answers.ts';
import { NativeDevice, setNonBlocking, writerTo } from '../../../../src/system/device.ts';
import { libc } from '../../../../src/system/libc.ts';
import { Native } from '../../../../src/system/native.ts';
import { Vfs } from '../../../../src/vfs/vfs.ts';
import { file, Lineage, nodeAt } from '../../../support/entries.ts';
import {
  decodeReply,
  encodeRequest,
  FakeKernel,
  fields,
  names,
  OP,
  readBody,
} from '../../../support/fake-kernel.ts';

const { EAGAIN, ECONNABORTED, EINTR, EINVAL, EIO, ENODEV, ENOENT } = constants.errno;
const SECRET = 'read it and forget it';

function served() {
  const generation = new Lineage().next([file('f', SECRET)]);
  const kernel = new FakeKernel(new Vfs(generation));
  return { kernel, ino: generation.ino(nodeAt(generation, 'f')) };
}

const UNTIMED = { isDue: () => false, record: () => assert.fail('not timed') };

/** What each read answers: a request, or an errno. After the last, the filesystem is unmounted. */
class Script implements Device {
  readonly replies: Buffer[] = [];
  readonly calls: string[] = [];
  readonly #kernel: FakeKernel;
  readonly #steps: (Buffer | number)[];
  readonly #refusals: number[];

  constructor(kernel: FakeKernel, steps: readonly (Buffer | number)[], refusals: readonly number[] = []) {
    this.#kernel = kernel;
    this.#steps = [...steps];
    this.#refusals = [...refusals];
  }

  read(): number {
    this.calls.push('read');
    const step = this.#steps.shift() ?? ENODEV;
    if (typeof step === 'number') return -step;
    this.#kernel.request.set(step);
    return step.length;
  }

  write(bytes: number): number {
    this.calls.push('write');
    this.replies.push(Buffer.from(this.#kernel.reply.subarray(0, bytes)));
    const refusal = this.#refusals.shift() ?? 0;
    return refusal === 0 ? bytes : -refusal;
  }

  wait(timeoutMs: number): void {
    this.calls.push(`wait ${timeoutMs}`);
  }

  giveWay(): void {
    this.calls.push('yield');
  }
}

function run(kernel: FakeKernel, device: Device, options: Partial<LoopOptions> = {}) {
  const refused: number[] = [];
  const end = serve({
    session: kernel.session,
    device,
    pages: { pending: false, flush: () => undefined },
    latencies: UNTIMED,
    handOver: () => false,
    nowMs: () => performance.now(),
    log: { replyRefused: (errno) => refused.push(errno) },
    ...options,
  });
  return { end, refused };
}

const statfs = () => encodeRequest(OP.STATFS, 1, Buffer.alloc(0));

test('serve() answers each request once, in order, until the filesystem is unmounted', () => {
  const { kernel } = served();
  const requests = [statfs(), encodeRequest(OP.LOOKUP, 1, names('f')), statfs()];
  const device = new Script(kernel, requests);
  assert.deepEqual(run(kernel, device), { end: 'unmounted', refused: [] });
  assert.deepEqual(
    device.replies.map((reply) => reply.readBigUInt64LE(8)),
    requests.map((request) => request.readBigUInt64LE(8)),
  );
});

test('serve() ends too where the connection was aborted', () => {
  const { kernel } = served();
  assert.equal(run(kernel, new Script(kernel, [ECONNABORTED])).end, 'unmounted');
  const device = new Script(kernel, [statfs(), statfs()], [ENODEV]);
  assert.equal(run(kernel, device).end, 'unmounted');
  assert.equal(device.replies.length, 1);
});

test('serve() writes nothing for a FORGET', () => {
  const { kernel } = served();
  const device = new Script(kernel, [encodeRequest(OP.FORGET, 2, fields([64, 1]))]);
  run(kernel, device);
  assert.deepEqual(device.replies, []);
});

test('serve() tries again after EINTR, EAGAIN and ENOENT', () => {
  const { kernel } = served();
  const device = new Script(kernel, [EINTR, ENOENT, EAGAIN, statfs()]);
  run(kernel, device);
  assert.equal(device.replies.length, 1);
  assert.deepEqual(device.calls.slice(0, 5), ['read', 'read', 'read', 'wait -1', 'read']);
});

test('serve() gives up on errors that do not end, and not on one', () => {
  const { kernel } = served();
  const device = new Script(kernel, [EINVAL, EINVAL, statfs()]);
  assert.equal(run(kernel, device).end, 'unmounted');
  assert.equal(device.replies.length, 1);
  assert.throws(() => run(kernel, new Script(kernel, new Array(20).fill(EINVAL))), /errno 22/);
});

test('a reply to a request that nobody waits for any more is no error', () => {
  const { kernel } = served();
  const device = new Script(kernel, [statfs(), statfs()], [ENOENT]);
  assert.deepEqual(run(kernel, device).refused, []);
  assert.equal(device.replies.length, 2);
});

test('a reply that the kernel does not take is logged, and the request answered EIO', () => {
  const { kernel } = served();
  const request = statfs();
  const device = new Script(kernel, [request, statfs()], [EINVAL]);
  assert.deepEqual(run(kernel, device).refused, [EINVAL]);
  const [, second] = device.replies;
  assert.ok(second !== undefined);
  assert.equal(decodeReply(second, request.readBigUInt64LE(8)).error, 'EIO');
  assert.equal(device.replies.length, 3);
});

test('a reply that is refused twice is not tried for ever', () => {
  const { kernel } = served();
  const device = new Script(kernel, [statfs()], [EINVAL, EIO]);
  assert.equal(run(kernel, device).end, 'unmounted');
  assert.equal(device.replies.length, 2);
});

test('serve() leaves nothing of a file in the reply buffer', () => {
  const { kernel, ino } = served();
  const device = new Script(kernel, [encodeRequest(OP.READ, ino, readBody(ino, 0, 4096))]);
  run(kernel, device);
  assert.ok(device.replies[0]?.includes(SECRET));
  assert.ok(!kernel.reply.includes(SECRET));
});

test('serve() hands over after it has answered what it took', () => {
  const { kernel } = served();
  const device = new Script(kernel, [statfs(), statfs()]);
  assert.equal(run(kernel, device, { handOver: () => true }).end, 'handed-over');
  assert.equal(device.replies.length, 1);
});

test('serve() looks again before it sleeps, for a while', () => {
  const { kernel } = served();
  let now = 0;
  const device = new Script(kernel, [statfs(), ...new Array(100).fill(EAGAIN)]);
  run(kernel, device, { nowMs: () => (now += 0.01) });
  const yields = device.calls.indexOf('wait -1') - device.calls.indexOf('write');
  assert.ok(yields > 4 && yields < 20, `${yields} calls before it slept`);
});

test('serve() looks less and less where nothing comes, and again where something does', () => {
  const { kernel } = served();
  const looks = (steps: (Buffer | number)[]) => {
    let now = 0;
    const device = new Script(kernel, steps);
    run(kernel, device, { nowMs: () => (now += 0.03) });
    return device.calls.filter((call) => call === 'yield').length;
  };
  // A request, then nothing for long enough, again and again: four reads find nothing before it sleeps.
  const lonely = Array.from({ length: 2000 }, () => [
    statfs(),
    EAGAIN,
    EAGAIN,
    EAGAIN,
    EAGAIN,
    EAGAIN,
  ]).flat();
  assert.ok(looks(lonely) < 100, `${looks(lonely)} of 2000`);
  const busy = Array.from({ length: 2000 }, () => [statfs(), EAGAIN]).flat();
  assert.ok(looks(busy) > 1900, `${looks(busy)} of 2000`);
});

test('serve() tells the notifier after the answer, and tries again while it waits', () => {
  const { kernel } = served();
  const flushed: boolean[] = [];
  const pages = {
    get pending() {
      return flushed.length < 3;
    },
    flush: (force: boolean) => flushed.push(force),
  };
  const device = new Script(kernel, [statfs(), ...new Array(50).fill(EAGAIN)]);
  let now = 0;
  run(kernel, device, { pages, nowMs: () => (now += 0.03) });
  assert.deepEqual(flushed, [false, true, true]);
  assert.ok(device.calls.includes('wait 10'));
  assert.ok(device.calls.includes('wait -1'));
});

/** Two ends that keep requests apart, as /dev/fuse does. */
function packetPair(t: TestContext): [number, number] {
  const fds = new Int32Array(2);
  const socketpair = libc().bind('int socketpair(int, int, int, void *)');
  const [AF_UNIX, SOCK_SEQPACKET] = [1, 5];
  libc().check('socketpair', socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds));
  const [a = -1, b = -1] = fds;
  t.after(() => {
    closeSync(a);
    closeSync(b);
  });
  return [a, b];
}

test('the loop serves over a real descriptor, from and into mapped memory', (t) => {
  const [ours, theirs] = packetPair(t);
  const native = new Native(libc());
  const [input, output] = [native.map(12 * 1024), native.map(1024 * 1024 + 16)];
  t.after(() => {
    native.unmap(input.address, input.bytes);
    native.unmap(output.address, output.bytes);
  });
  const generation = new Lineage().next([file('f', SECRET)]);
  const ino = generation.ino(nodeAt(generation, 'f'));
  const device = new NativeDevice(ours, input, output);
  const quiet = () => undefined;
  const session = new Session({
    vfs: new Vfs(generation),
    generations: { changed: () => false, closed: false, listed: () => undefined, sync: quiet },
    params: { minor: 45, flags: 0, flags2: 0, maxReadBytes: 1024 * 1024 },
    policy: { cache: 'page', fastOpen: false },
    consistency: undefined,
    guard: undefined,
    staging: new Staging(),
    request: new Uint8Array(input.memory),
    reply: new Uint8Array(output.memory),
    staleAnswers: new Uint32Array(STALE_ANSWERS_WORDS),
    counters: new Uint32Array(6),
    dropPages: quiet,
    log: { malformed: quiet, unknown: quiet, bug: quiet },
  });
  const requests = [
    encodeRequest(OP.LOOKUP, 1, names('f')),
    encodeRequest(OP.FORGET, ino, fields([64, 1])),
    encodeRequest(OP.READ, ino, readBody(ino, 0, 4096)),
    encodeRequest(OP.READ, ino, Buffer.alloc(3)),
    encodeRequest(OP.STATFS, 1, Buffer.alloc(0)),
  ];
  for (const request of requests) writeSync(theirs, request);
  let answered = 0;
  const end = serve({
    session,
    device,
    pages: { pending: false, flush: quiet },
    latencies: UNTIMED,
    handOver: () => ++answered === requests.length,
    nowMs: () => performance.now(),
    log: { replyRefused: quiet },
  });
  assert.equal(end, 'handed-over');
  assert.equal(device.read(), -EAGAIN, 'it does not block');

  setNonBlocking(theirs);
  const errors: string[] = [];
  for (const index of [0, 2, 3, 4]) {
    const reply = Buffer.alloc(8192);
    const length = readSync(theirs, reply);
    const unique = requests[index]?.readBigUInt64LE(8) ?? 0n;
    const { error, body } = decodeReply(reply.subarray(0, length), unique);
    errors.push(error);
    if (index === 2) assert.equal(body.toString(), SECRET);
  }
  assert.deepEqual(errors, ['OK', 'OK', 'EINVAL', 'OK']);
  assert.throws(() => readSync(theirs, Buffer.alloc(10)), { code: 'EAGAIN' }, 'and no reply more');
  assert.ok(!Buffer.from(output.memory).includes(SECRET));
});

test('writerTo() answers errors as numbers', (t) => {
  const [ours, theirs] = packetPair(t);
  setNonBlocking(ours);
  const write = writerTo(ours);
  assert.equal(write(Buffer.from('abcd'), 3), 3);
  assert.equal(readSync(theirs, Buffer.alloc(10)), 3);
  let last = 0;
  for (let i = 0; i < 10_000 && last >= 0; i++) last = write(Buffer.alloc(4096), 4096);
  assert.equal(last, -EAGAIN);
});

test('of 17 requests one is timed, from its reading to its answer', () => {
  const { kernel, ino } = served();
  const requests = Array.from({ length: 34 }, () => encodeRequest(OP.GETATTR, ino, Buffer.alloc(16)));
  const cells = new Float64Array(LATENCY_CELLS);
  let now = 0;
  const device = new Script(kernel, requests);
  const nowMs = () => {
    now += 0.5;
    return now;
  };
  run(kernel, device, { latencies: new Latencies(cells), nowMs });
  const other = readLatencies(cells).at(-1);
  assert.equal(other?.operation, 'other');
  assert.equal(other?.sumMs, 1);
  assert.deepEqual(other?.buckets, [0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0]);
});
