import { isUnused, type OtherKey, type Usage, type Use } from '../keys/usage.ts';
import type { Command, Context } from './command.ts';
import { keyArg, openKeys, withKey } from './key-access.ts';
import { lookForUses, USAGE_SETTINGS, withPlaces } from './key-usage.ts';
import { plural } from './ui.ts';

export const keysUsage: Command = {
  usage: 'keys usage <key>',
  settings: USAGE_SETTINGS,
  lists: ['in'],
  build: (yargs) => withPlaces(withKey(yargs)),
  async run(args, context) {
    const key = await openKeys(context).describe(keyArg(args));
    const usage = await lookForUses(key, args, context);
    const { uses, unseen, looked } = usage;
    const facts = { key: key.arn.text, unused: isUnused(usage), looked, uses, unseen };
    if (context.json) context.ui.printJson(facts);
    else printUsage(key.arn.text, usage, context);
  },
};

function printUsage(key: string, { uses, unseen, looked }: Usage, { ui }: Context): void {
  if (uses.length > 0) {
    const rows = uses.map((use) => [
      placeOf(use),
      use.what,
      use.name ?? '-',
      use.current ? 'current' : 'older',
      alsoOf(use),
    ]);
    ui.printTable([['place', 'what', 'name', 'version', 'opens with'], ...rows]);
  }
  for (const { why, hint } of unseen) ui.print(`not seen: ${why}${hint === null ? '' : `; ${hint}`}`);
  const sole = uses.filter(({ only }) => only === true).length;
  ui.print(
    [
      `${plural(looked, 'object')} and versions looked at: ${uses.length === 0 ? 'nothing' : plural(uses.length, 'use')} of ${key}`,
      ...(sole === 0 ? [] : [`${sole} that nothing else can open`]),
      ...(unseen.length === 0 ? [] : [`${unseen.length} not seen`]),
    ].join(', '),
  );
}

function placeOf({ location, version }: Use): string {
  return version === null ? location : `${location}?versionId=${version}`;
}

function alsoOf({ what, others, only }: Use): string {
  if (what === 'grant') return 'who has the grant uses the key';
  if (what === 'bucket') return 'what is uploaded from now on';
  const also = others.map(({ key, state }: OtherKey) => `${key} (${state})`).join(', ');
  if (only === true) return also === '' ? 'this key alone' : `this key alone; gone: ${also}`;
  return also;
}
