import { KeyError, quote } from '../errors.ts';
import { type Command, isDryRun, optionalTextArg } from './command.ts';
import { KEY_SETTINGS, keyArg, openKeys, ownKey, policyFrom, withDryRun, withKey } from './key-access.ts';

export const keysPolicy: Command = {
  usage: 'keys policy <key>',
  settings: KEY_SETTINGS,
  build: (yargs) =>
    withDryRun(withKey(yargs)).option('set', {
      type: 'string',
      requiresArg: true,
      describe: 'file, or -, with the policy that replaces it; what it was is printed',
    }),
  async run(args, context) {
    const keys = openKeys(context);
    const file = optionalTextArg(args, 'set');
    const policy = file === undefined ? undefined : await policyFrom(file, context);
    const { arn } =
      policy === undefined
        ? await keys.describe(keyArg(args))
        : await ownKey(keys, keyArg(args), 'change the policy of');
    const before = documentOf(await keys.policy(arn), arn.text);
    const dryRun = isDryRun(args);
    if (policy !== undefined && !dryRun) await keys.setPolicy(arn, JSON.stringify(policy));
    if (policy === undefined)
      return context.ui.printJson(context.json ? { key: arn.text, policy: before } : before);
    if (context.json) return context.ui.printJson({ dryRun, key: arn.text, before, policy });
    context.ui.printJson(before);
    context.ui.warn(`${dryRun ? 'this would be' : 'this was'} replaced in ${arn.text}`);
  },
};

function documentOf(text: string, arn: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new KeyError(
      'key-invalid',
      `cannot use KMS's answer about the policy of ${quote(arn)}: it is not JSON`,
      {
        hint: 'check the endpoint (AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_KMS)',
      },
    );
  }
}
