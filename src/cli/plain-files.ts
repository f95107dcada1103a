/** What encrypt, decrypt and their like read and write: a file, or - for stdin and stdout. */
import { lstat } from 'node:fs/promises';
import { OutputError, quote, SourceError } from '../errors.ts';
import { FileSource } from '../source/file.ts';
import { checkWritable, type WriteOptions, writeFileAtomically } from '../source/output.ts';
import type { Context } from './command.ts';
import { readStdin, writeStdout } from './streams.ts';

export interface InputFile {
  /** The caller's to wipe. */
  readonly bytes: Buffer;
  /** Of the file, for writing it in place; undefined for stdin. */
  readonly revision: string | undefined;
}

/** All of it. Throws SourceError, source-too-large over `bytesMax`. */
export async function readInputFile(context: Context, name: string, bytesMax: number): Promise<InputFile> {
  if (name === '-') return { bytes: await readStdin(context, bytesMax, 'a file'), revision: undefined };
  const read = await new FileSource(name).fetch({ bytesMax }).catch((cause: unknown) => {
    if (!(cause instanceof SourceError) || cause.code === 'source-denied') throw cause;
    const hint =
      cause.code === 'source-too-large' ? 'secretsfs pack takes more' : 'name a file, or - for stdin';
    // It would speak of a bundle.
    throw new SourceError(cause.code, cause.message, { hint, cause });
  });
  if (read === undefined) throw new Error('a first fetch found nothing new');
  return read;
}

/** Before anything is asked of KMS. Throws OutputError output-exists. */
export async function checkOutputFile(name: string, force: boolean): Promise<void> {
  if (name === '-' || force || (await lstat(name).catch(() => undefined)) === undefined) return;
  throw new OutputError('output-exists', `cannot write ${quote(name)}: it exists`, {
    hint: '--force replaces it',
  });
}

/** Plaintext goes where it was sent and nowhere else, for its owner alone; ciphertext may be read by anybody. */
export async function writeOutputFile(
  context: Context,
  name: string,
  bytes: Buffer,
  options: {
    readonly kind: 'plaintext' | 'ciphertext';
    readonly expected: WriteOptions['expected'];
    /** Nothing is written: it is looked whether it could be. */
    readonly dryRun: boolean;
  },
): Promise<void> {
  const { kind, expected, dryRun } = options;
  const how: WriteOptions =
    kind === 'plaintext' ? { mode: 0o600, expected, links: 'replace' } : { mode: 0o644, expected };
  if (name !== '-') await (dryRun ? checkWritable(name, how) : writeFileAtomically(name, bytes, how));
  else if (!dryRun) await writeStdout(context, bytes);
}
