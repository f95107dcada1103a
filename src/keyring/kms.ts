/**
 * Wrapping and unwrapping data keys with AWS KMS. What is written into a message is exactly what the AWS Encryption
 * SDK's own KMS keyring writes (provider "aws-kms", provider info the key's ARN as KMS returned it), so that either
 * reads the other's. The SDK's keyring is not used because it pulls in a DynamoDB client, reports every failure as
 * one text, and knows no multi-Region keys.
 */
import {
  EncryptedDataKey,
  KeyringNode,
  KeyringTraceFlag,
  type NodeDecryptionMaterial,
  type NodeEncryptionMaterial,
  unwrapDataKey,
} from '@aws-crypto/material-management-node';
import type { KMSClient } from '@aws-sdk/client-kms';
import type { AwsAccess } from '../aws/access.ts';
import { regionMissing } from '../aws/errors.ts';
import { type KmsAction, kmsError } from '../aws/kms-errors.ts';
import type { AcceptedKey } from '../bundle/header.ts';
import { KeyError, quote, SecretsfsError, UsageError } from '../errors.ts';
import { mostTelling } from './failures.ts';
import { inRegion, isSameKey, type KeyArn, type KmsArnSpec, type KmsSpec, parseKeyArn } from './spec.ts';

export const KMS_PROVIDER_ID = 'aws-kms';

/** For one key, with its retry. Other regions wait behind it. */
const UNWRAP_TIMEOUT_MS = 6_000;

const WRAPPED =
  KeyringTraceFlag.WRAPPING_KEY_ENCRYPTED_DATA_KEY | KeyringTraceFlag.WRAPPING_KEY_SIGNED_ENC_CTX;
const GENERATED = KeyringTraceFlag.WRAPPING_KEY_GENERATED_DATA_KEY | WRAPPED;
const UNWRAPPED =
  KeyringTraceFlag.WRAPPING_KEY_DECRYPTED_DATA_KEY | KeyringTraceFlag.WRAPPING_KEY_VERIFIED_ENC_CTX;

/** Runs one KMS call; what it throws is a SecretsfsError or a bug. */
async function call<T>(keyId: string, action: KmsAction, send: () => Promise<T>): Promise<T> {
  try {
    return await send();
  } catch (error) {
    throw kmsError(error, keyId, action);
  }
}

/** A copy of its own memory, which the materials keep; the SDK's buffer, which may be part of a pool, is zeroed. */
function takeOver(plaintext: Uint8Array): Uint8Array {
  const own = new Uint8Array(plaintext);
  plaintext.fill(0);
  return own;
}

function malformed(keyId: string, action: KmsAction, what: string): KeyError {
  return new KeyError('key-invalid', `cannot use KMS's answer to ${action} with ${quote(keyId)}: ${what}`, {
    hint: 'check the endpoint (AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_KMS)',
  });
}

async function clientFor(aws: AwsAccess, spec: KmsSpec): Promise<KMSClient> {
  const region = spec.arn?.region ?? (await aws.region());
  if (region === undefined) throw regionMissing();
  return aws.kms(region);
}

class KmsWrappingKeyring extends KeyringNode {
  readonly #keys: readonly KmsSpec[];
  readonly #aws: AwsAccess;

  constructor(keys: readonly KmsSpec[], aws: AwsAccess) {
    super();
    this.#keys = keys;
    this.#aws = aws;
  }

  override async _onEncrypt(material: NodeEncryptionMaterial): Promise<NodeEncryptionMaterial> {
    for (const key of this.#keys) {
      const wrapped = material.hasUnencryptedDataKey
        ? await this.#encrypt(key, material)
        : await this.#generate(key, material);
      // Two names of one key (an alias and its ARN) show only now.
      if (material.encryptedDataKeys.some((edk) => isKms(edk) && edk.providerInfo === wrapped.providerInfo)) {
        throw new UsageError(
          `cannot wrap with ${quote(key.keyId)}: the key ${quote(wrapped.providerInfo)} was given twice`,
        );
      }
      material.addEncryptedDataKey(wrapped, WRAPPED);
    }
    return material;
  }

  override async _onDecrypt(material: NodeDecryptionMaterial): Promise<NodeDecryptionMaterial> {
    return material;
  }

  async #generate(key: KmsSpec, material: NodeEncryptionMaterial): Promise<EncryptedDataKey> {
    const { GenerateDataKeyCommand } = await import('../aws/sdk-kms.ts');
    const client = await clientFor(this.#aws, key);
    const command = new GenerateDataKeyCommand({
      KeyId: key.keyId,
      NumberOfBytes: material.suite.keyLengthBytes,
      EncryptionContext: { ...material.encryptionContext },
    });
    const answer = await call(key.keyId, 'GenerateDataKey', () => client.send(command));
    const { KeyId, Plaintext, CiphertextBlob } = answer;
    if (Plaintext === undefined) throw malformed(key.keyId, 'GenerateDataKey', 'it has no data key');
    const dataKey = takeOver(Plaintext);
    const wrapped = encryptedDataKey(key, 'GenerateDataKey', KeyId, CiphertextBlob);
    if (dataKey.length !== material.suite.keyLengthBytes) {
      throw malformed(key.keyId, 'GenerateDataKey', `its data key has ${dataKey.length} bytes`);
    }
    material.setUnencryptedDataKey(dataKey, {
      keyNamespace: KMS_PROVIDER_ID,
      keyName: wrapped.providerInfo,
      flags: GENERATED,
    });
    return wrapped;
  }

