/** What the commands of the group `keys` share: how a key is named, and that AWS's own keys are left alone. */
import { readFile } from 'node:fs/promises';
import type { Argv } from 'yargs';
import type { SettingName } from '../daemon/config.ts';
import { errnoWords, KeyError, quote, UsageError } from '../errors.ts';
import { parseKeySpec } from '../keyring/spec.ts';
import type { KeyFacts } from '../keys/key-facts.ts';
import { KEY_POLICY_BYTES_MAX } from '../keys/key-policy.ts';
import { KmsKeys } from '../keys/kms-keys.ts';
import { parsePolicyText } from '../keys/policy-text.ts';
import { awsAccess } from './bundles.ts';
import { type Context, DRY_RUN, textArg } from './command.ts';
import { readStdin } from './streams.ts';

/** Of AWS, what managing keys needs. */
export const KEY_SETTINGS: readonly SettingName[] = ['profile', 'region', 'roleArn', 'externalId'];

export function openKeys(context: Context): KmsKeys {
  return new KmsKeys(awsAccess(context));
}

export function withKey(yargs: Argv): Argv {
  return yargs.positional('key', {
    type: 'string',
    describe: 'id, ARN or alias of a KMS key',
    demandOption: true,
  });
}

export function withDryRun(yargs: Argv): Argv {
  return yargs.options(DRY_RUN);
}

/** As KMS takes it. Throws UsageError. */
export function keyArg(args: Readonly<Record<string, unknown>>, name = 'key'): string {
  const spec = parseKeySpec(textArg(args, name));
  if (spec.kind === 'kms') return spec.keyId;
  throw new UsageError(`cannot manage ${quote(`local:${spec.path}`)}: a key file is managed as a file`, {
    hint: 'name the id, the ARN or the alias of a KMS key',
  });
}

/** The name of an alias of our own: "web" is "alias/web". Throws UsageError. */
export function aliasName(text: string): string {
  const name = text.startsWith('alias/') ? text : `alias/${text}`;
  const refuse = (why: string, hint: string) =>
    new UsageError(`cannot use the alias ${quote(text)}: ${why}`, { hint });
  if (name.startsWith('alias/aws/'))
    throw refuse('alias/aws/… is for keys of AWS alone', 'choose another name');
  if (/^alias\/[A-Za-z0-9/_-]{1,250}$/.test(name)) return name;
  throw refuse('it is not the name of one', 'a name is 1 to 250 letters, digits, "/", "_" and "-"');
}

/** A key that is the account's to change. `verb` is for the message. Throws KeyError. */
export async function ownKey(keys: KmsKeys, keyId: string, verb: string): Promise<KeyFacts> {
  const facts = await keys.describe(keyId);
  if (!facts.managedByAws) return facts;
  throw new KeyError('key-invalid', `cannot ${verb} ${quote(keyId)}: it is a key of AWS's own`, {
    hint: 'AWS manages it; secretsfs keys create makes one that is yours',
  });
}

/** A policy from a file, or stdin. Throws UsageError. */
export async function policyFrom(file: string, context: Context): Promise<object> {
  if (file === '-')
    return parsePolicyText(await readStdin(context, KEY_POLICY_BYTES_MAX, 'a policy'), 'stdin');
  const bytes = await readFile(file).catch((error: unknown) => {
    throw new UsageError(`cannot read the policy ${quote(file)}: ${errnoWords(error)}`, {
      hint: 'check its path',
    });
  });
  return parsePolicyText(bytes, file);
}
