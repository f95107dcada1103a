/** A file, or what comes on stdin, into the store: every byte of it. */
import { stat } from 'node:fs/promises';
import { quote, SecretsfsError, SourceError } from '../errors.ts';
import { SECRET_BYTES_MAX } from '../limits.ts';
import { parsePath } from '../secrets/location.ts';
import { FileSource } from '../source/file.ts';
import { type Command, type Context, textArg } from './command.ts';
import { namedFile } from './shred-files.ts';
import { readStdin } from './streams.ts';
import { formatBytes } from './ui.ts';
import { lookBeforeShred, shredUploaded } from './upload-shred.ts';
import { WRITING, writeSecret } from './write-secret.ts';

const PACK_TAKES_MORE = 'secretsfs pack takes more';

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
      })
      .option('shred', {
        type: 'boolean',
        default: false,
        describe: 'then overwrite and remove the file, once what was written was read back',
      }),
  async run(args, context) {
    const file = textArg(args, 'file');
    const path = parsePath(textArg(args, 'path'));
    if (args['shred'] !== true) {
      await writeSecret('upload', path, args, context, async () => (await readContent(file, context)).bytes);
      return;
    }
    await lookBeforeShred(file, context);
    let identity = '';
    const read = async () => {
      const content = await readContent(file, context);
      identity = content.identity;
      return content.bytes;
    };
    await writeSecret('upload', path, args, context, read, async (stored) => {
      await shredUploaded({ ...namedFile(file), identity }, stored, context);
      return { facts: { shredded: 1 }, words: `; shredded ${file}` };
    });
  },
};

/** `identity`: of the file, as fileIdentity() says it. */
async function readContent(file: string, context: Context): Promise<{ bytes: Buffer; identity: string }> {
  try {
    if (file === '-') {
      const bytes = await readStdin(context, SECRET_BYTES_MAX, 'a secret', PACK_TAKES_MORE);
      return { bytes, identity: '' };
    }
    const fetched = await new FileSource(file).fetch({ bytesMax: SECRET_BYTES_MAX });
    if (fetched === undefined) throw new Error('a first fetch found nothing new');
    return { bytes: fetched.bytes, identity: fetched.revision };
  } catch (error) {
    if (!(error instanceof SecretsfsError)) throw error;
    if (file === '-') throw error;
    // They speak of bundles.
    if (error.code === 'source-too-large') {
      const most = formatBytes(SECRET_BYTES_MAX);
      throw new SourceError(error.code, `cannot upload ${quote(file)}: it is over ${most}`, {
        hint: PACK_TAKES_MORE,
        cause: error,
      });
    }
    if (error.code !== 'source-not-found') {
      const isDirectory = await stat(file).then(
        (found) => found.isDirectory(),
        () => false,
      );
      if (!isDirectory) throw error;
      throw new SourceError('source-invalid', `cannot upload ${quote(file)}: it is a directory`, {
        hint: 'secretsfs sync DIR PREFIX uploads a directory',
        cause: error,
      });
    }
    throw new SourceError(error.code, `cannot upload ${quote(file)}: there is no such file`, {
      hint: 'the file comes first, then its path in the store: secretsfs upload FILE PATH',
      cause: error,
    });
  }
}
