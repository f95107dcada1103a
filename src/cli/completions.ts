/**
 * What may stand at the end of a command line. Of what is outside it knows names alone: those of running mounts, of configs in
 * /etc/secretsfs; file names are the shell's own business. Nothing is opened, nobody is asked: not the store, not AWS, no mount.
 */
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { listNames, lookDirectory } from '../control/directory.ts';
import { COMMANDS, findCommand } from './commands.ts';
import { type Flag, type Signature, signatureOf } from './signature.ts';

export interface Candidate {
  /** In place of the last word, as a whole. */
  readonly value: string;
  readonly describe: string;
}

export interface Completions {
  readonly candidates: readonly Candidate[];
  /** What the shell adds of its own, of the last word without `prefix`. */
  readonly files: 'any' | 'directories' | 'none';
  readonly prefix: string;
}

export interface Surroundings {
  readonly env: NodeJS.ProcessEnv;
  readonly uid: number;
  /** Where configs of instances are. */
  readonly configs: string;
}

type Kind = 'file' | 'directory' | 'mount' | 'config' | 'instance' | 'key' | readonly string[];

/** What a value is, by the name of its option. What is not here nobody can know. */
const OF_FLAGS: Readonly<Record<string, Kind>> = {
  config: 'config',
  dir: 'directory',
  tar: 'file',
  key: 'key',
  'accept-key': 'key',
  'from-key': 'key',
  store: 'directory',
  'runtime-dir': 'directory',
  'state-dir': 'directory',
  'cache-dir': 'directory',
  policy: 'file',
  set: 'file',
  in: 'directory',
  bundle: 'file',
  driver: ['auto', 'kernel', 'fuse-native'],
  cache: ['page', 'none'],
  consistency: ['process', 'none'],
  resend: ['auto', 'off'],
  'timeout-start': ['infinity'],
  formats: ['sneaker', 'kms-secrets', 'kms'],
  sse: ['aws:kms', 'aws:kms:dsse', 'AES256'],
};

/** What an argument is, by its name; `COMMAND NAME` goes before `NAME`. */
const OF_POSITIONALS: Readonly<Record<string, Kind>> = {
  bundle: 'file',
  in: 'file',
  out: 'file',
  file: 'file',
  a: 'file',
  b: 'file',
  dir: 'directory',
  mountpoint: 'directory',
  mount: 'mount',
  instance: 'instance',
  'keygen path': 'file',
  'hook action': ['run'],
};

const NOTHING: Completions = { candidates: [], files: 'none', prefix: '' };

/** `words`: what stands after the program's name, the last one being written (it may be empty). */
export async function complete(words: readonly string[], around: Surroundings): Promise<Completions> {
  const current = words.at(-1) ?? '';
  const before = words.slice(words[0] === 'help' ? 1 : 0, -1);
  const { known } = findCommand(before);
  if (known === undefined) return withCandidates(commandsAfter(before), current);
  const rest = before.slice(known.name.split(' ').length);
  return completeArguments(signatureOf(known, await known.load()), rest, current, around);
}

/** The next words of commands that begin with `before`: groups once. */
function commandsAfter(before: readonly string[]): Candidate[] {
  const start = before.map((word) => `${word} `).join('');
  const next = new Map<string, string>();
  for (const { name, describe } of COMMANDS.filter((each) => each.name.startsWith(start))) {
    const [word = '', ...more] = name.slice(start.length).split(' ');
    next.set(word, more.length === 0 ? describe : groupOf(word));
  }
  return [...next].map(([value, describe]) => ({ value, describe }));
}

/** The commands of a group, in its words. */
function groupOf(word: string): string {
  const members = COMMANDS.filter(({ name }) => name.startsWith(`${word} `));
  return members.map(({ name }) => name.slice(word.length + 1)).join(', ');
}

