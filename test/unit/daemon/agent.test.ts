import assert from 'node:assert/strict';
import { lstat } from 'node:fs/promises';
import { get } from 'node:http';
import { connect } from 'node:net';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { ask } from '../../../src/control/client.ts';
import { makeSocketDirectory } from '../../../src/control/directory.ts';
import type { Status } from '../../../src/control/protocol.ts';
import { serveAgent } from '../../../src/daemon/agent.ts';
import {
  AGENT_TASK_VERSION,
  AgentLink,
  type AgentOperations,
  type AgentTask,
  ASKS_MAX,
  type NoticingState,
  type WatchTask,
} from '../../../src/daemon/agent-channel.ts';
import { Channel } from '../../../src/daemon/channel.ts';
import type { Looked } from '../../../src/daemon/rotation-ports.ts';
import { BundleError, type MountError, SourceError } from '../../../src/errors.ts';
import type { Queue } from '../../../src/source/queue.ts';
import type { Found, Source } from '../../../src/source/source.ts';
import { listenUnix } from '../../../src/system/sockets.ts';
import { parseExposition, sample } from '../../support/exposition.ts';
import { socketPair } from '../../support/socketpair.ts';
import { FULL_STATUS, FULL_TOTALS } from '../../support/statuses.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

const uid = process.getuid?.() ?? 0;
const gid = process.getgid?.() ?? 0;
const WATCH: WatchTask = {
  sources: [{ location: 's3://bucket/key', aws: { region: 'eu-west-1' } }],
  pollMs: 1000,
  spreadMs: 0,
  queue: null,
  aws: { region: 'eu-west-1' },
  known: [{ revision: 'r1', is: 'live' }],
};
const TASK: AgentTask = {
  parts: [WATCH],
  statusSocket: true,
  metrics: { listen: null, fileLabels: false },
};
const SOCKETS = ['control.sock', 'status.sock', 'metrics.sock'];
const STATUS: Status = {
  instance: 'web',
  name: 'web',
  version: '1',
  pid: 1,
  started: '',
  mountpoint: '/m',
  bundle: 'b',
  driver: 'kernel',
  driverReason: '',
  state: 'live',
  live: null,
  lingering: [],
  lastCheck: null,
  error: null,
};

/** Tries until `look` is satisfied. */
async function eventually(look: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 400 && !look(); i++) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.ok(look(), what);
}

/** An agent over a source that a test drives, its sockets, and both ends of its channel. */
async function start(t: TestContext) {
  const runtimeDir = path.join(await temporaryDirectory(t), 'run');
  const directory = await makeSocketDirectory(runtimeDir, 'web', uid);
  const [controlFd = -1, statusFd = -1, metricsFd = -1] = SOCKETS.map((name) =>
    listenUnix(path.join(directory, name), 0o600, uid, gid),
  );
  const [channel, supervisorEnd] = await socketPair(t);
  const world = {
    hint: () => undefined as unknown,
    checks: [] as (string | undefined)[],
    answer: async (): Promise<Found> => ({ outcome: 'same' }),
    watchClosed: 0,
    queue: {
      receive: () => new Promise(() => undefined),
      remove: async () => undefined,
      close: async () => undefined,
    } as Queue,
    log: [] as string[],
    openQueue: (): void => undefined,
    source: {} as object,
    task: undefined as WatchTask | undefined,
  };
  const opened = new Promise<void>((resolve) => {
    world.openQueue = resolve;
  });
  const source: Source = {
    location: 's3://bucket/key',
    // That its polls come is in noticing.test.ts.
    polled: false,
    fetch: () => assert.fail('an agent fetches nothing'),
    check: ({ knownRevision }) => {
      world.checks.push(knownRevision);
      return world.answer();
    },
    watch: (hint) => {
      world.hint = hint;
      return {
        close: async () => {
          world.watchClosed++;
        },
      };
    },
  };
  world.source = source;
  const ended = serveAgent({
    channel: new Channel(channel),
    controlFd,
    statusFd,
    metricsFd,
    calls: () => [{ service: 's3', operation: 'HeadObject', outcome: 'ok', count: 1, seconds: 1 }],
    createSources: (task) => {
      world.task = task;
      return [source];
    },
    openQueue: async () => {
      await opened;
      return world.queue;
    },
    log: (line) => world.log.push(line),
  });
  // Whatever a test did to it, it ends with its supervisor.
  t.after(async () => {
    supervisorEnd.destroy();
    await ended.catch(() => undefined);
  });
  ended.catch(() => undefined);
  return { world, runtimeDir, directory, channel, supervisorEnd, ended };
}

