import { ask } from '../control/client.ts';
import { type Command, optionalTextArg } from './command.ts';
import { controlDirectory, resolveInstance } from './targets.ts';

/** Each process is replaced only when its successor is ready. */
const UPGRADE_MS_MAX = 2 * 60_000;

export const upgrade: Command = {
  usage: 'upgrade [mount]',
  settings: ['runtimeDir'],
  build: (yargs) => yargs.positional('mount', { type: 'string', describe: 'instance name or mountpoint' }),
  async run(args, context) {
    const runtimeDir = controlDirectory(context);
    const instance = await resolveInstance(runtimeDir, optionalTextArg(args, 'mount'));
    const result = await ask(runtimeDir, instance, 'upgrade', UPGRADE_MS_MAX);
    if (context.json) return context.ui.printJson(result);
    context.ui.print(`${instance}: replaced ${result.replaced.join(', ') || 'nothing'}`);
  },
};
