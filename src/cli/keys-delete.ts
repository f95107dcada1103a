/** `keys delete`: only what nothing is wrapped by any more, as far as all that was named could be seen; and the way back. */
import { KeyError, quote, UsageError } from '../errors.ts';
import type { KeyFacts } from '../keys/key-facts.ts';
import { isPendingDeletion } from '../keys/key-state.ts';
import type { KmsKeys } from '../keys/kms-keys.ts';
import { pendingUseAlarm } from '../keys/pending-alarm.ts';
import type { Usage } from '../keys/usage.ts';
import { type Command, type Context, isDryRun, optionalTextArg } from './command.ts';
import { keyArg, openKeys, ownKey, withDryRun, withKey } from './key-access.ts';
import { lookForUses, USAGE_SETTINGS, withPlaces } from './key-usage.ts';
import { plural } from './ui.ts';

/** What KMS takes. */
const DAYS = { min: 7, max: 30 } as const;
/** Named in a message; `keys usage` has all. */
const NAMED_MAX = 5;

export const keysDelete: Command = {
  usage: 'keys delete <key>',
  settings: USAGE_SETTINGS,
  lists: ['in'],
  build: (yargs) =>
    withDryRun(withPlaces(withKey(yargs)))
      .option('days', {
        type: 'string',
        requiresArg: true,
        describe: 'days until it is gone for good, 7 to 30',
      })
      .option('cancel', {
        type: 'boolean',
        default: false,
        describe: 'take a deletion back, while there is time',
      })
      .option('log-group', {
        type: 'string',
        requiresArg: true,
        default: 'CLOUDTRAIL-LOG-GROUP',
        describe: "CloudTrail's log group, for the alarm that is printed",
      })
      .option('alarm-topic', {
        type: 'string',
        requiresArg: true,
        describe: 'ARN of the SNS topic that the alarm tells',
      }),
  async run(args, context) {
    const keys = openKeys(context);
    const cancel = args['cancel'] === true;
    const days = daysOf(optionalTextArg(args, 'days'), cancel);
    const key = await ownKey(keys, keyArg(args), cancel ? 'cancel the deletion of' : 'delete');
    if (days === undefined) return cancelDeletion(keys, key, isDryRun(args), context);
    const options = { logGroup: String(args['logGroup']), topic: optionalTextArg(args, 'alarmTopic') };
    const alarm = pendingUseAlarm(key.arn, options);
    refusePending(key);
    refuseSpec(key);
    const usage = await lookForUses(key, args, context);
    refuseUsed(key, usage);
    const dryRun = isDryRun(args);
    const deletionDate = dryRun ? undefined : await keys.scheduleDeletion(key.arn, days);
    const { looked } = usage;
    if (context.json) {
      const facts = {
        dryRun,
        key: key.arn.text,
        deletionDate: deletionDate ?? null,
        cancelled: false,
        looked,
        alarm,
      };
      return context.ui.printJson(facts);
    }
    const seen = `${plural(looked, 'object')} and versions looked at, none is wrapped by it`;
    if (dryRun) return context.ui.print(`would delete ${key.arn.text} in ${days} days: ${seen}`);
    context.ui.print(`${key.arn.text} will be deleted at ${deletionDate}: ${seen}`);
    context.ui.print(
      `# until then: secretsfs keys delete ${key.arn.text} --cancel. An alarm for whoever still tries to use it:`,
    );
    for (const command of alarm) context.ui.print(command);
  },
};

function daysOf(text: string | undefined, cancel: boolean): number | undefined {
  const hint = `--days takes a number from ${DAYS.min} to ${DAYS.max}`;
  if (cancel) {
    if (text === undefined) return undefined;
    throw new UsageError('cannot both delete a key and cancel its deletion', { hint: '--days or --cancel' });
  }
  if (text === undefined) throw new UsageError('no --days given: nothing chooses that for you', { hint });
  const days = /^\d{1,3}$/.test(text) ? Number(text) : Number.NaN;
  if (days >= DAYS.min && days <= DAYS.max) return days;
  throw new UsageError(`cannot delete a key in ${quote(text)} days`, { hint });
}

async function cancelDeletion(
  keys: KmsKeys,
  key: KeyFacts,
  dryRun: boolean,
  { json, ui }: Context,
): Promise<void> {
  if (!isPendingDeletion(key)) {
    throw new KeyError(
      'key-state',
      `cannot cancel the deletion of ${quote(key.arn.text)}: it is ${key.state}`,
      {
        hint: 'there is nothing to take back',
      },
    );
  }
  if (!dryRun) await keys.cancelDeletion(key.arn);
  const facts = {
    dryRun,
    key: key.arn.text,
    deletionDate: null,
    cancelled: !dryRun,
    looked: null,
    alarm: [],
  };
  if (json) return ui.printJson(facts);
  if (dryRun) return ui.print(`would cancel the deletion of ${key.arn.text}`);
  ui.print(`${key.arn.text} stays, and is disabled: secretsfs keys enable ${key.arn.text}`);
}

function refusePending(key: KeyFacts): void {
  if (!isPendingDeletion(key)) return;
  const { arn, deletionDate } = key;
  const when = deletionDate === undefined ? '' : ` at ${deletionDate}`;
  throw new KeyError(
    'key-pending-deletion',
    `cannot delete ${quote(arn.text)}: it is to be deleted already${when}`,
    {
      hint: `secretsfs keys delete ${arn.text} --cancel takes that back`,
    },
  );
}

/** What another kind of key signed or encrypted does not name it, and KMS may not be who opens or verifies it. */
function refuseSpec({ arn, spec }: KeyFacts): void {
  if (spec === 'SYMMETRIC_DEFAULT') return;
  throw new KeyError(
    'key-usage-unseen',
    `cannot delete ${quote(arn.text)}: it is ${spec}, and what needs that can not be seen`,
    { hint: 'if nothing does: aws kms schedule-key-deletion' },
  );
}

function refuseUsed({ arn }: KeyFacts, { uses, unseen }: Usage): void {
  const names = (of: readonly { location: string; version: string | null }[]) => {
    const shown = of
      .slice(0, NAMED_MAX)
      .map(({ location, version }) =>
        quote(version === null ? location : `${location}?versionId=${version}`),
      );
    return `${shown.join(', ')}${of.length > NAMED_MAX ? ` and ${of.length - NAMED_MAX} more` : ''}`;
  };
  if (uses.length > 0) {
    const others = unseen.length === 0 ? '' : `; ${unseen.length} could not be seen`;
    throw new KeyError(
      'key-in-use',
      `cannot delete ${quote(arn.text)}: it is still needed by ${names(uses)}${others}`,
      {
        hint: `secretsfs keys usage lists all; secretsfs keys retire ${arn.text} --to NEWKEY brings them under another`,
      },
    );
  }
  if (unseen.length > 0) {
    throw new KeyError(
      'key-usage-unseen',
      `cannot delete ${quote(arn.text)}: what could not be seen may need it: ${names(unseen)}`,
      {
        hint: 'secretsfs keys usage says why each, and what to grant',
      },
    );
  }
}
