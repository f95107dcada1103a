/**
 * A secret is bound to its place, so moving one is opening it, sealing it for the new place and removing the old one, in
 * this order: whenever it is interrupted, there is one that opens.
 */
import { parseContext } from '../bundle/name.ts';
import { OutputError, quote, UsageError } from '../errors.ts';
import { openWrapping } from '../keyring/keyring.ts';
import { parseKeyArn } from '../keyring/spec.ts';
import { mapConcurrently } from '../secrets/concurrent.ts';
import { type Move, planMoves } from '../secrets/moves.ts';
import { sealSecret } from '../secrets/secret.ts';
import type { Expected, SecretStore } from '../secrets/store.ts';
import { awsAccess } from './bundles.ts';
import { type Command, type Context, DRY_RUN, isDryRun, listArg } from './command.ts';
import { onInterrupt } from './interrupt.ts';
import { createOpener, type OpenedSecret, SECRET_SETTINGS, type SecretOpener } from './secrets.ts';
import { openStore, STORE_WRITING_SETTINGS } from './stores.ts';
import { plural } from './ui.ts';

/** Of looks at what is there; moves go one after another. */
const LOOKS_AT_ONCE = 32;

interface Moving {
  readonly store: SecretStore;
  readonly opener: SecretOpener;
  readonly aws: ReturnType<typeof awsAccess>;
  readonly settings: Context['settings'];
  readonly isDry: boolean;
}

type LookedMove = Move & { readonly expected: 'absent' | Expected };

export const mv: Command = {
  usage: 'mv <pattern..>',
  shown: 'mv <pattern..> <to>',
  settings: [...new Set([...SECRET_SETTINGS, ...STORE_WRITING_SETTINGS])],
  build: (yargs) =>
    yargs
      .positional('pattern', {
        type: 'string',
        demandOption: true,
        describe:
          'path of a secret, and its new one; or patterns, and PREFIX/: each keeps what it has below the fixed part of its pattern',
      })
      .options(DRY_RUN)
      .option('force', { type: 'boolean', default: false, describe: 'replace what is there' }),
  async run(args, context) {
    const { settings, ui, json } = context;
    const patterns = listArg(args, 'pattern');
    const target = patterns.pop();
    if (target === undefined || patterns.length === 0)
      throw new UsageError('cannot mv: no TO given', {
        hint: 'secretsfs mv PATH NEWPATH, or PATTERN PREFIX/',
      });
    const isDry = isDryRun(args);
    const aws = awsAccess(context);
    const store = openStore(context, aws);
    const opener = await createOpener(context, store, aws);
    const moves = await planMoves(store, patterns, target);
    const force = args['force'] === true;
    // All of them before the first is moved: a slip in one name moves nothing.
    const looked = await mapConcurrently(moves, LOOKS_AT_ONCE, async (move): Promise<LookedMove> => {
      return { ...move, expected: await lookAtTarget(store, move.to, force) };
    });
    const done: LookedMove[] = [];
    const interrupt = onInterrupt();
    try {
      await ui.progress(`moving ${plural(looked.length, 'secret')}`, async (report) => {
        for (const move of looked) {
          if (interrupt.signal.aborted) return;
          await moveOne(move, { store, opener, aws, settings, isDry });
          done.push(move);
          report(done.length / looked.length);
        }
      });
    } finally {
      interrupt.end();
      if (!json)
        for (const { from, to } of done)
          ui.print(`${isDry ? 'would move' : 'moved'} ${quote(from)} to ${quote(to)}`);
    }
    if (json) ui.printJson({ dryRun: isDry, ...factsOf(done, store) });
    if (done.length === looked.length) return;
    throw new OutputError(
      'output-failed',
      `interrupted: ${looked.length - done.length} of ${plural(looked.length, 'secret')} are where they were`,
      { hint: 'the same command again goes on with what is left' },
    );
  },
};

/** Of one alone, its own facts, too. */
function factsOf(done: readonly LookedMove[], store: SecretStore): object {
  const moved = done.map(({ from, to, expected }) => {
    const replaced = expected === 'absent' ? null : expected.etag;
    return { from, to, location: store.locate(to), replaced };
  });
  return { ...(moved.length === 1 ? moved[0] : {}), moved };
}

async function moveOne(
  { from, to, expected }: LookedMove,
  { store, opener, aws, settings, isDry }: Moving,
): Promise<void> {
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
  if (isDry) {
    await store.check(to, 'write');
    await store.check(from, 'remove');
    return;
  }
  await store.write(to, sealed, expected);
  await removeMoved(store, from, to, opened);
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
