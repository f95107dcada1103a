import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { UsageError } from '../../../src/errors.ts';
import { checkVariables, parseWanted, variableName } from '../../../src/secrets/variables.ts';
import { refusal } from '../../support/bundles.ts';

test('a variable is named by what stands below the fixed part of the pattern', () => {
  const cases: [string, string, string][] = [
    ['prod/db/password', 'prod/db/password', 'PASSWORD'],
    ['password', 'password', 'PASSWORD'],
    ['prod/db/password', '/prod/db/password', 'PASSWORD'],
    ['prod/db/password', 'prod/db/*', 'PASSWORD'],
    ['prod/db/password', 'prod/db/', 'PASSWORD'],
    ['prod/db/password', 'prod/**', 'DB_PASSWORD'],
    ['prod/db/password', '**', 'PROD_DB_PASSWORD'],
    ['prod/db/password', 'prod/d*/password', 'DB_PASSWORD'],
    ['prod/db/password', 'prod/db/pass*', 'PASSWORD'],
    ['prod/db/password', 'prod/{db,mail}/password', 'DB_PASSWORD'],
    ['tls/web.example-1.key', 'tls/*', 'WEB_EXAMPLE_1_KEY'],
    ['2nd', '*', '_2ND'],
    ['prod/é', 'prod/*', '_'],
  ];
  for (const [path, pattern, name] of cases)
    assert.equal(variableName(path, pattern), name, `${path} of ${pattern}`);
});

test('whatever the path, the name is one that every shell takes', () => {
  const segment = fc
    .string({ unit: 'grapheme', minLength: 1, maxLength: 10 })
    .filter((text) => !text.includes('/'));
  fc.assert(
    fc.property(fc.array(segment, { minLength: 1, maxLength: 4 }), fc.nat(), (segments, at) => {
      const path = segments.join('/');
      const below = segments.slice(0, at % segments.length);
      const name = variableName(path, [...below, '**'].join('/'));
      assert.match(name, /^[A-Z_][A-Z0-9_]*$/);
    }),
  );
});

test('NAME=PATH names one secret, and everything else is a pattern', () => {
  assert.deepEqual(parseWanted('PGPASSWORD=prod/db'), { name: 'PGPASSWORD', pattern: 'prod/db' });
  assert.deepEqual(parseWanted('pg_1=/prod=x'), { name: 'pg_1', pattern: '/prod=x' });
  for (const pattern of ['prod/*', '/a=b', 'prod/a=b', '1=b', 'a.b=c', 'A=']) {
    assert.deepEqual(parseWanted(pattern), { name: undefined, pattern });
  }
  for (const text of ['A=prod/*', 'A=b,c', 'A=prod/', 'A={b,c}', 'A=a?']) {
    assert.throws(() => parseWanted(text), refusal('usage', /a name is for one secret/));
  }
});

const made = (name: string, path = name.toLowerCase()) => ({ name, path, isNamed: false });
const named = (name: string, path = 'p') => ({ name, path, isNamed: true });
const check = (
  variables: Parameters<typeof checkVariables>[0],
  env: NodeJS.ProcessEnv = {},
  overwrite = false,
) => checkVariables(variables, env, { overwrite });

test('two secrets of one name are refused, whoever named them', () => {
  assert.throws(
    () => check([made('A', 'x/a'), made('A', 'y/a')]),
    refusal('usage', /"y\/a" as the variable A.*"x\/a"/),
  );
  assert.throws(() => check([named('A', 'x'), made('A', 'a')], {}, true), refusal('usage', /"x"/));
});

test('the name that a hint offers runs nothing of what a path says', () => {
  const path = 'x/$(touch y); z';
  for (const [variables, env] of [
    [[made('A', 'a'), made('A', path)], {}],
    [[made('PATH', path)], {}],
    [[made('A', path)], { A: '1' }],
  ] as const) {
    assert.throws(
      () => check(variables, env),
      (error) => (error as UsageError).hint?.endsWith(`='${path}'`) === true,
    );
  }
});

test('a name made from a path neither replaces a variable nor steers a program; one that a person gave may', () => {
  assert.throws(() => check([made('HOME')], { HOME: '/' }), refusal('usage', /set already/));
  check([made('HOME')], { HOME: '/' }, true);
  check([named('HOME')], { HOME: '/' });
  for (const name of [
    'PATH',
    'LD_PRELOAD',
    'LD_LIBRARY_PATH',
    'NODE_OPTIONS',
    'BASH_ENV',
    'PYTHONPATH',
    'PERL5LIB',
    '_JAVA_OPTIONS',
    'JDK_JAVA_OPTIONS',
    'GIT_SSH_COMMAND',
    'GIT_CONFIG_COUNT',
    'HTTPS_PROXY',
    'AWS_ENDPOINT_URL_KMS',
    'SECRETSFS_STORE',
    'PROMPT_COMMAND',
    'JAVA_TOOL_OPTIONS',
    'TAR_OPTIONS',
    'MAKEFLAGS',
    'CFLAGS',
    'RSYNC_RSH',
    'AWS_PAGER',
    'PSQL_PAGER',
    'GIT_SEQUENCE_EDITOR',
    'OPENSSL_CONF',
    'ZDOTDIR',
    'GIT_DIR',
    'NPM_CONFIG_SCRIPT_SHELL',
    'JAVA_OPTS',
    'MAVEN_OPTS',
    'DOTNET_STARTUP_HOOKS',
    'NODE_TLS_REJECT_UNAUTHORIZED',
    'AWS_CONTAINER_CREDENTIALS_FULL_URI',
  ]) {
    assert.throws(() => check([made(name)], {}, true), refusal('usage', /tell programs/), name);
    check([named(name)]);
  }
  check(
    [
      'GIT_TOKEN',
      'AWS_SECRET_ACCESS_KEY',
      'JAVA_KEYSTORE_PASSWORD',
      'PATHS',
      'DB_PATH',
      'DB_OPTION',
      'FLAG',
    ].map((n) => made(n)),
  );
});