/** The same under a supervisor that answers what a test says. */
async function startLinked(
  t: TestContext,
  operations: Partial<AgentOperations> = {},
  task: AgentTask = TASK,
) {
  const started = await start(t);
  const events: string[] = [];
  const states: NoticingState[] = [];
  const bugs: unknown[] = [];
  const never = async () => assert.fail('not to be called');
  const link = new AgentLink(
    new Channel(started.supervisorEnd),
    task,
    {
      status: async () => STATUS,
      wait: never,
      remount: never,
      unmount: never,
      upgrade: never,
      hook: never,
      metrics: never,
      ...operations,
    },
    {
      looked: (looks) => events.push(looks.map(shown).join()),
      noticing: (state) => states.push(state),
      closed: (why) => events.push(`closed ${why}`),
      bug: (error) => bugs.push(error),
    },
  );
  await eventually(() => started.world.task !== undefined, 'the agent has its task');
  return { ...started, events, states, bugs, link };
}

const shown = (look: Looked) =>
  look.outcome === 'failed'
    ? `failed ${look.error.code}`
    : `${look.outcome}${'revision' in look && look.revision !== undefined ? ` ${look.revision}` : ''}`;

test('a hint becomes a look against what is known, and what it finds reaches the supervisor', async (t) => {
  const { world, events, link } = await startLinked(t);
  assert.deepEqual(world.task, WATCH);
  world.hint();
  await eventually(() => events.length === 1, 'first event');
  world.answer = async () => ({ outcome: 'changed', revision: 'r2' });
  world.hint();
  await eventually(() => events.length === 2, 'second event');
  link.tellKnown([{ revision: 'r2', is: 'live' }]);
  await new Promise((resolve) => setTimeout(resolve, 30));
  world.hint();
  await eventually(() => events.length === 3, 'third event');
  assert.deepEqual(events, ['same r1', 'changed r2', 'changed r2']);
  assert.deepEqual(world.checks, ['r1', 'r1', 'r2']);
});

test('what a source that has to be asked fails with reaches the supervisor, whole', async (t) => {
  const { world, events } = await startLinked(t);
  Object.assign(world.source, { polled: true });
  world.answer = async () => {
    throw new SourceError('source-throttled', 'slow down', { hint: 'wait' });
  };
  world.hint();
  await eventually(() => events.length === 1, 'it is told');
  assert.deepEqual(events, ['failed source-throttled']);
});

test('a message of the queue becomes a look, and how the queue is reaches the supervisor', async (t) => {
  const body = JSON.stringify({ Records: [{ s3: { bucket: { name: 'bucket' }, object: { key: 'key' } } }] });
  const task: AgentTask = { ...TASK, parts: [{ ...WATCH, queue: { url: 'https://sqs/1/q' } }] };
  const { events, states, world, link, ended } = await startLinked(t, {}, task);
  let closed = 0;
  const removed: string[] = [];
  const messages = [[{ body, receipt: 'receipt' }]];
  world.queue = {
    receive: (signal) => {
      const next = messages.shift();
      if (next !== undefined) return Promise.resolve(next);
      return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    },
    remove: async (all) => void removed.push(...all.map(({ receipt }) => receipt)),
    close: async () => {
      closed++;
    },
  };
  world.openQueue();
  await eventually(() => events.length === 1 && removed.length === 1, 'it looks');
  assert.deepEqual(events, ['same r1']);
  assert.deepEqual(removed, ['receipt']);
  const last = states.at(-1)?.queue;
  assert.deepEqual([last?.state, last?.messages, typeof last?.heardMs], ['listening', 1, 'number']);
  link.close();
  await ended;
  assert.equal(closed, 1);
});

test('hints that come while a check runs are one check more', async (t) => {
  const { world, events } = await startLinked(t);
  let finish: (found: Found) => void = () => undefined;
  world.answer = () =>
    new Promise((resolve) => {
      finish = resolve;
    });
  world.hint();
  await eventually(() => world.checks.length === 1, 'a check runs');
  for (let i = 0; i < 5; i++) world.hint();
  finish({ outcome: 'same' });
  await eventually(() => world.checks.length === 2, 'one more');
  finish({ outcome: 'same' });
  await eventually(() => events.length === 2, 'two events');
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal(world.checks.length, 2);
});

