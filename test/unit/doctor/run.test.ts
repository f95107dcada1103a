import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Check, ok, problem } from '../../../src/doctor/finding.ts';
import { runChecks } from '../../../src/doctor/run.ts';
import { ConfigError } from '../../../src/errors.ts';
import { fakeSubject } from '../../support/fake-machine.ts';

const check = (id: string, area: Check['area'], run: Check['run']): Check => ({
  id,
  area,
  what: `what ${id} is`,
  run,
});
const subject = fakeSubject({});

test('runChecks() sorts by area, keeps the order within, and leaves out what has no say', async () => {
  const findings = await runChecks(
    [
      check('b', 'mount', async () => ok('fine')),
      check('a', 'machine', async () => [ok('one'), problem('two', 'mend')]),
      check('c', 'machine', async () => undefined),
      check('d', 'machine', async () => []),
    ],
    subject,
  );
  assert.deepEqual(findings, [
    { id: 'a', area: 'machine', state: 'ok', what: 'what a is', found: 'one', fix: null },
    { id: 'a', area: 'machine', state: 'problem', what: 'what a is', found: 'two', fix: 'mend' },
    { id: 'b', area: 'mount', state: 'ok', what: 'what b is', found: 'fine', fix: null },
  ]);
});

test('runChecks() says of what hangs, throws or is denied that it is unknown, and how to see it', async () => {
  const denied = Object.assign(new Error('text'), { code: 'EACCES', path: '/etc/x' });
  const config = new ConfigError('config-invalid', 'cannot use it', { hint: 'use another' });
  const findings = await runChecks(
    [
      check('hangs', 'machine', () => new Promise(() => undefined)),
      check('denied', 'machine', async () => Promise.reject(denied)),
      check('ours', 'machine', async () => Promise.reject(config)),
      check('bug', 'machine', async () => Promise.reject(new TypeError('secret'))),
    ],
    subject,
    20,
  );
  assert.deepEqual(
    findings.map(({ id, state, found, fix }) => [id, state, found, fix]),
    [
      [
        'hangs',
        'unknown',
        'no answer within 0.02 s',
        'find what hangs (a file system, the network), then run doctor again',
      ],
      ['denied', 'unknown', 'may not look at "/etc/x"', 'run as root: sudo secretsfs doctor'],
      ['ours', 'unknown', 'cannot use it (config-invalid)', 'use another'],
      ['bug', 'unknown', 'this check failed: TypeError', 'report it as a bug of secretsfs'],
    ],
  );
});
