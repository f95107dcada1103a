/** The command line: which commands there are, and how their flags, the environment and --config become settings. */
import path from 'node:path';
import yargs, { type Argv } from 'yargs';
import {
  asWritten,
  flagName,
  resolveSettings,
  type SettingLayers,
  type SettingName,
} from '../daemon/config.ts';
import { EXIT_CODES, quote, UsageError } from '../errors.ts';
import type { Command, Context } from './command.ts';
import { findCommand, type KnownCommand } from './commands.ts';
import type { ConfigFile } from './config-file.ts';
import type { ConfigGiven } from './config-source.ts';
import { beforeAnother, endInherited } from './failed-mount.ts';
import { nearest } from './near.ts';
import { COMMON_FLAGS, FLAGS } from './options.ts';
import { type Flag, signatureOf } from './signature.ts';
import { createUi, type Ui } from './ui.ts';
import { columnsOf } from './width.ts';
import { isHelp, withoutCommand } from './without-command.ts';

/** Runs what `given`, the arguments without node and the program, says; returns the exit code. Never throws. */
export async function runCli(given: readonly string[], process: NodeJS.Process): Promise<number> {
  const all = given[0] === 'help' ? [...given.slice(1), '--help'] : given;
  const { env, stdin, stdout, stderr } = process;
  const ui = createUi({ stdout, stderr, env });
  const { own, program } = splitAtDashes(all);
  const json = own.includes('--json');
  try {
    const { known, group } = findCommand(all);
    if (known === undefined) {
      withoutCommand(all, group, { ui, columns: columnsOf(stdout) });
      await ui.flushed();
      return EXIT_CODES.ok;
    }
    const command = await known.load();
    const argv = command.runsProgram === true ? own : all;
    const args = await parse(known, command, argv, { ui, columns: stdout.columns || 80 });
    if (args === undefined) {
      await ui.flushed();
      return EXIT_CODES.ok;
    }
    const flags: Partial<Record<SettingName, unknown>> = {};
    for (const setting of command.settings) flags[setting] = args[setting];
    const configPath = (args['config'] as string | undefined) ?? (env['SECRETSFS_CONFIG'] || undefined);
    const isLoaded = configPath !== undefined && command.readsConfig !== true;
    const config = !isLoaded ? undefined : await loadConfig(configPath, { flags, env });
    const layers = { flags, env, config: config?.file.settings };
    const context: Context = {
      ui,
      env,
      stdin,
      stdout,
      json,
      settings: resolveSettings(layers),
      asWritten: (setting) => asWritten(setting, layers),
      untrustedConfig: config?.file.untrusted,
      config: config?.given,
    };
    const exitCode = await command.run(command.runsProgram === true ? { ...args, program } : args, context);
    await ui.flushed();
    return typeof exitCode === 'number' ? exitCode : EXIT_CODES.ok;
  } catch (error) {
    const exitCode = ui.fail(error, { json });
    if (own[0] === 'mount') {
      await endInherited(env, 'it can not be mounted now');
      await beforeAnother(env, exitCode);
    }
    return exitCode;
  }
}

/** What is for secretsfs, and what stands after a lone --. */
function splitAtDashes(argv: readonly string[]): {
  readonly own: readonly string[];
  readonly program: readonly string[];
} {
  const at = argv.indexOf('--');
  return at === -1 ? { own: argv, program: [] } : { own: argv.slice(0, at), program: argv.slice(at + 1) };
}

async function loadConfig(
  name: string,
  layers: Omit<SettingLayers, 'config'>,
): Promise<{ readonly file: ConfigFile; readonly given: ConfigGiven }> {
  const { readConfigFile } = await import('./config-file.ts');
  const file = readConfigFile(name);
  const absolute = path.resolve(name);
  const read = () => {
    const { settings } = readConfigFile(absolute, { trustedOnly: true });
    return resolveSettings({ ...layers, config: settings });
  };
  return { file, given: { path: absolute, identity: file.identity, read } };
}

/** The parsed arguments, or undefined where help was asked for and given. */
async function parse(
  { name, describe }: KnownCommand,
  command: Command,
  argv: readonly string[],
  { ui, columns }: { readonly ui: Ui; readonly columns: number },
): Promise<Record<string, unknown> | undefined> {
  let parsed: Record<string, unknown> | undefined;
  const { flags } = signatureOf({ name, describe }, command);
  const positionals = command.usage.slice(name.length).split(' ').slice(1);
  const wrong = ({ problem, meant }: Wrong) =>
    new UsageError(`${isVerb(name) ? `cannot ${name}` : name}: ${problem}`, {
      hint: meant === undefined ? `secretsfs ${name} --help shows the options` : `did you mean ${meant}?`,
    });
  const build = (yargs: Argv): Argv => {
    let built = command.build?.(yargs) ?? yargs;
    for (const setting of command.settings) {
      const options = FLAGS[setting];
      if (options !== undefined) built = built.option(flagName(setting), options);
    }
    return built;
  };
  const parser = yargs([])
    // As a program of its own: after any other command than $0, yargs lays out the help, wanted or not.
    .scriptName(`secretsfs ${name}`)
    .command(['$0', ...positionals].join(' '), describe, build, (args) => {
      parsed = args;
    })
    .options({ json: COMMON_FLAGS.json, config: COMMON_FLAGS.config })
    .parserConfiguration({ 'duplicate-arguments-array': true, 'strip-dashed': true, 'parse-numbers': false })
    .strict()
    .version(false)
    .help('help', COMMON_FLAGS.help.describe)
    .alias('help', COMMON_FLAGS.help.alias)
    .wrap(Math.min(110, columns))
    .exitProcess(false);
  return new Promise((resolve, reject) => {
    parser.parse(
      argv.slice(name.split(' ').length).map(hideDash),
      {},
      (error: Error | undefined, _args: unknown, output: string) => {
        if (error != null || (output !== '' && parsed === undefined && !isHelp(argv))) {
          return reject(wrong(problemOf(error?.message || output, argv, { positionals, flags })));
        }
        if (parsed === undefined) {
          ui.printText(output.replace(command.usage, command.shown ?? command.usage));
          return resolve(undefined);
        }
        const problem = problemOfValues(parsed, command, argv);
        if (problem !== undefined) return reject(wrong({ problem }));
        resolve(
          Object.fromEntries(
            Object.entries(parsed).map(([key, value]) => [
              key,
              Array.isArray(value) ? value.map(showDash) : showDash(value),
            ]),
          ),
        );
      },
    );
  });
}

