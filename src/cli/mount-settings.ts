/** What a mount takes from the settings, whichever driver serves it. Nothing here loads a source or a key. */
import path from 'node:path';
import type { AwsSettings } from '../daemon/agent-channel.ts';
import { DEFAULTS, type SettingName, type Settings } from '../daemon/config.ts';
import { isDirectory, isS3Url } from '../daemon/location.ts';
import { ConfigError, quote, UsageError } from '../errors.ts';
import { parseAcceptedKey, parseKeyArn, parseKeySpec } from '../keyring/spec.ts';
import type { Context } from './command.ts';

export const AWS_SETTINGS: readonly SettingName[] = [
  'profile',
  'region',
  'roleArn',
  'externalId',
  'expectedBucketOwner',
  'forcePathStyle',
];
export function mountLimits(settings: Settings): { filesMax: number; bytesMax: number } {
  return {
    filesMax: settings.maxFiles ?? DEFAULTS.maxFiles,
    bytesMax: settings.maxBytes ?? DEFAULTS.maxBytes,
  };
}

/** --accept-key, for which those of --key stand in that can: key files and ARNs, not aliases. Throws UsageError. */
export function acceptedKeys(
  settings: Settings,
  written?: Pick<Context, 'asWritten' | 'env'>,
): readonly string[] {
  const keys = settings.acceptKey ?? settings.key ?? [];
  if (keys.length === 0) {
    throw new UsageError('no key given', {
      hint: '--accept-key with the ARN of the KMS key, or local:PATH; secretsfs inspect shows what a bundle needs',
    });
  }
  if (settings.acceptKey !== undefined) return keys;
  const usable = keys.filter(isAcceptable);
  if (usable.length > 0) return usable;
  const [first = ''] = keys;
  // What is no key at all is said in its own words.
  parseKeySpec(first);
  throw new UsageError(
    `${writtenKey(first, written)} is ${quote(first)}, and a bundle is opened only with keys named by ARN`,
    { hint: '--accept-key ARN; secretsfs inspect shows which' },
  );
}

function writtenKey(key: string, written: Pick<Context, 'asWritten' | 'env'> | undefined): string {
  const where = written?.asWritten('key') ?? 'key';
  const habits = where === 'key' ? ['KMS_KEY_ID', 'SNEAKER_MASTER_KEY'] : [];
  return habits.find((name) => written?.env[name] === key) ?? (where === 'key' ? 'the key' : where);
}

function isAcceptable(key: string): boolean {
  try {
    return parseAcceptedKey(key) !== undefined;
  } catch {
    return false;
  }
}

/** Where the bundle may be, and how a change of it is noticed. */
export interface NoticingMountOptions {
  /** In the order in which they are asked; a bundle is absolute, or s3://…. */
  readonly sources: readonly { readonly bundle: string; readonly aws: AwsSettings }[];
  readonly pollMs: number;
  readonly spreadMs: number;
  readonly queue: { readonly url: string } | { readonly topic: string } | undefined;
  /** Openings a minute; undefined: the keys cost nothing. */
  readonly unsealsPerMinute: number | undefined;
  /** For keys and the queue. */
  readonly aws: AwsSettings;
}

export function noticingOptions(settings: Settings, keys: readonly string[]): NoticingMountOptions {
  const { profile, region, roleArn, externalId, forcePathStyle, expectedBucketOwner, queue, topic } =
    settings;
  if (queue !== undefined && topic !== undefined) {
    throw new UsageError('cannot use both a queue and a topic', {
      hint: '--queue is a queue that you made for this instance; with --topic one is made',
    });
  }
  // The bucket is most likely where the key is.
  const likelyRegion = keys.map((key) => parseKeyArn(key)?.region).find((found) => found !== undefined);
  const aws = { profile, region, roleArn, externalId, forcePathStyle, expectedBucketOwner, likelyRegion };
  const sources = sourcesOf(settings).map(({ bundle, ...own }) => {
    // An external id belongs to its role.
    const base = own.roleArn === undefined ? aws : { ...aws, externalId: undefined };
    return { bundle: absolute(bundle), aws: { ...base, ...given(own) } };
  });
  const isTold = queue !== undefined || topic !== undefined;
  if (isTold && !sources.some(({ bundle }) => isS3Url(bundle) && !isDirectory(bundle))) {
    throw new ConfigError('config-invalid', 'cannot use a queue or a topic: no source is in S3', {
      hint: 'leave it out: files are watched',
    });
  }
  return {
    sources,
    pollMs: settings.poll ?? (isTold ? DEFAULTS.pollMsWithQueue : DEFAULTS.pollMs),
    spreadMs: settings.spread ?? DEFAULTS.spreadMs,
    queue: queue !== undefined ? { url: queue } : topic !== undefined ? { topic } : undefined,
    unsealsPerMinute: keys.some((key) => parseKeyArn(key) !== undefined)
      ? (settings.unsealLimit ?? DEFAULTS.unsealLimit)
      : undefined,
    aws,
  };
}

function absolute(bundle: string): string {
  if (isS3Url(bundle)) return bundle;
  const resolved = path.resolve(bundle);
  return isDirectory(bundle) && !isDirectory(resolved) ? `${resolved}/` : resolved;
}

function sourcesOf({ bundle, source }: Settings): NonNullable<Settings['source']> {
  if (source !== undefined) return source;
  return bundle === undefined ? [] : [{ bundle }];
}

/** Without what is undefined, which would replace what is not. */
function given<T extends object>(settings: T): Partial<T> {
  return Object.fromEntries(
    Object.entries(settings).filter(([, value]) => value !== undefined),
  ) as Partial<T>;
}

/** A mount, as the command that started it sees it. */
export interface RunningMount {
  /** Returns when it serves. After a failure nothing is left of it. */
  start(): Promise<void>;
  /** Looks for a new bundle now. Never throws. */
  reload(): Promise<void>;
  /** Goes over to the program that is on disk now. Never throws. */
  upgrade(): Promise<void>;
  /** Resolves when its end begins, whoever ends it. */
  readonly ending: Promise<void>;
  /** Resolves when the mount is gone. */
  readonly ended: Promise<void>;
  /** Unmounts and wipes. Never throws; may be called again. */
  stop(): Promise<void>;
  /** Whether another process goes on with it when this one ends, which it may do at once then. Never throws. */
  leave?(): Promise<boolean>;
  /** Where stop() hangs, just before the process ends: nothing stays in the mount table. Never throws. */
  abandon?(): void;
}
