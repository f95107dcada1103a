/**
 * upload --shred: the file goes once what was written has been read back, is what was sealed, and opens to what was read; and
 * only if it still is what was read.
 */
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { LOCAL_PROVIDER_ID } from '../bundle/data-keys.ts';
import { quote, SecretsfsError, UsageError } from '../errors.ts';
import { openUnwrapping } from '../keyring/keyring.ts';
import { parseKeySpec } from '../keyring/spec.ts';
import { openSecret, readSecretHeader } from '../secrets/secret.ts';
import type { Context } from './command.ts';
import { unverified } from './pack-shred.ts';
import { lookAtTargets, namedFile, type ShredTarget } from './shred-files.ts';
import { refuseProblems, shredAll, warnOfRemains } from './shredding.ts';
import type { Stored } from './write-secret.ts';

/** Before anything is written: throws what shredUploaded() would throw, and UsageError for stdin and for a key of --key. */
export async function lookBeforeShred(file: string, { ui, settings }: Context): Promise<void> {
  if (file === '-') {
    throw new UsageError('cannot shred stdin: --shred is for files', {
      hint: 'name a file, or leave --shred out',
    });
  }
  const looked = await lookAtTargets([namedFile(file)]);
  refuseProblems(ui, looked);
  const { dev, ino } = await stat(file, { bigint: true });
  for (const key of settings.key ?? []) {
    const spec = parseKeySpec(key);
    const found =
      spec.kind === 'local' ? await stat(spec.path, { bigint: true }).catch(() => undefined) : undefined;
    if (found?.dev !== dev || found.ino !== ino) continue;
    throw new UsageError(`cannot shred ${quote(file)}: it is the key ${quote(key)}`, {
      hint: 'seal it under another key, or leave --shred out',
    });
  }
  warnOfRemains(ui, looked);
}

/** `target`: the file, with the identity that it had when it was read. Throws OutputError output-unverified, with nothing shredded. */
export async function shredUploaded(
  target: ShredTarget & { readonly identity: string },
  stored: Stored,
  { ui, settings }: Context,
): Promise<void> {
  await verifyStored(stored, settings.key ?? []);
  const looked = await lookAtTargets([target]);
  refuseProblems(ui, looked);
  await shredAll(ui, looked);
}

async function verifyStored(
  { store, aws, path, sealed, sha256 }: Stored,
  keys: readonly string[],
): Promise<void> {
  try {
    const read = await store.read(path);
    if (read === undefined || !read.bytes.equals(sealed))
      throw unverified(path, 'what is there is something else');
    const arns = readSecretHeader(read.bytes)
      .encryptedDataKeys.filter(({ providerId }) => providerId !== LOCAL_PROVIDER_ID)
      .map(({ keyName }) => keyName);
    const locals = keys.filter((key) => key.startsWith('local:'));
    const { keyring } = await openUnwrapping([...locals, ...arns], aws);
    const { plaintext } = await openSecret(read.bytes, { keyring, location: store.locate(path) });
    const found = createHash('sha256').update(plaintext).digest('hex');
    plaintext.fill(0);
    if (found !== sha256) throw unverified(path, 'it opens to something else than was uploaded');
  } catch (error) {
    if (!(error instanceof SecretsfsError) || error.code === 'output-unverified') throw error;
    throw unverified(path, error.message, error);
  }
}
