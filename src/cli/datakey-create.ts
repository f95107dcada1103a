import { toBase64 } from '../bundle/base64.ts';
import { parseContext } from '../bundle/name.ts';
import { quote, UsageError } from '../errors.ts';
import { RawKms } from '../keyring/raw-kms.ts';
import { awsAccess } from './bundles.ts';
import { type Command, DRY_RUN, isDryRun, textArg } from './command.ts';
import { soleKmsKey } from './kms-keys.ts';
import { AWS_SETTINGS } from './mount-settings.ts';
import { checkOutputFile, writeOutputFile } from './plain-files.ts';

/** KMS: GenerateDataKeyWithoutPlaintext, NumberOfBytes. */
const DATA_KEY_BYTES_MAX = 1024;

export const datakeyCreate: Command = {
  usage: 'datakey create <out>',
  settings: ['key', 'context', ...AWS_SETTINGS],
  build: (yargs) =>
    yargs
      .positional('out', { type: 'string', describe: 'OUT.kms, or - for stdout', demandOption: true })
      .option('bytes', {
        type: 'string',
        requiresArg: true,
        default: '32',
        describe: 'length of the data key',
      })
      .option('base64', { type: 'boolean', default: false, describe: 'write base64' })
      .option('force', { type: 'boolean', default: false, describe: 'replace a file that exists' })
      .options(DRY_RUN),
  async run(args, context) {
    const { settings, ui } = context;
    const out = textArg(args, 'out');
    const bytes = Number(textArg(args, 'bytes'));
    if (!Number.isInteger(bytes) || bytes < 1 || bytes > DATA_KEY_BYTES_MAX) {
      throw new UsageError(
        `cannot create a data key: --bytes is ${quote(textArg(args, 'bytes'))}, want 1 to ${DATA_KEY_BYTES_MAX}`,
        { hint: '32 bytes are a key for AES-256' },
      );
    }
    const key = soleKmsKey(settings, 'create a data key');
    const pairs = parseContext(settings.context ?? []);
    const [force, dryRun] = [args['force'] === true, isDryRun(args)];
    await checkOutputFile(out, force);
    const { blob, keyId } = await new RawKms(awsAccess(context)).createDataKey(key, pairs, bytes);
    const written = args['base64'] === true ? toBase64(blob) : blob;
    const expected = force ? undefined : 'absent';
    await writeOutputFile(context, out, written, { kind: 'ciphertext', expected, dryRun });
    if (out === '-' && !dryRun) return;
    if (context.json) ui.printJson({ out, key: keyId, keyBytes: bytes, dryRun });
    else
      ui.print(
        `${dryRun ? 'would have ' : ''}made a data key of ${bytes} bytes under ${quote(keyId)}: ${out}; secretsfs decrypt unwraps it`,
      );
  },
};
