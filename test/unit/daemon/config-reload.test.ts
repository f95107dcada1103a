import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Settings } from '../../../src/daemon/config.ts';
import { ConfigReload } from '../../../src/daemon/config-reload.ts';
import type { SupervisorOptions } from '../../../src/daemon/supervisor-options.ts';
import { ConfigError, MountError } from '../../../src/errors.ts';
import { FakeLog } from '../../support/fake-log.ts';

/** Options are the settings, and an instance; fastOpen does not go with a window. */
function setUp(running: Settings) {
  const log = new FakeLog();
  const world = {
    log,
    file: running as Settings | Error,
    applied: [] as unknown[],
    failure: undefined as Error | undefined,
    parts: 'as at the start',
  };
  const options = async (settings: Settings) => {
    if (settings.fastOpen === true && settings.consistencyWindow !== undefined)
      throw new ConfigError('config-invalid', 'cannot use both', { hint: 'leave out one' });
    const instance = settings.instance ?? settings.name ?? settings.bundle;
    const parts = settings.mounts === undefined ? {} : { parts: world.parts };
    return { ...settings, instance, driverReason: 'r', ...parts } as unknown as SupervisorOptions;
  };
  const make = async () =>
    new ConfigReload({
      source: {
        path: '/etc/web.yaml',
        identity: '1',
        settings: running,
        identify: async () => '2',
        read: () => {
          if (world.file instanceof Error) throw world.file;
          return world.file;
        },
        options,
      },
      running: await options(running),
      apply: async (next) => {
        if (world.failure !== undefined) throw world.failure;
        world.applied.push(next);
      },
      log,
      nowMs: () => 0,
    });
  return { world, make };
}

const INVALID = new ConfigError('config-invalid', 'cannot use it: line 1, column 2', { hint: 'mend it' });

test('a refusal is told once, applies nothing, and ends without a change', async () => {
  const { world, make } = setUp({ bundle: 'a' });
  const reload = await make();
  world.file = INVALID;
  await reload.check();
  await reload.check();
  assert.deepEqual(world.log.events, ['config-refused']);
  const { state, error } = reload.status();
  assert.deepEqual([state, error?.code, error?.hint], ['refused', 'config-invalid', 'mend it']);
  world.file = { bundle: 'a' };
  await reload.check();
  assert.deepEqual(world.log.lines.at(-1)?.fields, { settings: [] });
  assert.equal(reload.status().state, 'current');
  assert.deepEqual(world.applied, []);
});

test('a config that is gone is to be put back, and what it said is in force until then', async () => {
  const { world, make } = setUp({ bundle: 'a' });
  const reload = await make();
  world.file = new ConfigError('config-unreadable', 'cannot read config "x": no such file', {
    hint: 'give a path',
  });
  await reload.check();
  assert.match(reload.status().error?.hint ?? '', /^put it back, .* in force$/);
});

test('what can not be applied leaves what runs, and is tried whole the next time', async () => {
  const { world, make } = setUp({ bundle: 'a' });
  const reload = await make();
  world.file = { bundle: 'a', poll: 5000 };
  world.failure = new MountError('upgrade-refused', 'cannot upgrade', { hint: 'later' });
  await reload.check();
  assert.equal(reload.status().state, 'refused');
  world.failure = undefined;
  await reload.check();
  assert.equal(world.applied.length, 1);
  assert.equal(reload.status().state, 'current');
  await reload.check();
  assert.equal(world.applied.length, 1, 'it runs already');
});

test('what needs a restart stays named until it is taken back, and is told once', async () => {
  const { world, make } = setUp({ bundle: 'a', name: 'w', cache: 'page' });
  const reload = await make();
  world.file = { bundle: 'b', name: 'w', cache: 'none' };
  await reload.check();
  await reload.check();
  assert.deepEqual(world.log.events, ['config-applied', 'config-restart-needed']);
  assert.deepEqual(world.applied, [
    { bundle: 'b', name: 'w', cache: 'page', instance: 'w', driverReason: 'r' },
  ]);
  assert.deepEqual(reload.status().restartNeeded, ['cache']);
  world.file = { bundle: 'b', name: 'w', cache: 'page' };
  await reload.check();
  assert.equal(reload.status().state, 'current');
  assert.equal(world.applied.length, 1);
});

test('the instance stays though it would follow from what changed', async () => {
  const { world, make } = setUp({ bundle: 'a' });
  const reload = await make();
  world.file = { bundle: 'b' };
  await reload.check();
  assert.deepEqual(world.applied, [{ bundle: 'b', instance: 'a', driverReason: 'r' }]);
  assert.deepEqual(reload.status().restartNeeded, ['instance']);
});

test('what contradicts a setting that only a restart changes waits for it, with all the others', async () => {
  const { world, make } = setUp({ bundle: 'a', fastOpen: true });
  const reload = await make();
  world.file = { bundle: 'a', poll: 5000, consistencyWindow: 5000 };
  await reload.check();
  assert.deepEqual(world.applied, []);
  assert.deepEqual(reload.status().restartNeeded, ['poll', 'consistencyWindow', 'fastOpen']);
});

test('what several bundles are told stays, though the same settings would tell them something else now', async () => {
  const mounts = { tls: { source: [{ bundle: '/a' }] } };
  const { world, make } = setUp({ mounts, instance: 'w' });
  const reload = await make();
  world.file = { mounts, instance: 'w', retireAfter: 5 };
  world.parts = 'other users';
  await reload.check();
  assert.deepEqual(world.applied, [
    { mounts, instance: 'w', retireAfter: 5, driverReason: 'r', parts: 'as at the start' },
  ]);
});
