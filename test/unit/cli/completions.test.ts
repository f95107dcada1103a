import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { COMMANDS } from '../../../src/cli/commands.ts';
import { complete } from '../../../src/cli/completions.ts';
import { signatureOf } from '../../../src/cli/signature.ts';
import { resolveSettings, SETTING_NAMES } from '../../../src/daemon/config.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

async function machine(t: TestContext) {
  const directory = await temporaryDirectory(t);
  const configs = path.join(directory, 'etc');
  for (const each of ['etc', 'run/web', 'run/api', 'run/bad\nname', 'other/far'])
    mkdirSync(path.join(directory, each), { recursive: true });
  for (const each of ['web.yaml', 'api.yml', 'readme']) writeFileSync(path.join(configs, each), '');
  const around = { env: { SECRETSFS_RUNTIME_DIR: path.join(directory, 'run') }, uid: 1000, configs };
  const values = async (...words: string[]) =>
    (await complete(words, around)).candidates.map(({ value }) => value);
  return { directory, configs, around, values };
}

test('commands are completed word by word, groups by their commands, also after help', async (t) => {
  const { values, around } = await machine(t);
  assert.deepEqual(await values('keys', 'r'), ['rotation', 'retire']);
  assert.deepEqual(await values('un'), ['unpack', 'unmount']);
  assert.deepEqual(await values('help', 'un'), ['unpack', 'unmount']);
  assert.deepEqual(await values('help', 'keys', 'u'), ['usage']);
  assert.deepEqual(await values('nothing', ''), []);
  const first = await complete([''], around);
  assert.deepEqual(
    first.candidates.map(({ value }) => value),
    [...new Set(COMMANDS.map(({ name }) => name.split(' ')[0]))],
  );
  assert.deepEqual(first.candidates.find(({ value }) => value === 'policy')?.describe, 'instance, author');
});

test('options are offered that are not given yet, and lists again', async (t) => {
  const { values } = await machine(t);
  assert.deepEqual(await values('wait', '--ti'), ['--timeout']);
  assert.deepEqual(await values('wait', '--timeout', '5s', '--ti'), []);
  assert.deepEqual(await values('wait', '--timeout=5s', '--ti'), []);
  assert.deepEqual(await values('mount', '--accept-key', 'local:a', '--acc'), ['--accept-key']);
  assert.deepEqual(await values('keys', 'usage', 'k', '--in', 'x', '--in'), ['--in']);
});

test('instances are those of the run directory that is meant', async (t) => {
  const { values, directory } = await machine(t);
  assert.deepEqual(await values('status', ''), ['api', 'web']);
  // By its config: what api has is no unit's.
  assert.deepEqual(await values('doctor', ''), ['web']);
  assert.deepEqual(await values('status', '--runtime-dir', path.join(directory, 'other'), ''), ['far']);
  assert.deepEqual(await values('hook', 'run', 'reload', 'w'), ['web']);
  assert.deepEqual(await values('status', 'web', ''), []);
});

test('a config is one of an instance, or any file', async (t) => {
  const { around, configs } = await machine(t);
  const { candidates, files } = await complete(['mount', '--config', ''], around);
  assert.deepEqual(candidates.map(({ value }) => value).sort(), [
    path.join(configs, 'api.yml'),
    path.join(configs, 'web.yaml'),
  ]);
  assert.equal(files, 'any');
});

test('files are left to the shell, after what is no part of their names', async (t) => {
  const { around } = await machine(t);
  const of = async (...words: string[]) => {
    const { files, prefix } = await complete(words, around);
    return [files, prefix];
  };
  assert.deepEqual(await of('inspect', ''), ['any', '']);
  assert.deepEqual(await of('pack', '--dir', ''), ['directories', '']);
  assert.deepEqual(await of('pack', '--dir=x'), ['directories', '--dir=']);
  assert.deepEqual(await of('pack', '--key=local:x'), ['any', '--key=local:']);
  assert.deepEqual(await of('mount', 'b', ''), ['directories', '']);
  assert.deepEqual(await of('shred', 'a', 'b', ''), ['any', '']);
  assert.deepEqual(await of('exec', 'a', '--', ''), ['any', '']);
  // A path of a store, which is not looked at.
  assert.deepEqual(await of('get', ''), ['none', '']);
  assert.deepEqual(await of('rm', 'a', ''), ['none', '']);
});

