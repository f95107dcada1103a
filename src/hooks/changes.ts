/** What hooks are told of a generation, and how two that follow each other are told as one. */

export interface FileChange {
  /** Inside the mount. */
  readonly path: string;
  readonly change: 'added' | 'changed' | 'removed';
}

/** The leaf certificate of a PEM file inside the mount. */
export interface Certificate {
  readonly path: string;
  /** As serialOf() writes it. */
  readonly serial: string;
}

/** A generation that went live. */
export interface Activated {
  readonly generation: number;
  readonly serial: number;
  /** Of this mount: nobody was served before it. `changed` is empty then. */
  readonly first: boolean;
  readonly changed: readonly FileChange[];
  readonly certificates: readonly Certificate[];
  /** When the bundle was put where it came from, ISO 8601; null where that is not known. */
  readonly uploaded: string | null;
}

/** What happened to a path from before the first change to after the second. That it is as it was is told all the same. */
export function followedBy(first: FileChange['change'], second: FileChange['change']): FileChange['change'] {
  if (second === 'removed') return 'removed';
  if (first === 'added') return 'added';
  return 'changed';
}

/** Changes that wait to be told, by path. */
export class Pending {
  readonly #changes = new Map<string, FileChange['change']>();

  get size(): number {
    return this.#changes.size;
  }

  add(changes: Iterable<FileChange>): void {
    for (const { path, change } of changes) {
      const before = this.#changes.get(path);
      this.#changes.set(path, before === undefined ? change : followedBy(before, change));
    }
  }

  /** Puts back what was taken and did not arrive: it came before whatever was added since. */
  restore(changes: readonly FileChange[]): void {
    const since = this.list();
    this.#changes.clear();
    this.add(changes);
    this.add(since);
  }

  list(): FileChange[] {
    return [...this.#changes].map(([path, change]) => ({ path, change }));
  }

  take(): FileChange[] {
    const changes = this.list();
    this.#changes.clear();
    return changes;
  }
}

/** A certificate's serial as all of us write it: hex in lower case, whole bytes, no leading zero bytes. */
export function serialOf(hex: string): string | undefined {
  if (!/^[0-9A-Fa-f]{1,128}$/.test(hex)) return undefined;
  const digits = hex.toLowerCase().replace(/^0+/, '');
  return digits === '' ? '00' : digits.padStart(digits.length + (digits.length % 2), '0');
}
