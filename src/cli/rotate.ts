/** New data keys for the secrets of a store, and new wrapping keys where they are others. */
import { parseContext } from '../bundle/name.ts';
import { stateDirectory } from '../daemon/floor.ts';
import { OutputError, quote, UsageError } from '../errors.ts';
import { parseKeySpec } from '../keyring/spec.ts';
import { FactsCache } from '../secrets/facts-cache.ts';
import { awsAccess } from './bundles.ts';
import { type Command, DRY_RUN, isDryRun, optionalTextArg } from './command.ts';
import { onInterrupt } from './interrupt.ts';
import { soleKmsKey } from './kms-keys.ts';
import { type RotationResult, rotateStore } from './rotating.ts';
import { createOpener, SECRET_SETTINGS } from './secrets.ts';
import { openStore, STORE_WRITING_SETTINGS } from './stores.ts';
import { plural, type Ui } from './ui.ts';

/** What moto took without queueing, and KMS and S3 take by far. */
const CONCURRENCY_DEFAULT = 32;
const CONCURRENCY_MAX = 256;
/** Said one by one; all are in the JSON. */
const FAILURES_SAID_MAX = 20;

export const rotate: Command = {
  usage: 'rotate [pattern..]',
  settings: [...new Set([...STORE_WRITING_SETTINGS, ...SECRET_SETTINGS, 'stateDir' as const])],
  build: (yargs) =>
    yargs
      .positional('pattern', { type: 'string', array: true, describe: 'which secrets [default: all]' })
      .option('from-key', {
        type: 'string',
        requiresArg: true,
        describe: 'only what these open: ARNs of KMS keys or local:PATH, with commas between',
      })
      .option('concurrency', {
        type: 'string',
        requiresArg: true,
        describe: `how many at a time, up to ${CONCURRENCY_MAX} [default: ${CONCURRENCY_DEFAULT}]`,
      })
      .option('purge-versions', {
        type: 'boolean',
        default: false,
        describe:
          'remove the older versions of each for good: else they stay readable under the keys they had',
      })
      .option('format', {
        choices: ['secretsfs', 'sneaker'],
        default: 'secretsfs',
        describe: 'sneaker: as sneaker writes today, for who still reads with it',
      })
      .option('restart', {
        type: 'boolean',
        default: false,
        describe: 'begin anew, where one was interrupted that could be continued',
      })
      .options(DRY_RUN),
  async run(args, context) {
    const { settings, ui, env, json } = context;
    const { key: keys = [] } = settings;
    if (keys.length === 0) {
      throw new UsageError('no key given', {
        hint: '--key alias/NAME or an ARN of KMS, or --key local:PATH; KMS_KEY_ID in the environment',
      });
    }
    const fromKeys = optionalTextArg(args, 'fromKey')?.split(',');
    for (const key of fromKeys ?? []) checkFromKey(key);
    const aws = awsAccess(context);
    const store = openStore(context, aws);
    const purge = args['purgeVersions'] === true;
    if (purge && !store.versioned) {
      throw new UsageError(`cannot purge versions: ${quote(store.location)} keeps none`, {
        hint: 'leave --purge-versions out',
      });
    }
    const dryRun = isDryRun(args);
    const opening = fromKeys === undefined ? settings : { ...settings, acceptKey: fromKeys };
    const facts = await FactsCache.open(env, store.location);
    const interrupt = onInterrupt();
    try {
      const result = await rotateStore(
        {
          ...{ store, aws, keys, fromKeys, purge, dryRun, facts },
          patterns: ((args['pattern'] ?? []) as readonly unknown[]).map(String),
          opener: await createOpener({ settings: opening }, store, aws),
          context: parseContext(settings.context ?? []),
          stateDir: stateDirectory({ chosen: settings.stateDir, uid: process.getuid?.() ?? -1, env }),
          forSneaker: args['format'] === 'sneaker' ? soleKmsKey(settings, 'rotate to sneaker') : undefined,
          concurrency: concurrencyOf(optionalTextArg(args, 'concurrency')),
          restart: args['restart'] === true,
          signal: interrupt.signal,
        },
        ui,
      );
      if (json)
        ui.printJson({ store: store.location, dryRun, ...result, failed: result.failed.map(factsOfFailure) });
      else ui.print(words(result, dryRun));
      conclude(result, dryRun, purge, ui);
    } finally {
      await facts.save();
      interrupt.end();
    }
  },
};

/** Throws UsageError in words of its own: nobody asked to accept anything. */
function checkFromKey(key: string): void {
  const spec = parseKeySpec(key);
  if (spec.kind === 'local' || spec.arn?.kind === 'key') return;
  throw new UsageError(
    `--from-key is ${quote(key)}: it is not a key's ARN, by which a secret names its keys`,
    {
      hint: `secretsfs keys show ${key} shows it; secretsfs ls --long what each secret has`,
    },
  );
}

function concurrencyOf(given: string | undefined): number {
  if (given === undefined) return CONCURRENCY_DEFAULT;
  const number = /^\d{1,4}$/.test(given) ? Number(given) : 0;
  if (number >= 1 && number <= CONCURRENCY_MAX) return number;
  throw new UsageError(
    `cannot rotate ${quote(given)} at a time: want a number from 1 to ${CONCURRENCY_MAX}`,
    {
      hint: `leave --concurrency out: then it is ${CONCURRENCY_DEFAULT}`,
    },
  );
}

function words(result: RotationResult, dryRun: boolean): string {
  const parts = [`${dryRun ? 'would rotate' : 'rotated'} ${plural(result.rotated, 'secret')}`];
  if (result.already > 0) parts.push(`${result.already} were done before`);
  if (result.otherKeys > 0) parts.push(`${result.otherKeys} are under other keys`);
  if (result.gone > 0) parts.push(`${result.gone} were removed meanwhile`);
  if (result.failed.length > 0) parts.push(`${result.failed.length} failed`);
  if (result.left > 0) parts.push(`${result.left} were not begun`);
  if (result.purgedVersions > 0) parts.push(`${plural(result.purgedVersions, 'older version')} removed`);
  return parts.join(', ');
}

/** Says what is not done, and throws where something is left. */
function conclude(result: RotationResult, dryRun: boolean, purge: boolean, ui: Ui): void {
  const { failed, left, keptVersions } = result;
  for (const { path, error } of failed.slice(0, FAILURES_SAID_MAX)) {
    const { message, code, hint } = error;
    ui.warn(`${quote(path)} is as it was: ${message} (${code})${hint === undefined ? '' : `; ${hint}`}`);
  }
  if (failed.length > FAILURES_SAID_MAX)
    ui.warn(`${failed.length - FAILURES_SAID_MAX} others failed: --json has all`);
  if (keptVersions && !(purge && dryRun))
    ui.warn(
      'older versions, if the bucket keeps any, stay readable under the keys they had: --purge-versions removes them',
    );
  if (failed.length === 0 && left === 0) return;
  throw new OutputError(
    'rotation-incomplete',
    `${result.interrupted ? 'interrupted: ' : ''}${failed.length + left} of ${plural(result.total, 'secret')} are as they were`,
    { hint: 'run the same command again: it goes on with what is left' },
  );
}

function factsOfFailure({ path, error }: RotationResult['failed'][number]): object {
  return { path, code: error.code, message: error.message, hint: error.hint };
}
