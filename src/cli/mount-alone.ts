/** A mount in one process, through fuse-native. */
import { DEFAULTS } from '../daemon/config.ts';
import type { Log } from '../daemon/log.ts';
import { Mount } from '../daemon/mount.ts';
import type { MountOptions } from '../daemon/mount-options.ts';
import { createSource } from '../daemon/sources.ts';
import { ConfigError } from '../errors.ts';
import { awsAccess } from './bundles.ts';
import type { Context } from './command.ts';
import type { RunningMount } from './mount-settings.ts';

/** Settings of the kernel driver: what they promise, this one can't keep. */
const KERNEL_ONLY = ['fastOpen', 'resend', 'retireAfter', 'memoryMax', 'uidBase'] as const;

export function mountAlone(options: MountOptions, context: Context, log: Log): RunningMount {
  const { settings } = context;
  const foreign =
    KERNEL_ONLY.find((setting) => settings[setting] !== undefined) ??
    (settings.cache === 'page' ? 'cache' : undefined);
  if (foreign !== undefined) {
    throw new ConfigError(
      'config-invalid',
      `cannot use ${context.asWritten(foreign)}: this mount takes the driver fuse-native`,
      {
        hint: `it is for the kernel driver (${options.driverReason}): leave it out, or mount as root on Linux`,
      },
    );
  }
  const aws = awsAccess(context);
  return new Mount(options, {
    source: createSource(options.bundle, aws, { pollMs: settings.poll ?? DEFAULTS.pollMs }),
    aws,
    log,
    nowMs: Date.now,
    uid: process.getuid?.() ?? 0,
    gid: process.getgid?.() ?? 0,
  });
}
