import { SecretsfsError } from '../errors.ts';
import type { KeyFacts } from '../keys/key-facts.ts';
import type { KmsKeys } from '../keys/kms-keys.ts';
import type { Command } from './command.ts';
import { KEY_SETTINGS, keyArg, openKeys, withKey } from './key-access.ts';

export const keysShow: Command = {
  usage: 'keys show <key>',
  settings: KEY_SETTINGS,
  build: withKey,
  async run(args, context) {
    const keys = openKeys(context);
    const facts = await keys.describe(keyArg(args));
    const { arn } = facts;
    const [aliases, rotation, grants, lastUse] = await Promise.all([
      asked(keys.aliases({ key: arn })),
      asked(rotationOf(keys, facts)),
      asked(keys.grants(arn)),
      asked(keys.lastUse(arn)),
    ]);
    const { state, description, created, managedByAws, spec, origin, replicas, deletionDate } = facts;
    if (context.json) {
      const names = aliases.value?.map(({ name }) => name) ?? null;
      return context.ui.printJson({
        ...{ arn: arn.text, aliases: names, state, description, created: created ?? null, managedByAws },
        ...{ spec, origin, replicas, deletionDate: deletionDate ?? null, rotation: rotation.value ?? null },
        ...{ grants: grants.value ?? null, lastUse: lastUse.value ?? null },
      });
    }
    const rows = [
      ['key', arn.text],
      ['alias', aliases.said((all) => all.map(({ name }) => name).join(', ') || 'none')],
      ['state', deletionDate === undefined ? state : `${state}: it will be deleted at ${deletionDate}`],
      ['description', description || 'none'],
      ['created', `${created ?? 'unknown'}${managedByAws ? ' by AWS' : ''}`],
      ['kind', `${spec}, ${origin}`],
      ...replicas.map((replica, i) => [i === 0 ? 'primary' : 'replica', replica]),
      ['rotation', rotation.said(wordsOf)],
      [
        'last use',
        lastUse.said((use) => (use === undefined ? 'none that KMS knows of' : `${use.at}, ${use.operation}`)),
      ],
      [
        'grants',
        grants.said((all) => all.map(({ GranteePrincipal }) => GranteePrincipal).join(', ') || 'none'),
      ],
    ];
    context.ui.printTable(rows);
  },
};

interface Asked<T> {
  readonly value: T | undefined;
  said(words: (value: T) => string): string;
}

/** What one permission, or one older endpoint, lacks must not hide the rest. */
async function asked<T>(work: Promise<T>): Promise<Asked<T>> {
  try {
    const value = await work;
    return { value, said: (words) => words(value) };
  } catch (error) {
    if (!(error instanceof SecretsfsError)) throw error;
    return { value: undefined, said: () => `unknown (${error.code})` };
  }
}

async function rotationOf(keys: KmsKeys, { arn, spec }: KeyFacts) {
  return spec === 'SYMMETRIC_DEFAULT' ? keys.rotation(arn) : undefined;
}

function wordsOf(rotation: Awaited<ReturnType<typeof rotationOf>>): string {
  if (rotation === undefined) return 'keys of this kind do not rotate';
  if (!rotation.enabled) return 'never';
  const { everyDays, next } = rotation;
  return `every ${everyDays ?? 365} days${next === undefined ? '' : `, next ${next}`}`;
}
