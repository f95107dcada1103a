/** A rotation as a function: for `rotate`, and for whatever else has to bring secrets under another key. */
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AwsAccess } from '../aws/access.ts';
import { ConfigError, errnoWords, quote } from '../errors.ts';
import { openUnwrapping, openWrapping } from '../keyring/keyring.ts';
import { RawKms } from '../keyring/raw-kms.ts';
import { sealForSneaker } from '../keyring/seal-sneaker.ts';
import type { KmsSpec } from '../keyring/spec.ts';
import type { FactsCache } from '../secrets/facts-cache.ts';
import { type RotationSummary, rotateAll } from '../secrets/rotate-all.ts';
import { FileJournal, type RotationSubject } from '../secrets/rotation-journal.ts';
import { type RotationTarget, targetsOf } from '../secrets/rotation-pair.ts';
import { openSecret, readSecretHeader, sealSecret } from '../secrets/secret.ts';
import { selectObjects } from '../secrets/select.ts';
import type { SecretStore, StoredObject } from '../secrets/store.ts';
import { makeDirectory } from '../system/make-directory.ts';
import type { SecretOpener } from './secrets.ts';
import { plural, type Ui } from './ui.ts';

export interface RotateRequest {
  readonly store: SecretStore;
  readonly aws: AwsAccess;
  /** None: everything. */
  readonly patterns: readonly string[];
  /** Every key that is to open them from now on: KMS keys in any form, and local:PATH. */
  readonly keys: readonly string[];
  /** ARNs, and local:PATH: only what one of these wrapped is rotated. undefined: everything. */
  readonly fromKeys: readonly string[] | undefined;
  readonly opener: SecretOpener;
  /** Told what is written. The caller saves it. */
  readonly facts: FactsCache;
  /** Pairs of those of an old format, which do not say theirs. */
  readonly context: Readonly<Record<string, string>>;
  /** Where the record of what was done is. */
  readonly stateDir: string;
  readonly concurrency: number;
  readonly restart: boolean;
  readonly purge: boolean;
  readonly dryRun: boolean;
  /** The one key of KMS that they are to be under in sneaker's format; undefined: in ours. */
  readonly forSneaker?: KmsSpec | undefined;
  readonly signal: AbortSignal;
}

export interface RotationResult extends RotationSummary {
  /** Names of the new keys, as headers have them. */
  readonly keys: readonly string[];
  /** What would be rotated, with `dryRun`. */
  readonly total: number;
}

/**
 * Rotates what the request names, or continues a rotation of the same that was interrupted. What failed is in the result; what
 * is thrown is a SecretsfsError of the set-up, with nothing changed: a pattern that matches nothing, new keys that can't be
 * used, another process at the same rotation.
 */
export async function rotateStore(request: RotateRequest, ui: Ui): Promise<RotationResult> {
  const { store, aws, keys, fromKeys, patterns, dryRun } = request;
  const { keyring } = await openWrapping(keys, aws);
  const keyNames = await proveKeys(request, keyring);
  const reader = await openUnwrapping(readable(keys, keyNames), aws);
  const from = fromKeys === undefined ? undefined : (await openUnwrapping(fromKeys, aws)).accepted;
  const objects = await ui.progress(`listing ${store.location}`, () => collect(store, patterns));
  const { forSneaker } = request;
  // Another rotation than one to our format under the same key.
  const names = forSneaker === undefined ? keyNames : ['sneaker', ...keyNames];
  const subject = { store: store.location, patterns, keyNames: names, fromKeys: fromKeys ?? [] };
  const kms = new RawKms(aws);
  const journal = dryRun ? NO_JOURNAL : await openJournal(request, subject);
  if (journal.resumed !== undefined) {
    const began = new Date(journal.startedMs).toISOString();
    ui.warn(
      `continuing the rotation that began ${began}, with ${plural(journal.resumed, 'secret')} done; --restart begins anew`,
    );
  }
  let summary: RotationSummary | undefined;
  try {
    summary = await ui.progress(`rotating ${plural(objects.length, 'secret')}`, (report) =>
      rotateAll(objects, {
        ...{ store, keyring, keyNames, journal, dryRun },
        open: async (at, stored) => {
          const { plaintext, header } =
            stored === undefined ? await request.opener.open(at) : await request.opener.openRead(at, stored);
          return { plaintext, context: header?.context ?? request.context };
        },
        async proveDone(at, { bytes }) {
          const { plaintext } = await openSecret(bytes, { ...reader, location: store.locate(at) });
          plaintext.fill(0);
        },
        concerns:
          from &&
          ((header) => header.encryptedDataKeys.some((key) => from.some((each) => each.accepts(key)))),
        sealOld:
          forSneaker &&
          ((plaintext, place, context) =>
            sealForSneaker(plaintext, { kms, key: forSneaker, context, place })),
        purge: request.purge,
        onWritten: (...written) => request.facts.add(...written),
        now: () => Date.now(),
        pause: (ms) => sleep(ms),
        concurrency: request.concurrency,
        signal: request.signal,
        onDone: (done, total) => report(done / total),
      }),
    );
  } finally {
    journal.close(summary !== undefined && summary.failed.length === 0 && summary.left === 0);
  }
  return { ...summary, keys: keyNames, total: objects.length };
}

/** Throws ConfigError for a state directory that can't be one, and what FileJournal.open() throws. */
async function openJournal(
  { stateDir, restart }: RotateRequest,
  subject: RotationSubject,
): Promise<FileJournal> {
  const directory = path.join(stateDir, 'rotations');
  await makeDirectory(directory).catch((cause: unknown) => {
    throw new ConfigError(
      'config-invalid',
      `cannot keep the journal of the rotation in ${quote(directory)}: ${errnoWords(cause)}`,
      { hint: 'name a directory of your own: --state-dir DIR, or SECRETSFS_STATE_DIR', cause },
    );
  });
  return FileJournal.open(directory, subject, { nowMs: Date.now(), restart });
}

/** Of a dry run, which neither leaves anything nor continues it. */
const NO_JOURNAL = {
  startedMs: Number.POSITIVE_INFINITY,
  resumed: undefined,
  has: () => false,
  add: () => undefined,
  close: () => undefined,
};

async function collect(store: SecretStore, patterns: readonly string[]): Promise<RotationTarget[]> {
  const objects: StoredObject[] = [];
  for await (const object of selectObjects(store, patterns)) objects.push(object);
  return targetsOf(objects);
}

/**
 * Seals something and opens it again, before anything is replaced: under a key that may encrypt and not decrypt, every secret
 * would be lost. Says what the keys are called in headers.
 */
async function proveKeys(
  { store, aws, keys }: RotateRequest,
  keyring: Awaited<ReturnType<typeof openWrapping>>['keyring'],
): Promise<readonly string[]> {
  const location = `${store.location}/.secretsfs/rotation`;
  const sealed = await sealSecret(Buffer.alloc(1), { keyring, location, created: new Date() });
  const names = readSecretHeader(sealed).encryptedDataKeys.map(({ keyName }) => keyName);
  for (const key of readable(keys, names)) {
    const reader = await openUnwrapping([key], aws);
    await openSecret(sealed, { ...reader, location });
  }
  return names;
}

/** To open with: the ARNs that headers have of the keys of KMS, and key files as they were given. */
function readable(keys: readonly string[], names: readonly string[]): string[] {
  return names.map((name, i) => (keys[i]?.startsWith('local:') ? keys[i] : name));
}
