import { ask } from '../control/client.ts';
import { quote, UsageError } from '../errors.ts';
import { type Command, optionalTextArg, textArg } from './command.ts';
import { controlDirectory, resolveInstance } from './targets.ts';

/** As long as a hook may take, and one that is under way before it. */
const HOOK_MS_MAX = 2 * 61 * 60_000;

export const hook: Command = {
  usage: 'hook <action> <name> [mount]',
  settings: ['runtimeDir'],
  build: (yargs) =>
    yargs
      .positional('action', { type: 'string', describe: 'run' })
      .positional('name', { type: 'string', describe: 'of the hook, as in the config' })
      .positional('mount', { type: 'string', describe: 'instance name or mountpoint' }),
  async run(args, context) {
    const action = textArg(args, 'action');
    if (action !== 'run')
      throw new UsageError(`cannot do that with a hook: there is no action ${quote(action)}`, {
        hint: 'secretsfs hook run NAME',
      });
    const runtimeDir = controlDirectory(context);
    const instance = await resolveInstance(runtimeDir, optionalTextArg(args, 'mount'));
    const result = await ask(runtimeDir, instance, 'hook', HOOK_MS_MAX, { hook: textArg(args, 'name') });
    if (context.json) return context.ui.printJson(result);
    context.ui.print(`${instance}: hook ${result.hook} done in ${result.ms} ms, serial ${result.serial}`);
  },
};
