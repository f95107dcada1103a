/** A directory into a store, and only what changed. */
import { stat } from 'node:fs/promises';
import { parseContext } from '../bundle/name.ts';
import { OutputError, quote, UsageError } from '../errors.ts';
import { openWrapping } from '../keyring/keyring.ts';
import { FactsCache } from '../secrets/facts-cache.ts';
import { parsePath } from '../secrets/location.ts';
import { readSecretHeader, type SealSecretOptions, sealSecret } from '../secrets/secret.ts';
import type { SecretStore } from '../secrets/store.ts';
import { SYNC_KEY, type SyncResult, sync as syncFiles } from '../secrets/sync.ts';
import { awsAccess } from './bundles.ts';
import { type Command, DRY_RUN, isDryRun, textArg } from './command.ts';
import { onInterrupt } from './interrupt.ts';
import { readTree, wipeEntries } from './read-tree.ts';
import { createOpener, SECRET_SETTINGS } from './secrets.ts';
import { openStore, STORE_WRITING_SETTINGS } from './stores.ts';
import { plural, type Ui } from './ui.ts';

export const sync: Command = {
  usage: 'sync <dir> <prefix>',
  settings: [...new Set([...STORE_WRITING_SETTINGS, ...SECRET_SETTINGS])],
  build: (yargs) =>
    yargs
      .positional('dir', { type: 'string', describe: 'directory', demandOption: true })
      .positional('prefix', { type: 'string', describe: 'where in the store', demandOption: true })
      .option('delete', {
        type: 'boolean',
        default: false,
        describe: 'remove below the prefix what is not in the directory',
      })
      .option('force', {
        type: 'boolean',
        default: false,
        describe: 'with --delete: also where the directory is empty',
      })
      .options(DRY_RUN),
  async run(args, context) {
    const { settings, ui, json, env } = context;
    const dir = textArg(args, 'dir');
    const prefix = prefixOf(textArg(args, 'prefix'));
    const { key = [] } = settings;
    if (key.length === 0) {
      throw new UsageError('no key given', {
        hint: '--key alias/NAME or an ARN of KMS, or --key local:PATH; KMS_KEY_ID in the environment',
      });
    }
    const dryRun = isDryRun(args);
    const aws = awsAccess(context);
    const store = openStore(context, aws);
    const { keyring } = await openWrapping(key, aws);
    const entries = await ui.progress(`reading ${dir}`, () => readDirectory(dir));
    const interrupt = onInterrupt();
    try {
      const files = entries.filter((entry) => entry.kind === 'file');
      if (files.length === 0 && args['delete'] === true && args['force'] !== true)
        throw deletesAll(dir, prefix);
      for (const { path } of files) checkName(dir, path, (at) => store.locate(`${prefix}/${at}`));
      for (const { path, kind } of entries)
        if (kind === 'symlink') ui.warn(`left out: ${quote(`${dir}/${path}`)} is a symlink`);
      const facts = await FactsCache.open(env, store.location);
      const result = await ui.progress(`comparing ${plural(files.length, 'file')}`, (report) =>
        syncFiles(files, {
          ...{ store, prefix, keyring, dryRun, signal: interrupt.signal },
          context: parseContext(settings.context ?? []),
          remove: args['delete'] === true,
          open: async (path) => {
            // Of all that may be opened, only what nobody but those who may use these keys can have sealed.
            const acceptKey = settings.acceptKey ?? (await readerNames(key, keyring, store));
            const opener = await createOpener({ settings: { ...settings, acceptKey } }, store, aws);
            return opener.open(path);
          },
          onWritten: (...written) => facts.add(...written),
          now: () => new Date(),
          onDone: (done, total) => report(done / total),
        }).finally(() => facts.save()),
      );
      if (json) ui.printJson({ location: store.locate(prefix), dryRun, ...result });
      else printResult(result, dryRun, ui);
      if (result.left > 0) throw interrupted(result.left);
    } finally {
      interrupt.end();
      wipeEntries(entries);
    }
  },
};

function printResult(result: SyncResult, dryRun: boolean, ui: Ui): void {
  const { added, changed, removed, extra, unchanged } = result;
  for (const path of added) ui.print(`+ ${path}`);
  for (const path of changed) ui.print(`~ ${path}`);
  for (const path of removed) ui.print(`- ${path}`);
  const would = dryRun ? 'would be ' : '';
  const left = extra.length > 0 ? `; ${extra.length} not in the directory: --delete removes them` : '';
  ui.print(
    `${would}added ${added.length}, ${would}changed ${changed.length}, ${would}removed ${removed.length}, unchanged ${unchanged}${left}`,
  );
}

function interrupted(left: number): OutputError {
  return new OutputError(
    'output-failed',
    `interrupted: ${left} ${left === 1 ? 'is' : 'are'} not done yet, written or removed`,
    {
      hint: 'the same command again goes on with what is left',
    },
  );
}

function prefixOf(text: string): string {
  const prefix = text.replace(/\/+$/, '');
  if (prefix !== '') return parsePath(prefix);
  throw new UsageError(`cannot use the prefix ${quote(text)}: it is empty`, {
    hint: 'sync needs a prefix, such as prod: it makes all below it the same as the directory',
  });
}

function deletesAll(dir: string, prefix: string): UsageError {
  return new UsageError(
    `cannot sync ${quote(dir)}: it has no files, and --delete would remove all below ${quote(prefix)}`,
    { hint: 'look whether it is the directory that you mean; --force if it is' },
  );
}

async function readDirectory(dir: string): ReturnType<typeof readTree> {
  const found = await stat(dir).catch(() => undefined);
  if (found?.isFile()) {
    throw new UsageError(`cannot sync ${quote(dir)}: it is a file`, {
      hint: 'secretsfs upload FILE PATH takes one',
    });
  }
  return readTree(dir);
}

/** The keys that `keyring` wraps with, as --accept-key takes them: an alias or an id is looked up by sealing something. */
async function readerNames(
  keys: readonly string[],
  keyring: SealSecretOptions['keyring'],
  store: SecretStore,
): Promise<string[]> {
  const location = `${store.location}/.secretsfs/sync`;
  const sealed = await sealSecret(Buffer.alloc(1), { keyring, location, created: new Date() });
  const names = readSecretHeader(sealed).encryptedDataKeys.map(({ keyName }) => keyName);
  return keys.map((key, i) => (key.startsWith('local:') ? key : (names[i] ?? key)));
}

/** Before anything is written: throws UsageError for a name that no secret may have. */
function checkName(dir: string, path: string, locate: (path: string) => string): void {
  locate(path);
  if (path !== SYNC_KEY) return;
  throw new UsageError(`cannot sync ${quote(`${dir}/${path}`)}: the key of sync itself has that name`, {
    hint: 'rename it',
  });
}
