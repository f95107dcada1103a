/**
 * Taking a bundle within one process: fetch, look whether it is the live one under another revision, open. What
 * Rotation's port take() is in a mount of one process, and what an unsealer does.
 */
import { createHash } from 'node:crypto';
import type { SerialFloor } from '../bundle/policy.ts';
import { SecretsfsError } from '../errors.ts';
import type { FetchedBundle, Source } from '../source/source.ts';
import type { Opened, Taken, TakeOptions } from './rotation-ports.ts';

/** Hashed at a time, so that readers of a process that also serves get their turn. */
const HASH_BYTES = 4 * 1024 * 1024;

export interface Taking<G> {
  /** In their order. */
  readonly sources: readonly Pick<Source, 'fetch'>[];
  readonly bytesMax: number;
  /** Checks, unwraps, authenticates, unpacks. Throws a SecretsfsError and leaves nothing behind. */
  open(
    fetched: FetchedBundle,
    sha256: string,
    floor: SerialFloor | undefined,
  ): Promise<Omit<Opened<G>, 'uploadedMs'>>;
}

export function takeHere<G>({
  sources,
  bytesMax,
  open,
}: Taking<G>): (options: TakeOptions) => Promise<Taken<G>> {
  return async ({ source: place, knownRevision, revision: wanted, liveSha256, floor, signal }) => {
    const fetched = await sources[place]?.fetch({ bytesMax, knownRevision, revision: wanted, signal });
    if (fetched === undefined) {
      if (knownRevision === undefined) throw new Error('a source knew a revision that was never fetched');
      return { outcome: 'unchanged', revision: knownRevision };
    }
    const { revision, uploadedMs } = fetched;
    const sha256 = await digest(fetched.bytes);
    if (liveSha256 === sha256) return { outcome: 'unchanged', revision };
    try {
      const opened = { ...(await open(fetched, sha256, floor)), uploadedMs };
      return { outcome: 'opened', revision, sha256, opened };
    } catch (error) {
      if (error instanceof SecretsfsError) error.revision = revision;
      throw error;
    }
  };
}

async function digest(bytes: Buffer): Promise<string> {
  const hash = createHash('sha256');
  for (let at = 0; at < bytes.length; at += HASH_BYTES) {
    hash.update(bytes.subarray(at, at + HASH_BYTES));
    await new Promise((resolve) => setImmediate(resolve));
  }
  return hash.digest('hex');
}
