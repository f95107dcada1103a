/** A secret's content to a file that only its owner may read, or to stdout. */
import { lstat } from 'node:fs/promises';
import { OutputError, quote } from '../errors.ts';
import { parsePath } from '../secrets/location.ts';
import { checkWritable, type WriteOptions, writeFileAtomically } from '../source/output.ts';
import { awsAccess } from './bundles.ts';
import { type Command, DRY_RUN, isDryRun, optionalTextArg, textArg } from './command.ts';
import { createOpener, SECRET_SETTINGS } from './secrets.ts';
import { openStore } from './stores.ts';
import { refuseTerminal, writeStdout } from './streams.ts';
import { formatBytes } from './ui.ts';

export const download: Command = {
  usage: 'download <path> <file>',
  settings: SECRET_SETTINGS,
  build: (yargs) =>
    yargs
      .positional('path', { type: 'string', describe: 'path of the secret in the store', demandOption: true })
      .positional('file', { type: 'string', describe: 'file, - for stdout', demandOption: true })
      .option('version', { type: 'string', requiresArg: true, describe: 'an older version, of: history' })
      .option('sealed-for', {
        type: 'string',
        requiresArg: true,
        describe: 'the full place it was sealed for, where you copied it from there yourself',
      })
      .option('force', { type: 'boolean', default: false, describe: 'replace a file that exists' })
      .options(DRY_RUN),
  async run(args, context) {
    const path = parsePath(textArg(args, 'path'));
    const file = textArg(args, 'file');
    const [force, dryRun] = [args['force'] === true, isDryRun(args)];
    if (file === '-') refuseTerminal(context, 'a secret');
    // Before anything of it is opened, or written anywhere.
    else {
      const found = await lstat(file).catch(() => undefined);
      if (found?.isDirectory()) throw isDirectory(file, path);
      if (!force && found !== undefined) throw fileExists(file);
    }
    const aws = awsAccess(context);
    const store = openStore(context, aws);
    const opener = await createOpener(context, store, aws);
    const { plaintext, format, keys, header, stored } = await context.ui.progress(`reading ${path}`, () =>
      opener.open(path, {
        version: optionalTextArg(args, 'version'),
        sealedFor: optionalTextArg(args, 'sealedFor'),
      }),
    );
    try {
      if (file !== '-') await writePrivately(file, dryRun ? undefined : plaintext, force);
      else if (!dryRun) await writeStdout(context, plaintext);
    } finally {
      plaintext.fill(0);
    }
    if (file === '-' && !dryRun) return;
    const { etag, version } = stored;
    const bytes = plaintext.length;
    const facts = { path, file, bytes, format, keys, etag, version, created: header?.created, dryRun };
    if (context.json) context.ui.printJson(facts);
    else
      context.ui.print(
        `${dryRun ? 'would have ' : ''}downloaded ${quote(path)}, ${formatBytes(bytes)}, to ${file}`,
      );
  },
};

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Without `plaintext` it is only looked whether it could be. */
async function writePrivately(file: string, plaintext: Buffer | undefined, force: boolean): Promise<void> {
  const options: WriteOptions = {
    mode: 0o600,
    expected: force ? undefined : 'absent',
    // Plaintext goes where it was sent and nowhere else.
    links: 'replace',
  };
  // A Ctrl-C must not leave plaintext under a name that nobody knows: what was begun is finished.
  const later = () => undefined;
  for (const signal of SIGNALS) process.on(signal, later);
  try {
    if (plaintext === undefined) await checkWritable(file, options);
    else await writeFileAtomically(file, plaintext, options);
  } catch (error) {
    if (force || !(error instanceof OutputError) || error.code !== 'output-changed') throw error;
    throw fileExists(file, error);
  } finally {
    for (const signal of SIGNALS) process.removeListener(signal, later);
  }
}

function isDirectory(file: string, path: string): OutputError {
  const name = path.slice(path.lastIndexOf('/') + 1);
  return new OutputError('output-exists', `cannot download: ${quote(file)} is a directory`, {
    hint: `name the file: ${file.replace(/\/+$/, '')}/${name}`,
  });
}

function fileExists(file: string, cause?: OutputError): OutputError {
  return new OutputError('output-exists', `cannot download: ${quote(file)} exists`, {
    hint: '--force replaces it',
    cause,
  });
}
