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
