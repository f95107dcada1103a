/** `keys disable` and `keys enable`: what can be taken back at once, and so shows what a deletion would break. */
import { checkState } from '../keys/key-state.ts';
import { type Command, isDryRun } from './command.ts';
import { KEY_SETTINGS, keyArg, openKeys, ownKey, withDryRun, withKey } from './key-access.ts';

export const keysDisable = stateCommand('disable', false);
export const keysEnable = stateCommand('enable', true);

function stateCommand(verb: 'disable' | 'enable', enabled: boolean): Command {
  return {
    usage: `keys ${verb} <key>`,
    settings: KEY_SETTINGS,
    build: (yargs) => withDryRun(withKey(yargs)),
    async run(args, context) {
      const keys = openKeys(context);
      const key = await ownKey(keys, keyArg(args), verb);
      checkState(key, enabled ? 'EnableKey' : 'DisableKey');
      const { arn, state } = key;
      const dryRun = isDryRun(args);
      if (!dryRun) await keys.setEnabled(arn, enabled);
      if (context.json) return context.ui.printJson({ dryRun, key: arn.text, before: state, enabled });
      if (dryRun) return context.ui.print(`would ${verb} ${arn.text}, which is ${state}`);
      context.ui.print(
        enabled
          ? `${arn.text} is enabled`
          : `${arn.text} is disabled: nothing new opens with it; mounts serve what they have. secretsfs keys enable takes it back`,
      );
    },
  };
}
