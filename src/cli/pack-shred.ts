/**
 * pack --shred: the sources go once what was written has been read back, is what was sealed, and opens to what was packed;
 * and only as far as they still are what was read.
 */
import { createHash } from 'node:crypto';
import { readlink, rmdir, stat, unlink } from 'node:fs/promises';
import type { AwsAccess } from '../aws/access.ts';
import type { ArchiveEntry } from '../bundle/archive.ts';
import { LOCAL_PROVIDER_ID } from '../bundle/data-keys.ts';
import { readHeader, unseal } from '../bundle/envelope.ts';
import { createSource } from '../daemon/sources.ts';
import { OutputError, quote, SecretsfsError, UsageError } from '../errors.ts';
import { openUnwrapping } from '../keyring/keyring.ts';
import { parseKeySpec } from '../keyring/spec.ts';
import { TAR_BYTES_MAX } from '../limits.ts';
import type { Context } from './command.ts';
import type { PackInput } from './pack-input.ts';
import { lookAtTargets, within } from './shred-files.ts';
import { refuseProblems, shredAll, warnOfRemains } from './shredding.ts';

/** Throws UsageError where there would be nothing to read back, or nothing to shred. */
export function checkShred(out: string, patterns: readonly string[], tar: string | undefined): void {
  if (patterns.length > 0)
    throw new UsageError('cannot shred secrets of a store: --shred is for files', {
      hint: 'secretsfs rm removes them',
    });
  if (out === '-')
    throw new UsageError('cannot shred what goes to stdout: it can not be read back', {
      hint: 'name a file or an object; or pack, look at it, and secretsfs shred the files',
    });
  if (tar === '-')
    throw new UsageError('cannot shred stdin: --shred is for files', {
      hint: '--tar FILE, or leave --shred out',
    });
}

/**
 * Before anything is written: throws what shredSources() would throw, and UsageError where a key file would go, which
 * would leave a bundle that nothing opens. Says what may remain of the sources.
 */
export async function lookBeforeShred(
  { ui }: Context,
  { files }: PackInput,
  keys: readonly string[],
): Promise<void> {
  for (const key of keys) {
    const spec = parseKeySpec(key);
    if (spec.kind !== 'local') continue;
    const { dev, ino } = await stat(spec.path, { bigint: true });
    const found = files.find(({ identity }) => identity?.startsWith(`file:${dev}:${ino}:`));
    if (found === undefined) continue;
    throw new UsageError(`cannot shred ${quote(found.shown)}: it is the key ${quote(key)}`, {
      hint: 'move the key out of what is packed',
    });
  }
  const looked = await lookAtTargets(files);
  refuseProblems(ui, looked);
  warnOfRemains(ui, looked);
}

/** Throws OutputError output-unverified, with nothing shredded. `sha256` is that of what was packed, hex. */
export async function verifyWritten(
  out: string,
  sealed: Buffer,
  expected: { readonly sha256: string; readonly keys: readonly string[]; readonly aws: AwsAccess },
): Promise<void> {
  try {
    const read = await createSource(out, expected.aws).fetch({ bytesMax: sealed.length });
    if (read === undefined || !read.bytes.equals(sealed))
      throw unverified(out, 'what is there is something else');
    const arns = readHeader(read.bytes)
      .encryptedDataKeys.filter(({ providerId }) => providerId !== LOCAL_PROVIDER_ID)
      .map(({ keyName }) => keyName);
    const locals = expected.keys.filter((key) => key.startsWith('local:'));
    const { keyring } = await openUnwrapping([...locals, ...arns], expected.aws);
    const { plaintext } = await unseal(read.bytes, { keyring, plaintextBytesMax: TAR_BYTES_MAX });
    const sha256 = createHash('sha256').update(plaintext).digest('hex');
    plaintext.fill(0);
    if (sha256 !== expected.sha256) throw unverified(out, 'it opens to something else than was packed');
  } catch (error) {
    if (!(error instanceof SecretsfsError) || error.code === 'output-unverified') throw error;
    throw unverified(out, error.message, error);
  }
}

export function unverified(out: string, why: string, cause?: SecretsfsError): OutputError {
  return new OutputError(
    'output-unverified',
    `nothing was shredded: cannot read ${quote(out)} back: ${why}`,
    {
      hint: cause?.hint ?? 'somebody else may have written there: look at it, and run the command again',
      cause,
    },
  );
}

/** Shreds the sources; of a directory, its symlinks and subdirectories go too, and it stays, empty. */
export async function shredSources({ ui }: Context, { files, tree }: PackInput): Promise<void> {
  const looked = await lookAtTargets(files);
  refuseProblems(ui, looked);
  await shredAll(ui, looked);
  if (tree === undefined) return;
  // The deepest first. What was added since keeps its directory.
  for (const entry of tree.others.toReversed()) {
    const place = { base: tree.directory, below: entry.path.split('/') };
    await within(place, (directory, name) => removeEmpty(directory.at(name), entry)).catch(() => {
      ui.warn(
        `${quote(`${tree.directory}/${entry.path}`)} stays: it is in use, or there is something new in it`,
      );
    });
  }
}

async function removeEmpty(at: string, entry: ArchiveEntry): Promise<void> {
  if (entry.kind === 'directory') return rmdir(at);
  if (entry.kind !== 'symlink' || (await readlink(at)) !== entry.target)
    throw new Error('it is something else now');
  await unlink(at);
}
