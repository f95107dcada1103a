/** What a mount takes from the settings, whichever driver serves it. Nothing here loads a source or a key. */
import { DEFAULTS, type SettingName, type Settings } from '../daemon/config.ts';
import { UsageError } from '../errors.ts';
import { parseAcceptedKey } from '../keyring/spec.ts';

export const AWS_SETTINGS: readonly SettingName[] = [
  'profile',
  'region',
  'roleArn',
  'externalId',
  'forcePathStyle',
];
export function mountLimits(settings: Settings): { filesMax: number; bytesMax: number } {
  return {
    filesMax: settings.maxFiles ?? DEFAULTS.maxFiles,
    bytesMax: settings.maxBytes ?? DEFAULTS.maxBytes,
  };
}

/** --accept-key, for which those of --key stand in that can: key files and ARNs, not aliases. */
export function acceptedKeys(settings: Settings): readonly string[] {
  const keys = settings.acceptKey ?? settings.key ?? [];
  if (keys.length === 0) {
    throw new UsageError('no key given', {
      hint: '--accept-key with the ARN of the KMS key, or local:PATH; secretsfs inspect shows what a bundle needs',
    });
  }
  if (settings.acceptKey !== undefined) return keys;
  const usable = keys.filter(isAcceptable);
  // Of none that can, the keyring says why.
  return usable.length > 0 ? usable : keys;
}

function isAcceptable(key: string): boolean {
  try {
    return parseAcceptedKey(key) !== undefined;
  } catch {
    return false;
  }
}

/** A mount, as the command that started it sees it. */
export interface RunningMount {
  /** Returns when it serves. After a failure nothing is left of it. */
  start(): Promise<void>;
  /** Looks for a new bundle now. Never throws. */
  reload(): Promise<void>;
  /** Goes over to the program that is on disk now. Never throws. */
  upgrade(): Promise<void>;
  /** Resolves when the mount is gone. */
  readonly ended: Promise<void>;
  /** Unmounts and wipes. Never throws; may be called again. */
  stop(): Promise<void>;
  /** Where stop() hangs, just before the process ends: nothing stays in the mount table. Never throws. */
  abandon?(): void;
}
