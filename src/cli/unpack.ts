import { lstat } from 'node:fs/promises';
import { readArchive } from '../bundle/archive.ts';
import { OutputError, quote } from '../errors.ts';
import { MOUNT_FILES_MAX, TAR_BYTES_MAX } from '../limits.ts';
import { checkWritable, type WriteOptions, writeFileAtomically } from '../source/output.ts';
import { OPENING_SETTINGS } from './bundles.ts';
import { checkTree } from './check-tree.ts';
import { type Command, DRY_RUN, isDryRun, textArg } from './command.ts';
import { factsOf, openPack, wordsOf } from './packs.ts';
import { refuseTerminal, writeStdout } from './streams.ts';
import { writeTree } from './write-tree.ts';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export const unpack: Command = {
  usage: 'unpack <bundle> <out>',
  settings: [...OPENING_SETTINGS, 'formats', 'preserve'],
  build: (yargs) =>
    yargs
      .positional('bundle', { type: 'string', describe: 'path, s3://bucket/key or -', demandOption: true })
      .positional('out', {
        type: 'string',
        describe: 'OUT.tar, - for stdout, or a directory',
        demandOption: true,
      })
      .option('force', { type: 'boolean', default: false, describe: 'replace files that exist' })
      .options(DRY_RUN),
  async run(args, context) {
    const out = textArg(args, 'out');
    const [force, dryRun] = [args['force'] === true, isDryRun(args)];
    const asDirectory = out.endsWith('/') || (out !== '-' && (await isDirectory(out)));
    if (out === '-') refuseTerminal(context, 'a tar');
    const opened = await openPack(context);
    const { plaintext } = opened;
    // From here on a Ctrl-C must not leave half of the plaintext on a disk.
    const interrupt = new AbortController();
    const onSignal = () => {
      const message = 'cannot unpack: it was interrupted; nothing of it was kept';
      interrupt.abort(new OutputError('output-failed', message, { hint: 'run the command again' }));
    };
    if (out !== '-') for (const signal of SIGNALS) process.on(signal, onSignal);
    try {
      if (asDirectory) {
        const entries = await readArchive(plaintext, { filesMax: MOUNT_FILES_MAX, bytesMax: TAR_BYTES_MAX });
        const preserve = context.settings.preserve === true;
        if (dryRun) await checkTree(out, entries, { force });
        else await writeTree(out, entries, { force, preserve, signal: interrupt.signal });
      } else if (out === '-') {
        if (!dryRun) await writeStdout(context, plaintext);
      } else {
        if (!force && (await lstat(out).catch(() => undefined)) !== undefined) {
          throw new OutputError('output-exists', `cannot unpack: ${quote(out)} exists`, {
            hint: '--force replaces it',
          });
        }
        // Plaintext goes where it was sent and nowhere else.
        const options: WriteOptions = {
          ...{ mode: 0o600, expected: force ? undefined : 'absent', links: 'replace' },
        };
        await (dryRun ? checkWritable(out, options) : writeFileAtomically(out, plaintext, options));
      }
    } finally {
      plaintext.fill(0);
      for (const signal of SIGNALS) process.removeListener(signal, onSignal);
    }
    if (out === '-' && !dryRun) return;
    if (context.json) {
      const { name, serial, format, era, key } = factsOf(opened);
      context.ui.printJson({ name, serial, format, era, key, out, dryRun });
    } else
      context.ui.print(
        `${dryRun ? 'would have ' : ''}unpacked ${wordsOf(opened)}, to the ${asDirectory ? 'directory' : 'tar'} ${out}`,
      );
  },
};

async function isDirectory(out: string): Promise<boolean> {
  try {
    return (await lstat(`${out}/.`)).isDirectory();
  } catch {
    return false;
  }
}
