/**
 * Stands for KMS where a ciphertext has to be the same for ever, which moto's can't be: one wrapping key that the test has, over
 * KMS's own protocol or by call. What it must not be asked is answered as KMS answers it.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

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
    if (action !== 'Decrypt') return [400, { __type: 'UnsupportedOperationException' }];
    const opened = this.unwrap(Buffer.from(input.CiphertextBlob, 'base64'), input.EncryptionContext ?? {});
    if (opened === undefined) return [400, { __type: 'InvalidCiphertextException' }];
    if (input.KeyId !== undefined && input.KeyId !== opened.keyId)
      return [400, { __type: 'IncorrectKeyException' }];
    return [200, { Plaintext: opened.plaintext.toString('base64'), KeyId: opened.keyId }];
  }
}

function aad(context: Pairs): Buffer {
  const pairs = Object.entries(context).sort(([a], [b]) => (a < b ? -1 : 1));
  return Buffer.from(JSON.stringify(pairs));
}
