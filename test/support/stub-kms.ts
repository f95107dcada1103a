/**
 * Stands for KMS where a ciphertext has to be the same for ever, which moto's can't be: one wrapping key that the test has, over
 * KMS's own protocol or by call. What it must not be asked is answered as KMS answers it.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { ACCOUNT } from './moto.ts';

const MAGIC = Buffer.from([1, 2, 2, 0, 0x78]);
type Pairs = Readonly<Record<string, string>>;

export class StubKms {
  /** What it was asked, in order: the operation and its parameters. */
  readonly calls: { readonly action: string; readonly input: Readonly<Record<string, unknown>> }[] = [];
  readonly #keys: ReadonlyMap<string, Buffer>;

  /** Wrapping keys by their ARNs. */
  constructor(keys: ReadonlyMap<string, Buffer>) {
    this.#keys = keys;
  }

  wrap(keyId: string, plaintext: Uint8Array, context: Pairs): Buffer {
    const nonce = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', this.#keys.get(keyId) ?? '', nonce).setAAD(aad(context));
    const sealed = Buffer.concat([cipher.update(plaintext), cipher.final()]);
    return Buffer.concat([MAGIC, nonce, sealed, cipher.getAuthTag()]);
  }

  /** undefined for what none of the keys, with this context, made. */
  unwrap(blob: Buffer, context: Pairs): { readonly plaintext: Buffer; readonly keyId: string } | undefined {
    for (const [keyId, key] of this.#keys) {
      try {
        const decipher = createDecipheriv('aes-256-gcm', key, blob.subarray(5, 17)).setAAD(aad(context));
        decipher.setAuthTag(blob.subarray(-16));
        const plaintext = Buffer.concat([decipher.update(blob.subarray(17, -16)), decipher.final()]);
        return { plaintext, keyId };
      } catch {}
    }
    return undefined;
  }

  /** Serves it on a port of its own; stop() resolves when it is closed. */
  async listen(): Promise<{ readonly url: string; stop(): Promise<void> }> {
    const server = createServer(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const action = String(request.headers['x-amz-target']).split('.')[1] ?? '';
      const input = JSON.parse(Buffer.concat(chunks).toString() || '{}');
      this.calls.push({ action, input });
      const [status, body] = this.#answer(action, input);
      response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1' }).end(JSON.stringify(body));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return {
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      stop: async () => {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      },
    };
  }

  // biome-ignore lint/suspicious/noExplicitAny: foreign JSON
  #answer(action: string, input: any): [number, unknown] {
    if (action === 'Decrypt') {
      const opened = this.#open(input.CiphertextBlob, input.EncryptionContext, input.KeyId);
      if (typeof opened === 'string') return [400, { __type: opened }];
      return [200, { Plaintext: opened.plaintext.toString('base64'), KeyId: opened.keyId }];
    }
    if (action !== 'ReEncrypt') return [400, { __type: 'UnsupportedOperationException' }];
    const opened = this.#open(input.CiphertextBlob, input.SourceEncryptionContext, input.SourceKeyId);
    if (typeof opened === 'string') return [400, { __type: opened }];
    const KeyId = whole(input.DestinationKeyId);
    const blob = this.wrap(KeyId, opened.plaintext, input.DestinationEncryptionContext ?? {});
    return [200, { CiphertextBlob: blob.toString('base64'), KeyId, SourceKeyId: opened.keyId }];
  }

  /** Or the name of the error. */
  #open(blob: string, context: Pairs = {}, keyId?: string) {
    const opened = this.unwrap(Buffer.from(blob, 'base64'), context);
    if (keyId !== undefined && !this.#keys.has(whole(keyId))) return 'NotFoundException';
    if (opened === undefined) return 'InvalidCiphertextException';
    return keyId === undefined || whole(keyId) === opened.keyId ? opened : 'IncorrectKeyException';
  }
}

/** An id is one of moto's account. */
function whole(keyId: string): string {
  return keyId.startsWith('arn:') ? keyId : `arn:aws:kms:eu-west-1:${ACCOUNT}:key/${keyId}`;
}

function aad(context: Pairs): Buffer {
  const pairs = Object.entries(context).sort(([a], [b]) => (a < b ? -1 : 1));
  return Buffer.from(JSON.stringify(pairs));
}
