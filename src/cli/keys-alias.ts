import { KeyError, quote, UsageError } from '../errors.ts';
import type { Alias } from '../keys/key-facts.ts';
import type { KmsKeys } from '../keys/kms-keys.ts';
import { type Command, isDryRun, textArg } from './command.ts';
import { aliasName, KEY_SETTINGS, keyArg, openKeys, ownKey, withDryRun } from './key-access.ts';

export const keysAlias: Command = {
  usage: 'keys alias <alias> [key]',
  settings: KEY_SETTINGS,
  build: (yargs) =>
    withDryRun(yargs)
      .positional('alias', { type: 'string', describe: 'web, or alias/web', demandOption: true })
      .positional('key', { type: 'string', describe: 'id, ARN or alias of the key that it is to stand for' })
      .option('replace', {
        type: 'boolean',
        default: false,
        describe: 'move an alias that stands for another key',
      })
      .option('remove', { type: 'boolean', default: false, describe: 'remove the alias; the key stays' }),
  async run(args, context) {
    const keys = openKeys(context);
    const alias = aliasName(textArg(args, 'alias'));
    const remove = args['remove'] === true;
    if (remove === (args['key'] !== undefined)) {
      throw new UsageError(remove ? 'cannot both remove an alias and set it' : 'no KEY given', {
        hint: `secretsfs keys alias ${alias} KEY, or secretsfs keys alias ${alias} --remove`,
      });
    }
    const dryRun = isDryRun(args);
    const target = remove ? undefined : (await ownKey(keys, keyArg(args), 'give an alias to')).arn;
    const region = target?.region ?? (await keys.region());
    const before = await keyOf(keys, alias, region);
    if (remove && before === undefined) throw noSuchAlias(alias, region);
    if (before !== undefined && target !== undefined && before !== target.text && args['replace'] !== true) {
      throw new KeyError('key-exists', `cannot make the alias ${quote(alias)}: it is of ${before}`, {
        hint: '--replace moves it; what was sealed under the other key still needs that one',
      });
    }
    if (!dryRun && target === undefined) await keys.removeAlias(alias, region);
    else if (!dryRun && target !== undefined && before !== target.text)
      await keys.setAlias(alias, target, before !== undefined);
    if (context.json) {
      context.ui.printJson({ dryRun, alias, key: target?.text ?? null, before: before ?? null });
      return;
    }
    const would = dryRun ? 'would be ' : '';
    if (target === undefined) context.ui.print(`${alias} of ${before} ${would || 'was '}removed`);
    else if (before === target.text) context.ui.print(`${alias} is of ${target.text} already`);
    else
      context.ui.print(
        `${alias} ${would || 'is now '}of ${target.text}${before === undefined ? '' : `, no longer of ${before}`}`,
      );
  },
};

/** The ARN that an alias stands for, or undefined where there is none of that name. */
async function keyOf(keys: KmsKeys, alias: string, region: string): Promise<string | undefined> {
  const all: Alias[] = await keys.aliases({ region });
  const found = all.find(({ name }) => name === alias);
  if (found?.keyId === undefined) return undefined;
  return found.arn.replace(alias, `key/${found.keyId}`);
}

function noSuchAlias(alias: string, region: string): KeyError {
  return new KeyError(
    'key-not-found',
    `cannot remove the alias ${quote(alias)}: there is none in ${region}`,
    {
      hint: 'secretsfs keys ls shows those of a region; --region looks elsewhere',
    },
  );
}
