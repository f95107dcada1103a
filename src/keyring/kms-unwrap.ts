/**
 * Unwrapping data keys with AWS KMS: which of a message's keys to ask, in which order, and how they are named. The SDK's
 * own keyring is not used for the reasons in kms.ts.
 */
import {
  type EncryptedDataKey,
  KeyringNode,
  KeyringTraceFlag,
  type NodeDecryptionMaterial,
  type NodeEncryptionMaterial,
} from '@aws-crypto/material-management-node';
import type { AwsAccess } from '../aws/access.ts';
import { decryptDataKey } from '../aws/kms-calls.ts';
import type { AcceptedKey } from '../bundle/header.ts';
import { KeyError, quote, SecretsfsError } from '../errors.ts';
import { mostTelling } from './failures.ts';
import { call, isKms, KMS_PROVIDER_ID, malformed, takeOver } from './kms.ts';
import { inRegion, isSameKey, type KeyArn, parseKeyArn } from './spec.ts';

/** For one key, with its retry. Other regions wait behind it. */
const UNWRAP_TIMEOUT_MS = 6_000;

const UNWRAPPED =
  KeyringTraceFlag.WRAPPING_KEY_DECRYPTED_DATA_KEY | KeyringTraceFlag.WRAPPING_KEY_VERIFIED_ENC_CTX;

/** One way to unwrap: which key to ask, about which encrypted data key. */
interface Attempt {
  readonly arn: KeyArn;
  readonly edk: EncryptedDataKey;
  /** A replica that may not exist: its failure says little. */
  readonly guessed: boolean;
}

/** 0 for the own region, 1 for the same geography ("eu"), 2 for the rest. */
function distance(region: string, own: string | undefined): number {
  if (region === own) return 0;
  return region.split('-')[0] === own?.split('-')[0] ? 1 : 2;
}

/**
 * What to try, nearest first: each accepted ARN, and for a multi-Region key the replica in the own region, is asked once,
 * about the data key that names it or else the first of the same key; and one ARN more that only the bundle names.
 * Exported for tests.
 */
export function unwrapAttempts(
  accepted: readonly KeyArn[],
  edks: readonly EncryptedDataKey[],
  ownRegion: string | undefined,
): Attempt[] {
  const attempts: Attempt[] = [];
  let named: string | undefined;
  const add = (attempt: Attempt): void => {
    const exact = (a: Attempt) => a.edk.providerInfo === a.arn.text;
    const known = attempts.findIndex((a) => a.arn.text === attempt.arn.text);
    const other = attempts[known];
    if (other === undefined) attempts.push(attempt);
    else if (exact(attempt) && !exact(other)) attempts[known] = attempt;
    else if (other.guessed && !attempt.guessed) attempts[known] = { ...other, guessed: false };
  };
  for (const edk of edks.filter(isKms)) {
    const arn = parseKeyArn(edk.providerInfo);
    if (arn === undefined) continue;
    const same = accepted.filter((a) => isSameKey(a, arn));
    if (same.length === 0) continue;
    for (const replica of same) add({ arn: replica, edk, guessed: false });
    // Where the bundle itself says, once: a header is not authenticated yet, and could send us round the world.
    if (named === undefined || named === arn.text || same.some((a) => a.text === arn.text)) {
      add({ arn, edk, guessed: false });
      if (!same.some((a) => a.text === arn.text)) named = arn.text;
    }
    if (ownRegion !== undefined && arn.id.startsWith('mrk-')) {
      add({ arn: inRegion(arn, ownRegion), edk, guessed: true });
    }
  }
  // Stable: within one distance the author's order counts.
  return attempts.sort((a, b) => distance(a.arn.region, ownRegion) - distance(b.arn.region, ownRegion));
}

export interface UnwrapOptions {
  /** Also with any key that a message names, as long as it is of the account of our credentials. */
  readonly ownAccount?: boolean;
}

class KmsUnwrappingKeyring extends KeyringNode {
  readonly #accepted: readonly KeyArn[];
  readonly #aws: AwsAccess;
  readonly #options: UnwrapOptions;

  constructor(accepted: readonly KeyArn[], aws: AwsAccess, options: UnwrapOptions) {
    super();
    this.#accepted = accepted;
    this.#aws = aws;
    this.#options = options;
  }

  override async _onEncrypt(material: NodeEncryptionMaterial): Promise<NodeEncryptionMaterial> {
    return material;
  }