test('every operation of the control socket is the supervisor to answer, failures with all that they say', async (t) => {
  const { runtimeDir, bugs } = await startLinked(t, {
    remount: async () => {
      throw new BundleError('bundle-corrupt', 'cannot open', { hint: 'pack again' });
    },
    upgrade: async () => ({ replaced: ['server', 'agent'], processes: [] }),
    unmount: async () => {
      throw new TypeError('with a secret in it');
    },
  });
  assert.deepEqual(await ask(runtimeDir, 'web', 'status', 2000), STATUS);
  assert.deepEqual((await ask(runtimeDir, 'web', 'upgrade', 2000)).replaced, ['server', 'agent']);
  await assert.rejects(ask(runtimeDir, 'web', 'remount', 2000), {
    code: 'bundle-corrupt',
    message: 'cannot open',
    hint: 'pack again',
    exitCode: 6,
  });
  await assert.rejects(ask(runtimeDir, 'web', 'unmount', 2000), /internal error/);
  assert.equal(bugs.length, 1);
});

test('a hook is named by who asks for it, and its result is the supervisor to give', async (t) => {
  const asked: unknown[] = [];
  const { runtimeDir } = await startLinked(t, {
    hook: async (args) => {
      asked.push(args);
      return { hook: 'web', outcome: 'done', generation: 1, serial: 2, ms: 3 };
    },
  });
  assert.equal((await ask(runtimeDir, 'web', 'hook', 5000, { hook: 'web' })).serial, 2);
  assert.deepEqual(asked, [{ hook: 'web' }]);
  await assert.rejects(ask(runtimeDir, 'web', 'hook', 5000, { hook: 'a b' }), { code: 'control-protocol' });
});

test('a probe is made by the agent, each answered to who asked for it, and none waits for an agent that is gone', async (t) => {
  const { link, supervisorEnd } = await startLinked(t);
  const refused = link.probe({ address: '127.0.0.1:1', timeoutMs: 5000 });
  const invalid = link.probe({ address: 'nonsense', timeoutMs: 5000 });
  assert.deepEqual(await refused, { serial: null, error: 'ECONNREFUSED' });
  assert.deepEqual(await invalid, { serial: null, error: 'address-invalid' });
  const lost = link.probe({ address: '192.0.2.1:443', timeoutMs: 60_000 });
  supervisorEnd.destroy();
  assert.deepEqual(await lost, { serial: null, error: 'no-agent' });
  assert.deepEqual(await link.probe({ address: '127.0.0.1:1', timeoutMs: 5000 }), {
    serial: null,
    error: 'no-agent',
  });
});

test('a scrape is made of what the supervisor knows, and of the calls that the agent made', async (t) => {
  const { directory } = await startLinked(t, {
    metrics: async () => ({ status: FULL_STATUS, totals: FULL_TOTALS }),
  });
  const text = await new Promise<string>((resolve, reject) => {
    get({ socketPath: path.join(directory, 'metrics.sock'), path: '/metrics' }, (answer) => {
      let said = '';
      answer.setEncoding('utf8').on('data', (chunk: string) => {
        said += chunk;
      });
      answer.on('end', () => resolve(said));
    }).on('error', reject);
  });
  const families = parseExposition(text);
  assert.equal(sample(families, 'secretsfs_serial'), 42);
  const calls = families.get('secretsfs_aws_calls_total')?.samples.map(({ labels }) => labels['process']);
  assert.deepEqual(calls, ['unsealer', 'agent']);
});

test('wait waits, and however many wait, the supervisor is asked once', async (t) => {
  let waits = 0;
  let ready: (status: Status) => void = () => undefined;
  const { runtimeDir } = await startLinked(t, {
    wait: () => {
      waits++;
      return new Promise((resolve) => {
        ready = resolve;
      });
    },
  });
  await assert.rejects(ask(runtimeDir, 'web', 'wait', 50), { code: 'wait-timeout' });
  const waiting = Array.from({ length: 20 }, () => ask(runtimeDir, 'web', 'wait', 5000));
  await eventually(() => waits === 1, 'asked');
  await new Promise((resolve) => setTimeout(resolve, 50));
  ready(STATUS);
  assert.deepEqual(await Promise.all(waiting), Array(20).fill(STATUS));
  assert.equal(waits, 1);
});

