/**
 * What a command is: a name, its options, and a function that does it. cli.ts turns it into yargs.
 * A command throws a SecretsfsError or returns; what it prints goes through `ui`.
 */
import type { Argv } from 'yargs';
import type { SettingName, Settings } from '../daemon/config.ts';
import type { Untrusted } from '../system/trusted.ts';
import type { ConfigGiven } from './config-source.ts';
import type { Ui } from './ui.ts';

export interface Context {
  readonly ui: Ui;
  readonly env: NodeJS.ProcessEnv;
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: NodeJS.WriteStream & { readonly fd: number };
  readonly settings: Settings;
  /** How the person wrote a setting: for messages. */
  asWritten(setting: SettingName): string;
  /** What others than root could have changed about the file of --config: what it lets run as root is refused then. */
  readonly untrustedConfig: Untrusted | undefined;
  /** The file of --config, for a command that outlives it. */
  readonly config: ConfigGiven | undefined;
  readonly json: boolean;
}

export interface Command {
  /** As yargs writes it: `pack <out>`. */
  readonly usage: string;
  /** As help shows it, where yargs knows no way to say it: `pack [pattern..] <out>`. */
  readonly shown?: string;
  /** The settings that this command takes as flags. */
  readonly settings: readonly SettingName[];
  /** Of its own options and positionals, those that may be given more than once. */
  readonly lists?: readonly string[];
  /** It runs a program: everything after a lone -- is that program's, and arrives in `args` as a list, `program`. */
  readonly runsProgram?: boolean;
  /** It looks at --config itself (`args`), and at what is wrong with it: `context.settings` are without it. */
  readonly readsConfig?: boolean;
  /** Options of this command alone, and its positionals. */
  build?(yargs: Argv): Argv;
  /**
   * Positionals and own options arrive in `args`; settings, merged from all layers, in `context`. What it resolves to, if it is
   * a number, the process exits with.
   */
  run(args: Readonly<Record<string, unknown>>, context: Context): Promise<unknown>;
}

/** A positional or option that yargs made sure is text. */
export function textArg(args: Readonly<Record<string, unknown>>, name: string): string {
  return String(args[name]);
}

export function optionalTextArg(args: Readonly<Record<string, unknown>>, name: string): string | undefined {
  const value = args[name];
  return value === undefined ? undefined : String(value);
}

/** The option of every command that changes something. */
export const DRY_RUN = {
  'dry-run': { type: 'boolean', default: false, describe: 'say what would be done, and change nothing' },
} as const;

export function isDryRun(args: Readonly<Record<string, unknown>>): boolean {
  return args['dryRun'] === true;
}

/** Of an option in `lists`: what was given, in order. */
export function listArg(args: Readonly<Record<string, unknown>>, name: string): string[] {
  const value = args[name];
  return value === undefined ? [] : Array.isArray(value) ? value.map(String) : [String(value)];
}
