/**
 * KMS without an envelope: what `aws kms encrypt` and `aws kms decrypt` do. At most 4,096 bytes a ciphertext, an encryption
 * context that has to be the same again, and no name in it that we could read: KMS finds the key by itself.
 *
 * Plaintext comes in Buffers of their own, which the caller wipes. Whatever fails is what kms-errors.ts makes of it.
 */
import type { KMSClient } from '@aws-sdk/client-kms';
import type { AwsAccess } from '../aws/access.ts';
import { regionMissing } from '../aws/errors.ts';
import { DIRECTLY, type KmsAction, kmsError } from '../aws/kms-errors.ts';
import { KeyError, quote, type SecretsfsError } from '../errors.ts';
import { mostTelling } from './failures.ts';
import { type KmsSpec, parseKeyArn } from './spec.ts';

/** For one call, with its retry. */
const CALL_MS_MAX = 6_000;
const DATA_KEY_BYTES = 32;

export type EncryptionContext = Readonly<Record<string, string>>;

/** What KMS made. */
export interface Encrypted {
  readonly blob: Buffer;
  /** The key's ARN, as KMS says it. */
  readonly keyId: string;
}

export interface Decrypted {
  /** The caller's to wipe. */
  readonly plaintext: Buffer;
  /** The key's ARN, as KMS says it: which key had encrypted it. */
  readonly keyId: string;
}

export class RawKms {
  readonly #aws: AwsAccess;

  constructor(aws: AwsAccess) {
    this.#aws = aws;
  }

  /**
   * With `keys` only those are asked, one after the other; with none KMS takes whichever key the ciphertext names, anybody's
   * (own-account.ts holds it to one's own). Throws KeyError data-key-refused for another context, key or region, and whatever
   * else kms-errors.ts knows.
   */
  async decrypt(
    blob: Uint8Array,
    { context, keys }: { readonly context: EncryptionContext; readonly keys: readonly KmsSpec[] },
  ): Promise<Decrypted> {
    if (keys.length === 0) return this.#decryptWith(undefined, blob, context);
    const failures: SecretsfsError[] = [];
    for (const key of keys) {
      try {
        return await this.#decryptWith(key, blob, context);
      } catch (error) {
        if (!(error instanceof KeyError)) throw error;
        failures.push(error);
      }
    }
    throw mostTelling(failures);
  }

  /** 1 to 4,096 bytes, which stay the caller's to wipe. */
  async encrypt(plaintext: Uint8Array, key: KmsSpec, context: EncryptionContext): Promise<Encrypted> {
    const { EncryptCommand } = await import('../aws/sdk-kms.ts');
    const command = new EncryptCommand({
      KeyId: key.keyId,
      Plaintext: plaintext,
      EncryptionContext: { ...context },
    });
    const answer = await this.#call(key, 'Encrypt', (client, options) => client.send(command, options));
    return made(key, 'Encrypt', answer);
  }

  /** The plaintext never leaves KMS. Without a key in `from` KMS takes whichever the ciphertext names. */
  async reencrypt(
    blob: Uint8Array,
    from: { readonly key?: KmsSpec | undefined; readonly context: EncryptionContext },
    to: { readonly key: KmsSpec; readonly context: EncryptionContext },
  ): Promise<Encrypted & { readonly sourceKeyId: string | undefined }> {
    const { ReEncryptCommand } = await import('../aws/sdk-kms.ts');
    const command = new ReEncryptCommand({
      CiphertextBlob: blob,
      SourceKeyId: from.key?.keyId,
      SourceEncryptionContext: { ...from.context },
      DestinationKeyId: to.key.keyId,
      DestinationEncryptionContext: { ...to.context },
    });
    const answer = await this.#call(to.key, 'ReEncrypt', (client, options) => client.send(command, options));
    return { ...made(to.key, 'ReEncrypt', answer), sourceKeyId: answer.SourceKeyId };
  }