async function completeArguments(
  signature: Signature,
  before: readonly string[],
  current: string,
  around: Surroundings,
): Promise<Completions> {
  const { given, positionals, open, over } = readWords(signature, before);
  // What follows is another program's.
  if (over) return { candidates: [], files: signature.runsProgram ? 'any' : 'none', prefix: '' };
  if (open !== undefined) return ofKind(kindOfFlag(open), current, '', around, given);
  const [, name, value] = /^--([\w-]+)=(.*)$/s.exec(current) ?? [];
  if (name !== undefined && value !== undefined) {
    const flag = signature.flags.find((each) => each.name === name && each.takesValue);
    return flag === undefined ? NOTHING : ofKind(kindOfFlag(flag), value, `--${name}=`, around, given);
  }
  if (current.startsWith('-')) {
    const flags = signature.flags.filter((flag) => flag.repeats || !given.has(flag.name));
    const candidates = flags.map((flag) => ({ value: `--${flag.name}`, describe: flag.describe }));
    return withCandidates(candidates, current);
  }
  const last = signature.positionals.at(-1);
  const positional = signature.positionals[positionals] ?? (last?.several === true ? last : undefined);
  if (positional === undefined) return NOTHING;
  const kind =
    positional.choices.length > 0
      ? positional.choices
      : (OF_POSITIONALS[`${signature.name} ${positional.name}`] ?? OF_POSITIONALS[positional.name]);
  return ofKind(kind, current, '', around, given);
}

interface Read {
  /** Option → its last value. */
  readonly given: ReadonlyMap<string, string>;
  readonly positionals: number;
  /** The option whose value comes next. */
  readonly open: Flag | undefined;
  /** A lone -- has been. */
  readonly over: boolean;
}

function readWords({ flags, runsProgram }: Signature, words: readonly string[]): Read {
  const given = new Map<string, string>();
  let positionals = 0;
  let open: Flag | undefined;
  for (const word of words) {
    if (open !== undefined) {
      given.set(open.name, word);
      open = undefined;
      continue;
    }
    if (word === '--' && runsProgram) return { given, positionals, open, over: true };
    const [, name = '', value] = /^--([\w-]+)(?:=(.*))?$/s.exec(word) ?? [];
    if (name === '') {
      if (word === '-' || !word.startsWith('-')) positionals++;
      continue;
    }
    const flag = flags.find((each) => each.name === name);
    given.set(name, value ?? '');
    if (flag?.takesValue === true && value === undefined) open = flag;
  }
  return { given, positionals, open, over: false };
}

function kindOfFlag(flag: Flag): Kind | undefined {
  return flag.choices.length > 0 ? flag.choices : OF_FLAGS[flag.name];
}

/** What may stand after `before`, which is of the same word: `--driver=`. */
async function ofKind(
  kind: Kind | undefined,
  current: string,
  before: string,
  around: Surroundings,
  given: ReadonlyMap<string, string>,
): Promise<Completions> {
  const whole = `${before}${current}`;
  const values = (names: readonly string[], describe: string, files: Completions['files'] = 'none') => {
    const candidates = names.map((name) => ({ value: `${before}${name}`, describe }));
    return { ...withCandidates(candidates, whole), files, prefix: before };
  };
  switch (kind) {
    case undefined:
      return NOTHING;
    case 'file':
      return values([], '', 'any');
    case 'directory':
      return values([], '', 'directories');
    case 'key':
      return current.startsWith('local:')
        ? { candidates: [], files: 'any', prefix: `${before}local:` }
        : values(['local:'], 'a key file');
    case 'config':
      return values(await configsIn(around.configs), 'config of an instance', 'any');
    case 'instance': {
      const configs = (await configsIn(around.configs)).filter((file) => file.endsWith('.yaml'));
      return values(
        configs.map((file) => path.basename(file, '.yaml')),
        'a mount with a config',
      );
    }
    case 'mount':
      return values(await mountsOf(given.get('runtime-dir'), around), 'a mount');
    default:
      return values(kind, '');
  }
}

/** Of those that begin like `current`; none that a terminal would obey, or that takes more than a line. */
function withCandidates(candidates: readonly Candidate[], current: string): Completions {
  const fitting = candidates.filter(({ value }) => value.startsWith(current) && !/\p{C}/u.test(value));
  return { candidates: fitting, files: 'none', prefix: '' };
}

async function configsIn(directory: string): Promise<string[]> {
  const names = await readdir(directory).catch(() => []);
  return names.filter((name) => /\.ya?ml$/.test(name)).map((name) => path.join(directory, name));
}

async function mountsOf(chosen: string | undefined, { env, uid }: Surroundings): Promise<string[]> {
  try {
    const named = chosen ?? (env['SECRETSFS_RUNTIME_DIR'] || undefined);
    return await listNames(lookDirectory({ chosen: named, uid, env }));
  } catch {
    // Nowhere to look: then there is nothing to offer.
    return [];
  }
}
