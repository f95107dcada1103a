/** `wait`, of a mount that is long in coming. */
import assert from 'node:assert/strict';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Context } from '../../../src/cli/command.ts';
import { wait } from '../../../src/cli/wait.ts';
import { sayWhenLong } from '../../../src/cli/wait-notice.ts';
import { makeSocketDirectory } from '../../../src/control/directory.ts';
import type { Status } from '../../../src/control/protocol.ts';
import { type Operations, serveControl } from '../../../src/control/server.ts';
import { realTimers } from '../../../src/system/timers.ts';
import { FakeTimers } from '../../support/fake-timers.ts';
import { FULL_STATUS } from '../../support/statuses.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

/** A wait for `web`, whose timers are the test's, and what it says. */
async function waiting(t: TestContext, mount = 'web') {
  const runtimeDir = path.join(await temporaryDirectory(t), 'run');
  const timers = new FakeTimers();
  t.mock.method(realTimers, 'set', timers.set.bind(timers));
  t.mock.method(realTimers, 'clear', timers.clear.bind(timers));
  const warnings: string[] = [];
  let warned = () => {};
  const first = new Promise<void>((resolve) => {
    warned = resolve;
  });
  const printed: string[] = [];
  const ui = {
    print: (line: string) => printed.push(line),
    warn(line: string) {
      warnings.push(line);
      warned();
    },
  };
  const context = { ui, env: {}, json: false, settings: { runtimeDir } };
  const args = { mount, timeout: '24h', restarts: true };
  const begin = () => wait.run(args, context as unknown as Context);
  const serve = async (operations: Partial<Operations>) => {
    const directory = await makeSocketDirectory(runtimeDir, 'web', process.getuid?.() ?? 0);
    const all = { status: async () => FULL_STATUS, ...operations } as Operations;
    const onBug = (error: unknown) => assert.fail(String(error));
    const server = await serveControl({ directory, operations: all, statusGid: undefined, onBug });
    t.after(() => server.close());
  };
  return { begin, serve, warnings, first, printed, timers };
}

test('wait says after ten seconds, and once, that the mount does not run, and where to look', async (t) => {
  const { begin, serve, warnings, first, printed, timers } = await waiting(t);
  const over = begin();
  assert.deepEqual(timers.waits, [10_000]);
  timers.pass(9_999);
  assert.deepEqual(warnings, []);
  timers.pass(1);
  await first;
  timers.pass(60_000);
  await serve({ wait: async () => FULL_STATUS });
  await over;
  assert.deepEqual(warnings, [
    'waits for the mount "web", which does not run: systemctl status secretsfs@web',
  ]);
  assert.deepEqual(printed, ['web: ready at /run/secrets/web']);
});

test('wait says of a mount that is starting what it waits for', async (t) => {
  for (const [error, says] of [
    [{ ...FULL_STATUS.error, message: 'the key is not to be had' }, /which is starting: the key is not/],
    [null, /which is starting: secretsfs status web and its log say more/],
  ] as const) {
    await t.test(String(says), async (t) => {
      const { begin, serve, warnings, first, timers } = await waiting(t);
      let ready: (status: Status) => void = () => {};
      const isReady = new Promise<Status>((resolve) => {
        ready = resolve;
      });
      const starting = { ...FULL_STATUS, state: 'starting', error } as Status;
      await serve({ status: async () => starting, wait: () => isReady });
      const over = begin();
      timers.pass(10_000);
      await first;
      assert.match(warnings.join('\n'), says);
      ready(FULL_STATUS);
      await over;
      assert.equal(warnings.length, 1);
    });
  }
});

test('wait knows a mountpoint however it is written', async (t) => {
  const { begin, serve, warnings, first, timers } = await waiting(t, '/run//secrets/web/');
  let ready: (status: Status) => void = () => {};
  const isReady = new Promise<Status>((resolve) => {
    ready = resolve;
  });
  const starting = { ...FULL_STATUS, state: 'starting', error: null } as Status;
  await serve({ status: async () => starting, wait: () => isReady });
  const over = begin();
  timers.pass(10_000);
  await first;
  ready(FULL_STATUS);
  await over;
  assert.match(warnings.join('\n'), /which is starting/);
});

test('what goes wrong while it is looked for what to say ends nothing', async (t) => {
  const { timers, warnings } = await waiting(t);
  const said = new Promise<void>((resolve) => {
    const ui = { warn: (line: string) => void resolve(void warnings.push(line)) };
    // No path: a TypeError, as of a bug.
    sayWhenLong('/none', 7 as unknown as string, ui);
  });
  timers.pass(10_000);
  await said;
  assert.deepEqual(warnings, ['waits for the mount 7']);
});

test('wait for what comes at once says nothing', async (t) => {
  const { begin, serve, timers } = await waiting(t);
  await serve({ wait: async () => FULL_STATUS });
  await begin();
  assert.deepEqual(timers.waits, []);
});
