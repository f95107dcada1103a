/** Where a command looks for what a key wraps: `--in`, or the store of the settings. */
import type { Argv } from 'yargs';
import { parseContext } from '../bundle/name.ts';
import type { SettingName } from '../daemon/config.ts';
import { UsageError } from '../errors.ts';
import { auditKey, parsePlace } from '../keys/audit.ts';
import type { KeyFacts } from '../keys/key-facts.ts';
import { KmsKeys } from '../keys/kms-keys.ts';
import type { Usage } from '../keys/usage.ts';
import { awsAccess } from './bundles.ts';
import { type Context, listArg } from './command.ts';
import { AWS_SETTINGS } from './mount-settings.ts';

export const USAGE_SETTINGS: readonly SettingName[] = ['store', 'context', ...AWS_SETTINGS];

export function withPlaces(yargs: Argv): Argv {
  return yargs.option('in', {
    ...{ type: 'string', array: true, nargs: 1, requiresArg: true },
    describe:
      's3://BUCKET/PREFIX, s3:// for every bucket of the account, or a directory; repeat [default: --store]',
  });
}

/** Throws UsageError where nothing says where to look. */
export async function lookForUses(
  key: KeyFacts,
  args: Readonly<Record<string, unknown>>,
  context: Context,
): Promise<Usage> {
  const { store, context: pairs } = context.settings;
  const given = listArg(args, 'in');
  const named = given.length > 0 ? given : store === undefined ? [] : [store];
  if (named.length === 0) {
    throw new UsageError('no place given to look for what the key wraps', {
      hint: '--in s3://BUCKET/PREFIX, --in s3:// for every bucket of the account, --in DIRECTORY; several, if need be',
    });
  }
  const aws = awsAccess(context);
  const options = {
    ...{ aws, keys: new KmsKeys(aws), places: named.map(parsePlace) },
    context: pairs === undefined ? {} : parseContext(pairs),
  };
  return context.ui.progress(`looking in ${named.join(', ')}`, () => auditKey(key, options));
}
