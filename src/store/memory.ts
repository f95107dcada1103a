/**
 * Memory for the contents of generations, when one process holds them: locked against swap, left out of core dumps
 * and children, overwritten when it is let go.
 *
 * A Buffer over unmapped memory crashes the process. So release() wipes and gives the pages back but keeps the
 * addresses, which then read as zeros; they are unmapped when the garbage collector has found that no view is left.
 */
import { MountError } from '../errors.ts';
import { loadNative, type Mapping, type Native, SystemCallError } from '../system/native.ts';
import { swapAreas } from '../system/swap.ts';

export interface MemoryStoreOptions {
  /** Go on with memory that can be swapped out. */
  readonly allowSwap: boolean;
}

interface Held {
  readonly address: bigint;
  readonly bytes: number;
  released: boolean;
}

export class LockedMemory {
  readonly #native: Native;
  readonly #mapping: Mapping;
  readonly #held: Held;
  readonly #bytes: number;
  readonly #onRelease: () => void;
  /** False where locking was refused and that is no danger, or was allowed. */
  readonly locked: boolean;

  constructor(
    native: Native,
    mapping: Mapping,
    held: Held,
    granted: { readonly bytes: number; readonly locked: boolean; readonly onRelease: () => void },
  ) {
    this.#native = native;
    this.#mapping = mapping;
    this.#held = held;
    this.#bytes = granted.bytes;
    this.locked = granted.locked;
    this.#onRelease = granted.onRelease;
  }

  /** As long as was asked for. After release() it reads as zeros. */
  get buffer(): Buffer {
    return Buffer.from(this.#mapping.memory, 0, this.#bytes);
  }

  /** Overwrites everything and gives the pages back. Calling it again does nothing. */
  release(): void {
    if (this.#held.released) return;
    this.#held.released = true;
    this.buffer.fill(0);
    this.#onRelease();
    if (this.locked) this.#native.unlock(this.#mapping);
    this.#native.discard(this.#mapping);
  }
}

export class MemoryStore {
  readonly #native: Native;
  readonly #unlockedIsFine: boolean;
  readonly #unreachable: FinalizationRegistry<Held>;
  #bytes = 0;

  constructor(native: Native, unlockedIsFine: boolean) {
    this.#native = native;
    this.#unlockedIsFine = unlockedIsFine;
    this.#unreachable = new FinalizationRegistry((held) => {
      // Dropped without release(): a bug, but not one that may leave plaintext behind.
      if (!held.released) native.wipe(held.address, held.bytes);
      native.unmap(held.address, held.bytes);
    });
  }

  /** Bytes that are allocated and not released. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Throws MountError memory-unlocked when the memory can't be locked and that matters. */
  allocate(bytes: number): LockedMemory {
    const native = this.#native;
    const mapping = native.map(Math.max(bytes, 1));
    const held: Held = { address: mapping.address, bytes: mapping.bytes, released: false };
    this.#unreachable.register(mapping.memory, held);
    let locked = true;
    try {
      native.lock(mapping);
    } catch (cause) {
      if (!(cause instanceof SystemCallError)) throw cause;
      if (!this.#unlockedIsFine) {
        held.released = true;
        throw new MountError('memory-unlocked', `cannot lock ${bytes} bytes of memory: ${cause.message}`, {
          hint: 'raise the limit (ulimit -l, or LimitMEMLOCK= in the unit), switch swap off, or pass --allow-swap',
          cause,
        });
      }
      locked = false;
    }
    this.#bytes += bytes;
    const onRelease = () => {
      this.#bytes -= bytes;
    };
    return new LockedMemory(native, mapping, held, { bytes, locked, onRelease });
  }
}

/** Throws MountError driver-missing where the native calls can't be had. */
export async function openMemoryStore(options: MemoryStoreOptions): Promise<MemoryStore> {
  const unlockedIsFine = options.allowSwap || (await swapAreas()).length === 0;
  return new MemoryStore(await loadNative(), unlockedIsFine);
}
