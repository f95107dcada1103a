/** A file, or what comes on stdin, into the store: every byte of it. */
import { quote, SecretsfsError, SourceError } from '../errors.ts';
import { SECRET_BYTES_MAX } from '../limits.ts';
import { parsePath } from '../secrets/location.ts';
import { secretTooLarge } from '../secrets/secret.ts';
import { FileSource } from '../source/file.ts';
import { type Command, type Context, textArg } from './command.ts';
import { readStdin } from './streams.ts';
import { WRITING, writeSecret } from './write-secret.ts';

export const upload: Command = {
  usage: 'upload <file> <path>',
  settings: WRITING.settings,
  build: (yargs) =>
    WRITING.build(yargs)
      .positional('file', { type: 'string', describe: 'file, - for stdin', demandOption: true })
      .positional('path', {
        type: 'string',
        describe: 'path of the secret in the store',
        demandOption: true,
      }),
  async run(args, context) {
    const file = textArg(args, 'file');
    const path = parsePath(textArg(args, 'path'));
    await writeSecret('upload', path, args, context, () => readContent(file, context));
  },
};

async function readContent(file: string, context: Context): Promise<Buffer> {
  try {
    if (file === '-') return await readStdin(context, SECRET_BYTES_MAX, 'a secret');
    const fetched = await new FileSource(file).fetch({ bytesMax: SECRET_BYTES_MAX });
    if (fetched === undefined) throw new Error('a first fetch found nothing new');
    return fetched.bytes;
  } catch (error) {
    if (!(error instanceof SecretsfsError)) throw error;
    // They speak of bundles.
    if (error.code === 'source-too-large') throw secretTooLarge(`over ${SECRET_BYTES_MAX} bytes`);
    if (error.code !== 'source-not-found') throw error;
    throw new SourceError(error.code, `cannot upload ${quote(file)}: there is no such file`, {
      hint: 'the file comes first, then its path in the store: secretsfs upload FILE PATH',
      cause: error,
    });
  }
}
