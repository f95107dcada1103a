/** What the secret at a place says of itself, from its beginning. Nothing of it is authenticated. */
import { BundleError } from '../errors.ts';
import { SECRET_HEAD_BYTES } from '../limits.ts';
import { FACTS_BYTES_MAX } from './facts.ts';
import { readSecretHeader, type SecretHeader } from './secret.ts';
import type { SecretStore } from './store.ts';

/** undefined where there is nothing, `header` where it is no secret of ours. */
export async function headerAt(
  store: SecretStore,
  path: string,
): Promise<{ readonly etag: string; readonly header: SecretHeader | undefined } | undefined> {
  for (const headBytes of [SECRET_HEAD_BYTES, FACTS_BYTES_MAX]) {
    const read = await store.read(path, { headBytes });
    if (read === undefined) return undefined;
    try {
      return { etag: read.etag, header: readSecretHeader(read.bytes) };
    } catch (error) {
      if (!(error instanceof BundleError)) throw error;
      if (error.code !== 'bundle-truncated' || read.bytes.length < headBytes)
        return { etag: read.etag, header: undefined };
    }
  }
  throw new Error('a whole header was not enough');
}
