/**
 * What a command takes, as data, for what is not yargs: completion and manual pages. It is asked of the same build() and
 * the same FLAGS that --help is made of.
 */
import type { Argv, Options, PositionalOptions } from 'yargs';
import { flagName } from '../daemon/config.ts';
import type { Command } from './command.ts';
import type { KnownCommand } from './commands.ts';
import { COMMON_FLAGS, FLAGS } from './options.ts';

export interface Positional {
  /** As the usage has it: `out`. */
  readonly name: string;
  readonly required: boolean;
  /** It takes all that is left. */
  readonly several: boolean;
  readonly describe: string;
  readonly choices: readonly string[];
}

export interface Flag {
  /** With dashes, without those in front: `accept-key`. */
  readonly name: string;
  /** A letter, without its dash. */
  readonly alias: string | undefined;
  /** The heading that --help shows it under: `Keys:`. */
  readonly group: string;
  readonly describe: string;
  readonly takesValue: boolean;
  /** It may be given more than once. */
  readonly repeats: boolean;
  readonly choices: readonly string[];
  /** undefined where there is none, or none that is worth a word. */
  readonly default: string | undefined;
}

export interface Signature {
  readonly name: string;
  readonly describe: string;
  readonly positionals: readonly Positional[];
  /** The same as a person thinks of them, where yargs could not be told: `[pattern..] <out>`. */
  readonly shown: readonly Positional[];
  /** Its own, then those of its settings, then those of every command. */
  readonly flags: readonly Flag[];
  /** After a lone -- a program and its arguments follow. */
  readonly runsProgram: boolean;
}

/** Calls `command.build` with a yargs that only listens: of Argv it has what the commands use. */
export function signatureOf({ name, describe }: Omit<KnownCommand, 'load'>, command: Command): Signature {
  const given = new Map<string, PositionalOptions>();
  const own: [string, Options][] = [];
  const listener = {
    positional(positional: string, options: PositionalOptions) {
      given.set(positional, options);
      return listener;
    },
    option(option: string, options: Options) {
      own.push([option, options]);
      return listener;
    },
    options(options: Record<string, Options>) {
      own.push(...Object.entries(options));
      return listener;
    },
  };
  command.build?.(listener as unknown as Argv);
  const settings = command.settings.flatMap((setting): [string, Options][] => {
    const options = FLAGS[setting];
    return options === undefined ? [] : [[flagName(setting), options]];
  });
  // What is hidden is between our own processes.
  const shown = own.filter(([, { hidden }]) => hidden !== true);
  const all = [...shown, ...settings, ...Object.entries(COMMON_FLAGS)];
  return {
    name,
    describe,
    positionals: positionalsOf(command.usage, given),
    shown: positionalsOf(command.shown ?? command.usage, given),
    flags: all.map(([flag, options]) => flagOf(flag, options, command.lists?.includes(flag) === true)),
    runsProgram: command.runsProgram === true,
  };
}

/** Of `pack <out> [more..]`. */
function positionalsOf(usage: string, given: ReadonlyMap<string, PositionalOptions>): Positional[] {
  return [...usage.matchAll(/([<[])([\w-]+)(\.\.)?[\]>]/g)].map(([, bracket, name = '', dots]) => {
    const { describe, choices } = given.get(name) ?? {};
    return {
      name,
      required: bracket === '<',
      several: dots !== undefined,
      describe: describe ?? '',
      choices: (choices ?? []).map(String),
    };
  });
}

function flagOf(name: string, options: Options, listed: boolean): Flag {
  const { alias, group = 'Options:', describe = '', type, array, choices, default: byDefault } = options;
  return {
    name,
    alias: typeof alias === 'string' ? alias : undefined,
    group,
    describe,
    takesValue: type !== 'boolean',
    repeats: array === true || listed,
    choices: (choices ?? []).map(String),
    default: byDefault === undefined || byDefault === false ? undefined : String(byDefault),
  };
}
