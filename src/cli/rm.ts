/** Removes what patterns match. All of it is looked at before the first goes: a slip in one name removes nothing. */
import { OutputError, quote } from '../errors.ts';
import { mapConcurrently } from '../secrets/concurrent.ts';
import { parsePath } from '../secrets/location.ts';
import { isOnePath, splitAtCommas } from '../secrets/patterns.ts';
import { planRemoval, type Removal, remove } from '../secrets/removal.ts';
import { targetsOf } from '../secrets/rotation-pair.ts';
import { selectObjects } from '../secrets/select.ts';
import type { SecretStore, StoredObject } from '../secrets/store.ts';
import { awsAccess } from './bundles.ts';
import { type Command, DRY_RUN, isDryRun, listArg } from './command.ts';
import { onInterrupt } from './interrupt.ts';
import { openStore, STORE_SETTINGS } from './stores.ts';
import { plural } from './ui.ts';

const AT_ONCE = 32;

export const rm: Command = {
  usage: 'rm <pattern..>',
  settings: STORE_SETTINGS,
  build: (yargs) =>
    yargs
      .positional('pattern', {
        type: 'string',
        demandOption: true,
        describe: 'paths, also with *, ** and ?, comma lists; DIR/ is all below it',
      })
      .options(DRY_RUN)
      .option('purge-versions', {
        type: 'boolean',
        default: false,
        describe: 'remove older versions that the bucket keeps, too, for good',
      }),
  async run(args, context) {
    const { ui, json } = context;
    const store = openStore(context, awsAccess(context));
    const purge = args['purgeVersions'] === true;
    const isDry = isDryRun(args);
    const secrets = await secretsOf(store, listArg(args, 'pattern').flatMap(splitAtCommas));
    const seen = new Set<string>();
    const isFirst = ({ path }: Removal) => !seen.has(path) && seen.add(path);
    const planned = await ui.progress(`looking at ${plural(secrets.length, 'secret')}`, () =>
      mapConcurrently(secrets, AT_ONCE, async (paths) => {
        const plans = paths.map((path) => planRemoval(store, path, { purge }));
        return (await Promise.all(plans)).flat();
      }),
    );
    const removals = planned.map((each) => each.filter(isFirst));
    const all = removals.flat();
    const done = new Set<Removal>();
    const interrupt = onInterrupt();
    try {
      await mapConcurrently(removals, AT_ONCE, async (halves) => {
        for (const removal of halves) {
          if (interrupt.signal.aborted) return;
          await (isDry ? store.check(removal.path, 'remove') : remove(store, removal));
          done.add(removal);
        }
      });
    } finally {
      interrupt.end();
      if (!json) for (const removal of all) if (done.has(removal)) ui.print(lineOf(removal, isDry));
    }
    if (json) ui.printJson({ dryRun: isDry, removed: all.filter((each) => done.has(each)).map(asJson) });
    if (done.size < all.length) throw interrupted(all.length - done.size, all.length);
  },
};

/**
 * The objects of each secret, in the order in which they have to go. Throws UsageError, and SourceError for a pattern that
 * matches nothing.
 */
async function secretsOf(store: SecretStore, patterns: readonly string[]): Promise<string[][]> {
  const secrets: string[][] = [];
  for (const pattern of patterns) {
    // What is no object now may still have versions, or be two of kms-secrets: planRemoval() knows.
    if (isOnePath(pattern)) secrets.push([parsePath(pattern)]);
    else {
      const objects: StoredObject[] = [];
      for await (const object of selectObjects(store, [pattern])) objects.push(object);
      secrets.push(...inTheirOrder(objects));
    }
  }
  return secrets;
}

/** Of the two that a secret of kms-secrets was, the key goes last: without it the other is nothing. */
function inTheirOrder(objects: readonly StoredObject[]): string[][] {
  const targets = targetsOf(objects);
  const pairs = targets.flatMap(({ halves }) =>
    halves === undefined ? [] : [[halves[1].path, halves[0].path]],
  );
  const halves = new Set(pairs.flat());
  return [...pairs, ...objects.flatMap(({ path }) => (halves.has(path) ? [] : [[path]]))].sort(byFirst);
}

function byFirst([a = '']: readonly string[], [b = '']: readonly string[]): number {
  return a < b ? -1 : 1;
}

function interrupted(left: number, total: number): OutputError {
  return new OutputError(
    'output-failed',
    `interrupted: ${left} of ${plural(total, 'object')} are still there`,
    {
      hint: 'the same command again goes on with what is left',
    },
  );
}

function asJson({ path, etag, isKept, purged }: Removal): object {
  return { path, etag: etag ?? null, kept: isKept, purged: purged.map(({ version }) => version) };
}

function lineOf({ path, isKept, purged }: Removal, isDry: boolean): string {
  const done = `${isDry ? 'would remove' : 'removed'} ${quote(path)}`;
  if (purged.length > 0) return `${done}, ${plural(purged.length, 'version')} for good`;
  return isKept ? `${done}; its versions are kept, and --purge-versions removes them for good` : done;
}
