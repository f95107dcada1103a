/**
 * Wrapping data keys with AWS KMS, and what unwrapping (kms-unwrap.ts) shares with it. What is written into a message is exactly what the AWS Encryption
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
import { generateDataKey } from '../aws/kms-calls.ts';
import { type KmsAction, kmsError } from '../aws/kms-errors.ts';
import type { AcceptedKey } from '../bundle/header.ts';
import { KeyError, quote, UsageError } from '../errors.ts';
import { isSameKey, type KmsArnSpec, type KmsSpec, parseKeyArn } from './spec.ts';

export const KMS_PROVIDER_ID = 'aws-kms';

const WRAPPED =
  KeyringTraceFlag.WRAPPING_KEY_ENCRYPTED_DATA_KEY | KeyringTraceFlag.WRAPPING_KEY_SIGNED_ENC_CTX;
const GENERATED = KeyringTraceFlag.WRAPPING_KEY_GENERATED_DATA_KEY | WRAPPED;

/** Runs one KMS call; what it throws is a SecretsfsError or a bug. */
export async function call<T>(keyId: string, action: KmsAction, send: () => Promise<T>): Promise<T> {
  try {
    return await send();
  } catch (error) {
    throw kmsError(error, keyId, action);
  }
}

/** A copy of its own memory, which the materials keep; the SDK's buffer, which may be part of a pool, is zeroed. */
export function takeOver(plaintext: Uint8Array): Uint8Array {
  const own = new Uint8Array(plaintext);
  plaintext.fill(0);
  return own;
}

export function malformed(keyId: string, action: KmsAction, what: string): KeyError {
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
    const client = await clientFor(this.#aws, key);
    const input = {
      KeyId: key.keyId,
      NumberOfBytes: material.suite.keyLengthBytes,
      EncryptionContext: { ...material.encryptionContext },
    };
    const answer = await call(key.keyId, 'GenerateDataKey', () => generateDataKey(this.#aws, client, input));
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

export function isKms(edk: { readonly providerId: string }): boolean {
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

/** The first key makes the data key where there is none yet; all wrap it. Calls go to each key's own region. */
export function kmsWrappingKeyring(keys: readonly KmsSpec[], aws: AwsAccess): KeyringNode {
  return new KmsWrappingKeyring(keys, aws);
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
