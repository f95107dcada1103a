/** `mounts:` of a config: what each of the bundles of a mount is told. */
import { parseContext, validateName } from '../bundle/name.ts';
import type { OldFormat } from '../bundle/old-format-names.ts';
import { contentChecks, DEFAULT_CHECKS } from '../checks/settings.ts';
import type { SettingName, Settings } from '../daemon/config.ts';
import { isDirectory } from '../daemon/location.ts';
import type { BundleOptions, PartOptions } from '../daemon/mount-options.ts';
import { INHERITED, type PartSettings } from '../daemon/mounts-settings.ts';
import { ConfigError, quote, SecretsfsError, UsageError } from '../errors.ts';
import { MOUNT_BYTES_MAX, MOUNT_FILES_MAX } from '../limits.ts';
import { resolveRules } from './file-rules.ts';
import { acceptedKeys, mountLimits, noticingOptions } from './mount-settings.ts';
import { nameFromLocation } from './names.ts';

/** What is of one bundle alone. */
const OWN = ['name', 'minSerial', 'queue', 'topic', 'files', 'formats'] as const;

/** The one bundle that settings name. */
export async function bundleOptions(settings: Settings): Promise<BundleOptions> {
  const bundle = settings.bundle ?? settings.source?.[0]?.bundle ?? '';
  if (bundle === '-' || settings.source?.some((each) => each.bundle === '-')) {
    throw new UsageError('cannot mount from stdin: a mount reads its bundle again', {
      hint: 'name a path or s3://…',
    });
  }
  const keys = acceptedKeys(settings);
  return {
    ...noticingOptions(settings, keys),
    name: settings.name === undefined ? nameFromLocation(bundle) : validateName(settings.name),
    acceptedKeys: keys,
    context: parseContext(settings.context ?? []),
    ...mountLimits(settings),
    checks: contentChecks(settings.checks),
    rules: await resolveRules(settings.files ?? []),
    minSerial: settings.minSerial,
    formats: formatsOf(settings),
  };
}

/** What has no serial can't be measured by one. */
function formatsOf({ formats = [], minSerial, bundle, source }: Settings): readonly OldFormat[] {
  const directory = [bundle, ...(source ?? []).map((each) => each.bundle)].find(
    (each) => each && isDirectory(each),
  );
  if (directory !== undefined && !formats.includes('kms')) {
    throw new ConfigError(
      'config-invalid',
      `cannot mount ${quote(directory)}: it is a directory, not a bundle`,
      {
        hint: 'formats: [kms] in the config takes its files *.kms, ciphertexts of KMS without name, serial and signature',
      },
    );
  }
  if (formats.length === 0 || minSerial === undefined) return formats;
  throw new ConfigError(
    'config-invalid',
    'cannot use both formats and minSerial: what formats names has no serial',
    {
      hint: 'leave one of them out',
    },
  );
}

/** Those of `mounts:`, in their order. Throws ConfigError, and UsageError, with the directory that it is about. */
export async function partOptions(
  settings: Settings,
  mounts: Readonly<Record<string, PartSettings>>,
): Promise<PartOptions[]> {
  refuseOwn(settings);
  const parts: PartOptions[] = [];
  for (const [directory, part] of Object.entries(mounts)) {
    const options = await about(directory, () => bundleOptions(settingsOf(settings, part)));
    parts.push({ ...options, directory, required: part.required !== false });
  }
  const byName = new Map<string, string>();
  for (const { name, directory = '' } of parts) {
    const other = byName.get(name);
    if (other !== undefined) throw invalid(`${other} and ${directory} have the same name: ${name}`, NAMES);
    byName.set(name, directory);
  }
  const total = (of: 'filesMax' | 'bytesMax') => parts.reduce((sum, part) => sum + part[of], 0);
  if (total('filesMax') + parts.length > MOUNT_FILES_MAX || total('bytesMax') > MOUNT_BYTES_MAX) {
    throw invalid(
      `together they may have ${total('filesMax')} files and ${total('bytesMax')} bytes, want at most ${MOUNT_FILES_MAX} and ${MOUNT_BYTES_MAX}`,
      'give them lower maxFiles and maxBytes: what one may have, no other can take',
    );
  }
  return parts;
}

const NAMES = 'name: is what its author sealed it as; a bundle can be in a mount once';

function settingsOf(settings: Settings, part: PartSettings): Settings {
  const { required: _, ...own } = part;
  const without: readonly SettingName[] = [
    ...(own.key === undefined && own.acceptKey === undefined ? [] : (['key', 'acceptKey'] as const)),
    // An external id belongs to its role.
    ...(own.roleArn === undefined ? [] : (['externalId'] as const)),
  ];
  const shared = INHERITED.filter((setting) => !without.includes(setting) && settings[setting] !== undefined);
  const inherited: Settings = Object.fromEntries(shared.map((setting) => [setting, settings[setting]]));
  return { ...inherited, ...own };
}

/** Nothing that is written and would not be done. */
function refuseOwn(settings: Settings): void {
  const own = OWN.find((setting) => settings[setting] !== undefined);
  if (own !== undefined)
    throw invalid(
      `${own} stands beside it`,
      `it is of one bundle: put it below that one's directory, as mounts.NAME.${own}`,
    );
  if (JSON.stringify(contentChecks(settings.checks)) !== JSON.stringify(DEFAULT_CHECKS)) {
    throw invalid(
      'checks of contents stand beside it',
      "put all of checks but exec below the bundles' directories, as mounts.NAME.checks",
    );
  }
}

async function about<T>(directory: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof SecretsfsError)) throw error;
    const { code, message, hint } = error;
    throw new SecretsfsError(code, `mounts.${directory}: ${message}`, { hint, cause: error });
  }
}

function invalid(why: string, hint: string): ConfigError {
  return new ConfigError('config-invalid', `cannot use mounts: ${why}`, { hint });
}
