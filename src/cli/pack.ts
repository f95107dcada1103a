import { createHash } from 'node:crypto';
import { lintArchive, listArchive } from '../bundle/archive.ts';
import { parseContext, validateName } from '../bundle/name.ts';
import { seal } from '../bundle/seal.ts';
import { quote, UsageError } from '../errors.ts';
import { openWrapping } from '../keyring/keyring.ts';
import { avoidDumps } from '../system/dumps.ts';
import { awsAccess } from './bundles.ts';
import { type Command, type Context, DRY_RUN, isDryRun, listArg, optionalTextArg } from './command.ts';
import { AWS_SETTINGS, mountLimits } from './mount-settings.ts';
import { nameFromLocation } from './names.ts';
import { lookAtOutput } from './outputs.ts';
import { readPackInput } from './pack-input.ts';
import { checkShred, lookBeforeShred, shredSources, verifyWritten } from './pack-shred.ts';
import { chosenSerial, nextSerial } from './serials.ts';
import { formatBytes, plural } from './ui.ts';

export const pack: Command = {
  usage: 'pack <out..>',
  shown: 'pack [pattern..] <out>',
  settings: [
    'name',
    'key',
    'context',
    'maxBytes',
    'maxFiles',
    'store',
    'acceptKey',
    'formats',
    ...AWS_SETTINGS,
  ],
  build: (yargs) =>
    yargs
      .positional('out', {
        type: 'string',
        array: true,
        describe: 'path, s3://bucket/key or -; before it, patterns of secrets of the store',
        demandOption: true,
      })
      .option('dir', { type: 'string', requiresArg: true, describe: 'directory to pack' })
      .option('tar', { type: 'string', requiresArg: true, describe: 'tar to pack unchanged, - for stdin' })
      .option('store-context', {
        type: 'string',
        requiresArg: true,
        describe: 'context of the secrets of the store, a=1,b=2; --context is that of the bundle',
      })
      .option('serial', {
        type: 'string',
        requiresArg: true,
        describe: 'serial [default: the time in ms, or one more than the bundle it replaces]',
      })
      .option('force', {
        type: 'boolean',
        default: false,
        describe: 'replace what is not a bundle of this name',
      })
      .option('shred', {
        type: 'boolean',
        default: false,
        describe: 'overwrite and remove what was packed, once the bundle was read back and opened',
      })
      .options(DRY_RUN),
  async run(args, context) {
    const { settings, ui } = context;
    const patterns = listArg(args, 'out');
    const out = patterns.pop() ?? '';
    const [force, dryRun, shred] = [args['force'] === true, isDryRun(args), args['shred'] === true];
    const keys = settings.key;
    if (keys === undefined || keys.length === 0) {
      throw new UsageError('no key given', {
        hint: '--key alias/NAME or an ARN of KMS, or --key local:PATH',
      });
    }
    if (shred) checkShred(out, patterns, optionalTextArg(args, 'tar'));
    const name = bundleName(settings.name, out);
    const userContext = parseContext(settings.context ?? []);
    const nowMs = Date.now();
    const chosen = chosenSerial('pack', optionalTextArg(args, 'serial'), nowMs);
    const aws = awsAccess(context);
    const output = await lookAtOutput(context, out, { name, aws, force });
    const replaced = output.replaces?.serial ?? 0;
    const serial = nextSerial({ verb: 'pack', out, chosen, nowMs, replaced, force });
    await avoidDumps();
    const input = await readPackInput(patterns, args, context);
    const { tar } = input;
    const plainBytes = tar.length;
    let sealed: Buffer | undefined;
    let files: number;
    let sha256: string;
    try {
      files = (await listArchive(tar)).filter((entry) => entry.kind === 'file').length;
      for (const problem of await lintArchive(tar, mountLimits(settings)))
        ui.warn(`cannot be mounted: ${problem}`);
      if (shred) await lookBeforeShred(context, input, keys);
      sha256 = createHash('sha256').update(tar).digest('hex');
      const { keyring } = await openWrapping(keys, aws);
      const options = { keyring, name, serial, created: new Date(nowMs), context: userContext };
      sealed = dryRun ? undefined : await sealWithProgress(tar, options, context);
    } finally {
      tar.fill(0);
    }
    const facts = { name, serial, out, files, plainBytes };
    if (sealed === undefined) {
      await output.check();
      if (context.json) ui.printJson({ ...facts, dryRun });
      else ui.print(`would pack ${words(facts)}${shred ? ', and shred what was packed' : ''}`);
      return;
    }
    const whole = sealed;
    await ui.progress(`writing ${out}`, () => output.write(whole));
    if (shred) {
      await ui.progress(`reading ${out} back`, () => verifyWritten(out, whole, { sha256, keys, aws }));
      await shredSources(context, input);
    }
    if (out === '-') return;
    const shredded = shred ? { shredded: input.files.length } : {};
    if (context.json) ui.printJson({ ...facts, bytes: whole.length, ...shredded });
    else ui.print(`packed ${words(facts)}${shred ? '; shredded what was packed' : ''}`);
  },
};

function sealWithProgress(
  tar: Buffer,
  options: Parameters<typeof seal>[1],
  { ui }: Context,
): Promise<Buffer> {
  return ui.progress(`sealing ${formatBytes(tar.length)}`, (report) => {
    const progress = (done: number, total: number) => report(done / total);
    return seal(tar, { ...options, progress });
  });
}

function words(facts: {
  readonly name: string;
  readonly serial: number;
  readonly out: string;
  readonly files: number;
  readonly plainBytes: number;
}): string {
  const { name, serial, out, files, plainBytes } = facts;
  return `${quote(name)}, serial ${serial}: ${plural(files, 'file')}, ${formatBytes(plainBytes)}, to ${out}`;
}

function bundleName(given: string | undefined, out: string): string {
  if (given !== undefined) return validateName(given);
  if (out === '-')
    throw new UsageError('no name given', { hint: '--name NAME: stdout has no name to take it from' });
  return nameFromLocation(out);
}
