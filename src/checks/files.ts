/**
 * A tree as checks see it: files by the names that programs open them by, through the symlinks in it. Of a candidate's
 * entries, or of the live generation, whose contents are copied out and counted, to be wiped when the checks are done.
 */
import type { ArchiveEntry } from '../bundle/archive.ts';
import { entryOf, findPath } from '../generation/assemble.ts';
import type { Generation } from '../generation/generation.ts';
import { SYMLINKS_FOLLOWED_MAX } from '../limits.ts';
import type { Glob } from './glob.ts';

/** Work for one name, however often symlinks send it elsewhere: every segment of every target counts. */
const STEPS_MAX = 4096;

export interface FoundFile {
  readonly data: Uint8Array;
  /** Of the file itself. */
  readonly path: string;
  /** The entries that a name is made of: symlinks, the file last. */
  readonly chain: readonly ArchiveEntry[];
  /** A symlink to a directory is on the way: the name can't be replaced without everything else below it. */
  readonly indirect: boolean;
}

export interface Files {
  /** What a program that opens this path would read; undefined where that is no file. */
  open(path: string): FoundFile | undefined;
}

export function filesOfEntries(entries: readonly ArchiveEntry[]): Files {
  const byPath = new Map(entries.map((entry) => [entry.path, entry]));
  return { open: (path) => follow((each) => byPath.get(each), path) };
}

/** Contents are read once; wipe() overwrites them. */
export class LiveFiles implements Files {
  readonly #generation: Generation;
  readonly #entries = new Map<string, ArchiveEntry | undefined>();

  constructor(generation: Generation) {
    this.#generation = generation;
  }

  open(path: string): FoundFile | undefined {
    return follow((each) => this.#entry(each), path);
  }

  /** The names that a glob matches and that are files, in order. */
  matching(glob: Glob): string[] {
    const names: string[] = [];
    for (let node = 1; node < this.#generation.nodeCount; node++) {
      const path = this.#generation.path(node);
      if (!this.#generation.isDirectory(node) && glob.match(path) !== undefined) names.push(path);
    }
    return names.sort();
  }

  wipe(): void {
    for (const entry of this.#entries.values()) if (entry?.kind === 'file') entry.data.fill(0);
    this.#entries.clear();
  }

  #entry(path: string): ArchiveEntry | undefined {
    if (this.#entries.has(path)) return this.#entries.get(path);
    const node = findPath(this.#generation, path);
    const entry = node > 0 ? entryOf(this.#generation, node) : undefined;
    this.#entries.set(path, entry);
    return entry;
  }
}

function follow(entry: (path: string) => ArchiveEntry | undefined, path: string): FoundFile | undefined {
  const pending = path.split('/').reverse();
  const at: string[] = [];
  const chain: ArchiveEntry[] = [];
  let indirect = false;
  for (let steps = 0; steps < STEPS_MAX; steps++) {
    const segment = pending.pop();
    if (segment === undefined) return undefined;
    if (segment === '' || segment === '.') continue;
    if (segment === '..') {
      at.pop();
      continue;
    }
    at.push(segment);
    const found = entry(at.join('/'));
    if (found === undefined) return undefined;
    if (found.kind === 'symlink') {
      chain.push(found);
      if (chain.length > SYMLINKS_FOLLOWED_MAX) return undefined;
      if (pending.length > 0) indirect = true;
      at.pop();
      pending.push(...found.target.split('/').reverse());
    } else if (found.kind === 'file') {
      if (pending.length > 0) return undefined;
      return { data: found.data, path: found.path, chain: [...chain, found], indirect };
    }
  }
  return undefined;
}
