/**
 * What unpack and verify open: a bundle, or a pack of sneaker or kms-secrets, which are told apart by their shape. Who can write
 * there can put a pack in a bundle's place, which neither name nor signature holds back: only what --formats names is taken.
 */
import { createHash } from 'node:crypto';
import { parseContext } from '../bundle/name.ts';
import { recognisePack, type SealedFormat } from '../bundle/old-format.ts';
import { flagFor } from '../bundle/old-format-names.ts';
import type { Settings } from '../daemon/config.ts';
import { BundleError, quote } from '../errors.ts';
import { type OldOpened, openOldPack } from '../keyring/old-object.ts';
import { ofOwnAccount } from '../keyring/own-account.ts';
import { RawKms } from '../keyring/raw-kms.ts';
import { avoidDumps } from '../system/dumps.ts';
import { awsAccess, type OpenedBundle, openBundle, readBundle } from './bundles.ts';
import type { Context } from './command.ts';
import { openingKmsKeys } from './kms-keys.ts';

export type OpenedPack =
  | (OpenedBundle & { readonly kind: 'bundle' })
  | (OldOpened & Pick<OpenedBundle, 'location' | 'sha256'> & { readonly kind: 'old' });

/** Opened by its own rules. The plaintext, a tar, is the caller's to wipe. Throws BundleError bundle-format, bundle-name. */
export async function openPack(context: Context): Promise<OpenedPack> {
  await avoidDumps();
  const aws = awsAccess(context);
  const read = await readBundle(context, aws);
  const { bytes, location } = read;
  const old = await recognisePack(bytes);
  if (old === undefined) return { ...(await openBundle(context, read)), kind: 'bundle' };
  checkPack(old.format, location, context.settings);
  const opened = await openOldPack(old, {
    kms: ofOwnAccount(new RawKms(aws)),
    keys: openingKmsKeys(context),
    context: parseContext(context.settings.context ?? []),
  });
  return { ...opened, kind: 'old', location, sha256: createHash('sha256').update(bytes).digest('hex') };
}

function checkPack(format: SealedFormat, location: string, { formats = [], name }: Settings): void {
  if (!formats.includes(format)) {
    const message = `cannot open ${quote(location)}: it is no bundle, but by its shape a pack of ${format}, without name and signature`;
    throw new BundleError('bundle-format', message, {
      hint: `where that is what you expect there: ${flagFor(format, formats)}`,
    });
  }
  if (name === undefined) return;
  const message = `cannot open ${quote(location)}: a pack of ${format} has no name, want ${quote(name)}`;
  throw new BundleError('bundle-name', message, {
    hint: 'leave --name out (SECRETSFS_NAME, name of the config), if any pack under its key may be there',
  });
}

/** For JSON: a bundle's header, or what there is to know of an old pack. */
export function factsOf(opened: OpenedPack): Readonly<Record<string, unknown>> {
  if (opened.kind === 'bundle') return { ...opened.header };
  return { format: opened.format, era: opened.era, key: opened.keyId };
}

/** For a line to a person. */
export function wordsOf(opened: OpenedPack): string {
  if (opened.kind === 'bundle') return `${quote(opened.header.name)}, serial ${opened.header.serial}`;
  return `a pack of ${opened.format}, era ${opened.era}, under ${quote(opened.keyId)}`;
}
