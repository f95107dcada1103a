import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { DEFAULT_CHECKS } from '../../../src/checks/settings.ts';
import { Supervisor } from '../../../src/daemon/supervisor.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

test('a mount says that its end begins before anything can hang in it', async (t) => {
  const directory = await temporaryDirectory(t);
  const note = () => undefined;
  const supervisor = new Supervisor(
    {
      parts: [
        {
          directory: undefined,
          required: true,
          sources: [{ bundle: path.join(directory, 'web.enc.tar'), aws: {} }],
          pollMs: 1000,
          spreadMs: 0,
          queue: undefined,
          unsealsPerMinute: undefined,
          aws: {},
          name: 'web',
          acceptedKeys: [],
          context: {},
          formats: [],
          bytesMax: 1,
          filesMax: 1,
          checks: DEFAULT_CHECKS,
          rules: [],
          minSerial: undefined,
        },
      ],
      mountpoint: directory,
      instance: 'web',
      fsname: 'web',
      preserve: false,
      allowSwap: true,
      statusGid: undefined,
      runtimeDir: directory,
      stateDir: directory,
      startTimeoutMs: 0,
      cacheDir: undefined,
      maxStaleMs: undefined,
      metrics: { listen: undefined, fileLabels: false },
      opens: { rules: [], audit: false },
      version: '1',
      driverReason: '',
      cache: 'page',
      fastOpen: false,
      resend: false,
      retireAfterMs: 1,
      memoryMax: undefined,
      uidBase: undefined,
      selinuxContext: undefined,
      consistencyWindowMs: 1,
      hooks: [],
      execChecks: [],
    },
    {
      log: { info: note, warn: note, error: note },
      nowMs: () => 0,
      clockMs: () => 0,
      config: undefined,
      endsByUmount: false,
    },
  );
  const order: string[] = [];
  void supervisor.ending.then(() => order.push('ending'));
  void supervisor.ended.then(() => order.push('ended'));
  await supervisor.stop();
  assert.deepEqual(order, ['ending', 'ended']);
});
