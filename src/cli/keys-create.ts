/** A new key: its policy is printed before the key is there, its alias is looked at before, and both are done or the rest is said. */
import { KeyError, quote, SecretsfsError, UsageError } from '../errors.ts';
import type { KeyFacts } from '../keys/key-facts.ts';
import { type Grants, keyPolicy } from '../keys/key-policy.ts';
import type { KmsKeys } from '../keys/kms-keys.ts';
import { partitionOf } from '../keys/policy-document.ts';
import { parseNamedPrincipal, parsePrincipal } from '../keys/principals.ts';
import { type Command, type Context, isDryRun, listArg, optionalTextArg, textArg } from './command.ts';
import { aliasName, KEY_SETTINGS, openKeys, policyFrom, withDryRun } from './key-access.ts';

const DESCRIPTION_LENGTH_MAX = 8192;

export const keysCreate: Command = {
  usage: 'keys create',
  settings: KEY_SETTINGS,
  lists: ['admin', 'user', 'author', 'reader'],
  build: (yargs) => {
    const principals = (describe: string) => ({
      group: 'Who may:',
      ...({ type: 'string', array: true, nargs: 1, requiresArg: true, describe } as const),
    });
    return withDryRun(yargs)
      .option('alias', {
        type: 'string',
        requiresArg: true,
        demandOption: true,
        describe: 'its name: web, or alias/web',
      })
      .option('description', { type: 'string', requiresArg: true, default: '', describe: 'what it is for' })
      .option('multi-region', {
        type: 'boolean',
        default: false,
        describe: 'a key that may have replicas in other regions',
      })
      .option('admin', principals('ARN: manages the key, may not use it'))
      .option('user', principals('ARN: seals and opens everything'))
      .option('author', principals('NAME=ARN: seals bundles of that name'))
      .option('reader', principals('NAME=ARN: opens bundles of that name'))
      .option('iam', {
        group: 'Who may:',
        ...{ type: 'boolean', default: false },
        describe: "IAM policies of the account give rights, too: AWS's own default",
      })
      .option('policy', {
        group: 'Who may:',
        ...{ type: 'string', requiresArg: true },
        describe: 'file with the whole policy, or -, instead of all these',
      });
  },
  async run(args, context) {
    const keys = openKeys(context);
    const alias = aliasName(textArg(args, 'alias'));
    const description = textArg(args, 'description');
    if (description.length > DESCRIPTION_LENGTH_MAX) {
      throw new UsageError(`cannot describe a key with ${description.length} characters`, {
        hint: `KMS takes at most ${DESCRIPTION_LENGTH_MAX}`,
      });
    }
    const multiRegion = args['multiRegion'] === true;
    const policy = await policyOf(args, context, keys, multiRegion);
    await refuseTaken(keys, alias);
    if (!context.json) context.ui.printJson(policy);
    const facts = { alias, description, multiRegion, region: await keys.region() };
    if (isDryRun(args)) {
      if (context.json) context.ui.printJson({ dryRun: true, arn: null, ...facts, policy });
      else context.ui.print(`would make a key with this policy in ${facts.region}, and ${alias} for it`);
      return;
    }
    const { arn } = await keys.create({ policy: JSON.stringify(policy), description, multiRegion });
    await keys.setAlias(alias, arn, false).catch((error: unknown) => {
      throw halfDone(error, alias, arn.text);
    });
    if (context.json) context.ui.printJson({ dryRun: false, arn: arn.text, ...facts, policy });
    else context.ui.print(`made ${arn.text}, ${alias}`);
  },
};

async function policyOf(
  args: Readonly<Record<string, unknown>>,
  context: Context,
  keys: KmsKeys,
  multiRegion: boolean,
): Promise<object> {
  const given = (option: string) => listArg(args, option);
  const grants: Grants = {
    admins: given('admin').map((arn) => parsePrincipal(arn, '--admin')),
    users: given('user').map((arn) => parsePrincipal(arn, '--user')),
    authors: given('author').map((text) => parseNamedPrincipal(text, '--author')),
    readers: given('reader').map((text) => parseNamedPrincipal(text, '--reader')),
    iam: args['iam'] === true,
    multiRegion,
  };
  const { admins, users, authors, readers, iam } = grants;
  const file = optionalTextArg(args, 'policy');
  if (file !== undefined) {
    if (!iam && admins.length + users.length + authors.length + readers.length === 0)
      return policyFrom(file, context);
    throw new UsageError('cannot use --policy beside --admin, --user, --author, --reader or --iam', {
      hint: 'the file says all of it, or they do; --dry-run prints what they make, to begin from',
    });
  }
  const [admin] = admins;
  if (admin === undefined && !iam) {
    throw new UsageError('cannot make a key that nobody manages', {
      hint: '--admin with the ARN of a role (aws sts get-caller-identity shows yours), --iam to leave it to IAM, or --policy FILE',
    });
  }
  return keyPolicy(admin?.account ?? (await keys.account()), partitionOf(await keys.region()), grants);
}

async function refuseTaken(keys: KmsKeys, alias: string): Promise<void> {
  const taken = await described(keys, alias);
  if (taken === undefined) return;
  throw new KeyError('key-exists', `cannot make the alias ${quote(alias)}: it is of ${taken.arn.text}`, {
    hint: `choose another, or make the key under another and move this one: secretsfs keys alias ${alias} KEY --replace`,
  });
}

/** undefined: there is none, or it may not be looked at. Then KMS says what there is to say when the alias is made. */
async function described(keys: KmsKeys, alias: string): Promise<KeyFacts | undefined> {
  try {
    return await keys.describe(alias);
  } catch (error) {
    if (error instanceof KeyError && ['key-not-found', 'key-denied'].includes(error.code)) return undefined;
    throw error;
  }
}

/** The key is there, and costs money. */
function halfDone(error: unknown, alias: string, arn: string): unknown {
  if (!(error instanceof SecretsfsError)) return error;
  return new SecretsfsError(error.code, `${error.message}; the key ${quote(arn)} was made and has no alias`, {
    hint: `secretsfs keys alias ${alias} ${arn} gives it one; aws kms schedule-key-deletion --key-id ${arn} removes it`,
    cause: error,
  });
}
