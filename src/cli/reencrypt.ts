import { toBase64 } from '../bundle/base64.ts';
import { parseContext } from '../bundle/name.ts';
import { recogniseCiphertext } from '../bundle/old-format.ts';
import { messageIn } from '../bundle/sealed-file.ts';
import { BundleError, quote } from '../errors.ts';
import { reencryptOfOwnAccount } from '../keyring/own-account.ts';
import { RawKms } from '../keyring/raw-kms.ts';
import type { KmsSpec } from '../keyring/spec.ts';
import { FILE_BYTES_MAX } from '../limits.ts';
import { awsAccess } from './bundles.ts';
import { type Command, DRY_RUN, isDryRun, optionalTextArg, textArg } from './command.ts';
import { kmsKey, soleKmsKey } from './kms-keys.ts';
import { AWS_SETTINGS } from './mount-settings.ts';
import { checkOutputFile, readInputFile, writeOutputFile } from './plain-files.ts';

export const reencrypt: Command = {
  usage: 'reencrypt <in> <out>',
  settings: ['key', 'context', ...AWS_SETTINGS],
  build: (yargs) =>
    yargs
      .positional('in', { type: 'string', describe: 'KMS ciphertext, - for stdin', demandOption: true })
      .positional('out', {
        type: 'string',
        describe: 'file, which may be IN, or - for stdout',
        demandOption: true,
      })
      .option('from-key', {
        type: 'string',
        requiresArg: true,
        describe: 'the only KMS key that may have encrypted it [default: KMS finds it]',
      })
      .option('new-context', {
        type: 'string',
        requiresArg: true,
        describe: 'encryption context a=1,b=2 from now on [default: that of --context]',
      })
      .option('force', { type: 'boolean', default: false, describe: 'replace a file that exists' })
      .options(DRY_RUN),
  async run(args, context) {
    const { settings, ui } = context;
    const [input, out] = [textArg(args, 'in'), textArg(args, 'out')];
    const to = soleKmsKey(settings, 'reencrypt');
    const from = parseContext(settings.context ?? []);
    const wanted = optionalTextArg(args, 'newContext');
    const newContext = wanted === undefined ? from : parseContext([wanted]);
    const fromKey = optionalTextArg(args, 'fromKey');
    const key = fromKey === undefined ? undefined : kmsKey(fromKey, 'reencrypt');
    const inPlace = out !== '-' && input === out;
    const [force, dryRun] = [args['force'] === true, isDryRun(args)];
    if (!inPlace) await checkOutputFile(out, force);
    const { bytes, revision } = await readInputFile(context, input, FILE_BYTES_MAX);
    if (messageIn(bytes) !== undefined) throw isEnvelope(input, to);
    const found = recogniseCiphertext(bytes);
    if (found === undefined) throw notRaw(input);
    const kms = new RawKms(awsAccess(context));
    const anew = await reencryptOfOwnAccount(
      kms,
      found.blob,
      { key, context: from },
      { key: to, context: newContext },
    );
    const expected =
      inPlace && revision !== undefined ? { revision } : force ? undefined : ('absent' as const);
    const written = found.encoding === 'binary' ? anew.blob : toBase64(anew.blob);
    await writeOutputFile(context, out, written, { kind: 'ciphertext', expected, dryRun });
    if (out === '-' && !dryRun) return;
    const facts = { out, key: anew.keyId, fromKey: anew.sourceKeyId ?? null, bytes: written.length, dryRun };
    if (context.json) ui.printJson(facts);
    else
      ui.print(
        `${dryRun ? 'would have ' : ''}reencrypted ${out}: under ${quote(anew.keyId)}, before under ${quote(anew.sourceKeyId ?? '?')}`,
      );
  },
};

/** What encrypt makes of more than 4 KiB. */
function isEnvelope(input: string, to: KmsSpec): BundleError {
  return new BundleError('bundle-invalid', `${quote(input)} is an envelope, which KMS can't re-encrypt`, {
    hint: `secretsfs decrypt ${input} - | secretsfs encrypt - NEW --key ${to.keyId}`,
  });
}

function notRaw(input: string): BundleError {
  return new BundleError(
    'bundle-invalid',
    `cannot reencrypt ${quote(input)}: it is larger than a KMS ciphertext`,
    {
      hint: 'KMS rewraps only what it encrypted itself: secretsfs reseal for a bundle, secretsfs rotate for a store, else decrypt and encrypt',
    },
  );
}
