/**
 * A pack of before in the place of a bundle, where `formats:` allows it (docs/old-formats.md). It carries neither name nor
 * serial, and is not signed: what is left of the policy is the keys, which are named to KMS, and the encryption context. Its
 * serial is made here, above that of whatever was live, so that all that counts serials goes on.
 */
import type { AwsAccess } from '../aws/access.ts';
import { recognisePack, type WrappedAndSealed } from '../bundle/old-format.ts';
import type { OldFormat } from '../bundle/old-format-names.ts';
import type { Policy } from '../bundle/policy.ts';
import { BundleError, KeyError } from '../errors.ts';
import { openOldPack } from '../keyring/old-object.ts';
import { RawKms } from '../keyring/raw-kms.ts';
import { parseAcceptedKey } from '../keyring/spec.ts';
import type { Sealed } from './unseal.ts';

export interface OldPolicy {
  readonly formats: readonly OldFormat[];
  /** As the settings have them; those of KMS count. */
  readonly acceptedKeys: readonly string[];
  readonly aws: AwsAccess;
  /** When it was put where it was found, as the source says. */
  readonly uploadedMs: number | undefined;
}

type Measured = Pick<Policy, 'context' | 'floor' | 'nowMs' | 'sha256'> & { readonly old: OldPolicy };

/** A pack of before; undefined for what is none. Throws BundleError bundle-format for one that is not to be taken. */
export async function recogniseOld(bytes: Buffer, { old }: Measured): Promise<WrappedAndSealed | undefined> {
  const pack = await recognisePack(bytes);
  if (pack === undefined || old.formats.includes(pack.format)) return pack;
  throw new BundleError('bundle-format', `cannot accept bundle: it is a pack of ${pack.format}`, {
    hint: `formats: [${pack.format}] in the config takes it, without a name, a serial or a signature; secretsfs unpack and pack make a bundle of it`,
  });
}

/** The plaintext is the caller's to wipe. Throws what openOldPack() throws, and KeyError key-not-accepted. */
export async function openOld(
  pack: WrappedAndSealed,
  policy: Measured,
): Promise<{ readonly header: Sealed; readonly plaintext: Buffer }> {
  const { aws, acceptedKeys } = policy.old;
  const keys = acceptedKeys.map(parseAcceptedKey).filter((spec) => spec.kind === 'kms');
  if (keys.length === 0) {
    throw new KeyError(
      'key-not-accepted',
      `cannot accept a pack of ${pack.format}: no key of KMS is accepted`,
      {
        hint: '--accept-key with the ARN of its key: secretsfs verify shows it',
      },
    );
  }
  const access = { kms: new RawKms(aws), keys, context: policy.context ?? {} };
  const { plaintext } = await openOldPack(pack, access);
  return { header: sealedAs(policy), plaintext };
}

/** When it was uploaded, but later than whatever was live, if it is something else. */
export function sealedAs({ floor, nowMs, sha256, old }: Measured): Sealed {
  const sealedMs = Math.max(1, Math.min(Math.floor(old.uploadedMs ?? nowMs), nowMs));
  const created = new Date(sealedMs).toISOString();
  if (floor === undefined) return { serial: sealedMs, created };
  if (floor.sha256 !== undefined && floor.sha256 === sha256) return { serial: floor.serial, created };
  return { serial: Math.max(sealedMs, floor.serial + 1), created };
}
