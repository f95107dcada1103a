import { UsageError } from '../errors.ts';
import { checkState } from '../keys/key-state.ts';
import { type Command, isDryRun, optionalTextArg, textArg } from './command.ts';
import { KEY_SETTINGS, keyArg, openKeys, ownKey, withDryRun, withKey } from './key-access.ts';

/** What KMS takes: https://docs.aws.amazon.com/kms/latest/APIReference/API_EnableKeyRotation.html */
const DAYS = { min: 90, max: 2560 } as const;

const DONE = { on: 'rotates by itself', off: 'does not rotate any more', now: 'was rotated' } as const;

const CALLS = { on: 'EnableKeyRotation', off: 'DisableKeyRotation', now: 'RotateKeyOnDemand' } as const;

export const keysRotation: Command = {
  usage: 'keys rotation <what> <key>',
  settings: KEY_SETTINGS,
  build: (yargs) =>
    withDryRun(
      withKey(
        yargs.positional('what', {
          choices: ['on', 'off', 'now'],
          demandOption: true,
          describe: 'on, off or now',
        }),
      ),
    ).option('every', {
      type: 'string',
      requiresArg: true,
      describe: 'with on: days between rotations, 90 to 2560 [default: 365]',
    }),
  async run(args, context) {
    const what = textArg(args, 'what') as keyof typeof DONE;
    const everyDays = daysOf(optionalTextArg(args, 'every'), what);
    const keys = openKeys(context);
    const key = await ownKey(keys, keyArg(args), 'rotate');
    checkState(key, CALLS[what]);
    const { arn } = key;
    const dryRun = isDryRun(args);
    if (!dryRun && what === 'on') await keys.startRotation(arn, everyDays);
    if (!dryRun && what === 'off') await keys.stopRotation(arn);
    if (!dryRun && what === 'now') await keys.rotateNow(arn);
    if (context.json)
      return context.ui.printJson({ dryRun, key: arn.text, rotation: what, everyDays: everyDays ?? null });
    if (dryRun)
      return context.ui.print(`would ${what === 'now' ? 'rotate' : `turn rotation ${what} of`} ${arn.text}`);
    context.ui.print(`${arn.text} ${DONE[what]}; what it wrapped stays as it is, and opens as before`);
  },
};

function daysOf(text: string | undefined, what: string): number | undefined {
  if (text === undefined) return undefined;
  const days = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  if (what === 'on' && days >= DAYS.min && days <= DAYS.max) return days;
  throw new UsageError(
    what === 'on' ? `cannot rotate every ${text} days` : `cannot use --every with ${what}`,
    { hint: `keys rotation on KEY --every takes days, from ${DAYS.min} to ${DAYS.max}` },
  );
}