test('more requests than a supervisor should remember are refused by the agent', async (t) => {
  const release: (() => void)[] = [];
  const { runtimeDir, events } = await startLinked(t, {
    status: () => new Promise((resolve) => release.push(() => resolve(STATUS))),
  });
  const asked = Array.from({ length: ASKS_MAX }, () => ask(runtimeDir, 'web', 'status', 10_000));
  await eventually(() => release.length === ASKS_MAX, 'all are asked');
  await assert.rejects(ask(runtimeDir, 'web', 'status', 2000), { code: 'control-busy' });
  for (const answer of release) answer();
  await Promise.all(asked);
  assert.deepEqual(events, []);
});

test('an agent ends with its supervisor: who waits is told, and its sockets are left', async (t) => {
  const { runtimeDir, directory, link, ended, world } = await startLinked(t, {
    wait: () => new Promise(() => undefined),
  });
  const waiting = ask(runtimeDir, 'web', 'wait', 5000);
  waiting.catch(() => undefined);
  await new Promise((resolve) => setTimeout(resolve, 50));
  link.close();
  await ended;
  await assert.rejects(waiting, { code: 'control-not-running' });
  assert.equal(world.watchClosed, 1);
  assert.ok((await lstat(path.join(directory, 'control.sock'))).isSocket());
});

test('an answer that is sent before the supervisor closes still reaches the client', async (t) => {
  let unmounted: () => void = () => undefined;
  const { runtimeDir, link, ended } = await startLinked(t, {
    unmount: () =>
      new Promise((resolve) => {
        unmounted = () => resolve({ mountpoint: '/m' });
      }),
  });
  const asked = ask(runtimeDir, 'web', 'unmount', 5000);
  await new Promise((resolve) => setTimeout(resolve, 50));
  unmounted();
  await new Promise((resolve) => setImmediate(resolve));
  link.close();
  assert.deepEqual(await asked, { mountpoint: '/m' });
  await ended;
});

test('an agent passes over what it does not know, and ends at a line without end', async (t) => {
  const { supervisorEnd, world, ended } = await start(t);
  supervisorEnd.write(`${JSON.stringify({ version: AGENT_TASK_VERSION, ...TASK })}\n`);
  supervisorEnd.write('{"answer":77,"ok":true}\n{"answer":"x"}\n{"later":"version"}\n');
  await eventually(() => world.task !== undefined, 'it has its task');
  let text = '';
  supervisorEnd.setEncoding('utf8').on('data', (chunk) => {
    text += chunk;
  });
  world.hint();
  await eventually(
    () => text.endsWith('{"event":"looked","part":0,"looks":[{"outcome":"same","revision":"r1"}]}\n'),
    'it goes on',
  );
  supervisorEnd.write('x'.repeat(3_000_000));
  await ended;
});

test('an agent without a task ends with an error', async (t) => {
  const { supervisorEnd, ended } = await start(t);
  supervisorEnd.write(`${JSON.stringify({ version: AGENT_TASK_VERSION, ...TASK, more: 1 })}\n`);
  await assert.rejects(ended, /no task/);
});

test('an agent of another version than its supervisor ends, and says to restart the mount', async (t) => {
  for (const foreign of [{ ...TASK }, { version: AGENT_TASK_VERSION + 1, of: 'later' }]) {
    const { supervisorEnd, ended } = await start(t);
    supervisorEnd.write(`${JSON.stringify(foreign)}\n`);
    await assert.rejects(
      ended,
      (error: MountError) =>
        error.code === 'unsealer-failed' &&
        /is of another version/.test(error.message) &&
        /restart the mount/.test(error.hint ?? ''),
    );
  }
});

test('a question has arguments only where it has some: a supervisor may not know of them', async (t) => {
  const { supervisorEnd, runtimeDir, world } = await start(t);
  supervisorEnd.write(`${JSON.stringify({ version: AGENT_TASK_VERSION, ...TASK })}\n`);
  await eventually(() => world.task !== undefined, 'it has its task');
  let text = '';
  supervisorEnd.setEncoding('utf8').on('data', (chunk) => {
    text += chunk;
  });
  const asked = ask(runtimeDir, 'web', 'status', 5000);
  await eventually(() => text.includes('"ask"'), 'it asks');
  assert.match(text, /\{"ask":1,"op":"status"\}\n/);
  supervisorEnd.write(`${JSON.stringify({ answer: 1, ok: true, result: STATUS })}\n`);
  assert.deepEqual(await asked, STATUS);
});

