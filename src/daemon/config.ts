/**
 * Settings: what a command may be told by flag, by SECRETSFS_* in the environment, by a YAML file (config-yaml.ts), or
 * by the variables that people already have (KMS_KEY_ID, S3_PATH), in that order of precedence. One schema reads all
 * of them; an error says where the value came from.
 */
// By namespace: `{ z }` is an object with everything in it, forty languages too, and no bundler can take it apart.
import * as z from 'zod';
import { checksSchema, filesSchema } from '../checks/settings.ts';
import { ConfigError, quote, type SecretsfsError, UsageError } from '../errors.ts';
import { hooksSchema } from '../hooks/settings.ts';
import {
  MEMORY_BYTES_MAX,
  MOUNT_BYTES_DEFAULT,
  MOUNT_BYTES_MAX,
  MOUNT_FILES_DEFAULT,
  MOUNT_FILES_MAX,
  UID_BASE_MAX,
} from '../limits.ts';
import { accessSchema } from '../opens/settings.ts';
import { problemOf } from './config-problems.ts';
import { amount, duration, flag, text, wholeNumber } from './config-values.ts';
import { metricsSection } from './metrics-settings.ts';
import { mountsSection } from './mounts-settings.ts';
import { accessSettings, formats, noticingSettings, sourceSection } from './source-settings.ts';
import { storeSettings } from './store-settings.ts';

/** 0 is no time at all, infinity no end. */
const timeoutStart = z.union([
  z.literal('infinity').transform(() => Number.POSITIVE_INFINITY),
  duration.refine((ms) => ms <= 7 * 24 * 3_600_000, 'must be at most 168h, or infinity'),
]);

/** Every setting, by its name in the YAML file. --kebab-case and SECRETSFS_UPPER_CASE follow from it. */
const schema = z.strictObject({
  bundle: text,
  mountpoint: text,
  name: text,
  instance: text,
  ...accessSettings,
  formats,
  ...storeSettings,
  driver: z.enum(['auto', 'kernel', 'fuse-native'], 'must be auto, kernel or fuse-native'),
  cache: z.enum(['page', 'none'], 'must be page or none'),
  fastOpen: flag,
  consistency: z.enum(['process', 'none'], 'must be process or none'),
  consistencyWindow: duration.refine((ms) => ms >= 100 && ms <= 10_000, 'must be from 100ms to 10s'),
  audit: flag,
  resend: z.enum(['auto', 'off'], 'must be auto or off'),
  retireAfter: duration.refine((ms) => ms >= 1000 && ms <= 7 * 24 * 3_600_000, 'must be from 1s to 168h'),
  memoryMax: amount(MEMORY_BYTES_MAX, 'a size in bytes (or K, M, G)'),
  uidBase: amount(UID_BASE_MAX, 'a number'),
  ...noticingSettings,
  maxBytes: amount(MOUNT_BYTES_MAX, 'a size in bytes (or K, M, G)'),
  maxFiles: amount(MOUNT_FILES_MAX, 'a number'),
  preserve: flag,
  allowSwap: flag,
  timeoutStart,
  minSerial: wholeNumber,
  statusGroup: text,
  fsname: text.regex(/^[^\0\n]*$/, 'must be one line'),
  selinuxContext: text.regex(/^[\w:,.-]+$/, 'must be a context such as system_u:object_r:cert_t:s0'),
  runtimeDir: text,
  stateDir: text,
  cacheDir: text,
  maxStale: duration.refine((ms) => ms >= 1000, 'must be at least 1s'),
});

const IN_ENVIRONMENT = 'it is in the environment: unset it, or set it right';
/** What people have in their environment already: the first that is there stands in for the setting. */
const HABITS = {
  key: ['KMS_KEY_ID', 'SNEAKER_MASTER_KEY'],
  context: ['SNEAKER_MASTER_CONTEXT'],
  bundle: ['S3_PATH'],
  store: ['S3_PATH', 'SNEAKER_S3_PATH'],
} as const satisfies Partial<Record<keyof typeof schema.shape, readonly string[]>>;
/** What only a config can say: nested. No flag, no variable. */
const sections = {
  source: sourceSection,
  mounts: mountsSection,
  checks: checksSchema,
  files: filesSchema,
  access: accessSchema,
  hooks: hooksSchema,
  metrics: metricsSection,
};

/** Any of them may be missing. */
export const settingsSchema = z.strictObject({ ...schema.shape, ...sections }).partial();
export type Settings = z.infer<typeof settingsSchema>;
export type SettingName = keyof typeof schema.shape;

export type SectionName = keyof typeof sections;

