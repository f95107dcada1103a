import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { AgentOperations } from '../../../src/daemon/agent-channel.ts';
import { AgentKeeper } from '../../../src/daemon/agent-keeper.ts';
import { FakeChild, settled } from '../../support/fake-child.ts';
import { FakeLog } from '../../support/fake-log.ts';

const PING_MS = 3_000;

function setUp(t: TestContext, apis: ('setInterval' | 'setTimeout')[] = ['setInterval']) {
  t.mock.timers.enable({ apis });
  const looks: string[] = [];
  const children: FakeChild[] = [];
  const log = new FakeLog();
  const keeper = new AgentKeeper({
    spawn() {
      const child = new FakeChild();
      children.push(child);
      return child;
    },
    task: () => ({
      parts: [{ sources: [{ location: '/b', aws: {} }], pollMs: 1000, spreadMs: 0, queue: null, aws: {} }],
      statusSocket: false,
      metrics: { listen: null, fileLabels: false },
    }),
    onLooked: (found) => looks.push(found.map(({ outcome }) => outcome).join()),
    operations: {} as AgentOperations,
    log,
  });
  t.after(async () => {
    const stopped = keeper.stop();
    for (const child of children) child.end();
    await stopped;
  });
  const pings = async (count: number) => {
    for (let i = 0; i < count; i++) {
      t.mock.timers.tick(PING_MS);
      await settled();
    }
  };
  return { children, log, pings, looks };
}

test('an agent that hangs before its first answer has some 20 s, and is replaced', async (t) => {
  const { children, log, pings } = setUp(t);
  await pings(6);
  assert.deepEqual([log.events, children[0]?.signals], [[], []]);
  await pings(1);
  assert.deepEqual(log.events, ['agent-hung', 'agent-died']);
  assert.deepEqual(children[0]?.signals, ['SIGKILL']);
});

test('one that has answered once is replaced after two that it does not answer', async (t) => {
  const { children, log, pings } = setUp(t);
  children[0]?.say({ pong: 1 });
  await settled();
  await pings(2);
  assert.deepEqual(log.events, []);
  await pings(1);
  assert.deepEqual(log.events, ['agent-hung', 'agent-died']);
});

test('what an agent found is taken once a second, whatever it says it found; a hint is not lost among the rest', async (t) => {
  const { children, looks } = setUp(t, ['setInterval', 'setTimeout']);
  const say = async (...said: object[]) => {
    for (const look of said) children[0]?.say({ event: 'looked', looks: [look] });
    await settled();
  };
  const same = { outcome: 'same', revision: 'r1' };
  const failed = { outcome: 'failed', error: { code: 'source-denied', message: 'no' } };
  await say(...Array(50).fill([same, failed]).flat());
  t.mock.timers.tick(0);
  assert.deepEqual(looks, ['failed']);
  await say(...Array(50).fill([same, failed]).flat(), { outcome: 'changed', revision: 'r2' }, same);
  t.mock.timers.tick(100);
  assert.deepEqual(looks, ['failed']);
  t.mock.timers.tick(900);
  assert.deepEqual(looks, ['failed', 'changed']);
});
