/**
 * Which settings a running mount takes over from a config that has changed, and which wait for its next start. Pure.
 *
 * Invariant: every setting and every section is in the table; the compiler says so where one is not.
 */
import { isDeepStrictEqual } from 'node:util';
import type { SectionName, SettingName, Settings } from './config.ts';
import { INHERITED } from './mounts-settings.ts';

export type ConfigKey = SettingName | SectionName;

/** `restart`: it is in the mount itself, in who its processes are, or where others find it. */
export const WHEN_APPLIED: Readonly<Record<ConfigKey, 'live' | 'restart'>> = {
  bundle: 'live',
  source: 'live',
  formats: 'live',
  name: 'live',
  key: 'live',
  acceptKey: 'live',
  context: 'live',
  minSerial: 'live',
  profile: 'live',
  region: 'live',
  roleArn: 'live',
  externalId: 'live',
  expectedBucketOwner: 'live',
  forcePathStyle: 'live',
  // No mount has a use for them.
  store: 'live',
  sse: 'live',
  sseKey: 'live',
  allowPublic: 'live',
  poll: 'live',
  spread: 'live',
  queue: 'live',
  topic: 'live',
  unsealLimit: 'live',
  maxBytes: 'live',
  maxFiles: 'live',
  memoryMax: 'live',
  retireAfter: 'live',
  consistencyWindow: 'live',
  checks: 'live',
  files: 'live',
  access: 'live',
  audit: 'live',
  hooks: 'live',
  metrics: 'live',
  mounts: 'restart',
  mountpoint: 'restart',
  instance: 'restart',
  driver: 'restart',
  cache: 'restart',
  fastOpen: 'restart',
  consistency: 'restart',
  resend: 'restart',
  preserve: 'restart',
  uidBase: 'restart',
  allowSwap: 'restart',
  timeoutStart: 'restart',
  statusGroup: 'restart',
  fsname: 'restart',
  selinuxContext: 'restart',
  runtimeDir: 'restart',
  stateDir: 'restart',
  cacheDir: 'restart',
  maxStale: 'restart',
};

const KEYS = Object.keys(WHEN_APPLIED) as ConfigKey[];

export interface Partition {
  /** What changed and can be applied, and what changed and can't: by name, in the order of the table. */
  readonly live: readonly ConfigKey[];
  readonly restart: readonly ConfigKey[];
  /** What runs, with the settings of `live` as they are wanted. */
  readonly effective: Settings;
}

/** What of `wanted` can take the place of what runs. Both are as resolveSettings() made them. */
export function partition(running: Settings, wanted: Settings): Partition {
  const changed = KEYS.filter((key) => !isDeepStrictEqual(running[key], wanted[key]));
  const live = changed.filter((key) => isLive(key, running, wanted));
  const effective = Object.fromEntries(
    KEYS.map((key) => [key, (live.includes(key) ? wanted : running)[key]]).filter(
      ([, value]) => value !== undefined,
    ),
  ) as Settings;
  return { live, restart: changed.filter((key) => !live.includes(key)), effective };
}

/** Of several bundles all that is theirs waits; and one is not made several, nor several one, while the mount runs. */
function isLive(key: ConfigKey, running: Settings, wanted: Settings): boolean {
  const isSeveral = running.mounts !== undefined;
  if (WHEN_APPLIED[key] === 'restart' || isSeveral !== (wanted.mounts !== undefined)) return false;
  return !isSeveral || !(INHERITED as readonly ConfigKey[]).includes(key);
}