  override async _onDecrypt(
    material: NodeDecryptionMaterial,
    edks: EncryptedDataKey[],
  ): Promise<NodeDecryptionMaterial> {
    const accepted =
      this.#options.ownAccount === true ? [...this.#accepted, ...arnsOf(edks)] : this.#accepted;
    const candidates = unwrapAttempts(accepted, edks, undefined);
    if (candidates.length === 0) throw notAccepted(edks, this.#accepted);
    // The own region may have to be asked of the metadata service: only where it decides something.
    const decides = candidates.length > 1 || candidates.some(({ arn }) => arn.id.startsWith('mrk-'));
    const own = decides ? await this.#aws.region() : undefined;

    const failures: { readonly error: SecretsfsError; readonly guessed: boolean }[] = [];
    for (const { arn, edk, guessed } of unwrapAttempts(accepted, edks, own)) {
      try {
        const dataKey = await this.#decrypt(arn, edk, material);
        material.setUnencryptedDataKey(dataKey, {
          keyNamespace: KMS_PROVIDER_ID,
          keyName: arn.text,
          flags: UNWRAPPED,
        });
        return material;
      } catch (error) {
        if (!(error instanceof SecretsfsError)) throw error;
        failures.push({ error, guessed });
      }
    }
    const certain = failures.filter(({ guessed }) => !guessed);
    throw mostTelling((certain.length > 0 ? certain : failures).map(({ error }) => error));
  }

  async #decrypt(arn: KeyArn, edk: EncryptedDataKey, material: NodeDecryptionMaterial): Promise<Uint8Array> {
    const client = await this.#aws.kms(arn.region);
    const isNamed = this.#accepted.some((named) => isSameKey(named, arn));
    const input = {
      // Always there: without it KMS takes whichever key the blob says. An id without its account is, for KMS, of the
      // account of the credentials and of no other.
      KeyId: isNamed ? arn.text : arn.id,
      CiphertextBlob: edk.encryptedDataKey,
      EncryptionContext: { ...material.encryptionContext },
    };
    const abortSignal = AbortSignal.timeout(UNWRAP_TIMEOUT_MS);
    const { KeyId, Plaintext } = await call(arn.text, 'Decrypt', () =>
      decryptDataKey(this.#aws, client, input, { abortSignal }),
    ).catch((error: unknown) => {
      throw isNamed ? error : ofUnnamed(arn, error);
    });
    if (Plaintext === undefined) throw malformed(arn.text, 'Decrypt', 'it has no data key');
    const dataKey = takeOver(Plaintext);
    const problem =
      KeyId !== arn.text
        ? `it is about the key ${quote(String(KeyId))}`
        : dataKey.length !== material.suite.keyLengthBytes
          ? `its data key has ${dataKey.length} bytes, want ${material.suite.keyLengthBytes}`
          : undefined;
    if (problem !== undefined) {
      dataKey.fill(0);
      throw malformed(arn.text, 'Decrypt', problem);
    }
    return dataKey;
  }
}

function arnsOf(edks: readonly EncryptedDataKey[]): KeyArn[] {
  return edks.filter(isKms).flatMap(({ providerInfo }) => {
    const arn = parseKeyArn(providerInfo);
    return arn?.kind === 'key' ? [arn] : [];
  });
}

/** Nobody but the message named this key: a hint must not talk a person into using it. */
function ofUnnamed({ text }: KeyArn, error: unknown): unknown {
  if (!(error instanceof KeyError)) return error;
  if (error.code === 'key-denied') {
    const hint = `if that is a key of yours, grant kms:Decrypt on "${text}"`;
    return new KeyError(error.code, error.message, { hint, cause: error });
  }
  if (error.code !== 'key-not-found') return error;
  return new KeyError(
    'key-not-accepted',
    `cannot unwrap the data key: ${quote(text)} is no key of the account of these credentials`,
    {
      hint: `if it is one of another account, and meant: --accept-key ${text}; if it was one of this account, it was deleted`,
      cause: error,
    },
  );
}

function notAccepted(edks: readonly EncryptedDataKey[], accepted: readonly KeyArn[]): KeyError {
  const found = edks.filter(isKms).map((edk) => quote(edk.providerInfo));
  return new KeyError(
    'key-not-accepted',
    `cannot unwrap the data key: it is wrapped with ${found.join(', ') || 'no KMS key'}, want ${accepted.map((a) => quote(a.text)).join(' or ')}`,
    { hint: 'accept that key with --accept-key, if it is meant' },
  );
}

/** Unwraps with accepted keys only, nearest first. Throws what was most telling of all that failed. */
export function kmsUnwrappingKeyring(
  accepted: readonly KeyArn[],
  aws: AwsAccess,
  options: UnwrapOptions = {},
): KeyringNode {
  return new KmsUnwrappingKeyring(accepted, aws, options);
}

/** Any key of KMS, where the keyring sees to it that it is of our own account. */
export const ANY_KMS_KEY: AcceptedKey = {
  description: 'a KMS key of this account',
  accepts: ({ providerId, keyName }) =>
    providerId === KMS_PROVIDER_ID && parseKeyArn(keyName)?.kind === 'key',
};
