import type { Command } from './command.ts';
import { ABOUT_A_MOUNT, askMount } from './targets.ts';

/** Each process is replaced only when its successor is ready. */
const UPGRADE_MS_MAX = 2 * 60_000;

export const upgrade: Command = {
  usage: 'upgrade [mount]',
  ...ABOUT_A_MOUNT,
  async run(args, context) {
    const { instance, result } = await askMount('upgrade', UPGRADE_MS_MAX, args, context);
    if (context.json) return context.ui.printJson(result);
    context.ui.print(`${instance}: replaced ${result.replaced.join(', ') || 'nothing'}`);
  },
};
