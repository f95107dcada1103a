/** Short ways to write the entries of an archive in a test. */
import type { ArchiveEntry } from '../../src/bundle/archive.ts';
import { type BuildOptions, buildGeneration } from '../../src/generation/build.ts';
import { type Generation, InodeAllocator } from '../../src/generation/generation.ts';

const ROOT_OWNED = { uid: 0, gid: 0 };

export function file(path: string, data: string | Uint8Array = path, mode = 0o600): ArchiveEntry {
  return {
    kind: 'file',
    path,
    mode,
    ...ROOT_OWNED,
    data: typeof data === 'string' ? Buffer.from(data) : data,
  };
}

export function directory(path: string, mode = 0o700): ArchiveEntry {
  return { kind: 'directory', path, mode, ...ROOT_OWNED };
}

export function symlink(path: string, target: string): ArchiveEntry {
  return { kind: 'symlink', path, mode: 0o777, ...ROOT_OWNED, target };
}

/** A line of generations, as a daemon makes them. */
export class Lineage {
  readonly inodes = new InodeAllocator();
  last: Generation | undefined;
  nowSeconds = 1_000_000;

  next(entries: Iterable<ArchiveEntry>, options: Partial<BuildOptions> = {}): Generation {
    const id = (this.last?.id ?? 0) + 1;
    this.last = buildGeneration(entries, {
      id,
      serial: id,
      nowSeconds: this.nowSeconds,
      previous: this.last,
      inodes: this.inodes,
      allocate: (bytes) => Buffer.alloc(bytes),
      preserve: false,
      ...options,
    });
    return this.last;
  }
}
