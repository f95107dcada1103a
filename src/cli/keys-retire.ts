import { KeyError, quote, UsageError } from '../errors.ts';
import type { Usage, Use } from '../keys/usage.ts';
import { awsAccess } from './bundles.ts';
import { type Command, isDryRun } from './command.ts';
import { keyArg, openKeys, withDryRun, withKey } from './key-access.ts';
import { lookForUses, USAGE_SETTINGS, withPlaces } from './key-usage.ts';
import { NewestVersions } from './newest-versions.ts';
import { proveKey, type Retired, retireUse } from './retiring.ts';
import { plural } from './ui.ts';

export const keysRetire: Command = {
  usage: 'keys retire <key>',
  settings: USAGE_SETTINGS,
  lists: ['in'],
  build: (yargs) =>
    withDryRun(withPlaces(withKey(yargs)))
      .option('to', {
        type: 'string',
        requiresArg: true,
        demandOption: true,
        describe: 'id, ARN or alias of the key that takes over',
      })
      .option('purge-versions', {
        type: 'boolean',
        default: false,
        describe: 'remove older versions that it wraps, for good: nothing goes back to them',
      }),
  async run(args, context) {
    const { ui, json } = context;
    const keys = openKeys(context);
    const [key, to] = [await keys.describe(keyArg(args)), await keys.describe(keyArg(args, 'to'))];
    if (to.arn.text === key.arn.text) {
      throw new UsageError(`cannot retire ${quote(key.arn.text)} to itself`, {
        hint: '--to with another key: secretsfs keys create',
      });
    }
    const dryRun = isDryRun(args);
    const aws = awsAccess(context);
    await proveKey(to, aws);
    const newest = new NewestVersions({ to, aws }, context);
    const request = { key, to, aws, dryRun, purge: args['purgeVersions'] === true, newest };
    const retire = async (uses: readonly Use[]): Promise<Retired[]> =>
      ui.progress(`retiring ${key.arn.text}`, async (report) => {
        const retired: Retired[] = [];
        for (const use of uses) {
          retired.push(await retireUse(use, request, context));
          report(retired.length / uses.length);
        }
        return retired;
      });
    const before = await lookForUses(key, args, context);
    const live = await retire(before.uses.filter(({ current }) => current));
    // What was live is an older version now, and one goes only when the newest is safe.
    const after = dryRun ? supposed(before, live) : await lookForUses(key, args, context);
    const retired = [...live, ...(await retire(after.uses.filter(({ current }) => !current)))];
    const { unseen } = after;
    const left = retired.filter(({ outcome }) => outcome === 'left');
    if (json) ui.printJson({ dryRun, key: key.arn.text, to: to.arn.text, retired, unseen });
    else {
      for (const each of retired) ui.print(lineOf(each, dryRun));
      for (const { why, hint } of unseen) ui.print(`not seen: ${why}${hint === null ? '' : `; ${hint}`}`);
      const count = retired.length - left.length;
      const verb = dryRun ? 'would be' : count === 1 ? 'was' : 'were';
      ui.print(`${plural(count, 'use')} ${verb} brought under ${to.arn.text}, ${left.length} left`);
    }
    if (dryRun || left.length + unseen.length === 0) return;
    throw new KeyError(
      'key-in-use',
      `cannot retire ${quote(key.arn.text)} wholly: ${left.length} left, ${unseen.length} not seen`,
      {
        hint: 'each says what to do; then run the same command again: it goes on with what is left',
      },
    );
  },
};

/** What would be found after a dry run, were it none: where versions are kept, each that is replaced stays as an older one. */
function supposed({ uses, ...rest }: Usage, live: readonly Retired[]): Usage {
  const isKept = ({ current, version, location, what }: Use) =>
    current &&
    version !== null &&
    live.some((each) => each.outcome !== 'left' && each.location === location && each.what === what);
  return { ...rest, uses: [...uses, ...uses.filter(isKept).map((use) => ({ ...use, current: false }))] };
}

function lineOf({ location, version, what, outcome, why }: Retired, dryRun: boolean): string {
  const place =
    version === null || outcome === 'resealed' || outcome === 'rotated'
      ? location
      : `${location}?versionId=${version}`;
  const words = outcome === 'left' || !dryRun ? outcome : `would be ${outcome}`;
  return `${what} ${place} ${words}${why === null ? '' : `: ${why}`}`;
}
