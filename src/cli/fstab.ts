/**
 * What mount(8) asks of its helpers, `mount.secretsfs SOURCE DIRECTORY [-sfnv] [-o OPTIONS] [-t TYPE]`, as settings of
 * `secretsfs mount`. Pure.
 *
 * SOURCE is an instance's name, whose settings are in /etc/secretsfs/NAME.yaml, or a bundle: a path or s3://…; both may
 * begin with `secretsfs#`, which old fstabs have.
 */
import path from 'node:path';
import { flagName, type SettingName } from '../daemon/config.ts';
import { quote, UsageError } from '../errors.ts';
import { FLAGS } from './options.ts';
import { plural } from './ui.ts';

const CONFIG_DIRECTORY = '/etc/secretsfs';

/** mount(8), fstab(5), fuse(8): what is so anyway, is for others, or changes nothing about a mount that nobody writes to. */
const OF_OTHERS = new Set(
  `defaults ro rw auto noauto user nouser users owner group nofail _netdev async sync dirsync dev nodev suid nosuid exec noexec
   atime noatime diratime nodiratime relatime norelatime strictatime nostrictatime lazytime nolazytime iversion noiversion
   mand nomand silent loud comment pri helper uhelper allow_other default_permissions subtype`.split(/\s+/),
);

/** What a line of fstab may have beside the settings of `secretsfs mount`; each needs a value. For the manual page, too. */
export const OWN_OPTIONS = {
  config: 'file with the settings, in the place of /etc/secretsfs/NAME.yaml',
  context: "SELinux's context of all files, in quotes if it has commas; ignored where no SELinux runs",
  log: 'file that the log is appended to, in the place of the journal',
} as const;
/** Where the flag `--context` has another name here: `context` is SELinux's. */
const OF_FLAG: Readonly<Record<string, string>> = { context: 'encryption-context' };

/** Letters that mount(8) gives a helper: sfnv. For the manual page. */
export const LETTERS = {
  f: 'looks whether the options are right, and mounts nothing',
  n: 'is taken, and changes nothing',
  s: 'leaves out options that are unknown, in the place of refusing them',
  v: 'says what was mounted',
} as const;
const LETTERS_GIVEN = new RegExp(`^-[${Object.keys(LETTERS).join('')}]+$`);

export interface FstabMount {
  /** As fstab has it: mount(8) looks for it in the mount table. */
  readonly source: string;
  readonly mountpoint: string;
  /** undefined: it has the name of its bundle. */
  readonly instance: string | undefined;
  readonly config: string | undefined;
  readonly bundle: string | undefined;
  /** Flags of `secretsfs mount`, `--name=value` each. */
  readonly flags: readonly string[];
  /** `context=`: the kernel takes it only where SELinux runs. */
  readonly selinuxContext: string | undefined;
  /** `log=`: a file to append to. */
  readonly log: string | undefined;
  /** -f: nothing is to be mounted. */
  readonly isFake: boolean;
  readonly isVerbose: boolean;
}

