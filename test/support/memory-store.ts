/** A store of secrets in memory that keeps versions, for whoever uses one: what it does not do yet can be made to happen. */
import { createHash } from 'node:crypto';
import { OutputError } from '../../src/errors.ts';
import type {
  Expected,
  ReadObject,
  SecretStore,
  StoredObject,
  StoredVersion,
  Written,
} from '../../src/secrets/store.ts';

interface Version {
  readonly bytes: Buffer | undefined;
  readonly version: string;
}

export class MemoryStore implements SecretStore {
  readonly location = 's3://bucket/prefix';
  readonly versioned = true;
  /** Newest first. */
  readonly objects = new Map<string, Version[]>();
  /** Called before each operation, and after each that changed something. */
  step: (what: 'read' | 'write' | 'wrote' | 'remove' | 'versions', path: string) => Promise<void> =
    async () => {};
  #count = 0;

  locate(path: string): string {
    return `${this.location}/${path}`;
  }

  async *list(prefix = ''): AsyncGenerator<StoredObject> {
    for (const path of [...this.objects.keys()].sort()) {
      const bytes = this.current(path);
      if (bytes !== undefined && path.startsWith(prefix))
        yield { path, bytes: bytes.length, modifiedMs: 0, etag: etagOf(bytes) };
    }
  }

  current(path: string): Buffer | undefined {
    return this.objects.get(path)?.[0]?.bytes;
  }

  async read(path: string): Promise<ReadObject | undefined> {
    await this.step('read', path);
    const [newest] = this.objects.get(path) ?? [];
    if (newest?.bytes === undefined) return undefined;
    const { bytes, version } = newest;
    return { bytes: Buffer.from(bytes), size: bytes.length, etag: etagOf(bytes), modifiedMs: 0, version };
  }

  /** Past every condition. */
  put(path: string, bytes: Buffer | undefined): Version {
    const version = { bytes, version: `v${++this.#count}` };
    this.objects.set(path, [version, ...(this.objects.get(path) ?? [])]);
    return version;
  }

  async check(): Promise<void> {}

  async write(path: string, bytes: Buffer, expected: 'absent' | Expected): Promise<Written> {
    await this.step('write', path);
    const there = this.current(path);
    const fits =
      expected === 'absent' ? there === undefined : there !== undefined && etagOf(there) === expected.etag;
    if (!fits) throw new OutputError('output-changed', `cannot write ${path}: somebody was faster`);
    const { version } = this.put(path, bytes);
    await this.step('wrote', path);
    return { etag: etagOf(bytes), version };
  }

  async remove(path: string, expected: 'any' | Expected, version?: string): Promise<void> {
    await this.step('remove', path);
    const there = this.current(path);
    if (version !== undefined) {
      this.objects.set(
        path,
        (this.objects.get(path) ?? []).filter((each) => each.version !== version),
      );
    } else if (expected !== 'any' && (there === undefined || etagOf(there) !== expected.etag)) {
      throw new OutputError('output-changed', `cannot remove ${path}: somebody was faster`);
    } else this.put(path, undefined);
  }

  async *versions(path: string): AsyncGenerator<StoredVersion> {
    await this.step('versions', path);
    for (const [i, { bytes, version }] of (this.objects.get(path) ?? []).entries()) {
      const etag = bytes && etagOf(bytes);
      yield {
        version,
        modifiedMs: 0,
        latest: i === 0,
        deleted: bytes === undefined,
        bytes: bytes?.length,
        etag,
      };
    }
  }
}

function etagOf(bytes: Buffer): string {
  return createHash('md5').update(bytes).digest('hex');
}
