/** A mount in one process, through fuse-native. */
import { randomBytes } from 'node:crypto';
import { AwsAccess } from '../aws/access.ts';
import { Mount, type MountPorts } from '../daemon/mount.ts';
import type { MountOptions } from '../daemon/mount-options.ts';
import { queueTaskOf } from '../daemon/queue-task.ts';
import { openQueueOf } from '../daemon/queues.ts';
import { createSource } from '../daemon/sources.ts';
import { Tally } from '../daemon/tally.ts';
import { ConfigError } from '../errors.ts';
import type { CallTotal } from '../metrics/calls.ts';
import type { Context } from './command.ts';
import type { RunningMount } from './mount-settings.ts';

/** Settings of the kernel driver: what they promise, this one can't keep. */
const KERNEL_ONLY = [
  'fastOpen',
  'consistencyWindow',
  'audit',
  'access',
  'resend',
  'retireAfter',
  'memoryMax',
  'uidBase',
  'cacheDir',
  'maxStale',
  'selinuxContext',
  'hooks',
  'mounts',
] as const;

export function mountAlone(
  options: MountOptions,
  context: Context,
  { log, endsByUmount }: Pick<MountPorts, 'log' | 'endsByUmount'>,
): RunningMount {
  const { settings } = context;
  const foreign =
    KERNEL_ONLY.find((setting) => settings[setting] !== undefined) ??
    (settings.cache === 'page' ? 'cache' : undefined) ??
    (settings.consistency === 'process' ? 'consistency' : undefined) ??
    (settings.checks?.exec === undefined ? undefined : 'checks.exec');
  if (foreign !== undefined) {
    const isSection =
      foreign === 'hooks' || foreign === 'mounts' || foreign === 'access' || foreign === 'checks.exec';
    const written = isSection ? foreign : context.asWritten(foreign);
    throw new ConfigError(
      'config-invalid',
      `cannot use ${written}: this mount takes the driver fuse-native`,
      {
        hint: `it is for the kernel driver (${options.driverReason}): leave it out, or mount as root on Linux`,
      },
    );
  }
  const tally = new Tally(Date.now);
  const onCall = (call: CallTotal) => tally.called([call]);
  const aws = new AwsAccess({ env: context.env, onCall, ...options.aws });
  const accesses = options.sources.map(
    (source) => new AwsAccess({ env: context.env, onCall, ...source.aws }),
  );
  const { queue } = options;
  const ownId = randomBytes(6).toString('hex');
  return new Mount(options, {
    sources: options.sources.map((each, i) => createSource(each.bundle, accesses[i] ?? aws)),
    openQueue:
      queue === undefined
        ? undefined
        : () => openQueueOf(queueTaskOf(queue, options.instance, ownId, 0), aws),
    aws,
    closeSources: () => {
      for (const access of accesses) access.destroy();
    },
    tally,
    log,
    nowMs: Date.now,
    uid: process.getuid?.() ?? 0,
    gid: process.getgid?.() ?? 0,
    endsByUmount,
  });
}
