/**
 * What a bundle says of itself (docs/format.md). Of a header that was only read, nothing is authenticated;
 * unseal() returns the same shape once everything is.
 */

/** Which wrapping key an encrypted data key belongs to: as written in the message, in the clear. */
export interface EncryptedDataKeyInfo {
  /** "aws-kms", or "secretsfs-local" for a key file. */
  readonly providerId: string;
  /** The KMS key's ARN, or a key file's name (its fingerprint). */
  readonly keyName: string;
}

export interface BundleHeader {
  readonly name: string;
  /** Milliseconds since 1970 unless the author chose otherwise; a safe integer > 0. Only ever grows. */
  readonly serial: number;
  /** When it was sealed, by the author's clock: ISO 8601, UTC. */
  readonly created: string;
  /** The author's own pairs of the encryption context; the secretsfs-* pairs are the fields above. */
  readonly context: Readonly<Record<string, string>>;
  readonly encryptedDataKeys: readonly EncryptedDataKeyInfo[];
  readonly frameBytes: number;
  /** Length of the header with its authentication tag. */
  readonly headerBytes: number;
}

/** A wrapping key that a reader accepts. Made by src/keyring; asked by the policy before any KMS call. */
export interface AcceptedKey {
  /** For messages: the ARN, or "local:PATH (NAME)". */
  readonly description: string;
  accepts(key: EncryptedDataKeyInfo): boolean;
}