  /** A data key that only KMS has seen. `bytes`: 1 to 1,024. */
  async createDataKey(key: KmsSpec, context: EncryptionContext, bytes: number): Promise<Encrypted> {
    const { GenerateDataKeyWithoutPlaintextCommand } = await import('../aws/sdk-kms.ts');
    const command = new GenerateDataKeyWithoutPlaintextCommand({
      KeyId: key.keyId,
      NumberOfBytes: bytes,
      EncryptionContext: { ...context },
    });
    const action = 'GenerateDataKeyWithoutPlaintext';
    return made(
      key,
      action,
      await this.#call(key, action, (client, options) => client.send(command, options)),
    );
  }

  /** A data key of 32 bytes to seal with at once. */
  async generateDataKey(key: KmsSpec, context: EncryptionContext): Promise<Encrypted & Decrypted> {
    const { GenerateDataKeyCommand } = await import('../aws/sdk-kms.ts');
    const command = new GenerateDataKeyCommand({
      KeyId: key.keyId,
      NumberOfBytes: DATA_KEY_BYTES,
      EncryptionContext: { ...context },
    });
    const answer = await this.#call(key, 'GenerateDataKey', (client, options) =>
      client.send(command, options),
    );
    return {
      ...made(key, 'GenerateDataKey', answer),
      plaintext: takeOver(key.keyId, 'GenerateDataKey', answer.Plaintext),
    };
  }

  async #decryptWith(
    key: KmsSpec | undefined,
    blob: Uint8Array,
    context: EncryptionContext,
  ): Promise<Decrypted> {
    const { DecryptCommand } = await import('../aws/sdk-kms.ts');
    const command = new DecryptCommand({
      KeyId: key?.keyId,
      CiphertextBlob: blob,
      EncryptionContext: { ...context },
    });
    const answer = await this.#call(key, 'Decrypt', (client, options) => client.send(command, options));
    const plaintext = takeOver(key?.keyId, 'Decrypt', answer.Plaintext);
    const { KeyId } = answer;
    const wanted = key?.arn?.kind === 'key' ? key.arn.text : KeyId;
    if (KeyId !== undefined && parseKeyArn(KeyId)?.kind === 'key' && KeyId === wanted) {
      return { plaintext, keyId: KeyId };
    }
    plaintext.fill(0);
    throw malformed(key?.keyId, 'Decrypt', `it is about the key ${quote(String(KeyId))}`);
  }

  async #call<T>(
    key: KmsSpec | undefined,
    action: KmsAction,
    send: (client: KMSClient, options: { readonly abortSignal: AbortSignal }) => Promise<T>,
  ): Promise<T> {
    const region = key?.arn?.region ?? (await this.#aws.region());
    if (region === undefined) throw regionMissing();
    const client = await this.#aws.kms(region);
    try {
      return await send(client, { abortSignal: AbortSignal.timeout(CALL_MS_MAX) });
    } catch (error) {
      const words = action === 'Decrypt' || action === 'Encrypt' ? DIRECTLY[action] : undefined;
      throw kmsError(error, key?.keyId, action, words);
    }
  }
}

function made(
  key: KmsSpec,
  action: KmsAction,
  {
    KeyId,
    CiphertextBlob,
  }: { readonly KeyId?: string | undefined; readonly CiphertextBlob?: Uint8Array | undefined },
): Encrypted {
  if (KeyId === undefined || parseKeyArn(KeyId)?.kind !== 'key')
    throw malformed(key.keyId, action, 'it names no key');
  if (CiphertextBlob === undefined || CiphertextBlob.length === 0) {
    throw malformed(key.keyId, action, 'it has no ciphertext');
  }
  return { blob: Buffer.from(CiphertextBlob), keyId: KeyId };
}

/** Into memory of its own; the SDK's, which may be part of a pool, is zeroed. */
function takeOver(keyId: string | undefined, action: KmsAction, plaintext: Uint8Array | undefined): Buffer {
  if (plaintext === undefined) throw malformed(keyId, action, 'it has no plaintext');
  const own = Buffer.allocUnsafeSlow(plaintext.length);
  own.set(plaintext);
  plaintext.fill(0);
  return own;
}

function malformed(keyId: string | undefined, action: KmsAction, what: string): KeyError {
  const key = keyId === undefined ? 'its key' : quote(keyId);
  return new KeyError('key-invalid', `cannot use KMS's answer to ${action} with ${key}: ${what}`, {
    hint: 'check the endpoint (AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_KMS)',
  });
}
