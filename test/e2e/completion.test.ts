/** Completion in the shells themselves, at a terminal: what a person sees who presses Tab. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { withoutAws } from '../support/moto.ts';
import { PROGRAM } from '../support/paths.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { Terminal } from '../support/terminal.ts';

interface Place {
  readonly directory: string;
  readonly env: NodeJS.ProcessEnv;
}

/** The program in PATH, two instances, some files. */
async function place(t: TestContext): Promise<Place> {
  const directory = await temporaryDirectory(t);
  for (const name of ['bin', 'run/web', 'run/web-two', 'keys', 'home'])
    mkdirSync(path.join(directory, name), { recursive: true });
  const program = path.join(directory, 'bin/secretsfs');
  writeFileSync(program, `#!/bin/sh\nexec '${process.execPath}' '${PROGRAM}' "$@"\n`);
  chmodSync(program, 0o755);
  for (const name of ['bundle.enc', 'bundle two.enc', 'keys/web.key'])
    writeFileSync(path.join(directory, name), '');
  const env = {
    ...withoutAws(process.env),
    PATH: `${path.join(directory, 'bin')}:${process.env['PATH']}`,
    HOME: path.join(directory, 'home'),
    SECRETSFS_RUNTIME_DIR: path.join(directory, 'run'),
    TERM: 'dumb',
    PS1: '> ',
    LC_ALL: 'C.UTF-8',
  };
  return { directory, env };
}

/** What Tab makes of a line: the words that the shell would run then. */
const SLIPS: readonly (readonly [string, string])[] = [
  ['secretsfs unmo', '<secretsfs><unmount>'],
  ['secretsfs keys rotat', '<secretsfs><keys><rotation>'],
  ['secretsfs datak', '<secretsfs><datakey>'],
  ['secretsfs mount x --dri', '<secretsfs><mount><x><--driver>'],
  ['secretsfs mount --driver fuse', '<secretsfs><mount><--driver><fuse-native>'],
  ['secretsfs mount --driver=fuse', '<secretsfs><mount><--driver=fuse-native>'],
  ['secretsfs upload --sse aws:kms:d', '<secretsfs><upload><--sse><aws:kms:dsse>'],
  ['secretsfs keys rotation of', '<secretsfs><keys><rotation><off>'],
  ['secretsfs status web-', '<secretsfs><status><web-two>'],
  ['secretsfs inspect bundle.e', '<secretsfs><inspect><bundle.enc>'],
  ['secretsfs inspect bundle\\ t', '<secretsfs><inspect><bundle two.enc>'],
  ['secretsfs mount b --key loc', '<secretsfs><mount><b><--key><local:>'],
  ['secretsfs mount b --key local:keys/w', '<secretsfs><mount><b><--key><local:keys/web.key>'],
  ['secretsfs pack --dir ke', '<secretsfs><pack><--dir><keys/>'],
  ['secretsfs pack --dir bund', '<secretsfs><pack><--dir><bund>'],
];

/** At a prompt: types `line` and Tab, then has the words printed. */
async function tab(shell: Terminal, line: string): Promise<string> {
  const from = shell.output.length;
  shell.send(`${line}\t`);
  // Ctrl-A, Ctrl-E: the shell reads them after what Tab did.
  shell.send(`\x01printf '<%s>' \x05 ; printf '.%s.\\n' end\r`);
  const shown = await shell.until(/\.end\.\r?\n/, from);
  return /(<secretsfs>.*)\.end\./.exec(stripVTControlCharacters(shown))?.[1] ?? shown;
}

test('bash completes commands, options, choices, instances and files', async (t) => {
  const { directory, env } = await place(t);
  const shell = new Terminal(
    (f) => t.after(f),
    ['env', '-C', directory, 'bash', '--norc', '--noprofile', '-i'],
    {
      ...{ columns: 200, rows: 50, env },
    },
  );
  shell.send("bind 'set enable-bracketed-paste off'; source <(secretsfs completion bash); echo rea''dy\r");
  await shell.until(/\nready/);
  for (const [line, words] of SLIPS) assert.equal((await tab(shell, line)).trim(), words, line);
  const from = shell.output.length;
  shell.send('secretsfs mount --driver \t\t');
  const shown = await shell.until(/fuse-native/, from);
  assert.match(shown, /auto.*fuse-native/s);
  shell.send('\x15exit\r');
  assert.equal(await shell.ended, 0);
});

test('zsh completes commands, options, choices, instances and files', async (t) => {
  const { directory, env } = await place(t);
  const shell = new Terminal((f) => t.after(f), ['env', '-C', directory, 'zsh', '-f', '-i'], {
    ...{ columns: 200, rows: 50, env: { ...env, PROMPT: '> ' } },
  });
  shell.send(
    "unsetopt zle_bracketed_paste auto_remove_slash; bindkey -e; autoload -U compinit; compinit -u -D; source <(secretsfs completion zsh); echo rea''dy\r",
  );
  await shell.until(/\nready/);
  for (const [line, words] of SLIPS) assert.equal((await tab(shell, line)).trim(), words, line);
  const from = shell.output.length;
  shell.send('secretsfs keys \t');
  const shown = await shell.until(/rotation/, from);
  assert.match(shown, /turn the rotation of a key on or off/);
  shell.send('\x15exit\r');
  assert.equal(await shell.ended, 0);
});

test('fish completes commands, options, choices, instances and files', async (t) => {
  const { directory, env } = await place(t);
  const complete = (line: string) =>
    new Promise<string[]>((resolve, reject) => {
      const script = 'secretsfs completion fish | source; complete -C "$argv[1]"';
      execFile('fish', ['--no-config', '-c', script, line], { cwd: directory, env }, (error, stdout) => {
        if (error) reject(error);
        else resolve(stdout.split('\n').filter((each) => each !== ''));
      });
    });
  const words = async (line: string) => (await complete(line)).map((each) => each.split('\t')[0]);
  assert.deepEqual(await complete('secretsfs unmo'), ['unmount\tunmount, wipe and end']);
  assert.deepEqual(await words('secretsfs keys r'), ['rotation', 'retire']);
  assert.deepEqual(await words('secretsfs mount x --dri'), ['--driver']);
  assert.deepEqual(await words('secretsfs mount --driver '), ['auto', 'kernel', 'fuse-native']);
  assert.deepEqual(await words('secretsfs mount --driver=fuse'), ['--driver=fuse-native']);
  assert.deepEqual(await words('secretsfs status '), ['web', 'web-two']);
  assert.deepEqual(await words('secretsfs inspect bundle.'), ['bundle.enc']);
  assert.deepEqual(await words('secretsfs mount b --key local:keys/w'), ['local:keys/web.key']);
  assert.deepEqual(await words('secretsfs pack --dir=ke'), ['--dir=keys/']);
  assert.deepEqual(await words('secretsfs pack --dir bund'), []);
});
