import { parseContext } from '../bundle/name.ts';
import { OutputError, quote, UsageError } from '../errors.ts';
import { openWrapping } from '../keyring/keyring.ts';
import { parseKeyArn } from '../keyring/spec.ts';
import { parsePath } from '../secrets/location.ts';
import { sealSecret } from '../secrets/secret.ts';
import type { Expected, SecretStore } from '../secrets/store.ts';
import { awsAccess } from './bundles.ts';
import { type Command, DRY_RUN, isDryRun, textArg } from './command.ts';
import { createOpener, type OpenedSecret, SECRET_SETTINGS } from './secrets.ts';
import { openStore, STORE_WRITING_SETTINGS } from './stores.ts';

/**
 * A secret is bound to its place, so moving one is opening it, sealing it for the new place and removing the old one, in
 * this order: whenever it is interrupted, there is one that opens.
 */
export const mv: Command = {
  usage: 'mv <from> <to>',
  settings: [...new Set([...SECRET_SETTINGS, ...STORE_WRITING_SETTINGS])],
  build: (yargs) =>
    yargs
      .positional('from', { type: 'string', demandOption: true, describe: 'path of a secret' })
      .positional('to', { type: 'string', demandOption: true, describe: 'its new path; DIR/ keeps the name' })
      .options(DRY_RUN)
      .option('force', { type: 'boolean', default: false, describe: 'replace what is there' }),
  async run(args, context) {
    const { settings, ui } = context;
    const from = parsePath(textArg(args, 'from'));
    const to = targetOf(from, textArg(args, 'to'));
    const isDry = isDryRun(args);
    const aws = awsAccess(context);
    const store = openStore(context, aws);
    const opener = await createOpener(context, store, aws);
    const expected = await lookAtTarget(store, to, args['force'] === true);
    const opened = await opener.open(from);
    let sealed: Buffer;
    try {
      const { keyring } = await openWrapping(keysFor(settings.key, opened), aws);
      sealed = await sealSecret(opened.plaintext, {
        keyring,
        location: store.locate(to),
        created: new Date(),
        // Those of an old format are what it was opened with.
        context: opened.header?.context ?? parseContext(settings.context ?? []),
        hash: opened.header?.hash,
      });
    } finally {
      opened.plaintext.fill(0);
    }
    if (!isDry) {
      await store.write(to, sealed, expected);
      await removeMoved(store, from, to, opened);
    }
    const replaced = expected === 'absent' ? null : expected.etag;
    if (context.json) ui.printJson({ dryRun: isDry, from, to, location: store.locate(to), replaced });
    else ui.print(`${isDry ? 'would move' : 'moved'} ${quote(from)} to ${quote(to)}`);
  },
};

function targetOf(from: string, text: string): string {
  const to = parsePath(text.endsWith('/') ? `${text}${from.split('/').at(-1)}` : text);
  if (to !== from) return to;
  throw new UsageError(`cannot move ${quote(from)}: that is where it is`, { hint: 'give another path' });
}

async function lookAtTarget(store: SecretStore, to: string, force: boolean): Promise<'absent' | Expected> {
  const there = await store.read(to, { headBytes: 1 });
  if (there === undefined) return 'absent';
  if (force) return { etag: there.etag };
  throw new OutputError('output-exists', `cannot move to ${quote(to)}: there is something`, {
    hint: 'choose another path, or --force to replace it',
  });
}

/** --key, or else the KMS keys that it is under. */
function keysFor(given: readonly string[] | undefined, { keys }: OpenedSecret): readonly string[] {
  if (given !== undefined && given.length > 0) return given;
  if (keys.length > 0 && keys.every((key) => parseKeyArn(key) !== undefined)) return keys;
  throw new UsageError('no key given, and it is under a key file', { hint: '--key local:PATH' });
}

/** Exactly what was opened: of kms-secrets, two objects, of which the key goes last, since without it the other is nothing. */
async function removeMoved(
  store: SecretStore,
  from: string,
  to: string,
  { stored, wrappedKey }: OpenedSecret,
): Promise<void> {
  try {
    if (wrappedKey === undefined) return await store.remove(from, stored);
    await store.remove(`${from}.aes`, stored);
    await store.remove(`${from}.kms`, wrappedKey);
  } catch (error) {
    if (!(error instanceof OutputError) || error.code !== 'output-changed') throw error;
    const message = `cannot remove ${quote(from)}: somebody else wrote it since it was moved to ${quote(to)}`;
    throw new OutputError('output-changed', message, {
      hint: 'both are there: look which one is right',
      cause: error,
    });
  }
}
