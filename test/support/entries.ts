/** Short ways to write the entries of an archive in a test. */
import type { ArchiveEntry } from '../../src/bundle/archive.ts';
import { type Plan, type PlanOptions, planGeneration, writePlan } from '../../src/generation/build.ts';
import { Generation, inMemory } from '../../src/generation/generation.ts';

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

/** The image that a plan is of, in memory. */
export function imageOf(plan: Plan): Buffer {
  const image = Buffer.alloc(plan.bytes);
  writePlan(plan, image);
  return image;
}

/** A line of generations, as a daemon makes them. */
export class Lineage {
  last: Generation | undefined;
  plan: Plan | undefined;
  nowSeconds = 1_000_000;

  next(entries: Iterable<ArchiveEntry>, options: Partial<PlanOptions> = {}): Generation {
    const id = (this.last?.id ?? 0) + 1;
    this.plan = planGeneration(entries, {
      id,
      serial: id,
      nowSeconds: this.nowSeconds,
      previous: this.last,
      preserve: false,
      ...options,
    });
    const image = imageOf(this.plan);
    this.last = Generation.open(image, inMemory(image));
    return this.last;
  }
}

/** The node at a path, which must be there. */
export function nodeAt(generation: Generation, path: string): number {
  let node = 0;
  for (const name of path === '' ? [] : path.split('/')) {
    const bytes = Buffer.from(name);
    node = generation.child(node, bytes, 0, bytes.length);
    if (node < 0) throw new Error(`no ${path}`);
  }
  return node;
}

export function contentOf(generation: Generation, node: number): Buffer {
  const bytes = Buffer.alloc(generation.size(node));
  if (generation.read(node, 0, bytes.length, bytes, 0) !== bytes.length) throw new Error('a short read');
  return bytes;
}
