/** What a mount will serve, as a tree to look paths up in: who finds what, and who may read it. Pure. */
import type { Served } from './opened.ts';

/** As Linux: following more ends in ELOOP. */
const SYMLINKS_MAX = 40;

export interface Reader {
  readonly name: string;
  readonly uid: number;
  /** The primary one first. */
  readonly gids: readonly number[];
}

export class ServedTree {
  readonly #nodes = new Map<string, Served>();

  /** `directory`: that of the bundle below the mountpoint, or undefined. */
  add(directory: string | undefined, served: readonly Served[]): void {
    const open = { kind: 'directory', uid: 0, gid: 0, mode: 0o755, target: undefined } as const;
    this.#nodes.set('', { path: '', ...open });
    for (const node of served) {
      const path =
        directory === undefined ? node.path : [directory, node.path].filter((part) => part !== '').join('/');
      this.#nodes.set(path, { ...node, path });
    }
  }

  get paths(): readonly string[] {
    return [...this.#nodes.keys()];
  }

  /** Symlinks followed; undefined: nothing is there, or it leads out. */
  find(path: string): Served | undefined {
    let rest = path.split('/');
    const at: string[] = [];
    for (let links = 0; rest.length > 0; ) {
      const name = rest.shift() as string;
      if (name === '' || name === '.') continue;
      if (name === '..') {
        if (at.pop() === undefined) return undefined;
        continue;
      }
      const node = this.#nodes.get([...at, name].join('/'));
      if (node === undefined) return undefined;
      if (node.kind !== 'symlink') {
        at.push(name);
        continue;
      }
      links += 1;
      if (links > SYMLINKS_MAX || node.target === undefined || node.target.startsWith('/')) return undefined;
      rest = [...node.target.split('/'), ...rest];
    }
    return this.#nodes.get(at.join('/'));
  }

  /** Files right below a directory. */
  filesIn(directory: string): Served[] {
    const prefix = directory === '' ? '' : `${directory}/`;
    return [...this.#nodes.values()].filter(
      ({ path, kind }) =>
        kind !== 'directory' && path.startsWith(prefix) && !path.slice(prefix.length).includes('/'),
    );
  }

  /** The first on the way that keeps a reader out; undefined: he may read it. root may all. */
  closedAt({ path }: Served, reader: Reader): Served | undefined {
    if (reader.uid === 0) return undefined;
    const names = path.split('/');
    for (let depth = 0; depth <= names.length; depth += 1) {
      const node = this.#nodes.get(names.slice(0, depth).join('/'));
      const wanted = depth === names.length ? (node?.kind === 'directory' ? 0o5 : 0o4) : 0o1;
      if (node !== undefined && !grants(node, reader, wanted)) return node;
    }
    return undefined;
  }
}

/** path_resolution(7): the owner's bits, else the group's, else the others'. */
function grants({ uid, gid, mode }: Served, reader: Reader, wanted: number): boolean {
  const bits = uid === reader.uid ? mode >> 6 : reader.gids.includes(gid) ? mode >> 3 : mode;
  return (bits & wanted) === wanted;
}
