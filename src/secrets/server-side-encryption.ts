/** S3's own layer of encryption, below ours. */
export interface ServerSideEncryption {
  readonly algorithm: 'AES256' | 'aws:kms' | 'aws:kms:dsse';
  /** Of KMS; the account's default key where undefined. */
  readonly keyId: string | undefined;
}

/** What a request says of it: nothing where the bucket's own default is to apply. */
export function inRequest(sse: ServerSideEncryption | undefined): object {
  if (sse === undefined) return {};
  return { ServerSideEncryption: sse.algorithm, ...(sse.keyId && { SSEKMSKeyId: sse.keyId }) };
}