test('a supervisor takes nothing else from an agent: garbage, long lines, too many questions, an end', async (t) => {
  const many = Array.from({ length: ASKS_MAX + 1 }, (_, i) => `{"ask":${i + 1},"op":"status"}\n`).join('');
  const cases: [RegExp, string | undefined][] = [
    [/not JSON/, 'nonsense\n'],
    [/not an object/, '[]\n'],
    [/no agent sends/, '{"event":"activate"}\n'],
    [/no agent sends/, '{"event":"looked"}\n'],
    [/no agent sends/, '{"event":"looked","looks":[{"outcome":"same"}]}\n'],
    [/no agent sends/, '{"event":"looked","looks":[{"outcome":"same","revision":"a\\nb"}]}\n'],
    [
      /no agent sends/,
      '{"event":"looked","looks":[{"outcome":"failed","error":{"code":"x","message":""}}]}\n',
    ],
    [/no agent sends/, `{"event":"looked","looks":[${Array(17).fill('{"outcome":"unasked"}').join()}]}\n`],
    [/no agent sends/, '{"event":"noticing","nextLookMs":-1,"queue":null}\n'],
    [/no agent sends/, '{"ask":1,"op":"toString"}\n'],
    [/no agent sends/, '{"ask":-1,"op":"status"}\n'],
    [/no agent sends/, '{"ask":1,"op":"hook","args":{"hook":"a b"}}\n'],
    [/no agent sends/, '{"probed":1,"serial":"0A","error":null}\n'],
    [/no agent sends/, '{"probed":1,"serial":null,"error":"a\\u001bb"}\n'],
    [/too long/, 'x'.repeat(1_000_000)],
    [/more questions/, many],
    [/gone/, undefined],
  ];
  for (const [why, bytes] of cases) {
    const [agentEnd, supervisorEnd] = await socketPair(t);
    const closed: string[] = [];
    const never = () => new Promise<never>(() => undefined);
    new AgentLink(
      new Channel(supervisorEnd),
      TASK,
      {
        status: never,
        wait: never,
        remount: never,
        unmount: never,
        upgrade: never,
        hook: never,
        metrics: never,
      },
      {
        looked: () => assert.fail(String(why)),
        noticing: () => assert.fail(String(why)),
        closed: (reason) => closed.push(reason),
        bug: (error) => assert.fail(String(error)),
      },
    );
    if (bytes === undefined) agentEnd.end();
    else agentEnd.write(bytes);
    await eventually(() => closed.length > 0, `${why}: it is closed`);
    assert.equal(closed.length, 1);
    assert.match(closed[0] ?? '', why);
  }
});

test('an agent that reads nothing is given up before it fills the memory', async (t) => {
  const [agentEnd, supervisorEnd] = await socketPair(t);
  agentEnd.pause();
  const closed: string[] = [];
  const big = { ...STATUS, bundle: 'x'.repeat(200_000) };
  new AgentLink(new Channel(supervisorEnd), TASK, { status: async () => big } as unknown as AgentOperations, {
    looked: () => undefined,
    noticing: () => undefined,
    closed: (why) => closed.push(why),
    bug: (error) => assert.fail(String(error)),
  });
  for (let i = 1; i <= 50; i++) agentEnd.write(`{"ask":${i},"op":"status"}\n`);
  await eventually(() => closed.length > 0, 'it is closed');
  assert.deepEqual(closed, ['the other side does not read']);
});

test('garbage on the control socket is answered and never reaches the supervisor', async (t) => {
  const { directory, events } = await startLinked(t);
  const answer = await new Promise<string>((resolve, reject) => {
    const socket = connect(path.join(directory, 'control.sock'));
    let text = '';
    socket.setEncoding('utf8').on('data', (chunk) => {
      text += chunk;
    });
    socket.on('error', reject).on('close', () => resolve(text));
    socket.end('{"ask":1,"op":"status"}\n');
  });
  assert.match(answer, /control-protocol/);
  assert.deepEqual(events, []);
});
