/**
 * Makes what is below a prefix of a store the same as some files. What changed is told by a keyed hash of each content, which
 * stands in the context of its secret; so nothing has to be opened, and nobody without the key learns whether two are equal.
 * The key is a secret itself, below the same prefix.
 */
import { createHmac, randomBytes } from 'node:crypto';
import type { KeyringNode } from '@aws-crypto/material-management-node';
import { BundleError, quote } from '../errors.ts';
import { mapConcurrently } from './concurrent.ts';
import { headerAt } from './header-at.ts';
import { sealSecret } from './secret.ts';
import type { SecretStore, StoredObject, Written } from './store.ts';

/** The name of the key's secret below the prefix. */
export const SYNC_KEY = '.secretsfs-sync-key';

/** Whether the key of some sync lies at `path`: a pattern never means it, since who has it can tell contents by their hashes. */
export function isSyncKey(path: string): boolean {
  return path === SYNC_KEY || path.endsWith(`/${SYNC_KEY}`);
}

const KEY_BYTES = 32;
/** Of reads of headers, and of writes: each costs a PUT and a KMS GenerateDataKey. */
const AT_ONCE = 32;

export interface SyncFile {
  /** Below the prefix. */
  readonly path: string;
  /** The caller's to wipe. */
  readonly data: Uint8Array;
}

export interface SyncOptions {
  readonly store: SecretStore;
  /** Without a slash at its end. */
  readonly prefix: string;
  readonly keyring: KeyringNode;
  readonly context: Readonly<Record<string, string>>;
  /** Opens the key, with the keys that are trusted and no others: whoever knows its content could tell contents by their hashes. */
  open(path: string): Promise<{ readonly plaintext: Buffer; readonly format: string }>;
  /** Removes what is there and not among the files. */
  readonly remove: boolean;
  readonly dryRun: boolean;
  /** Nothing is begun any more once it is aborted. */
  readonly signal?: AbortSignal;
  /** Told of each that was written. */
  onWritten?(path: string, bytes: Buffer, written: Written): void;
  now(): Date;
  onDone?(done: number, total: number): void;
}

export interface SyncResult {
  readonly added: readonly string[];
  readonly changed: readonly string[];
  readonly removed: readonly string[];
  /** There and not among the files; left, without `remove`. */
  readonly extra: readonly string[];
  readonly unchanged: number;
  /** Files and removals that were not begun, since it was interrupted. */
  readonly left: number;
}

/**
 * Throws the first failure, BundleError `bundle-format` where the key is none that sync made, OutputError `output-changed` where somebody writes there meanwhile: what was done is done, and the
 * next time goes on with the rest.
 */
export async function sync(files: readonly SyncFile[], options: SyncOptions): Promise<SyncResult> {
  const { store, prefix, dryRun, signal } = options;
  const there = new Map<string, StoredObject>();
  for await (const object of store.list(`${prefix}/`))
    there.set(object.path.slice(prefix.length + 1), object);
  there.delete(SYNC_KEY);
  const key = await syncKey(options);
  let done = 0;
  const outcomes = await mapConcurrently(files, AT_ONCE, async (file) => {
    if (signal?.aborted === true) return { path: file.path, outcome: 'left' };
    const outcome = await syncFile(file, there.has(file.path), key, options);
    options.onDone?.(++done, files.length);
    return { path: file.path, outcome };
  }).finally(() => key?.fill(0));
  const names = new Set(files.map(({ path }) => path));
  const extra = [...there.values()].filter(({ path }) => !names.has(path.slice(prefix.length + 1)));
  const removals = await mapConcurrently(options.remove ? extra : [], AT_ONCE, async ({ path, etag }) => {
    if (signal?.aborted === true) return [];
    await (dryRun ? store.check(path, 'remove') : store.remove(path, { etag }));
    return [path.slice(prefix.length + 1)];
  });
  const removed = removals.flat();
  const those = (which: string) =>
    outcomes.filter(({ outcome }) => outcome === which).map(({ path }) => path);
  return {
    added: those('added'),
    changed: those('changed'),
    removed,
    extra: options.remove ? [] : extra.map(({ path }) => path.slice(prefix.length + 1)),
    unchanged: those('unchanged').length,
    left: those('left').length + removals.length - removed.length,
  };
}

/** undefined in a dry run, where there is none yet. */
async function syncKey({
  store,
  prefix,
  keyring,
  context,
  dryRun,
  open,
  now,
}: SyncOptions): Promise<Buffer | undefined> {
  const path = `${prefix}/${SYNC_KEY}`;
  if ((await headerAt(store, path)) !== undefined) return checkKey(await open(path), store.locate(path));
  if (dryRun) {
    await store.check(path, 'write');
    return undefined;
  }
  const key = randomBytes(KEY_BYTES);
  const sealed = await sealSecret(key, { keyring, location: store.locate(path), created: now(), context });
  await store.write(path, sealed, 'absent');
  return key;
}

function checkKey({ plaintext, format }: Awaited<ReturnType<SyncOptions['open']>>, at: string): Buffer {
  if (format === 'secretsfs' && plaintext.length === KEY_BYTES) return plaintext;
  const found = format === 'secretsfs' ? `${plaintext.length} bytes` : `of the format ${format}`;
  plaintext.fill(0);
  throw new BundleError(
    'bundle-format',
    `cannot take ${quote(at)} as the key of sync: it is ${found}, want a secret of ours of ${KEY_BYTES} bytes`,
    {
      hint: 'somebody else put it there: remove it with secretsfs rm, and sync makes one and writes every file anew',
    },
  );
}

async function syncFile(
  { path, data }: SyncFile,
  isThere: boolean,
  key: Buffer | undefined,
  { store, prefix, keyring, context, dryRun, now, onWritten }: SyncOptions,
): Promise<'added' | 'changed' | 'unchanged'> {
  const at = `${prefix}/${path}`;
  const found = isThere ? await headerAt(store, at) : undefined;
  const hash = key && hashOf(key, path, data);
  if (hash !== undefined && found?.header?.hash === hash && found.header.location === store.locate(at))
    return 'unchanged';
  if (dryRun) await store.check(at, 'write');
  else {
    const sealed = await sealSecret(data, {
      keyring,
      location: store.locate(at),
      created: now(),
      context,
      hash,
    });
    const written = await store.write(at, sealed, found === undefined ? 'absent' : { etag: found.etag });
    onWritten?.(at, sealed, written);
  }
  return found === undefined ? 'added' : 'changed';
}

/** With the path, so that equal contents have different hashes: paths have no NUL. */
function hashOf(key: Buffer, path: string, data: Uint8Array): string {
  return createHmac('sha256', key).update(`${path}\0`).update(data).digest('hex');
}
