import { KeyError } from '../errors.ts';
import { parseKeyArn } from '../keyring/spec.ts';
import type { Alias, KeyFacts } from '../keys/key-facts.ts';
import type { KmsKeys } from '../keys/kms-keys.ts';
import { mapConcurrently } from '../secrets/concurrent.ts';
import type { Command } from './command.ts';
import { KEY_SETTINGS, openKeys } from './key-access.ts';

/** DescribeKey and GetKeyRotationStatus of one key each; KMS takes 1,000 of them a second. */
const AT_ONCE = 16;

interface Listed {
  readonly arn: string;
  readonly aliases: readonly string[];
  /** undefined: not allowed to look. */
  readonly facts: KeyFacts | undefined;
  /** undefined: not allowed, or it can't rotate. */
  readonly rotates: boolean | undefined;
}

export const keysLs: Command = {
  usage: 'keys ls',
  settings: KEY_SETTINGS,
  build: (yargs) =>
    yargs.option('all', {
      type: 'boolean',
      default: false,
      describe: "keys of AWS's own, too (alias/aws/…)",
    }),
  async run(args, context) {
    const keys = openKeys(context);
    const listed = await context.ui.progress('looking at keys', () => listKeys(keys));
    const shown = listed.filter(({ facts }) => args['all'] === true || facts?.managedByAws !== true);
    if (context.json) return context.ui.printJson(shown.map(asJson));
    if (shown.length === 0) {
      context.ui.warn(
        `no key in ${await keys.region()}: secretsfs keys create makes one, --region looks elsewhere`,
      );
      return;
    }
    const rows = shown.map(({ arn, aliases, facts, rotates }) => [
      aliases.join(',') || '-',
      arn,
      facts === undefined ? 'not allowed' : facts.state,
      rotates === undefined ? '-' : rotates ? 'rotates' : 'never',
      facts?.created?.slice(0, 10) ?? '-',
      facts?.description ?? '',
    ]);
    context.ui.printTable([['alias', 'key', 'state', 'rotation', 'created', 'description'], ...rows]);
  },
};

async function listKeys(keys: KmsKeys): Promise<Listed[]> {
  const [arns, aliases] = await Promise.all([keys.list(), keys.aliases()]);
  const listed = await mapConcurrently(arns, AT_ONCE, (arn) => look(keys, arn, aliases));
  const order = ({ aliases: [first], arn }: Listed) => `${first === undefined ? 1 : 0} ${first ?? arn}`;
  return listed.sort((a, b) => (order(a) < order(b) ? -1 : 1));
}

async function look(keys: KmsKeys, arn: string, aliases: readonly Alias[]): Promise<Listed> {
  const id = parseKeyArn(arn)?.id;
  const own = aliases.filter(({ keyId }) => keyId === id).map(({ name }) => name);
  const facts = await unlessDenied(keys.describe(arn));
  const canRotate =
    facts?.spec === 'SYMMETRIC_DEFAULT' && facts.origin === 'AWS_KMS' && facts.state === 'Enabled';
  const rotation = canRotate ? await unlessDenied(keys.rotation(facts.arn)) : undefined;
  return { arn, aliases: own, facts, rotates: rotation?.enabled };
}

/** undefined for what may not be looked at: the list of the others is wanted all the same. */
async function unlessDenied<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof KeyError && error.code === 'key-denied') return undefined;
    throw error;
  }
}

function asJson({ arn, aliases, facts, rotates }: Listed) {
  const { state, description, created, managedByAws, replicas, deletionDate } = facts ?? {};
  return {
    ...{ arn, aliases, seen: facts !== undefined, state: state ?? null, description: description ?? null },
    ...{ created: created ?? null, managedByAws: managedByAws ?? null, replicas: replicas ?? null },
    ...{ rotates: rotates ?? null, deletionDate: deletionDate ?? null },
  };
}
