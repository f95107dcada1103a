/** What the documents say in passing, `secretsfs …` in the middle of a sentence, is what the program takes. */
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import type { Argv, Options } from 'yargs';
import type { Command } from '../../../src/cli/command.ts';
import { COMMANDS, findCommand } from '../../../src/cli/commands.ts';
import { signatureOf } from '../../../src/cli/signature.ts';
import { runInProcess } from '../../support/cli.ts';
import { blocksOf, spans } from '../../support/documents.ts';

/** They only look like commands: a line of a log, a text that is hashed. */
const NO_COMMANDS = ['secretsfs server: cannot start: …', 'secretsfs local key name'];

/** Options of scripts/package, scripts/bench, install.sh and Docker, and of any program; docs/decisions.md also speaks of Node's. */
const OF_OTHERS = ['arch', 'record', 'uninstall', 'root', 'mount', 'cgroup-parent', 'network', 'option'];

/** Stands for FILE of --config. */
const CONFIG = path.join(tmpdir(), `documents-${process.pid}.yaml`);
before(() => writeFileSync(CONFIG, ''));
after(() => rmSync(CONFIG));

/** As a shell would, so far as the documents go. */
function wordsOf(text: string): string[] {
  return [...text.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)].map(
    ([, one, two, bare]) => one ?? two ?? bare ?? '',
  );
}

/** What is wrong with the words after `secretsfs`; an ellipsis stands for arguments, a name alone for the command. */
async function problemOf(words: readonly string[]): Promise<string | undefined> {
  const { known, group } = findCommand(words);
  if (known === undefined) return group !== undefined && words.length === 1 ? undefined : 'no such command';
  const length = known.name.split(' ').length;
  if (words.length === length) return undefined;
  const args = words.map((word, i) => (words[i - 1] === '--config' ? CONFIG : word));
  const { code, stderr } = await runInProcess(args, { columns: 80 });
  const isShort = /: no [A-Z]+ given /.test(stderr) && words.includes('…');
  return code === 0 || isShort ? undefined : stderr;
}

test('each `secretsfs …` in a document is a command, with options and arguments that it takes', async (t) => {
  // As the program does, up to the moment at which it would begin.
  for (const { load } of COMMANDS) t.mock.method(await load(), 'run', async () => undefined);
  const found = spans.filter(({ text }) => text.startsWith('secretsfs ') && !NO_COMMANDS.includes(text));
  assert.ok(found.length > 60, `${found.length} were found`);
  const problems: string[] = [];
  for (const { place, text } of found) {
    const words = wordsOf(text).slice(1);
    const problem = words[0] === 'COMMAND' ? undefined : await problemOf(words);
    if (problem !== undefined) problems.push(`${place}: ${text}: ${problem}`);
  }
  assert.deepEqual(problems, []);
});

/** docs/architecture.md also speaks of what our own processes call each other with. */
function hiddenOf(command: Command): string[] {
  const hidden: string[] = [];
  const listener = {
    positional: () => listener,
    options: () => listener,
    option(name: string, options: Options) {
      if (options.hidden === true) hidden.push(name);
      return listener;
    },
  };
  command.build?.(listener as unknown as Argv);
  return hidden;
}

test('each option that a document gives to a command by name is one of its own', async () => {
  const problems: string[] = [];
  let count = 0;
  for (const { place, text } of spans) {
    const words = wordsOf(text);
    const { known } = findCommand(words);
    const options = words.flatMap((word) => /^--([a-z0-9-]+)/.exec(word)?.[1] ?? []);
    if (known === undefined || options.length === 0) continue;
    count += 1;
    const command = await known.load();
    const names = [...signatureOf(known, command).flags.map(({ name }) => name), ...hiddenOf(command)];
    for (const option of options)
      if (!names.includes(option)) problems.push(`${place}: ${text}: --${option}`);
  }
  assert.ok(count > 30, `${count} were found`);
  assert.deepEqual(problems, []);
});

test('each option that stands by itself in a document is one of some command', async () => {
  const names: string[] = [];
  for (const known of COMMANDS) {
    const { flags } = signatureOf(known, await known.load());
    names.push(...flags.map(({ name }) => name));
  }
  const found = spans.flatMap(({ place, text }) => {
    const name = /^--([a-z0-9-]+)/.exec(text)?.[1];
    return name === undefined || OF_OTHERS.includes(name) || place === 'docs/decisions.md'
      ? []
      : [{ place, name }];
  });
  assert.ok(found.length > 150, `${found.length} were found`);
  assert.deepEqual(
    found.filter(({ name }) => !names.includes(name)),
    [],
  );
});

test('an error looks as docs/cli-abi.md shows it, for people and as JSON', async () => {
  const inspect = async (...more: string[]) => {
    const { code, stderr } = await runInProcess(['inspect', 'web.enc.tar', ...more], { columns: 80 });
    return { code, stderr };
  };
  const [{ body: text }] = blocksOf('error');
  const [{ body: json }] = blocksOf('error-json');
  const { error } = JSON.parse(json);
  assert.deepEqual(await inspect(), { code: error.exitCode, stderr: text });
  const { stderr } = await inspect('--json');
  const said = JSON.parse(stderr).error;
  // What it leaves out is in the text.
  assert.deepEqual({ ...said, message: '…', hint: '…' }, error);
  assert.deepEqual(Object.keys(said), Object.keys(error));
});
