import { ask } from '../control/client.ts';
import { type Command, optionalTextArg } from './command.ts';
import { controlDirectory, resolveInstance } from './targets.ts';

const UNMOUNT_MS_MAX = 60_000;

export const unmount: Command = {
  usage: 'unmount [mount]',
  settings: ['runtimeDir'],
  build: (yargs) => yargs.positional('mount', { type: 'string', describe: 'instance name or mountpoint' }),
  async run(args, context) {
    const runtimeDir = controlDirectory(context);
    const instance = await resolveInstance(runtimeDir, optionalTextArg(args, 'mount'));
    const result = await ask(runtimeDir, instance, 'unmount', UNMOUNT_MS_MAX);
    if (context.json) context.ui.printJson(result);
    else context.ui.print(`${instance}: unmounted ${result.mountpoint}`);
  },
};
