import { ask } from '../control/client.ts';
import { type Command, optionalTextArg } from './command.ts';
import { controlDirectory, resolveInstance } from './targets.ts';

/** A bundle may be large and far away; a person who waits longer than this wants to know. */
const REMOUNT_MS_MAX = 10 * 60_000;

export const remount: Command = {
  usage: 'remount [mount]',
  settings: ['runtimeDir'],
  build: (yargs) => yargs.positional('mount', { type: 'string', describe: 'instance name or mountpoint' }),
  async run(args, context) {
    const runtimeDir = controlDirectory(context);
    const instance = await resolveInstance(runtimeDir, optionalTextArg(args, 'mount'));
    const result = await ask(runtimeDir, instance, 'remount', REMOUNT_MS_MAX);
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
