import path from 'node:path';
import { parseContext, validateName } from '../bundle/name.ts';
import { DEFAULTS } from '../daemon/config.ts';
import { createLog } from '../daemon/log.ts';
import { Mount } from '../daemon/mount.ts';
import { createSource, isS3Url } from '../daemon/sources.ts';
import { describeBug, EXIT_CODES, UsageError } from '../errors.ts';
import { groupId } from '../system/users.ts';
import { AWS_SETTINGS, acceptedKeys, awsAccess, mountLimits } from './bundles.ts';
import type { Command } from './command.ts';
import { nameFromLocation } from './names.ts';
import { controlDirectory } from './targets.ts';
import { versionText } from './version.ts';

/** An end that takes longer hangs on something: readers are better off with an error than with nothing. */
const STOP_MS_MAX = 20_000;

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
    'poll',
    'maxBytes',
    'maxFiles',
    'preserve',
    'allowSwap',
    'statusGroup',
    'runtimeDir',
    ...AWS_SETTINGS,
  ],
  build: (yargs) =>
    yargs
      .positional('bundle', { type: 'string', describe: 'path or s3://bucket/key' })
      .positional('mountpoint', { type: 'string', describe: 'an empty directory' }),
  async run(_args, context) {
    const { settings } = context;
    const { bundle, mountpoint } = settings;
    if (bundle === undefined || mountpoint === undefined) {
      throw new UsageError(`cannot mount: no ${bundle === undefined ? 'bundle' : 'mountpoint'} given`, {
        hint: 'secretsfs mount BUNDLE MOUNTPOINT, or bundle: and mountpoint: in --config FILE',
      });
    }
    if (bundle === '-') {
      throw new UsageError('cannot mount from stdin: a mount reads its bundle again', {
        hint: 'name a path or s3://…',
      });
    }
    const name = settings.name === undefined ? nameFromLocation(bundle) : validateName(settings.name);
    const { filesMax, bytesMax } = mountLimits(settings);
    const log = createLog({ fd: 2, readable: process.stderr.isTTY === true });
    const aws = awsAccess(context);
    const mount = new Mount(
      {
        bundle: isS3Url(bundle) ? bundle : path.resolve(bundle),
        mountpoint: path.resolve(mountpoint),
        name,
        instance: validateName(settings.instance ?? name),
        acceptedKeys: acceptedKeys(settings),
        context: parseContext(settings.context ?? []),
        bytesMax,
        filesMax,
        preserve: settings.preserve === true,
        allowSwap: settings.allowSwap === true,
        statusGid: settings.statusGroup === undefined ? undefined : await groupId(settings.statusGroup),
        runtimeDir: controlDirectory(context),
        version: versionText(),
        driverReason:
          settings.driver === 'fuse-native' ? 'as --driver says' : 'auto: the only driver of this version',
      },
      {
        source: createSource(bundle, aws, settings.poll ?? DEFAULTS.pollMs),
        aws,
        log,
        nowMs: Date.now,
        uid: process.getuid?.() ?? 0,
        gid: process.getgid?.() ?? 0,
      },
    );
    const stop = () => {
      setTimeout(() => process.exit(EXIT_CODES.mount), STOP_MS_MAX).unref();
      void mount.stop();
    };
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, stop);
    process.on('SIGHUP', () => void mount.reload());
    // After a bug nothing can be relied on but this: unmount and wipe, and let whoever supervises start anew.
    let bug: unknown;
    process.removeAllListeners('uncaughtException').on('uncaughtException', (error: unknown) => {
      bug ??= error;
      log.error('bug', { error: describeBug(error) });
      stop();
    });
    await mount.start();
    try {
      await mount.ended;
    } finally {
      await mount.stop();
    }
    if (bug !== undefined) throw bug;
  },
};
