import type { Command } from './command.ts';
import { ABOUT_A_MOUNT, askMount } from './targets.ts';

/** A bundle may be large and far away; a person who waits longer than this wants to know. */
const REMOUNT_MS_MAX = 10 * 60_000;

export const remount: Command = {
  usage: 'remount [mount]',
  ...ABOUT_A_MOUNT,
  build: (yargs) =>
    ABOUT_A_MOUNT.build(yargs).option('allow-rollback', {
      type: 'boolean',
      default: false,
      describe: 'take a bundle that is older than what was live before, this once',
    }),
  async run(args, context) {
    const { instance, result } = await askMount('remount', REMOUNT_MS_MAX, args, context, {
      allowRollback: args['allowRollback'] === true,
    });
    if (context.json) return context.ui.printJson(result);
    const { generation, changes } = result;
    if (result.outcome === 'unchanged') {
      return context.ui.print(`${instance}: nothing changed; serial ${generation.serial} is live`);
    }
    const what =
      changes === null
        ? ''
        : ` (${changes.added} added, ${changes.changed} changed, ${changes.removed} removed)`;
    context.ui.print(`${instance}: serial ${generation.serial} is live, generation ${generation.id}${what}`);
  },
};
