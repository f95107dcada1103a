import path from 'node:path';
import { validateName } from '../bundle/name.ts';
import { runtimeDirectory } from '../control/directory.ts';
import type { Settings } from '../daemon/config.ts';
import { chooseDriver } from '../daemon/driver.ts';
import { stateDirectory } from '../daemon/floor.ts';
import { createLog } from '../daemon/log.ts';
import { metricsOptions } from '../daemon/metrics-settings.ts';
import type { PartOptions, SharedOptions } from '../daemon/mount-options.ts';
import { describeBug, EXIT_CODES, UsageError } from '../errors.ts';
import { groupId } from '../system/users.ts';
import type { Command } from './command.ts';
import { endForSure } from './end-for-sure.ts';
import { endInherited } from './failed-mount.ts';
import { resolveAccess } from './file-rules.ts';
import { leaveTerminal } from './leave-terminal.ts';
import { bundleOptions, partOptions } from './mount-parts.ts';
import { AWS_SETTINGS, type RunningMount } from './mount-settings.ts';
import { versionText } from './version.ts';

export const mount: Command = {
  usage: 'mount [bundle] [mountpoint]',
  settings: [
    'bundle',
    'mountpoint',
    'name',
    'instance',
    'key',
    'acceptKey',
    'context',
    'driver',
    'cache',
    'fastOpen',
    'consistency',
    'consistencyWindow',
    'audit',
    'resend',
    'retireAfter',
    'memoryMax',
    'uidBase',
    'poll',
    'queue',
    'topic',
    'spread',
    'unsealLimit',
    'maxBytes',
    'maxFiles',
    'minSerial',
    'preserve',
    'allowSwap',
    'timeoutStart',
    'statusGroup',
    'fsname',
    'selinuxContext',
    'runtimeDir',
    'stateDir',
    'cacheDir',
    'maxStale',
    ...AWS_SETTINGS,
  ],
  build: (yargs) =>
    yargs
      .positional('bundle', { type: 'string', describe: 'path or s3://bucket/key' })
      .positional('mountpoint', { type: 'string', describe: 'an empty directory' })
      // For mount-helper.ts.
      .option('log-fd', { type: 'number', hidden: true, requiresArg: true }),
  async run(args, context) {
    const { settings, env } = context;
    const { shared, parts, driver } = await optionsOf(settings, env);
    const logFd = args['logFd'] as number | undefined;
    const log = createLog({ fd: logFd ?? 2, readable: logFd === undefined && process.stderr.isTTY === true });
    // mount-helper.ts alone has it, for a line of fstab.
    const ports = { log, endsByUmount: logFd !== undefined };
    if (driver !== 'kernel') await endInherited(env, 'another driver is wanted');
    // Each brings what the other must not load.
    const mount: RunningMount =
      driver === 'kernel'
        ? (await import('./mount-kernel.ts')).kernelMount(
            { ...shared, parts },
            context,
            ports,
            async (changed) => {
              const other = await optionsOf(changed, env);
              return { ...other.shared, parts: other.parts };
            },
          )
        : (await import('./mount-alone.ts')).mountAlone(
            { ...shared, ...(parts[0] as PartOptions) },
            context,
            ports,
          );
    endForSure(mount, process);
    const stop = () => void mount.stop();
    process.on('SIGINT', stop);
    process.on('SIGTERM', async () => {
      if ((await mount.leave?.()) === true) process.exit(EXIT_CODES.ok);
      stop();
    });
    process.on('SIGHUP', () => void mount.reload());
    process.on('SIGUSR2', () => void mount.upgrade());
    // After a bug nothing can be relied on but this: unmount and wipe, and let whoever supervises start anew.
    let bug: unknown;
    process.removeAllListeners('uncaughtException').on('uncaughtException', (error: unknown) => {
      bug ??= error;
      log.error('bug', { error: describeBug(error) });
      stop();
    });
    await mount.start();
    if (logFd !== undefined) leaveTerminal(logFd);
    try {
      await mount.ended;
    } finally {
      await mount.stop();
    }
    if (bug !== undefined) throw bug;
  },
};

/** What both drivers are told, and which of them it is. Throws SecretsfsError for what can't be mounted. */
export async function optionsOf(
  settings: Settings,
  env: NodeJS.ProcessEnv,
): Promise<{
  readonly shared: SharedOptions;
  readonly parts: readonly PartOptions[];
  readonly driver: 'kernel' | 'fuse-native';
}> {
  const uid = process.getuid?.() ?? -1;
  const { mountpoint, mounts } = settings;
  const hasBundle = (mounts ?? settings.bundle ?? settings.source) !== undefined;
  if (!hasBundle || mountpoint === undefined) {
    throw new UsageError(`cannot mount: no ${hasBundle ? 'mountpoint' : 'bundle'} given`, {
      hint: 'secretsfs mount BUNDLE MOUNTPOINT, or bundle: and mountpoint: in --config FILE',
    });
  }
  const parts: readonly PartOptions[] =
    mounts === undefined
      ? [{ ...(await bundleOptions(settings)), directory: undefined, required: true }]
      : await partOptions(settings, mounts);
  const { driver, reason } = chooseDriver(settings.driver ?? 'auto');
  const called = mounts === undefined ? (parts[0]?.name ?? '') : path.basename(path.resolve(mountpoint));
  const instance = validateName(settings.instance ?? called, 'a mount (--instance)');
  const shared: SharedOptions = {
    mountpoint: path.resolve(mountpoint),
    instance,
    fsname: settings.fsname ?? instance,
    preserve: settings.preserve === true,
    allowSwap: settings.allowSwap === true,
    statusGid: settings.statusGroup === undefined ? undefined : await groupId(settings.statusGroup),
    metrics: metricsOptions(settings.metrics),
    runtimeDir: runtimeDirectory({ chosen: settings.runtimeDir, uid, env }),
    stateDir: stateDirectory({ chosen: settings.stateDir, uid, env }),
    // Who is told what it waits for may wait; a person at a terminal wants to know what is wrong.
    startTimeoutMs: settings.timeoutStart ?? (env['NOTIFY_SOCKET'] ? Number.POSITIVE_INFINITY : 0),
    version: versionText(),
    driverReason: reason,
    opens: { rules: await resolveAccess(settings.access ?? []), audit: settings.audit === true },
  };
  return { shared, parts, driver };
}
