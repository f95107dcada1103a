/**
 * Secrets in a store on moto, put there past the program, and whoever reads them all the time. process.env has to point there:
 * moto.ts, replaceEnv().
 */
import { AwsAccess } from '../../src/aws/access.ts';
import { openDiscovering, openWrapping } from '../../src/keyring/keyring.ts';
import { createStore } from '../../src/secrets/open.ts';
import { openSecret, readSecretHeader, sealSecret } from '../../src/secrets/secret.ts';
import type { SecretStore } from '../../src/secrets/store.ts';

export const contentOf = (path: string) => `content of ${path}`;

export class StoredSecrets {
  readonly store: SecretStore;
  readonly paths: readonly string[];
  readonly #aws: AwsAccess;

  private constructor(store: SecretStore, aws: AwsAccess, paths: readonly string[]) {
    this.store = store;
    this.#aws = aws;
    this.paths = paths;
  }

  /** `count` secrets under `key`. */
  static async make(
    location: string,
    { count, key }: { count: number; key: string },
  ): Promise<StoredSecrets> {
    const aws = new AwsAccess({ env: process.env, forcePathStyle: true });
    const store = createStore(location, aws, {});
    const paths = Array.from(
      { length: count },
      (_, i) => `app-${i % 7}/secret-${String(i).padStart(4, '0')}`,
    );
    const { keyring } = await openWrapping([key], aws);
    const waiting = paths.values();
    const work = async () => {
      for (const path of waiting) {
        const options = { keyring, location: store.locate(path), created: new Date() };
        await store.write(path, await sealSecret(Buffer.from(contentOf(path)), options), 'absent');
      }
    };
    await Promise.all(Array.from({ length: 8 }, work));
    return new StoredSecrets(store, aws, paths);
  }

  /** Opens one as anybody would: its content, and the keys it is under. */
  async open(path: string): Promise<{ readonly content: string; readonly keys: readonly string[] }> {
    const stored = await this.store.read(path);
    if (stored === undefined) throw new Error(`${path} is gone`);
    const reader = await openDiscovering([], this.#aws);
    const location = this.store.locate(path);
    const { header, plaintext } = await openSecret(stored.bytes, { ...reader, location });
    return { content: plaintext.toString(), keys: header.encryptedDataKeys.map(({ keyName }) => keyName) };
  }

  /** The keys that a secret says it is under. */
  async keysOf(path: string): Promise<readonly string[]> {
    const stored = await this.store.read(path);
    return stored === undefined
      ? []
      : readSecretHeader(stored.bytes).encryptedDataKeys.map(({ keyName }) => keyName);
  }

  /** Reads secrets at random until it is stopped; throws what was wrong with one, and returns how many it read. */
  startReading(): { stop(): Promise<number> } {
    let reads = 0;
    let isStopped = false;
    const reading = (async () => {
      while (!isStopped) {
        const path = this.paths[Math.floor(Math.random() * this.paths.length)] ?? '';
        const { content } = await this.open(path);
        if (content !== contentOf(path)) throw new Error(`${path} is ${content}`);
        reads += 1;
      }
    })();
    reading.catch(() => undefined);
    return {
      async stop() {
        isStopped = true;
        await reading;
        return reads;
      },
    };
  }

  destroy(): void {
    this.#aws.destroy();
  }
}
