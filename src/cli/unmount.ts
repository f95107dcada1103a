import type { Command } from './command.ts';
import { ABOUT_A_MOUNT, askMount } from './targets.ts';

const UNMOUNT_MS_MAX = 60_000;

export const unmount: Command = {
  usage: 'unmount [mount]',
  ...ABOUT_A_MOUNT,
  async run(args, context) {
    const { instance, result } = await askMount('unmount', UNMOUNT_MS_MAX, args, context);
    if (context.json) context.ui.printJson(result);
    else context.ui.print(`${instance}: unmounted ${result.mountpoint}`);
  },
};
