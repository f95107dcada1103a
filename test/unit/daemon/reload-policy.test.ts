import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SECTION_NAMES, SETTING_NAMES } from '../../../src/daemon/config.ts';
import { partition, WHEN_APPLIED } from '../../../src/daemon/reload-policy.ts';

test('every setting and every section is either applied live or waits for a restart', () => {
  assert.deepEqual(Object.keys(WHEN_APPLIED).sort(), [...SETTING_NAMES, ...SECTION_NAMES].sort());
});

test('what changed is parted, and what can be applied goes with what runs', () => {
  const running = { bundle: 'a', mountpoint: '/m', cache: 'page', poll: 1000, topic: 't' } as const;
  const wanted = { bundle: 'b', mountpoint: '/m', cache: 'none', poll: 1000, retireAfter: 5 } as const;
  const { live, restart, effective } = partition(running, wanted);
  assert.deepEqual(live, ['bundle', 'topic', 'retireAfter']);
  assert.deepEqual(restart, ['cache']);
  assert.deepEqual(effective, { bundle: 'b', mountpoint: '/m', cache: 'page', poll: 1000, retireAfter: 5 });
});

test('what is equal is no change, however deep it is', () => {
  const checks = () => ({ required: ['a'], formats: [{ match: '*', format: 'json' }] }) as never;
  const { live, restart } = partition({ checks: checks() }, { checks: checks() });
  assert.deepEqual([live, restart], [[], []]);
});

const MOUNTS = { tls: { source: [{ bundle: '/a' }] } };

test('of several bundles what is theirs waits, whether it stands there or beside; what is of the mount is applied', () => {
  const { live, restart } = partition(
    { mounts: MOUNTS, poll: 1000, retireAfter: 5, checks: {} as never },
    {
      mounts: { ...MOUNTS, app: { source: [{ bundle: '/b' }] } },
      ...{ poll: 2000, key: ['local:k'], retireAfter: 6, consistencyWindow: 7, memoryMax: 8 },
      ...{ hooks: [{}] as never, checks: { exec: [{}] } as never },
    },
  );
  assert.deepEqual(live, ['memoryMax', 'retireAfter', 'consistencyWindow', 'checks', 'hooks']);
  assert.deepEqual(restart, ['key', 'poll', 'mounts']);
});

test('one bundle is not made several, nor several one, while the mount runs', () => {
  const one = { bundle: 'a', checks: { required: ['x'] } as never, retireAfter: 5 };
  const several = { mounts: MOUNTS, retireAfter: 6 };
  for (const [running, wanted] of [
    [one, several],
    [several, one],
  ] as const) {
    const { live, restart, effective } = partition(running, wanted);
    assert.deepEqual([live, restart], [[], ['bundle', 'retireAfter', 'checks', 'mounts']]);
    assert.deepEqual(effective, running);
  }
});
