import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  checksSchema,
  checksTaskSchema,
  contentChecks,
  DEFAULT_CHECKS,
} from '../../../src/checks/settings.ts';
import { parseConfig } from '../../../src/daemon/config-yaml.ts';
import { refusal } from '../../support/bundles.ts';

test('checks and files are read as they are written, and a task takes what was read', () => {
  const { checks, files } = parseConfig(
    'c.yaml',
    `checks:
  pairs:
    - {certificate: tls/*.crt, key: tls/*.key}
    - certificate: haproxy/*.pem
  required: [tls/web.crt]
  dns:
    - {file: tls/web.crt, names: [www.example.org, "*.example.org", 192.0.2.1, "2001:db8::1"]}
  formats:
    - {match: "*.env", format: dotenv}
  expiryWarning: 14d
  onBadFile: keep
files:
  - {match: "**/*.key", owner: root, group: 33, mode: "0440"}
  - {match: public/**, mode: "644"}
`,
  );
  assert.deepEqual(checks?.pairs, [
    { certificate: 'tls/*.crt', key: 'tls/*.key' },
    { certificate: 'haproxy/*.pem' },
  ]);
  assert.equal(checks?.expiryWarning, 14 * 24 * 3_600_000);
  assert.deepEqual(files, [
    { match: '**/*.key', owner: 'root', group: 33, mode: '0440' },
    { match: 'public/**', mode: '644' },
  ]);
  assert.deepEqual(checksTaskSchema.parse(checks), checks);
  assert.deepEqual(checksSchema.parse({}), DEFAULT_CHECKS);
});

test('programs that check are no part of a task', () => {
  const written = checksSchema.parse({ required: ['a'], exec: [{ name: 'x', run: ['/bin/x'] }] });
  assert.equal(checksTaskSchema.safeParse(written).success, false);
  const checks = contentChecks(written);
  assert.deepEqual(checksTaskSchema.parse(checks), checks);
  assert.deepEqual(checks.required, ['a']);
  assert.deepEqual(contentChecks(undefined), DEFAULT_CHECKS);
});

test('what is wrong in them is said with its place', () => {
  const wrong: [string, RegExp][] = [
    ['checks: 1', /line 1, column 9: checks: /],
    ['checks: {pair: []}', /line 1, column 10: checks.pair: is not a setting/],
    ['checks:\n  pairs: [{key: a}]', /checks.pairs.0.certificate: /],
    [
      'checks:\n  pairs:\n    - {certificate: "*.crt", key: "?.key"}',
      /line 3, column 35: checks.pairs.0.key: must be one path, or have the wildcards/,
    ],
    ['checks:\n  pairs: [{certificate: "{a,b}.crt", key: "{a,b}.key"}]', /key: may have no braces/],
    [
      'checks:\n  required: ["/etc/x"]',
      /line 2, column 14: checks.required.0: must be a path below the mountpoint/,
    ],
    ['checks:\n  required: ["[a]"]', /may have \*, \?, \*\* and \{a,b\}/],
    ['checks:\n  dns: [{file: a, names: []}]', /checks.dns.0.names: /],
    ['checks:\n  dns: [{file: a, names: ["a b"]}]', /must be a host name/],
    ['checks:\n  dns: [{file: a, names: ["*.*.test"]}]', /must be a host name/],
    ['checks:\n  dns: [{file: a, names: ["bücher.test"]}]', /xn--/],
    ['checks:\n  formats: [{match: a, format: toml}]', /must be json, yaml or dotenv/],
    ['checks: {expiryWarning: 30}', /must be a number of days such as 30d/],
    ['checks: {expiryWarning: 9999d}', /at most 3650d/],
    ['checks: {onBadFile: ignore}', /must be refuse or keep/],
    [`checks: {required: [${Array(300).fill('a')}]}`, /checks.required: /],
    [
      `checks: {required: [${Array(250).fill('a'.repeat(500))}]}`,
      /checks: must have at most 65536 characters/,
    ],
    ['files: {}', /files: /],
    ['files: [{match: a}]', /files.0: must say an owner, a group or a mode/],
    ['files: [{match: a, mode: 0440}]', /files.0.mode: must be text such as "0440", in quotes/],
    ['files: [{match: a, mode: "4755"}]', /in quotes/],
    ['files: [{match: a, mode: "0448"}]', /in quotes/],
    ['files: [{match: a, owner: "a b"}]', /files.0.owner: /],
    ['files: [{match: a, owner: -1}]', /files.0.owner: /],
  ];
  for (const [yaml, line] of wrong) {
    try {
      parseConfig('c.yaml', yaml);
      assert.fail(`accepted: ${yaml}`);
    } catch (error) {
      refusal('config-invalid')(error);
      const { message, hint } = error as { message: string; hint: string };
      assert.match(`${message} ${hint}`, line, yaml);
    }
  }
});
