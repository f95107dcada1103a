import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConfig } from '../../../src/daemon/config-yaml.ts';
import { ConfigError } from '../../../src/errors.ts';
import { parseAddress } from '../../../src/hooks/settings.ts';

function refusal(yaml: string): string {
  try {
    parseConfig('web.yaml', yaml);
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.message;
  }
  return 'taken';
}

test('hooks of every kind, with their defaults', () => {
  const { hooks = [] } = parseConfig(
    'web.yaml',
    `hooks:
  - { name: a, run: [/usr/bin/true, x], user: app, match: [tls/*], timeout: 1m, debounce: 500ms, atStart: true }
  - { name: b, nginx: { probes: [{ address: '[::1]:443', servername: w.test, certificate: tls/a.crt }] } }
  - { name: c, haproxy: { unit: haproxy } }
  - { name: d, systemd: { reload: [nginx] }, probes: [{ address: /run/s, certificate: a }] }
  - { name: e, signal: { pidfile: /run/e.pid, signal: SIGUSR1 } }
`,
  );
  assert.deepEqual(hooks[0], {
    ...{ name: 'a', match: ['tls/*'], timeout: 60_000, debounce: 500, atStart: true, probes: [] },
    action: { kind: 'run', run: ['/usr/bin/true', 'x'], user: 'app' },
  });
  assert.deepEqual(hooks[1]?.probes, [
    { address: '[::1]:443', servername: 'w.test', certificate: 'tls/a.crt' },
  ]);
  assert.deepEqual([hooks[1]?.match, hooks[1]?.timeout, hooks[1]?.debounce], [['**'], 30_000, 1000]);
  assert.deepEqual(
    hooks.map(({ action }) => action.kind),
    ['run', 'nginx', 'haproxy', 'systemd', 'signal'],
  );
  const [, , haproxy, systemd, signal] = hooks.map(({ action }) => action);
  assert.equal(haproxy?.kind === 'haproxy' && haproxy.unit, 'haproxy.service');
  assert.deepEqual(systemd, { kind: 'systemd', reload: ['nginx.service'], restart: [] });
  assert.equal(signal?.kind === 'signal' && signal.signal, 'USR1');
  assert.equal(hooks[3]?.probes.length, 1);
});

const REFUSED: readonly (readonly [string, RegExp])[] = [
  ['{ name: a }', /line 2, column 5: hooks\.0: needs exactly one of run, nginx/],
  ['{ name: a, run: [/x], signal: { pidfile: /p } }', /exactly one/],
  ['{ name: a, run: [true] }', /hooks\.0\.run/],
  ['{ name: a, run: [bin/x] }', /hooks\.0\.run\.0: must be an absolute path/],
  ['{ name: a, run: [/bin/../x] }', /absolute path without/],
  ['{ name: a, run: [] }', /hooks\.0\.run/],
  ['{ name: "a b", run: [/x] }', /hooks\.0\.name: must be 1 to 64/],
  ['{ name: a, run: [/x], timeout: 0s }', /hooks\.0\.timeout: must be from 100ms to 1h/],
  ['{ name: a, run: [/x], shell: true }', /line 2, column 27: hooks\.0\.shell: is not a setting/],
  ['{ name: a, run: [/x], match: [] }', /hooks\.0\.match/],
  ['{ name: a, run: [/x], match: [/etc/x] }', /hooks\.0\.match\.0: must be a path below the mountpoint/],
  ['{ name: a, systemd: {} }', /needs reload: or restart:/],
  ['{ name: a, systemd: { reload: [--now] } }', /must be the name of a unit/],
  ['{ name: a, systemd: { reload: ["a b"] } }', /must be the name of a unit/],
  ['{ name: a, signal: { pidfile: /p, signal: KILL } }', /must be one of HUP/],
  ['{ name: a, nginx: {}, user: x }', /has a user/],
  ['{ name: a, nginx: { probes: [] }, probes: [] }', /has probes twice/],
  ['{ name: a, nginx: { probes: [{ address: "x", certificate: a }] } }', /must be host:port/],
  [
    '{ name: a, nginx: { probes: [{ address: "x:1", certificate: ../a }] } }',
    /must be a path inside the mount/,
  ],
  ['{ name: a, run: [/x] }\n  - { name: a, run: [/x] }', /hooks: must not have two of one name/],
];
for (const [hook, pattern] of REFUSED) {
  test(`the hook ${hook.split('\n')[0]} is refused where it is wrong`, () => {
    assert.match(refusal(`hooks:\n  - ${hook}\n`), pattern);
  });
}

test('hooks are a section of the file: a slip is known', () => {
  assert.match(refusal('hook: []\n'), /hook: is not a setting/);
  assert.match(refusal('hooks: yes\n'), /line 1, column 8: hooks: /);
});

test('addresses', () => {
  assert.deepEqual(parseAddress('a.test:443'), { host: 'a.test', port: 443 });
  assert.deepEqual(parseAddress('[fe80::1%eth0]:1'), { host: 'fe80::1%eth0', port: 1 });
  assert.deepEqual(parseAddress('/run/s.sock'), { path: '/run/s.sock' });
  for (const wrong of [
    '',
    'a',
    ':1',
    'a:0',
    'a:65536',
    'a:1:2',
    '::1:443',
    '[::1]',
    'a b:1',
    'http://a:1',
    `/${'x'.repeat(107)}`,
  ]) {
    assert.equal(parseAddress(wrong), undefined, wrong);
  }
});
