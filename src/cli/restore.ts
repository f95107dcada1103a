import { OutputError, quote, SourceError, shellQuote } from '../errors.ts';
import { parsePath } from '../secrets/location.ts';
import { awsAccess } from './bundles.ts';
import { type Command, DRY_RUN, isDryRun, textArg } from './command.ts';
import { openStore, STORE_WRITING_SETTINGS } from './stores.ts';

/**
 * Puts the bytes of an older version on top, as they are: they are bound to this very place, so they open as they did, under
 * the key that they were under. No key is needed, and whoever may do this could do the same with any client of S3.
 */
export const restore: Command = {
  usage: 'restore <path>',
  settings: STORE_WRITING_SETTINGS,
  build: (yargs) =>
    yargs
      .positional('path', { type: 'string', demandOption: true, describe: 'path of a secret' })
      .option('version', {
        type: 'string',
        requiresArg: true,
        demandOption: true,
        describe: 'the version to bring back, as secretsfs history shows it',
      })
      .options(DRY_RUN),
  async run(args, context) {
    const { ui } = context;
    const store = openStore(context, awsAccess(context));
    const path = parsePath(textArg(args, 'path'));
    const version = textArg(args, 'version');
    const older = await store.read(path, { version });
    if (older === undefined) {
      throw new SourceError(
        'source-not-found',
        `cannot restore ${quote(path)}: it has no version ${quote(version)} to read`,
        {
          hint: `secretsfs history ${shellQuote(path)} shows its versions; one that is marked deleted holds nothing`,
        },
      );
    }
    const now = await store.read(path, { headBytes: 1 });
    if (now?.version === version || now?.etag === older.etag) {
      throw new OutputError('output-exists', `cannot restore ${quote(path)}: that is what is there`, {
        hint: `secretsfs history ${shellQuote(path)} shows what was before`,
      });
    }
    const isDry = isDryRun(args);
    if (isDry) await store.check(path, 'write');
    const written = isDry
      ? undefined
      : await store.write(path, older.bytes, now === undefined ? 'absent' : { etag: now.etag });
    if (context.json) {
      const { etag = null, version: as = null } = written ?? {};
      ui.printJson({ dryRun: isDry, path, from: version, replaced: now?.version ?? null, etag, version: as });
    } else ui.print(`${isDry ? 'would restore' : 'restored'} ${quote(path)} from version ${version}`);
  },
};
