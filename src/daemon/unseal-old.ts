/**
 * A pack of before in the place of a bundle, where `formats:` allows it (docs/old-formats.md). It carries neither name nor
 * serial, and is not signed: what is left of the policy is the keys, which are named to KMS, and the encryption context. Its
 * serial is made here, above that of whatever was live, so that all that counts serials goes on.
 */
import type { AwsAccess } from '../aws/access.ts';
import { type ArchiveEntry, writeArchive } from '../bundle/archive.ts';
import { ciphertextsIn, type NamedCiphertext } from '../bundle/ciphertexts.ts';
import { looksLikeTar, recognisePack, type WrappedAndSealed } from '../bundle/old-format.ts';
import type { OldFormat } from '../bundle/old-format-names.ts';
import type { Policy } from '../bundle/policy.ts';
import { BundleError, KeyError } from '../errors.ts';
import { type OldAccess, openOldPack } from '../keyring/old-object.ts';
import { RawKms } from '../keyring/raw-kms.ts';
import { parseAcceptedKey } from '../keyring/spec.ts';
import type { Sealed } from './unseal.ts';

/** Of a directory's files. The quota of KMS is the whole account's. */
const CALLS_AT_ONCE = 8;

export interface OldPolicy {
  readonly formats: readonly OldFormat[];
  /** As the settings have them; those of KMS count. */
  readonly acceptedKeys: readonly string[];
  readonly aws: AwsAccess;
  /** When it was put where it was found, as the source says. */
  readonly uploadedMs: number | undefined;
}

/** A pack, or the ciphertexts of a directory. */
type Old = WrappedAndSealed | { readonly format: 'kms'; readonly files: readonly NamedCiphertext[] };

type Measured = Pick<Policy, 'context' | 'floor' | 'nowMs' | 'sha256'> & { readonly old: OldPolicy };

/** A pack of before; undefined for what is none. Throws BundleError bundle-format for one that is not to be taken. */
export async function recogniseOld(bytes: Buffer, { old }: Measured): Promise<Old | undefined> {
  const pack =
    (await recognisePack(bytes)) ?? (old.formats.includes('kms') ? await asCiphertexts(bytes) : undefined);
  if (pack === undefined || old.formats.includes(pack.format)) return pack;
  throw new BundleError('bundle-format', `cannot accept bundle: it is a pack of ${pack.format}`, {
    hint: `formats: [${pack.format}] in the config takes it, without a name, a serial or a signature; secretsfs unpack and pack make a bundle of it`,
  });
}

/** The plaintext is the caller's to wipe. Throws what openOldPack() throws, and KeyError key-not-accepted. */
export async function openOld(
  pack: Old,
  policy: Measured,
): Promise<{ readonly header: Sealed; readonly plaintext: Buffer }> {
  const { aws, acceptedKeys } = policy.old;
  const keys = acceptedKeys.map(parseAcceptedKey).filter((spec) => spec.kind === 'kms');
  if (keys.length === 0) {
    throw new KeyError(
      'key-not-accepted',
      `cannot accept what is of the format ${pack.format}: no key of KMS is accepted`,
      {
        hint: '--accept-key with the ARN of its key: secretsfs verify shows it',
      },
    );
  }
  const access = { kms: new RawKms(aws), keys, context: policy.context ?? {} };
  const plaintext =
    pack.format === 'kms' ? await openAll(pack.files, access) : (await openOldPack(pack, access)).plaintext;
  return { header: sealedAs(policy), plaintext };
}

/** Nothing that is no tar is one of these, and what is wrong with a tar is said by who reads it as such. */
async function asCiphertexts(bytes: Buffer): Promise<Old | undefined> {
  if (!looksLikeTar(bytes)) return undefined;
  const files = await ciphertextsIn(bytes);
  return files === undefined ? undefined : { format: 'kms', files };
}

/** All of them, as a tar of their contents. One that KMS refuses is said by its name. */
async function openAll(files: readonly NamedCiphertext[], access: OldAccess): Promise<Buffer> {
  const entries: (ArchiveEntry & { readonly kind: 'file' })[] = [];
  try {
    for (let at = 0; at < files.length; at += CALLS_AT_ONCE) {
      const opening = files.slice(at, at + CALLS_AT_ONCE).map((file) => openOne(file, access));
      const settled = await Promise.allSettled(opening);
      for (const each of settled) if (each.status === 'fulfilled') entries.push(each.value);
      const failed = settled.find((each) => each.status === 'rejected');
      if (failed !== undefined) throw failed.reason;
    }
    return await writeArchive(entries);
  } finally {
    for (const { data } of entries) data.fill(0);
  }
}

async function openOne({ path, blob }: NamedCiphertext, access: OldAccess) {
  try {
    const { plaintext } = await access.kms.decrypt(blob, access);
    return { kind: 'file', path, mode: 0o400, uid: 0, gid: 0, data: plaintext } as const;
  } catch (error) {
    if (!(error instanceof KeyError)) throw error;
    const { code, message, hint } = error;
    throw new KeyError(code, `${path}.kms: ${message}`, { hint, cause: error });
  }
}

/** When it was uploaded, but later than whatever was live, if it is something else. */
export function sealedAs({ floor, nowMs, sha256, old }: Measured): Sealed {
  const sealedMs = Math.max(1, Math.min(Math.floor(old.uploadedMs ?? nowMs), nowMs));
  const created = new Date(sealedMs).toISOString();
  if (floor === undefined) return { serial: sealedMs, created };
  if (floor.sha256 !== undefined && floor.sha256 === sha256) return { serial: floor.serial, created };
  return { serial: Math.max(sealedMs, floor.serial + 1), created };
}
