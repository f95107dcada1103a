/**
 * Open files and directories, for a driver that has handles. Each is pinned to the generation it was opened in, and a
 * generation knows by them when nobody needs it any more.
 */
import type { Generation } from '../generation/generation.ts';
import { VfsError } from './errno.ts';

/** Drivers carry it as a positive int32. */
const FH_MAX = 0x7fff_ffff;

export interface Handle {
  readonly kind: 'file' | 'directory';
  readonly generation: Generation;
  readonly node: number;
}
/** Its generation was retired under it. */
interface Stale {
  readonly kind: 'stale';
}

export class HandleTable {
  readonly #handles = new Map<number, Handle | Stale>();
  readonly #pins = new Map<Generation, Set<number>>();
  #last = 0;

  add(handle: Handle): number {
    if (this.#handles.size >= FH_MAX) throw new VfsError('ENFILE');
    do this.#last = this.#last >= FH_MAX ? 1 : this.#last + 1;
    while (this.#handles.has(this.#last));
    const fh = this.#last;
    this.#handles.set(fh, handle);
    const pins = this.#pins.get(handle.generation);
    if (pins === undefined) this.#pins.set(handle.generation, new Set([fh]));
    else pins.add(fh);
    return fh;
  }

  file(fh: number): Handle {
    const handle = this.any(fh);
    if (handle.kind !== 'file') throw new VfsError('EISDIR');
    return handle;
  }

  directory(fh: number): Handle {
    const handle = this.any(fh);
    if (handle.kind !== 'directory') throw new VfsError('ENOTDIR');
    return handle;
  }

  /** Any handle that still has its node. */
  any(fh: number): Handle {
    const handle = this.#get(fh);
    if (handle.kind === 'stale') throw new VfsError('ESTALE');
    return handle;
  }

  /** The generation that the handle was the last pin of, if it was. */
  remove(fh: number): Generation | undefined {
    const handle = this.#get(fh);
    this.#handles.delete(fh);
    if (handle.kind === 'stale') return undefined;
    const pins = this.#pins.get(handle.generation);
    pins?.delete(fh);
    if (pins === undefined || pins.size > 0) return undefined;
    this.#pins.delete(handle.generation);
    return handle.generation;
  }

  pinned(generation: Generation): number {
    return this.#pins.get(generation)?.size ?? 0;
  }

  /** From now on the generation's handles answer ESTALE, and keep nothing of it reachable. */
  makeStale(generation: Generation): void {
    for (const fh of this.#pins.get(generation) ?? []) this.#handles.set(fh, { kind: 'stale' });
    this.#pins.delete(generation);
  }

  #get(fh: number): Handle | Stale {
    const handle = this.#handles.get(fh);
    if (handle === undefined) throw new VfsError('EBADF');
    return handle;
  }
}