test('each choice that is offered for a setting is one that the setting takes', async (t) => {
  const { values } = await machine(t);
  let seen = 0;
  for (const setting of SETTING_NAMES) {
    const flag = setting.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    for (const command of ['mount', 'upload', 'unpack']) {
      for (const value of await values(command, `--${flag}=`)) {
        if (value.endsWith('local:')) continue;
        resolveSettings({ flags: { [setting]: value.slice(flag.length + 3) }, env: {} });
        seen++;
      }
    }
  }
  assert.ok(seen >= 15, `${seen}`);
});

test('every option is offered, and every choice, of every command', async (t) => {
  const { values } = await machine(t);
  for (const known of COMMANDS) {
    const { flags, positionals } = signatureOf(known, await known.load());
    const words = known.name.split(' ');
    assert.deepEqual(
      await values(...words, '--'),
      flags.map(({ name }) => `--${name}`),
    );
    for (const { name, choices } of flags)
      if (choices.length > 0) assert.deepEqual(await values(...words, `--${name}`, ''), choices);
    if ((positionals[0]?.choices.length ?? 0) > 0)
      assert.deepEqual(await values(...words, ''), positionals[0]?.choices);
  }
});

/** Values that nobody can know here: names, numbers, times, what is AWS's. */
const FREE = new Set([
  ...['name', 'context', 'store-context', 'new-context', 'alias', 'description', 'instance', 'fsname'],
  ...['serial', 'min-serial', 'version', 'if-match', 'sealed-for', 'bytes', 'concurrency', 'uid-base'],
  ...['max-bytes', 'max-files', 'memory-max', 'unseal-limit', 'consistency-window', 'retire-after', 'poll'],
  ...['spread', 'max-stale', 'timeout', 'every', 'days', 'status-group', 'selinux-context', 'profile'],
  ...['region', 'role-arn', 'external-id', 'expected-bucket-owner', 'sse-key', 'queue', 'topic', 'admin'],
  ...['user', 'author', 'reader', 'to', 'log-group', 'alarm-topic', 'bucket-key', 'principal'],
]);

test('every option that takes a choice, a file or a directory is completed; of the others each is named here', async (t) => {
  const { around } = await machine(t);
  const taken = new Map<string, boolean>();
  for (const known of COMMANDS) {
    const { flags } = signatureOf(known, await known.load());
    for (const { name, takesValue } of flags) {
      if (!takesValue) continue;
      const { candidates, files } = await complete([...known.name.split(' '), `--${name}`, ''], around);
      taken.set(name, candidates.length > 0 || files !== 'none');
    }
  }
  for (const [name, isOffered] of taken) assert.equal(isOffered, !FREE.has(name), name);
  assert.deepEqual(
    [...FREE].filter((name) => !taken.has(name)),
    [],
  );
  for (const flag of ['--cache-dir', '--state-dir', '--runtime-dir'])
    assert.equal((await complete(['mount', flag, ''], around)).files, 'directories');
});

test('whatever is typed, what is offered continues it, in one line', async (t) => {
  const { around } = await machine(t);
  const word = fc.oneof(
    fc.constantFrom(
      'keys',
      'mount',
      'status',
      'help',
      '--',
      '-',
      '',
      '--driver',
      '--key',
      '--driver=',
      'exec',
      'usage',
      '--in',
    ),
    fc.string({ maxLength: 5 }),
    fc.constantFrom(...COMMANDS.flatMap(({ name }) => name.split(' '))),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(word, { maxLength: 6 }), async (words) => {
      const { candidates, prefix } = await complete(words, around);
      const current = words.at(-1) ?? '';
      assert.ok(current.startsWith(prefix));
      for (const { value } of candidates)
        assert.ok(value.startsWith(current) && !/\p{C}/u.test(value), value);
    }),
    { numRuns: 300 },
  );
});
