/**
 * How upload and put write a secret: what is there is looked at first, and replaced only if it is still that when the new
 * one is written; so two people never overwrite each other unseen.
 */
import { createHash } from 'node:crypto';
import type { KeyringNode } from '@aws-crypto/material-management-node';
import type { Argv } from 'yargs';
import type { AwsAccess } from '../aws/access.ts';
import { parseContext } from '../bundle/name.ts';
import { describeSneaker, recogniseCiphertext } from '../bundle/old-format.ts';
import type { SettingName } from '../daemon/config.ts';
import { OutputError, quote, SecretsfsError, SourceError, UsageError } from '../errors.ts';
import { openWrapping } from '../keyring/keyring.ts';
import { SECRET_HEAD_BYTES } from '../limits.ts';
import { readSecretHeader, sealSecret } from '../secrets/secret.ts';
import type { ReadObject, SecretStore } from '../secrets/store.ts';
import { avoidDumps } from '../system/dumps.ts';
import { awsAccess } from './bundles.ts';
import { type Context, DRY_RUN, isDryRun, optionalTextArg } from './command.ts';
import { openStore, STORE_WRITING_SETTINGS } from './stores.ts';
import { formatBytes } from './ui.ts';

export const WRITING = {
  settings: [...STORE_WRITING_SETTINGS, 'key', 'context'] satisfies SettingName[],
  build: (yargs: Argv) =>
    yargs
      .options(DRY_RUN)
      .option('create', {
        type: 'boolean',
        default: false,
        describe: 'only if there is none; else an existing one is replaced',
      })
      .option('if-match', {
        type: 'string',
        requiresArg: true,
        describe: 'only if the etag is still this one, as ls --long and download --json show it',
      })
      .option('allow-empty', { type: 'boolean', default: false, describe: 'take no content at all, too' })
      .option('force', { type: 'boolean', default: false, describe: 'replace what is not a secret, too' }),
};

type Args = Readonly<Record<string, unknown>>;

/** What was written, for who looks at it once more. */
export interface Stored {
  readonly store: SecretStore;
  readonly aws: AwsAccess;
  readonly path: string;
  readonly sealed: Buffer;
  /** Of the content, in hex. */
  readonly sha256: string;
}

/** What else was done, for JSON and for a person. */
export interface Done {
  readonly facts: Readonly<Record<string, unknown>>;
  readonly words: string;
}

/**
 * Writes what `read` returns, which is wiped, to `path`. It is asked when all else has been looked at: keys, store and what
 * is there. `then`, where it is given, is called when it is written, before the facts are printed, to which it adds.
 */
export async function writeSecret(
  verb: 'upload' | 'put',
  path: string,
  args: Args,
  context: Context,
  read: () => Promise<Buffer>,
  then?: (stored: Stored) => Promise<Done>,
): Promise<void> {
  const { settings, ui } = context;
  const pairs = parseContext(settings.context ?? []);
  const isDry = isDryRun(args);
  const aws = awsAccess(context);
  const store = openStore(context, aws);
  const location = store.locate(path);
  const keyring = await wrappingKeyring(settings.key, aws);
  await avoidDumps();
  const found = await store.read(path, { headBytes: SECRET_HEAD_BYTES }).catch((error: unknown) => {
    throw inWordsOf(verb, error);
  });
  checkReplacement(verb, path, args, found);
  const plaintext = await read();
  const bytes = plaintext.length;
  const sha256 = then === undefined ? '' : createHash('sha256').update(plaintext).digest('hex');
  let sealed: Buffer;
  try {
    if (bytes === 0 && args['allowEmpty'] !== true) throw isEmpty(verb);
    sealed = await ui.progress(`sealing ${formatBytes(bytes)}`, (report) =>
      sealSecret(plaintext, {
        keyring,
        location,
        created: new Date(),
        context: pairs,
        progress: (done, total) => report(done / total),
      }),
    );
  } finally {
    plaintext.fill(0);
  }
  const expected = found === undefined ? 'absent' : { etag: found.etag };
  if (isDry) await store.check(path, 'write');
  const written = isDry
    ? undefined
    : await ui.progress(`writing ${path}`, () => store.write(path, sealed, expected));
  const done = isDry ? undefined : await then?.({ store, aws, path, sealed, sha256 });
  const keys = readSecretHeader(sealed).encryptedDataKeys.map(({ keyName }) => keyName);
  const replaced = found === undefined ? undefined : { etag: found.etag, version: found.version };
  const facts = { path, location, bytes, keys, ...written, replaced, ...done?.facts, dryRun: isDry };
  if (context.json) ui.printJson(facts);
  else
    ui.print(
      `${isDry ? 'would have ' : ''}${found === undefined ? 'stored' : 'replaced'} ${quote(path)}, ${formatBytes(bytes)}${done?.words ?? ''}`,
    );
}

/** Nobody asked to fetch anything. */
function inWordsOf(verb: string, error: unknown): unknown {
  if (!(error instanceof SourceError)) return error;
  const message = error.message.replace(/^cannot fetch /, `cannot ${verb} to `);
  return new SourceError(error.code, message, { hint: error.hint, cause: error });
}

async function wrappingKeyring(keys: readonly string[] | undefined, aws: AwsAccess): Promise<KeyringNode> {
  if (keys === undefined || keys.length === 0) {
    throw new UsageError('no key given', {
      hint: '--key alias/NAME or an ARN of KMS, or --key local:PATH; KMS_KEY_ID in the environment',
    });
  }
  return (await openWrapping(keys, aws)).keyring;
}

/** Throws OutputError where what is there is not to be replaced. */
function checkReplacement(verb: string, path: string, args: Args, found: ReadObject | undefined): void {
  const cannot = `cannot ${verb} ${quote(path)}`;
  // With the quotes that S3 puts around one, or without.
  const wanted = optionalTextArg(args, 'ifMatch')?.replace(/^"(.*)"$/s, '$1');
  if (wanted !== undefined && found?.etag.replace(/^"(.*)"$/s, '$1') !== wanted) {
    const what = found === undefined ? 'it is gone' : `its etag is ${found.etag}`;
    throw new OutputError('output-changed', `${cannot}: ${what}, want ${quote(wanted)}`, {
      hint: 'somebody else wrote it since: look at what is there, and decide again',
    });
  }
  if (found === undefined) return;
  if (args['create'] === true) {
    throw new OutputError('output-exists', `${cannot}: there is one`, {
      hint: 'leave out --create to replace it, or choose another path',
    });
  }
  if (args['force'] === true) return;
  const what = whyNotSecret(found);
  if (what === undefined) return;
  throw new OutputError('output-exists', `${cannot}: what is there is no secret (${what})`, {
    hint: 'choose another path, or --force',
  });
}

/** In words; undefined for a secret of ours or of the past. */
function whyNotSecret({ bytes, size }: ReadObject): string | undefined {
  try {
    readSecretHeader(bytes);
    return undefined;
  } catch (error) {
    if (!(error instanceof SecretsfsError)) throw error;
    // Of a long header not all was read.
    if (error.code === 'bundle-truncated' && size > bytes.length) return undefined;
    const isMessage = bytes[0] === 2;
    const isOld =
      describeSneaker(bytes, size) !== undefined ||
      (size === bytes.length && recogniseCiphertext(bytes) !== undefined);
    return !isMessage && isOld ? undefined : error.message.replace(/^cannot \w+ secret(?: header)?: /, '');
  }
}

function isEmpty(verb: string): UsageError {
  return new UsageError(`cannot ${verb} a secret without content`, {
    hint: '--allow-empty if it is meant; else look at what should have given it',
  });
}
