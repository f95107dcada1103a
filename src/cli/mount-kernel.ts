/** A mount in processes of its own, through the kernel driver. */
import { DEFAULTS } from '../daemon/config.ts';
import type { Log } from '../daemon/log.ts';
import type { MountOptions } from '../daemon/mount-options.ts';
import { Supervisor } from '../daemon/supervisor.ts';
import { ConfigError } from '../errors.ts';
import { parseKeyArn } from '../keyring/spec.ts';
import type { Context } from './command.ts';
import type { RunningMount } from './mount-settings.ts';

export function kernelMount(options: MountOptions, context: Context, log: Log): RunningMount {
  const { settings, asWritten } = context;
  const { cache, fastOpen, resend, retireAfter, memoryMax, uidBase, poll } = settings;
  if (fastOpen === true && cache === 'none') {
    throw new ConfigError(
      'config-invalid',
      `cannot use ${asWritten('fastOpen')} with ${asWritten('cache')} none: one contradicts the other`,
      {
        hint: 'an open that the kernel answers by itself leaves what was read in its cache: leave out one of them',
      },
    );
  }
  const { profile, region, roleArn, externalId, forcePathStyle } = settings;
  // The bucket is most likely where the key is.
  const likelyRegion = options.acceptedKeys
    .map((key) => parseKeyArn(key)?.region)
    .find((found) => found !== undefined);
  return new Supervisor(
    {
      ...options,
      cache: cache ?? 'page',
      fastOpen: fastOpen === true,
      resend: resend !== 'off',
      retireAfterMs: retireAfter ?? DEFAULTS.retireAfterMs,
      memoryMax,
      uidBase,
      pollMs: poll ?? DEFAULTS.pollMs,
      aws: { profile, region, roleArn, externalId, forcePathStyle, likelyRegion },
    },
    // A clock that is set must not let what lingers expire, nor keep it.
    { log, nowMs: () => performance.timeOrigin + performance.now() },
  );
}
