import { lintArchive, listArchive, writeArchive } from '../bundle/archive.ts';
import { parseContext, validateName } from '../bundle/name.ts';
import { seal } from '../bundle/seal.ts';
import { quote, SourceError, UsageError } from '../errors.ts';
import { openWrapping } from '../keyring/keyring.ts';
import { TAR_BYTES_MAX } from '../limits.ts';
import { FileSource } from '../source/file.ts';
import { avoidDumps } from '../system/dumps.ts';
import { awsAccess } from './bundles.ts';
import { type Command, type Context, optionalTextArg, textArg } from './command.ts';
import { AWS_SETTINGS, mountLimits } from './mount-settings.ts';
import { nameFromLocation } from './names.ts';
import { lookAtOutput } from './outputs.ts';
import { readTree, wipeEntries } from './read-tree.ts';
import { chosenSerial, nextSerial } from './serials.ts';
import { readStdin } from './streams.ts';
import { formatBytes, plural } from './ui.ts';

export const pack: Command = {
  usage: 'pack <out>',
  settings: ['name', 'key', 'context', 'maxBytes', 'maxFiles', ...AWS_SETTINGS],
  build: (yargs) =>
    yargs
      .positional('out', { type: 'string', describe: 'path, s3://bucket/key or -', demandOption: true })
      .option('dir', { type: 'string', requiresArg: true, describe: 'directory to pack' })
      .option('tar', { type: 'string', requiresArg: true, describe: 'tar to pack unchanged, - for stdin' })
      .option('serial', {
        type: 'string',
        requiresArg: true,
        describe: 'serial [default: the time in ms, or one more than the bundle it replaces]',
      })
      .option('force', {
        type: 'boolean',
        default: false,
        describe: 'replace what is not a bundle of this name',
      }),
  async run(args, context) {
    const { settings, ui } = context;
    const out = textArg(args, 'out');
    const keys = settings.key;
    if (keys === undefined || keys.length === 0) {
      throw new UsageError('no key given', {
        hint: '--key alias/NAME or an ARN of KMS, or --key local:PATH',
      });
    }
    const name = bundleName(settings.name, out);
    const userContext = parseContext(settings.context ?? []);
    const nowMs = Date.now();
    const chosen = chosenSerial('pack', optionalTextArg(args, 'serial'), nowMs);
    const force = args['force'] === true;
    const aws = awsAccess(context);
    const output = await lookAtOutput(context, out, { name, aws, force });
    const replaced = output.replaces?.serial ?? 0;
    const serial = nextSerial({ verb: 'pack', out, chosen, nowMs, replaced, force });
    await avoidDumps();
    const tar = await readInput(args, context);
    let sealed: Buffer;
    let files: number;
    const plainBytes = tar.length;
    try {
      files = (await listArchive(tar)).filter((entry) => entry.kind === 'file').length;
      for (const problem of await lintArchive(tar, mountLimits(settings)))
        ui.warn(`cannot be mounted: ${problem}`);
      const { keyring } = await openWrapping(keys, aws);
      sealed = await ui.progress(`sealing ${formatBytes(tar.length)}`, (report) => {
        const progress = (done: number, total: number) => report(done / total);
        return seal(tar, {
          progress,
          keyring,
          name,
          serial,
          created: new Date(nowMs),
          context: userContext,
        });
      });
    } finally {
      tar.fill(0);
    }
    await ui.progress(`writing ${out}`, () => output.write(sealed));
    if (out === '-') return;
    if (context.json) ui.printJson({ name, serial, out, files, plainBytes, bytes: sealed.length });
    else
      ui.print(
        `packed ${quote(name)}, serial ${serial}: ${plural(files, 'file')}, ${formatBytes(plainBytes)}, to ${out}`,
      );
  },
};

function bundleName(given: string | undefined, out: string): string {
  if (given !== undefined) return validateName(given);
  if (out === '-')
    throw new UsageError('no name given', { hint: '--name NAME: stdout has no name to take it from' });
  return nameFromLocation(out);
}

async function readInput(args: Readonly<Record<string, unknown>>, context: Context): Promise<Buffer> {
  const dir = optionalTextArg(args, 'dir');
  const tar = optionalTextArg(args, 'tar');
  if ((dir === undefined) === (tar === undefined)) {
    throw new UsageError('cannot pack: want one of --dir and --tar', {
      hint: '--dir DIR, --tar FILE, or --tar - for stdin',
    });
  }
  if (dir !== undefined) {
    const entries = await context.ui.progress(`reading ${dir}`, () => readTree(dir));
    try {
      return await writeArchive(entries);
    } finally {
      wipeEntries(entries);
    }
  }
  if (tar === '-') return readStdin(context, TAR_BYTES_MAX, 'a tar');
  const read = await new FileSource(tar ?? '').fetch({ bytesMax: TAR_BYTES_MAX }).catch((cause: unknown) => {
    if (!(cause instanceof SourceError) || cause.code === 'source-denied') throw cause;
    // It would speak of a bundle.
    throw new SourceError(cause.code, cause.message, { hint: '--tar names a tar, or - for stdin', cause });
  });
  if (read === undefined) throw new Error('a first fetch found nothing new');
  return read.bytes;
}
