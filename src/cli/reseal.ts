/**
 * An old content under a new serial: how a fleet goes back to what it had. Name, context and content stay; the data key,
 * the signature and the time are new, and the wrapping keys where --key says so.
 */

import type { AwsAccess } from '../aws/access.ts';
import { LOCAL_PROVIDER_ID } from '../bundle/data-keys.ts';
import type { BundleHeader } from '../bundle/header.ts';
import { seal } from '../bundle/seal.ts';
import { quote, UsageError } from '../errors.ts';
import { openUnwrapping, openWrapping } from '../keyring/keyring.ts';
import { awsAccess, OPENING_SETTINGS, openBundle } from './bundles.ts';
import { type Command, type Context, DRY_RUN, isDryRun, optionalTextArg, textArg } from './command.ts';
import { acceptedKeys } from './mount-settings.ts';
import { lookAtOutput } from './outputs.ts';
import { chosenSerial, nextSerial } from './serials.ts';

export const reseal: Command = {
  usage: 'reseal <bundle> <out>',
  settings: OPENING_SETTINGS,
  build: (yargs) =>
    yargs
      .positional('bundle', {
        type: 'string',
        describe: 'path or s3://bucket/key?versionId=ID',
        demandOption: true,
      })
      .positional('out', { type: 'string', describe: 'path, s3://bucket/key or -', demandOption: true })
      .option('serial', {
        type: 'string',
        requiresArg: true,
        describe: 'serial [default: the time in ms, or one more than those it follows]',
      })
      .option('force', {
        type: 'boolean',
        default: false,
        describe: 'replace what is not a bundle of this name',
      })
      .options(DRY_RUN),
  async run(args, context) {
    const out = textArg(args, 'out');
    const [force, dryRun] = [args['force'] === true, isDryRun(args)];
    const nowMs = Date.now();
    const chosen = chosenSerial('reseal', optionalTextArg(args, 'serial'), nowMs);
    const { header, plaintext } = await openBundle(context);
    const { name } = header;
    let serial: number;
    let sealed: Buffer;
    const aws = awsAccess(context);
    const output = await lookAtOutput(context, out, { name, aws, force }).catch((error: unknown) => {
      plaintext.fill(0);
      throw error;
    });
    try {
      const replaced = output.replaces?.serial ?? 0;
      serial = nextSerial({ verb: 'reseal', out, chosen, nowMs, replaced, above: header.serial, force });
      const { keyring } = await openWrapping(await newKeys(context, header, aws), aws);
      sealed = await context.ui.progress(`sealing ${name}`, (report) => {
        const progress = (done: number, total: number) => report(done / total);
        return seal(plaintext, {
          ...{ progress, keyring, name, serial, context: header.context },
          created: new Date(nowMs),
        });
      });
    } finally {
      plaintext.fill(0);
    }
    if (dryRun) await output.check();
    else await context.ui.progress(`writing ${out}`, () => output.write(sealed));
    if (out === '-' && !dryRun) return;
    const facts = { name, serial, from: { serial: header.serial, created: header.created }, out };
    if (context.json) context.ui.printJson({ ...facts, bytes: sealed.length, dryRun });
    else
      context.ui.print(
        `${dryRun ? 'would have ' : ''}resealed ${quote(name)}, the content of serial ${header.serial} (${header.created}), as serial ${serial}, to ${out}`,
      );
  },
};

/** Those of --key beside --accept-key; else those that the bundle has, all of them, so that nobody loses it. */
async function newKeys(context: Context, header: BundleHeader, aws: AwsAccess): Promise<readonly string[]> {
  const { settings } = context;
  if (settings.acceptKey !== undefined && settings.key !== undefined) return settings.key;
  const specs = acceptedKeys(settings, context);
  const localSpecs = specs.filter((spec) => spec.startsWith('local:'));
  const keys: string[] = [];
  for (const { providerId, keyName } of header.encryptedDataKeys) {
    if (providerId !== LOCAL_PROVIDER_ID) {
      keys.push(keyName);
      continue;
    }
    const key = await localKeyOf(localSpecs, { providerId, keyName }, aws);
    if (key === undefined) {
      throw new UsageError(`cannot reseal: it is sealed for the key file ${quote(keyName)} too`, {
        hint: `name that file with --accept-key local:PATH, or with --key every key that is to open it from now on`,
      });
    }
    keys.push(key);
  }
  return keys;
}

async function localKeyOf(
  specs: readonly string[],
  key: BundleHeader['encryptedDataKeys'][number],
  aws: AwsAccess,
): Promise<string | undefined> {
  for (const spec of specs) {
    const { accepted } = await openUnwrapping([spec], aws);
    if (accepted.some((reader) => reader.accepts(key))) return spec;
  }
  return undefined;
}
