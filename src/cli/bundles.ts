/** What the commands that read a bundle share: where it comes from, which keys open it, what is expected of it. */
import { createHash } from 'node:crypto';
import { AwsAccess } from '../aws/access.ts';
import { readHeader, unseal } from '../bundle/envelope.ts';
import type { BundleHeader } from '../bundle/header.ts';
import { parseContext, validateName } from '../bundle/name.ts';
import { checkHeader } from '../bundle/policy.ts';
import type { SettingName, Settings } from '../daemon/config.ts';
import { checkLocation, isS3Url } from '../daemon/location.ts';
import { createSource } from '../daemon/sources.ts';
import { quote, SourceError, UsageError } from '../errors.ts';
import { openUnwrapping } from '../keyring/keyring.ts';
import { parseKeyArn } from '../keyring/spec.ts';
import { bundleBytesMax, TAR_BYTES_MAX } from '../limits.ts';
import { FileSource } from '../source/file.ts';
import { S3Source } from '../source/s3.ts';
import { parseS3Url } from '../source/s3-url.ts';
import { avoidDumps } from '../system/dumps.ts';
import type { Context } from './command.ts';
import { AWS_SETTINGS, acceptedKeys } from './mount-settings.ts';
import { readStdin } from './streams.ts';

export const OPENING_SETTINGS: readonly SettingName[] = [
  'bundle',
  'name',
  'key',
  'acceptKey',
  'context',
  ...AWS_SETTINGS,
];

export function awsAccess({ settings, env }: Pick<Context, 'settings' | 'env'>): AwsAccess {
  const { profile, region, roleArn, externalId, forcePathStyle, expectedBucketOwner } = settings;
  // The bucket is most likely where the key is.
  const keys = [...(settings.acceptKey ?? []), ...(settings.key ?? [])];
  const likelyRegion = keys.map((key) => parseKeyArn(key)?.region).find((found) => found !== undefined);
  return new AwsAccess({
    env,
    ...{ profile, region, roleArn, externalId, forcePathStyle, expectedBucketOwner, likelyRegion },
  });
}

/** The first bytes of the bundle that the settings name, with its header whole, and the size of all of it. */
export async function readHead(context: Context): Promise<{ head: Buffer; size: number; location: string }> {
  const location = locationOf(context.settings);
  if (location === '-') {
    const { bytes } = await readBundle(context, awsAccess(context));
    return { head: bytes, size: bytes.length, location: 'stdin' };
  }
  const source = isS3Url(location)
    ? new S3Source(parseS3Url(location), awsAccess(context))
    : new FileSource(location);
  const read = await source.readHead();
  if (read !== undefined) return { head: read.bytes, size: read.size, location };
  throw new SourceError('source-not-found', `cannot read ${quote(location)}: there is no such bundle`, {
    hint: 'check the location; secretsfs pack makes a bundle',
  });
}

function locationOf({ bundle }: Settings): string {
  if (bundle !== undefined) return checkLocation(bundle);
  throw new UsageError('no bundle given', { hint: 'name a path, s3://bucket/key, or - for stdin' });
}

/** The whole ciphertext of the bundle that the settings name. */
export async function readBundle(
  context: Context,
  aws: AwsAccess,
): Promise<{ bytes: Buffer; location: string }> {
  const location = locationOf(context.settings);
  const bytesMax = bundleBytesMax(TAR_BYTES_MAX);
  if (location === '-') return { bytes: await readStdin(context, bytesMax, 'a bundle'), location: 'stdin' };
  const source = createSource(location, aws);
  const fetched = await context.ui.progress(`reading ${location}`, () => source.fetch({ bytesMax }));
  if (fetched === undefined) throw new Error('a first fetch found nothing new');
  return { bytes: fetched.bytes, location };
}

export interface OpenedBundle {
  readonly header: BundleHeader;
  /** The caller's to wipe. */
  readonly plaintext: Buffer;
  readonly location: string;
  readonly sha256: string;
}

/** The opened bundle, which `read` may have read already. Policy is checked before any key is used. */
export async function openBundle(
  context: Context,
  read?: { readonly bytes: Buffer; readonly location: string },
): Promise<OpenedBundle> {
  const { settings } = context;
  await avoidDumps();
  const aws = awsAccess(context);
  const { keyring, accepted } = await openUnwrapping(acceptedKeys(settings, context), aws);
  const { bytes, location } = read ?? (await readBundle(context, aws));
  checkHeader(readHeader(bytes), {
    accepted,
    nowMs: Date.now(),
    ...(settings.name === undefined ? {} : { name: validateName(settings.name) }),
    ...(settings.context === undefined ? {} : { context: parseContext(settings.context) }),
  });
  const opened = await context.ui.progress(`opening ${location}`, (report) => {
    const progress = (done: number, total: number) => report(done / Math.max(total, 1));
    return unseal(bytes, { keyring, plaintextBytesMax: TAR_BYTES_MAX, progress });
  });
  return { ...opened, location, sha256: createHash('sha256').update(bytes).digest('hex') };
}
