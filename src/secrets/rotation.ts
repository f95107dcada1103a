/**
 * Gives a secret of a store a new data key, and new wrapping keys where they are others. It is read, opened, sealed again
 * and replaced in one conditional step: at every instant there is one that opens, and what somebody wrote meanwhile is not
 * lost, but read and sealed instead. What was done already is told by the journal, and by headers of what then opens.
 */
import type { KeyringNode } from '@aws-crypto/material-management-node';
import { BundleError, classOf, SecretsfsError } from '../errors.ts';
import { purgeBelow } from './purge.ts';
import { type RotationTarget, removeHalves, thereAreBoth } from './rotation-pair.ts';
import { readSecretHeader, type SecretHeader, sealSecret } from './secret.ts';
import type { ReadObject, SecretStore, Written } from './store.ts';

export interface RotationJournal {
  /** When this rotation began, be it in an earlier process. */
  readonly startedMs: number;
  /** Whether what is at `path`, with this etag, is what this rotation left there. */
  has(path: string, etag: string): boolean;
  add(path: string, etag: string): void;
}

export interface OpenedSecret {
  /** Wiped by who asked. */
  readonly plaintext: Buffer;
  /** The author's own pairs, which it keeps; those of an old format are what it was opened with. */
  readonly context: SecretHeader['context'];
}

export interface RotationOptions {
  readonly store: SecretStore;
  /** Opens what was read, of whichever format; what is in two halves where that is undefined. Throws SecretsfsError. */
  open(path: string, stored: ReadObject | undefined): Promise<OpenedSecret>;
  /** Opens what a header says is done with the new keys alone, and wipes it. Throws SecretsfsError. */
  proveDone(path: string, stored: ReadObject): Promise<void>;
  /** Wraps the new data keys. */
  readonly keyring: KeyringNode;
  /** Seals in another format than ours, which says nothing of itself: then the journal alone tells what was done. */
  readonly sealOld?:
    | ((plaintext: Buffer, place: string, context: SecretHeader['context']) => Promise<Buffer>)
    | undefined;
  /** Names of all keys that it wraps with, as headers have them. */
  readonly keyNames: readonly string[];
  /** Whether one with this header is to be rotated; each is where this is left out. */
  readonly concerns?: ((header: SecretHeader) => boolean) | undefined;
  readonly journal: RotationJournal;
  /** Whether the older versions of each are to go, for good. */
  readonly purge: boolean;
  /** Everything but sealing and writing. */
  readonly dryRun: boolean;
  /** Told of each that was written. */
  onWritten?(path: string, bytes: Buffer, written: Written): void;
  now(): number;
  pause(ms: number): Promise<void>;
}

export type Outcome = { readonly path: string } & (
  | { readonly outcome: 'rotated' | 'already'; readonly versions: number | 'kept' | 'none' }
  | { readonly outcome: 'other-keys' | 'gone' }
  /** `fatal`: it would be the same with every other. */
  | { readonly outcome: 'failed'; readonly error: SecretsfsError; readonly fatal: boolean }
);

/** Of one secret: how often it may be written to meanwhile, or the server too busy. */
const ATTEMPTS = 8;
/** After the first time that a server was too busy; doubled each time, less a random part up to a half. */
const PAUSE_MS = 500;
const BUSY: readonly string[] = [
  'key-throttled',
  'key-unreachable',
  'source-throttled',
  'source-unreachable',
];

/** Rotates what a listing named. Throws nothing but bugs. */
export async function rotateOne(target: RotationTarget, options: RotationOptions): Promise<Outcome> {
  const { path } = target;
  // What was to be purged may have been left by a rotation that was not to.
  if (!options.purge && options.journal.has(path, target.etag))
    return { path, outcome: 'already', versions: 'none' };
  for (let attempt = 1; ; attempt++) {
    const outcome = await attemptOne(target, options);
    if (outcome.outcome !== 'failed') return outcome;
    const isBusy = BUSY.includes(outcome.error.code);
    if (attempt === ATTEMPTS || !(isBusy || outcome.error.code === 'output-changed')) return outcome;
    if (isBusy) await options.pause(PAUSE_MS * 2 ** (attempt - 1) * (1 - Math.random() / 2));
  }
}

async function attemptOne(target: RotationTarget, options: RotationOptions): Promise<Outcome> {
  const { path, halves } = target;
  const { store, journal, keyNames, dryRun } = options;
  let isSealing = false;
  try {
    const stored = await store.read(path);
    if (stored === undefined && halves === undefined) return { path, outcome: 'gone' };
    const header = stored && headerOf(stored.bytes);
    if (stored !== undefined && header !== undefined) {
      const times = { startedMs: journal.startedMs, nowMs: options.now() };
      if (options.sealOld === undefined && isOfRotation(header, keyNames, times)) {
        if (!dryRun) await options.proveDone(path, stored);
        const versions = await purge(path, stored.version, options);
        if (!dryRun) await removeHalves(store, target);
        if (!dryRun) journal.add(path, stored.etag);
        return { path, outcome: 'already', versions };
      }
      if (options.concerns?.(header) === false) return { path, outcome: 'other-keys' };
    }
    if (stored !== undefined && halves !== undefined) throw thereAreBoth(path);
    if (dryRun) {
      await store.check(path, 'write');
      return { path, outcome: 'rotated', versions: stored?.version === undefined ? 'none' : 'kept' };
    }
    const { plaintext, context } = await options.open(path, stored);
    let sealed: Buffer;
    try {
      isSealing = true;
      const created = new Date(options.now());
      const { keyring, sealOld } = options;
      const location = store.locate(path);
      sealed =
        sealOld === undefined
          ? await sealSecret(plaintext, { keyring, location, created, context, hash: header?.hash })
          : await sealOld(plaintext, location, context);
      isSealing = false;
    } finally {
      plaintext.fill(0);
    }
    const written = await store.write(path, sealed, stored === undefined ? 'absent' : { etag: stored.etag });
    options.onWritten?.(path, sealed, written);
    await removeHalves(store, target);
    const versions = await purge(path, written.version, options);
    journal.add(path, written.etag);
    return { path, outcome: 'rotated', versions };
  } catch (error) {
    if (!(error instanceof SecretsfsError)) throw error;
    const kind = classOf(error.code);
    return { path, outcome: 'failed', error, fatal: kind === 'config' || (isSealing && kind === 'key') };
  }
}

/** undefined: it is of an old format, or of none. */
function headerOf(bytes: Buffer): SecretHeader | undefined {
  try {
    return readSecretHeader(bytes);
  } catch (error) {
    if (error instanceof BundleError) return undefined;
    throw error;
  }
}

/** What a header says, which nothing authenticates before it is opened; our own say no time to come. */
function isOfRotation(
  header: SecretHeader,
  keyNames: readonly string[],
  { startedMs, nowMs }: { readonly startedMs: number; readonly nowMs: number },
): boolean {
  const names = header.encryptedDataKeys.map(({ keyName }) => keyName);
  const isSame = names.length === keyNames.length && names.every((name) => keyNames.includes(name));
  const createdMs = Date.parse(header.created);
  return isSame && createdMs >= startedMs && createdMs <= nowMs;
}

async function purge(
  path: string,
  version: string | undefined,
  { store, purge, dryRun }: RotationOptions,
): Promise<number | 'kept' | 'none'> {
  if (version === undefined) return 'none';
  return purge && !dryRun ? purgeBelow(store, path, version) : 'kept';
}