/** `settings`: those of the command `mount`. Throws UsageError. */
export function parseFstabMount(argv: readonly string[], settings: readonly SettingName[]): FstabMount {
  const { places, letters, options } = parseArguments(argv);
  const [source, mountpoint] = places;
  if (source === undefined || mountpoint === undefined || places.length > 2) {
    const given = plural(places.length, 'argument');
    throw new UsageError(`cannot mount: ${given} given, want a source and a directory`, {
      hint: 'mount -t secretsfs NAME DIRECTORY; it is mount(8) that calls this',
    });
  }
  const found: Partial<Record<keyof typeof OWN_OPTIONS, string>> = {};
  const flags: string[] = [];
  for (const option of options) {
    const at = option.indexOf('=');
    const name = at === -1 ? option : option.slice(0, at);
    const value = at === -1 ? undefined : unquoted(option.slice(at + 1));
    if (isOwn(name)) found[name] = needed(name, value);
    else if (!OF_OTHERS.has(name) && !/^[xX]-/.test(name)) {
      const flag = flagOf(name, value, settings);
      if (flag !== undefined) flags.push(flag);
      else if (!letters.has('s')) throw unknown(name, settings);
    }
  }
  const place = source.replace(/^secretsfs#/, '');
  const isBundle = place.includes('/');
  const isNamed = !isBundle && place !== 'none' && place !== 'secretsfs';
  return {
    source,
    mountpoint: path.resolve(mountpoint),
    instance: isNamed ? place : undefined,
    config: found.config ?? (isNamed ? path.join(CONFIG_DIRECTORY, `${place}.yaml`) : undefined),
    bundle: isBundle ? place : undefined,
    flags,
    selinuxContext: found.context,
    log: found.log,
    isFake: letters.has('f'),
    isVerbose: letters.has('v'),
  };
}

function parseArguments(argv: readonly string[]): {
  readonly places: readonly string[];
  readonly letters: ReadonlySet<string>;
  readonly options: readonly string[];
} {
  const places: string[] = [];
  const letters = new Set<string>();
  const options: string[] = [];
  for (let i = 0; i < argv.length; i += 1) {
    const arg = argv[i] ?? '';
    const [, letter = '', rest = ''] = /^-([oNt])(.*)$/s.exec(arg) ?? [];
    if (letter === 'N')
      throw new UsageError('cannot mount in another namespace (-N): enter it first with nsenter');
    if (letter !== '') {
      if (rest === '') i += 1;
      const value = rest === '' ? argv[i] : rest;
      if (value === undefined) throw new UsageError(`cannot mount: -${letter} needs a value`);
      if (letter === 'o') options.push(...splitOptions(value));
    } else if (LETTERS_GIVEN.test(arg)) for (const each of arg.slice(1)) letters.add(each);
    else if (arg.startsWith('-')) throw new UsageError(`cannot mount: unknown option ${quote(arg)}`);
    else places.push(arg);
  }
  return { places, letters, options };
}

/** At commas, but for those in quotes: an SELinux context has some. */
export function splitOptions(text: string): string[] {
  const options = text.match(/(?:"[^"]*"|[^,"]|")+/g) ?? [];
  return options.filter((option) => option.trim() !== '');
}

function unquoted(value: string): string {
  return /^"[^"]*"$/.test(value) ? value.slice(1, -1) : value;
}

function needed(name: string, value: string | undefined): string {
  if (value !== undefined && value !== '') return value;
  throw new UsageError(`cannot mount: the option ${name} needs a value`, { hint: `${name}=…` });
}

function isOwn(name: string): name is keyof typeof OWN_OPTIONS {
  return Object.hasOwn(OWN_OPTIONS, name);
}

/** A flag of `mount` as an option of fstab. */
export function optionName(flag: string): string {
  return OF_FLAG[flag] ?? flag;
}

/** undefined: there is no such option. */
function flagOf(
  name: string,
  value: string | undefined,
  settings: readonly SettingName[],
): string | undefined {
  const setting = settings.find((each) => optionName(flagName(each)) === name);
  const options = setting === undefined ? undefined : FLAGS[setting];
  if (setting === undefined || options === undefined) return undefined;
  const flag = flagName(setting);
  if (value === undefined && options.type === 'boolean') return `--${flag}`;
  return `--${flag}=${needed(name, value)}`;
}

function unknown(name: string, settings: readonly SettingName[]): UsageError {
  if (name === 'remount') {
    return new UsageError('cannot change the options of a mount while it is mounted', {
      hint: 'secretsfs remount looks for a new bundle; for other options: umount, then mount',
    });
  }
  const own = settings.filter((each) => FLAGS[each] !== undefined && each !== 'context').map(flagName);
  return new UsageError(`unknown mount option ${quote(name)}`, {
    hint: `those of secretsfs mount without dashes (${own.slice(0, 3).join(', ')}, …), config=FILE, log=FILE, context=, encryption-context=`,
  });
}
