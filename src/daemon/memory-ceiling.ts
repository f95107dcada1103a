/**
 * Whether a bundle may be opened here: what opening it takes, known from its ciphertext alone, against what there is.
 * Looked at before anything is decrypted: at a limit the kernel ends processes, and not the one that is too large.
 */
import { MountError } from '../errors.ts';

export interface MemoryLimits {
  /** What the machine and every control group leave; null where that is not known. */
  readonly availableBytes: number | null;
  /** What is held already: the live generation and lingering ones. */
  readonly heldBytes: number;
  /** What may be held and taken together; null: as much as there is. */
  readonly maxBytes: number | null;
  /** The ciphertext is handed on, too. */
  readonly isKept?: boolean | undefined;
}

/**
 * The ciphertext, the tar and the generation are in memory at once. Neither of the latter is larger than the first: a
 * tar's headers and padding take more than a generation's metadata.
 */
const COPIES = 3;

function copies({ isKept }: MemoryLimits): number {
  return isKept === true ? COPIES + 1 : COPIES;
}

/** The most ciphertext that can be opened. */
export function ciphertextBytesMax(limits: MemoryLimits): number {
  const { availableBytes, heldBytes, maxBytes } = limits;
  const room = Math.min(
    availableBytes ?? Number.MAX_SAFE_INTEGER,
    Math.max(0, (maxBytes ?? Number.MAX_SAFE_INTEGER) - heldBytes),
  );
  return Math.floor(room / copies(limits));
}

/** Throws MountError memory-exceeded. */
export function checkMemory(ciphertextBytes: number, limits: MemoryLimits): void {
  if (ciphertextBytes <= ciphertextBytesMax(limits)) return;
  throw memoryExceeded(
    `its ${ciphertextBytes} bytes take ${copies(limits) * ciphertextBytes} to open`,
    limits,
  );
}

/** The same of a bundle of which no more is known than that it is larger than what can be opened. */
export function largerThanMemory(limits: MemoryLimits): MountError {
  const most = ciphertextBytesMax(limits);
  return memoryExceeded(
    `it has more than ${most} bytes and takes ${copies(limits)} times as many to open`,
    limits,
  );
}

function memoryExceeded(takes: string, { availableBytes, heldBytes, maxBytes }: MemoryLimits): MountError {
  const ceiling = maxBytes === null ? Number.POSITIVE_INFINITY : Math.max(0, maxBytes - heldBytes);
  if (availableBytes !== null && availableBytes < ceiling) {
    return new MountError(
      'memory-exceeded',
      `cannot open the bundle: ${takes}, ${availableBytes} are available (of the machine, or of a control group)`,
      { hint: 'give the machine or the unit more memory (MemoryMax=), or make two bundles of it' },
    );
  }
  if (maxBytes !== null && heldBytes >= maxBytes) {
    return new MountError(
      'memory-exceeded',
      `cannot open the bundle: what is held takes ${heldBytes} bytes already, want at most ${maxBytes} with it (--memory-max)`,
      { hint: 'raise --memory-max, or end what keeps old generations open: secretsfs status lists them' },
    );
  }
  return new MountError(
    'memory-exceeded',
    `cannot open the bundle: ${takes}, ${heldBytes} are held, want at most ${maxBytes} together (--memory-max)`,
    { hint: 'raise --memory-max, end what keeps old generations open, or make two bundles of it' },
  );
}
