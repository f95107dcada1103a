/** The two calls of KMS that a rotation makes by the thousand: as the SDK makes them, and past it where it does the same again (replay.ts). */
import { Buffer } from 'node:buffer';
import type { DecryptCommandInput, GenerateDataKeyCommandInput, KMSClient } from '@aws-sdk/client-kms';
import type { AwsAccess } from './access.ts';

export interface DataKeyAnswer {
  readonly KeyId?: string | undefined;
  /** The caller's to wipe. */
  readonly Plaintext?: Uint8Array | undefined;
  readonly CiphertextBlob?: Uint8Array | undefined;
}

/** Throws what the SDK throws. */
export async function generateDataKey(
  aws: AwsAccess,
  client: KMSClient,
  input: GenerateDataKeyCommandInput,
): Promise<DataKeyAnswer> {
  const replayed = await replay(aws, client, 'GenerateDataKeyCommand', input);
  if (replayed !== undefined) return replayed;
  const { GenerateDataKeyCommand } = await import('./sdk-kms.ts');
  return client.send(new GenerateDataKeyCommand(input));
}

/** Throws what the SDK throws, and AbortError. */
export async function decryptDataKey(
  aws: AwsAccess,
  client: KMSClient,
  input: DecryptCommandInput,
  options: { readonly abortSignal: AbortSignal },
): Promise<DataKeyAnswer> {
  const replayed = await replay(aws, client, 'DecryptCommand', input, options);
  if (replayed !== undefined) return replayed;
  const { DecryptCommand } = await import('./sdk-kms.ts');
  return client.send(new DecryptCommand(input), options);
}

async function replay(
  aws: AwsAccess,
  client: KMSClient,
  command: string,
  input: object,
  options?: { readonly abortSignal: AbortSignal },
): Promise<DataKeyAnswer | undefined> {
  const replays = await aws.replays(client);
  const body = Buffer.from(JSON.stringify(input, base64));
  const answer = await replays?.send({ command, headers: {}, body }, options);
  if (answer === undefined || !('statusCode' in answer)) return undefined;
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of answer.body as AsyncIterable<Buffer>) chunks.push(chunk);
    const fields = JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>;
    const { KeyId, Plaintext, CiphertextBlob } = fields;
    return { KeyId: textOf(KeyId), Plaintext: bytesOf(Plaintext), CiphertextBlob: bytesOf(CiphertextBlob) };
  } catch {
    // Cut off, or no JSON: the SDK asks again.
    return undefined;
  } finally {
    for (const chunk of chunks) chunk.fill(0);
  }
}

function base64(_: string, value: unknown): unknown {
  if (!(value instanceof Uint8Array)) return value;
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64');
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function bytesOf(value: unknown): Uint8Array | undefined {
  return typeof value === 'string' ? Buffer.from(value, 'base64') : undefined;
}
