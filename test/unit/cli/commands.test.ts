import assert from 'node:assert/strict';
import test from 'node:test';
import { COMMANDS, findCommand, type KnownCommand } from '../../../src/cli/commands.ts';

const load = () => Promise.reject(new Error('not asked for'));
const commands: readonly KnownCommand[] = ['rotate', 'keys', 'keys ls', 'data create', 'data show'].map(
  (name) => ({
    name,
    describe: '',
    load,
  }),
);
const named = (...argv: string[]) => {
  const { known, group } = findCommand(argv, commands);
  return { known: known?.name, group: group?.map(({ name }) => name) };
};

test('two words are a command of a group before the first is one alone', () => {
  assert.deepEqual(named('keys', 'ls', '--json'), { known: 'keys ls', group: undefined });
  assert.deepEqual(named('keys', '--json'), { known: 'keys', group: undefined });
  assert.deepEqual(named('rotate', 'ls'), { known: 'rotate', group: undefined });
});

test('the first word alone of a group names its commands, whatever follows', () => {
  const group = ['data create', 'data show'];
  for (const argv of [['data'], ['data', '--help'], ['data', 'creat']])
    assert.deepEqual(named(...argv), { known: undefined, group });
});

test('what is no command is neither', () => {
  for (const argv of [[], ['--help'], ['dat'], [''], ['ls'], ['create']])
    assert.deepEqual(named(...argv), { known: undefined, group: undefined });
});

test('each command is loaded by its own name', async () => {
  for (const { name, load } of COMMANDS) {
    const { usage } = await load();
    assert.ok(`${usage} `.startsWith(`${name} `), `${name}: its usage is ${usage}`);
  }
});