const NOUNS = new Set(['completion', 'doctor', 'history', 'hook', 'keygen', 'ls', 'status', 'version']);

/** "cannot pack", but "status" and "keys create". */
const isVerb = (name: string) => !name.includes(' ') && !NOUNS.has(name);

interface Wrong {
  readonly problem: string;
  /** What was meant, most likely. */
  readonly meant?: string | undefined;
}

/**
 * yargs calls options and positionals alike arguments, and lets an option that it does not know take a positional.
 * `positionals`: as the usage has them.
 */
function problemOf(
  text: string,
  argv: readonly string[],
  { positionals, flags }: { readonly positionals: readonly string[]; readonly flags: readonly Flag[] },
): Wrong {
  const [message = ''] = text.split('\n');
  const [, chosen, found, choices] = /Argument: (\S+), Given: (.*), Choices: (.*)$/m.exec(text) ?? [];
  if (chosen !== undefined) {
    const isPositional = positionals.some((each) => each.replace(/\W/g, '') === chosen);
    const name = isPositional ? chosen.toUpperCase() : `--${chosen}`;
    return { problem: `${name} is ${found}, want ${choices?.replaceAll(', ', ' or ')}` };
  }
  const names = flags.flatMap(({ name, alias }) => (alias === undefined ? [name] : [name, alias]));
  // yargs takes acceptKey for accept-key, and --no- before what can be false.
  const isOption = (name: string) =>
    names.includes(dashed(name)) || names.includes(dashed(name.replace(/^no-/, '')));
  const option = splitAtDashes(argv)
    .own.map((arg) => arg.replace(/=.*/s, ''))
    .find((arg) => /^--?[a-z]/i.test(arg) && !isOption(arg.replace(/^-+/, '')));
  if (option !== undefined) {
    const near = nearest(
      option.replace(/^-+/, ''),
      flags.map(({ name }) => name),
    );
    return {
      problem: `unknown option ${quote(option)}`,
      meant: near === undefined ? undefined : `--${near}`,
    };
  }
  const given = /^Not enough non-option arguments: got (\d+)/.exec(message)?.[1];
  if (given !== undefined)
    return { problem: `no ${positionals[Number(given)]?.replace(/\W/g, '').toUpperCase()} given` };
  const valueless = /^Not enough arguments following: (.*)$/.exec(message)?.[1];
  if (valueless !== undefined) return { problem: `--${valueless} needs a value` };
  const unknown = /^Unknown arguments?: (.*)$/.exec(message)?.[1]?.split(', ') ?? [];
  if (unknown.length === 0) return { problem: lowerFirst(message) };
  return { problem: `too many arguments: ${quote(unknown[0] ?? '')}` };
}

/** acceptKey → accept-key */
function dashed(name: string): string {
  return flagName(name as SettingName);
}

/** What yargs takes, and nobody means: an option twice, of which but one can hold, and --flag=value. */
function problemOfValues(
  parsed: Readonly<Record<string, unknown>>,
  { settings, usage, lists: own = [] }: Command,
  argv: readonly string[],
): string | undefined {
  const lists = [...settings.filter((setting) => FLAGS[setting]?.array === true), ...own];
  // <file..>
  const several = /(\w+)\.\.[\]>]$/.exec(usage)?.[1];
  for (const [name, value] of Object.entries(parsed)) {
    const option = `--${flagName(name as SettingName)}`;
    if (
      Array.isArray(value) &&
      name !== '_' &&
      name !== several &&
      !lists.some((list) => option === `--${flagName(list as SettingName)}`)
    )
      return `${option} is given more than once`;
    if (typeof value !== 'boolean') continue;
    const odd = argv.find((arg) => arg.startsWith(`${option}=`) && !/=(true|false)$/.test(arg));
    if (odd !== undefined) return `${option} is ${quote(odd.slice(option.length + 1))}, want true or false`;
  }
  return undefined;
}

/** yargs makes an empty text of a positional that is a lone dash. */
const DASH = '\u{e000}';

function hideDash(arg: string): string {
  return arg === '-' ? DASH : arg;
}

function showDash(value: unknown): unknown {
  return value === DASH ? '-' : value;
}

function lowerFirst(text: string): string {
  return text.slice(0, 1).toLowerCase() + text.slice(1);
}