export const SETTING_NAMES = Object.keys(schema.shape) as SettingName[];
export const SECTION_NAMES = Object.keys(sections) as SectionName[];

export const DEFAULTS = {
  /** A rotation is live within seconds; a month of it is 90,000 requests, about four cents. */
  pollMs: 30_000,
  /** Beside a queue, polling is the safety net. */
  pollMsWithQueue: 300_000,
  spreadMs: 1_000,
  unsealLimit: 10,
  maxBytes: MOUNT_BYTES_DEFAULT,
  maxFiles: MOUNT_FILES_DEFAULT,
  retireAfterMs: 3_600_000,
  consistencyWindowMs: 2_000,
} as const;

/** acceptKey → accept-key */
export function flagName(setting: SettingName): string {
  return setting.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** acceptKey → SECRETSFS_ACCEPT_KEY */
export function variableName(setting: SettingName): string {
  return `SECRETSFS_${flagName(setting).toUpperCase().replaceAll('-', '_')}`;
}

export interface SettingLayers {
  readonly flags: Readonly<Partial<Record<SettingName, unknown>>>;
  readonly env: NodeJS.ProcessEnv;
  readonly config?: Settings | undefined;
}

/** A setting as the person wrote it who set it: --fast-open, SECRETSFS_FAST_OPEN, or fastOpen of the config. */
export function asWritten(setting: SettingName, { flags, env }: SettingLayers): string {
  if (flags[setting] !== undefined) return `--${flagName(setting)}`;
  return env[variableName(setting)] ? variableName(setting) : setting;
}

/**
 * Merges the four layers. `flags` has a key for each setting that the command takes, undefined where nothing was
 * typed; variables of other settings are not looked at, nor empty ones. `config` is what parseConfig() made of --config.
 */
export function resolveSettings({ flags, env, config }: SettingLayers): Settings {
  const fromFlags = read(flags, (setting, problem) => {
    return new UsageError(`cannot use --${flagName(setting)}: ${problem}`, {
      hint: 'secretsfs COMMAND --help shows what each option takes',
    });
  });
  const taken = Object.keys(flags) as SettingName[];
  const variables = Object.fromEntries(
    taken.map((setting) => [setting, env[variableName(setting)] || undefined]),
  );
  const fromEnvironment = read(variables, (setting, problem) => {
    return new ConfigError('config-invalid', `cannot use ${variableName(setting)}: ${problem}`, {
      hint: IN_ENVIRONMENT,
    });
  });
  // S3_PATH has been both: a store for those who have one.
  const habits = Object.entries(HABITS)
    .filter(([setting]) => setting !== 'store' || 'store' in flags)
    .map(([setting, names]) => [setting, names.find((name) => env[name])] as const);
  const fromHabit = read(
    Object.fromEntries(habits.map(([setting, name]) => [setting, name && env[name]])),
    (setting, problem) => {
      const name = habits.find(([each]) => each === setting)?.[1];
      return new ConfigError('config-invalid', `cannot use ${name}: ${problem}`, { hint: IN_ENVIRONMENT });
    },
  );
  const merged = { ...fromHabit, ...config, ...fromEnvironment, ...fromFlags };
  if (config?.mounts !== undefined) {
    const { bundle, ...rest } = merged;
    const named = fromFlags.bundle ?? fromEnvironment.bundle ?? config.bundle ?? config.source;
    if (named === undefined) return rest;
    throw new ConfigError(
      'config-invalid',
      'cannot use both mounts and a bundle: each says what is mounted',
      {
        hint: 'put the bundle into mounts, below a directory of its own; or leave mounts out',
      },
    );
  }
  if (config?.source === undefined) return merged;
  const { bundle, source, ...rest } = merged;
  // One that was named outside of the file replaces the file's; out of habit (S3_PATH) is not naming.
  if ((fromFlags.bundle ?? fromEnvironment.bundle) !== undefined) return { ...rest, bundle };
  if (config.bundle === undefined) return { ...rest, source };
  throw new ConfigError(
    'config-invalid',
    'cannot use both bundle and source: each says where the bundle is',
    {
      hint: 'leave out bundle; it is the same as one entry of source',
    },
  );
}

function read(
  values: Readonly<Record<string, unknown>>,
  errorFor: (setting: SettingName, problem: string) => SecretsfsError,
): Settings {
  const given = Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
  const result = settingsSchema.safeParse(given);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const setting = issue?.path[0] as SettingName;
  const value = given[setting];
  const shown = typeof value === 'string' ? `${quote(value)} ` : '';
  throw errorFor(setting, `${shown}${problemOf(issue)}`);
}
