import { fromBase64 } from '../bundle/base64.ts';
import { parseContext } from '../bundle/name.ts';
import { recogniseCiphertext, recognisePack } from '../bundle/old-format.ts';
import { recognise } from '../bundle/recognise.ts';
import { messageIn, openFile, readFileHeader } from '../bundle/sealed-file.ts';
import { BundleError, KeyError, quote, UsageError } from '../errors.ts';
import { openDiscovering, openUnwrapping } from '../keyring/keyring.ts';
import { KMS_PROVIDER_ID } from '../keyring/kms.ts';
import { openCiphertext, openOldPack } from '../keyring/old-object.ts';
import { ofOwnAccount } from '../keyring/own-account.ts';
import { RawKms } from '../keyring/raw-kms.ts';
import { bundleBytesMax, FILE_BYTES_MAX } from '../limits.ts';
import { avoidDumps } from '../system/dumps.ts';
import { awsAccess } from './bundles.ts';
import { type Command, type Context, DRY_RUN, isDryRun, textArg } from './command.ts';
import { acceptedKmsKeys } from './kms-keys.ts';
import { AWS_SETTINGS } from './mount-settings.ts';
import { checkOutputFile, readInputFile, writeOutputFile } from './plain-files.ts';

interface Decrypted {
  readonly plaintext: Buffer;
  readonly format: string;
  readonly key: string;
}

export const decrypt: Command = {
  usage: 'decrypt <in> <out>',
  settings: ['acceptKey', 'context', ...AWS_SETTINGS],
  build: (yargs) =>
    yargs
      .positional('in', { type: 'string', describe: 'file, - for stdin', demandOption: true })
      .positional('out', { type: 'string', describe: 'file, - for stdout', demandOption: true })
      .option('inner-base64', {
        type: 'boolean',
        default: false,
        describe: 'what was encrypted is base64: decode it',
      })
      .option('force', { type: 'boolean', default: false, describe: 'replace a file that exists' })
      .options(DRY_RUN),
  async run(args, context) {
    const [input, out] = [textArg(args, 'in'), textArg(args, 'out')];
    const [force, dryRun] = [args['force'] === true, isDryRun(args)];
    await checkOutputFile(out, force);
    await avoidDumps();
    // Base64 is a third more, and has line breaks.
    const { bytes } = await readInputFile(context, input, 2 * bundleBytesMax(FILE_BYTES_MAX));
    const opened = await open(bytes, input, context).catch((error: unknown) => {
      throw named(error, input);
    });
    const contents = args['innerBase64'] === true ? decoded(opened.plaintext, input) : opened.plaintext;
    try {
      const expected = force ? undefined : 'absent';
      await writeOutputFile(context, out, contents, { kind: 'plaintext', expected, dryRun });
    } finally {
      contents.fill(0);
    }
    if (out === '-' && !dryRun) return;
    const { format, key } = opened;
    if (context.json) context.ui.printJson({ out, format, key, dryRun });
    else
      context.ui.print(
        `${dryRun ? 'would have ' : ''}decrypted ${out} (${format}), which was under ${quote(key)}`,
      );
  },
};

/** Whichever format it is. What was named to be accepted has to have encrypted it; else whatever key it says. */
async function open(bytes: Buffer, input: string, context: Context): Promise<Decrypted> {
  const message = messageIn(bytes);
  if (message !== undefined) return openMessageOf(message, context);
  const { settings } = context;
  const access = {
    kms: ofOwnAccount(new RawKms(awsAccess(context))),
    keys: acceptedKmsKeys(settings),
    context: parseContext(settings.context ?? []),
  };
  const old = await recognisePack(bytes);
  // What is plainly something else is not sent to KMS.
  const guess = recognise(bytes);
  const isOther = guess !== undefined && guess.encrypted === undefined;
  const raw = old !== undefined || isOther ? undefined : recogniseCiphertext(bytes);
  const opening = old !== undefined ? openOldPack(old, access) : raw && openCiphertext(raw, access);
  if (opening === undefined) throw notEncrypted(input, bytes);
  const opened = await opening;
  return { plaintext: opened.plaintext, format: opened.format, key: opened.keyId };
}

async function openMessageOf(message: Buffer, context: Context): Promise<Decrypted> {
  const { settings } = context;
  const { encryptedDataKeys } = readFileHeader(message);
  const isKms = encryptedDataKeys.some(({ providerId }) => providerId === KMS_PROVIDER_ID);
  const { acceptKey } = settings;
  if (acceptKey === undefined && !isKms) throw needsKeyFile(encryptedDataKeys.map(({ keyName }) => keyName));
  const aws = awsAccess(context);
  const { keyring, accepted } =
    acceptKey === undefined ? await openDiscovering([], aws) : await openUnwrapping(acceptKey, aws);
  const pairs = parseContext(settings.context ?? []);
  const plaintext = await openFile(message, { keyring, accepted, context: pairs });
  return { plaintext, format: 'file', key: encryptedDataKeys.map(({ keyName }) => keyName).join(', ') };
}

/** KMS knows no files, nor what is no ciphertext. */
function named(error: unknown, input: string): unknown {
  if (!(error instanceof KeyError) || error.code !== 'data-key-refused') return error;
  return new KeyError(error.code, `cannot decrypt ${quote(input)}: ${error.message}`, {
    hint: `${error.hint}, or is no ciphertext at all`,
    cause: error,
  });
}

function needsKeyFile(names: readonly string[]): UsageError {
  return new UsageError(`cannot decrypt: it is sealed for the key file ${names.map(quote).join(' or ')}`, {
    hint: '--accept-key local:PATH names the key file',
  });
}

function notEncrypted(input: string, bytes: Buffer): BundleError {
  const guess = recognise(bytes);
  const what = guess === undefined ? `${bytes.length} bytes of no format that we know` : guess.what;
  return new BundleError('bundle-invalid', `cannot decrypt ${quote(input)}: it is ${what}`, {
    hint: guess?.hint ?? 'it may be damaged: take it from where it was made',
  });
}

/** Of the recipe `base64 FILE | aws kms encrypt`. The text is wiped. */
function decoded(text: Buffer, input: string): Buffer {
  const bytes = fromBase64(text);
  text.fill(0);
  if (bytes !== undefined) return bytes;
  throw new BundleError('bundle-invalid', `cannot decrypt ${quote(input)}: what is in it is not base64`, {
    hint: 'leave --inner-base64 out',
  });
}