  async #encrypt(key: KmsSpec, material: NodeEncryptionMaterial): Promise<EncryptedDataKey> {
    const { EncryptCommand } = await import('../aws/sdk-kms.ts');
    const client = await clientFor(this.#aws, key);
    const command = new EncryptCommand({
      KeyId: key.keyId,
      // The material's own buffer: it zeroes that itself.
      Plaintext: unwrapDataKey(material.getUnencryptedDataKey()),
      EncryptionContext: { ...material.encryptionContext },
    });
    const { KeyId, CiphertextBlob } = await call(key.keyId, 'Encrypt', () => client.send(command));
    return encryptedDataKey(key, 'Encrypt', KeyId, CiphertextBlob);
  }
}

function isKms(edk: { readonly providerId: string }): boolean {
  return edk.providerId === KMS_PROVIDER_ID;
}

function encryptedDataKey(
  key: KmsSpec,
  action: KmsAction,
  keyId: string | undefined,
  blob: Uint8Array | undefined,
): EncryptedDataKey {
  const arn = keyId === undefined ? undefined : parseKeyArn(keyId);
  if (arn?.kind !== 'key') throw malformed(key.keyId, action, 'it names no key');
  if (key.arn?.kind === 'key' && key.arn.text !== arn.text) {
    throw malformed(key.keyId, action, `it is about the key ${quote(arn.text)}`);
  }
  if (blob === undefined || blob.length === 0)
    throw malformed(key.keyId, action, 'it has no wrapped data key');
  return new EncryptedDataKey({
    providerId: KMS_PROVIDER_ID,
    providerInfo: arn.text,
    encryptedDataKey: blob,
  });
}

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

class KmsUnwrappingKeyring extends KeyringNode {
  readonly #accepted: readonly KeyArn[];
  readonly #aws: AwsAccess;
  readonly #timeoutMs: number;

  constructor(accepted: readonly KeyArn[], aws: AwsAccess, timeoutMs: number) {
    super();
    this.#accepted = accepted;
    this.#aws = aws;
    this.#timeoutMs = timeoutMs;
  }

  override async _onEncrypt(material: NodeEncryptionMaterial): Promise<NodeEncryptionMaterial> {
    return material;
  }

  override async _onDecrypt(
    material: NodeDecryptionMaterial,
    edks: EncryptedDataKey[],
  ): Promise<NodeDecryptionMaterial> {
    const candidates = unwrapAttempts(this.#accepted, edks, undefined);
    if (candidates.length === 0) throw notAccepted(edks, this.#accepted);
    // The own region may have to be asked of the metadata service: only where it decides something.
    const decides = candidates.length > 1 || candidates.some(({ arn }) => arn.id.startsWith('mrk-'));
    const own = decides ? await this.#aws.region() : undefined;

    const failures: { readonly error: SecretsfsError; readonly guessed: boolean }[] = [];
    for (const { arn, edk, guessed } of unwrapAttempts(this.#accepted, edks, own)) {
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
    const { DecryptCommand } = await import('../aws/sdk-kms.ts');
    const client = await this.#aws.kms(arn.region);
    const command = new DecryptCommand({
      // Always named: without it KMS takes whichever key the blob says.
      KeyId: arn.text,
      CiphertextBlob: edk.encryptedDataKey,
      EncryptionContext: { ...material.encryptionContext },
    });
    const abortSignal = AbortSignal.timeout(this.#timeoutMs);
    const { KeyId, Plaintext } = await call(arn.text, 'Decrypt', () => client.send(command, { abortSignal }));
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

function notAccepted(edks: readonly EncryptedDataKey[], accepted: readonly KeyArn[]): KeyError {
  const found = edks.filter(isKms).map((edk) => quote(edk.providerInfo));
  return new KeyError(
    'key-not-accepted',
    `cannot unwrap the data key: it is wrapped with ${found.join(', ') || 'no KMS key'}, want ${accepted.map((a) => quote(a.text)).join(' or ')}`,
    { hint: 'accept that key with --accept-key, if it is meant' },
  );
}

/** The first key makes the data key where there is none yet; all wrap it. Calls go to each key's own region. */
export function kmsWrappingKeyring(keys: readonly KmsSpec[], aws: AwsAccess): KeyringNode {
  return new KmsWrappingKeyring(keys, aws);
}

/** Unwraps with accepted keys only, nearest first. Throws what was most telling of all that failed. */
export function kmsUnwrappingKeyring(
  accepted: readonly KeyArn[],
  aws: AwsAccess,
  timeoutMs: number = UNWRAP_TIMEOUT_MS,
): KeyringNode {
  return new KmsUnwrappingKeyring(accepted, aws, timeoutMs);
}

/** For the policy, which looks at a header before any call. */
export function kmsAcceptedKey({ arn }: KmsArnSpec): AcceptedKey {
  return {
    description: arn.text,
    accepts({ providerId, keyName }) {
      const other = providerId === KMS_PROVIDER_ID ? parseKeyArn(keyName) : undefined;
      return other !== undefined && isSameKey(arn, other);
    },
  };
}
