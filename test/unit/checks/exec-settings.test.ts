import assert from 'node:assert/strict';
import { test } from 'node:test';
import { execSchema } from '../../../src/checks/exec-settings.ts';
import { parseConfig } from '../../../src/daemon/config-yaml.ts';
import { refusal } from '../../support/bundles.ts';

const NGINX = ['/usr/sbin/nginx', '-t'] as const;

test('a check has a name and an argv; by default it always runs, as root, for 30 s at the most', () => {
  assert.deepEqual(execSchema.parse([{ name: 'nginx', run: NGINX }]), [
    { name: 'nginx', run: NGINX, timeout: 30_000 },
  ]);
  const all = {
    name: 'h',
    run: ['/bin/x', ''],
    match: ['tls/**/*.{crt,key}'],
    timeout: '500ms',
    user: 'haproxy',
  };
  assert.deepEqual(execSchema.parse([all]), [{ ...all, timeout: 500 }]);
  const { checks } = parseConfig(
    'c',
    'checks:\n  exec:\n    - name: nginx\n      run: [/usr/sbin/nginx, -t]\n',
  );
  assert.deepEqual(checks?.exec?.[0]?.run, NGINX);
});

const BAD: readonly (readonly [what: string, check: Record<string, unknown>, path: string])[] = [
  ['a relative program', { run: ['nginx'] }, 'run.0'],
  ['a program behind ..', { run: ['/usr/../tmp/x'] }, 'run.0'],
  ['a shell command', { run: 'nginx -t' }, 'run'],
  ['an empty argv', { run: [] }, 'run.0'],
  ['an argument with NUL', { run: ['/bin/x', 'a\0b'] }, 'run.1'],
  ['a number for an argument', { run: ['/bin/x', 1] }, 'run.1'],
  ['too many arguments', { run: ['/bin/x', ...Array(64).fill('a')] }, 'run'],
  ['a name with a space', { name: 'a b' }, 'name'],
  ['no glob', { match: [] }, 'match'],
  ['a glob that is none', { match: ['/abs'] }, 'match.0'],
  ['a time of nothing', { timeout: '1ms' }, 'timeout'],
  ['a time that is too long', { timeout: '1h' }, 'timeout'],
  ['an unknown key', { env: {} }, ''],
];

for (const [what, check, place] of BAD) {
  test(`a check with ${what} is refused`, () => {
    const result = execSchema.safeParse([{ name: 'x', run: ['/bin/x'], ...check }]);
    assert.equal(result.error?.issues[0]?.path.join('.'), place === '' ? '0' : `0.${place}`);
  });
}

test('two checks of one name, and more than 16, are refused', () => {
  const check = (name: string) => ({ name, run: ['/bin/x'] });
  assert.equal(execSchema.safeParse([check('a'), check('a')]).success, false);
  assert.ok(execSchema.safeParse(Array.from({ length: 16 }, (_, i) => check(`c${i}`))).success);
  assert.equal(execSchema.safeParse(Array.from({ length: 17 }, (_, i) => check(`c${i}`))).success, false);
});

test('the error of a config names line, column and key', () => {
  const yaml = 'name: web\nchecks:\n  exec:\n    - name: nginx\n      run: [nginx, -t]\n';
  assert.throws(
    () => parseConfig('c', yaml),
    refusal('config-invalid', /line 5, column 13: checks\.exec\.0\.run\.0: must be an absolute path/),
  );
  assert.throws(
    () => parseConfig('c', 'checks:\n  exce: []\n'),
    refusal('config-invalid', /line 2, column 3: checks\.exce: is not a setting/),
  );
});
