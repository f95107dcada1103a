import { toBase64 } from '../bundle/base64.ts';
import { parseContext } from '../bundle/name.ts';
import { isS3Url } from '../daemon/location.ts';
import { quote, UsageError } from '../errors.ts';
import { openWrapping } from '../keyring/keyring.ts';
import { RawKms } from '../keyring/raw-kms.ts';
import { type KmsSpec, parseKeySpec } from '../keyring/spec.ts';
import { FILE_BYTES_MAX, KMS_PLAINTEXT_BYTES_MAX } from '../limits.ts';
import { avoidDumps } from '../system/dumps.ts';
import { awsAccess } from './bundles.ts';
import { type Command, type Context, DRY_RUN, isDryRun, textArg } from './command.ts';
import { AWS_SETTINGS } from './mount-settings.ts';
import { checkOutputFile, readInputFile, writeOutputFile } from './plain-files.ts';

export const encrypt: Command = {
  usage: 'encrypt <in> <out>',
  settings: ['key', 'context', ...AWS_SETTINGS],
  build: (yargs) =>
    yargs
      .positional('in', { type: 'string', describe: 'file, - for stdin', demandOption: true })
      .positional('out', { type: 'string', describe: 'file, - for stdout', demandOption: true })
      .option('base64', { type: 'boolean', default: false, describe: 'write base64' })
      .option('inner-base64', {
        type: 'boolean',
        default: false,
        describe: 'encrypt base64 of it: for who decrypts with that recipe',
      })
      .option('force', { type: 'boolean', default: false, describe: 'replace a file that exists' })
      .options(DRY_RUN),
  async run(args, context) {
    const out = textArg(args, 'out');
    if (isS3Url(out)) {
      throw new UsageError('encrypt writes files, not to S3', {
        hint: 'secretsfs upload FILE PATH puts a secret into a store; or encrypt to -, and pipe it',
      });
    }
    const [force, dryRun] = [args['force'] === true, isDryRun(args)];
    await checkOutputFile(out, force);
    await avoidDumps();
    const { bytes } = await readInputFile(context, textArg(args, 'in'), FILE_BYTES_MAX);
    const plaintext = args['innerBase64'] === true ? takeAs(toBase64, bytes) : bytes;
    try {
      if (plaintext.length === 0) {
        throw new UsageError(`cannot encrypt ${quote(textArg(args, 'in'))}: it is empty`, {
          hint: 'KMS encrypts a byte at the least',
        });
      }
      const { sealed, format, keys } = await encryptWith(plaintext, context);
      const written = args['base64'] === true ? toBase64(sealed) : sealed;
      const expected = force ? undefined : 'absent';
      await writeOutputFile(context, out, written, { kind: 'ciphertext', expected, dryRun });
      if (out === '-' && !dryRun) return;
      if (context.json) context.ui.printJson({ out, format, keys, bytes: written.length, dryRun });
      else
        context.ui.print(
          `${dryRun ? 'would have ' : ''}encrypted ${out} (${format}) under ${keys.map(quote).join(', ')}`,
        );
    } finally {
      plaintext.fill(0);
    }
  },
};

/** What `convert` makes of it; it is wiped. */
function takeAs(convert: (bytes: Buffer) => Buffer, bytes: Buffer): Buffer {
  try {
    return convert(bytes);
  } finally {
    bytes.fill(0);
  }
}

/** By KMS alone where one key of it and 4,096 bytes are enough, so that any KMS client decrypts it. */
async function encryptWith(
  plaintext: Buffer,
  context: Context,
): Promise<{ readonly sealed: Buffer; readonly format: 'kms' | 'file'; readonly keys: readonly string[] }> {
  const { settings } = context;
  const pairs = parseContext(settings.context ?? []);
  const aws = awsAccess(context);
  const sole = soleKey(settings.key ?? []);
  if (sole !== undefined && plaintext.length <= KMS_PLAINTEXT_BYTES_MAX) {
    const { blob, keyId } = await new RawKms(aws).encrypt(plaintext, sole, pairs);
    return { sealed: blob, format: 'kms', keys: [keyId] };
  }
  const { keyring } = await openWrapping(settings.key ?? [], aws);
  const { readFileHeader, sealFile } = await import('../bundle/sealed-file.ts');
  const sealed = await sealFile(plaintext, { keyring, created: new Date(), context: pairs });
  const keys = readFileHeader(sealed).encryptedDataKeys.map(({ keyName }) => keyName);
  return { sealed, format: 'file', keys };
}

function soleKey(keys: readonly string[]): KmsSpec | undefined {
  const [only, ...more] = keys;
  const spec = only === undefined || more.length > 0 ? undefined : parseKeySpec(only);
  return spec?.kind === 'kms' ? spec : undefined;
}
