import type { Command } from './command.ts';
import { endInherited } from './failed-mount.ts';
import { ABOUT_A_MOUNT, askMount } from './targets.ts';

const UNMOUNT_MS_MAX = 60_000;

export const unmount: Command = {
  usage: 'unmount [mount]',
  ...ABOUT_A_MOUNT,
  build: (yargs) =>
    ABOUT_A_MOUNT.build(yargs)
      // For secretsfs-wipe@.service.
      .option('left', { type: 'boolean', hidden: true }),
  async run(args, context) {
    if (args['left'] === true) return endInherited(context.env, 'nobody goes on with it');
    const { instance, result } = await askMount('unmount', UNMOUNT_MS_MAX, args, context);
    if (context.json) context.ui.printJson(result);
    else context.ui.print(`${instance}: unmounted ${result.mountpoint}`);
  },
};
