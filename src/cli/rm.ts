import { quote } from '../errors.ts';
import { parsePath } from '../secrets/location.ts';
import { planRemoval, type Removal, remove } from '../secrets/removal.ts';
import { awsAccess } from './bundles.ts';
import { type Command, DRY_RUN, isDryRun, listArg } from './command.ts';
import { openStore, STORE_SETTINGS } from './stores.ts';
import { plural } from './ui.ts';

export const rm: Command = {
  usage: 'rm <path..>',
  settings: STORE_SETTINGS,
  build: (yargs) =>
    yargs
      .positional('path', { type: 'string', demandOption: true, describe: 'paths of secrets; no patterns' })
      .options(DRY_RUN)
      .option('purge-versions', {
        type: 'boolean',
        default: false,
        describe: 'remove older versions that the bucket keeps, too, for good',
      }),
  async run(args, context) {
    const { ui } = context;
    const store = openStore(context, awsAccess(context));
    const paths = [...new Set(listArg(args, 'path').map(parsePath))];
    const purge = args['purgeVersions'] === true;
    const isDry = isDryRun(args);
    // All of them are looked at before the first goes: a slip in one name removes nothing.
    const removals: Removal[] = [];
    for (const path of paths) removals.push(...(await planRemoval(store, path, { purge })));
    for (const removal of removals) {
      if (!isDry) await remove(store, removal);
      if (!context.json) ui.print(lineOf(removal, isDry));
    }
    if (context.json) ui.printJson({ dryRun: isDry, removed: removals.map(asJson) });
  },
};

function asJson({ path, etag, isKept, purged }: Removal): object {
  return { path, etag: etag ?? null, kept: isKept, purged: purged.map(({ version }) => version) };
}

function lineOf({ path, isKept, purged }: Removal, isDry: boolean): string {
  const done = `${isDry ? 'would remove' : 'removed'} ${quote(path)}`;
  if (purged.length > 0) return `${done}, ${plural(purged.length, 'version')} for good`;
  return isKept ? `${done}; its versions are kept, and --purge-versions removes them for good` : done;
}
