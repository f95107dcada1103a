/** What pack seals: a directory, a tar or secrets of a store, as the bytes of a tar, and the files that those were in. */
import { type ArchiveEntry, writeArchive } from '../bundle/archive.ts';
import { SourceError, UsageError } from '../errors.ts';
import { TAR_BYTES_MAX } from '../limits.ts';
import { FileSource } from '../source/file.ts';
import { type Context, optionalTextArg } from './command.ts';
import { readTree, wipeEntries } from './read-tree.ts';
import { namedFile, type ShredTarget } from './shred-files.ts';
import { readStdin } from './streams.ts';

export interface PackInput {
  /** The caller wipes it. */
  readonly tar: Buffer;
  /** The files that it was read from, as they were then. None where it came from stdin. */
  readonly files: readonly ShredTarget[];
  /** Where it came from a directory: that, and what else is in it, as entries without contents. */
  readonly tree?: { readonly directory: string; readonly others: readonly ArchiveEntry[] };
}

/** Reads what --dir, --tar or the patterns name. */
export async function readPackInput(
  patterns: readonly string[],
  args: Readonly<Record<string, unknown>>,
  context: Context,
): Promise<PackInput> {
  const dir = optionalTextArg(args, 'dir');
  const tar = optionalTextArg(args, 'tar');
  if ([dir !== undefined, tar !== undefined, patterns.length > 0].filter(Boolean).length !== 1) {
    throw new UsageError('cannot pack: want one of --dir and --tar, or patterns of a store', {
      hint: '--dir DIR, --tar FILE, --tar - for stdin, or PATTERN before OUT',
    });
  }
  if (patterns.length > 0) {
    const { packStored } = await import('./pack-stored.ts');
    return { tar: await packStored(patterns, args, context), files: [] };
  }
  if (dir !== undefined) return readDirectory(dir, context);
  if (tar === '-') return { tar: await readStdin(context, TAR_BYTES_MAX, 'a tar'), files: [] };
  return readTarFile(tar ?? '');
}

async function readDirectory(directory: string, { ui }: Context): Promise<PackInput> {
  const files: ShredTarget[] = [];
  const entries = await ui.progress(`reading ${directory}`, () =>
    readTree(directory, (path, identity) => {
      files.push({ shown: `${directory}/${path}`, base: directory, below: path.split('/'), identity });
    }),
  );
  try {
    const others = entries.filter(({ kind }) => kind !== 'file');
    return { tar: await writeArchive(entries), files, tree: { directory, others } };
  } finally {
    wipeEntries(entries);
  }
}

async function readTarFile(file: string): Promise<PackInput> {
  const read = await new FileSource(file).fetch({ bytesMax: TAR_BYTES_MAX }).catch((cause: unknown) => {
    if (!(cause instanceof SourceError) || cause.code === 'source-denied') throw cause;
    // It would speak of a bundle.
    throw new SourceError(cause.code, cause.message, { hint: '--tar names a tar, or - for stdin', cause });
  });
  if (read === undefined) throw new Error('a first fetch found nothing new');
  return { tar: read.bytes, files: [{ ...namedFile(file), identity: read.revision }] };
}
