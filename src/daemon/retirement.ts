/**
 * Superseded generations, and when each may go: once the kernel has let go of every inode that the next one has not, and
 * nobody is about to open more of it, or after a time limit, if something pins one for longer. The kernel is asked, through
 * a process that may hang; nothing is counted, because what a dying server had counted would be lost.
 */

export interface Superseded {
  readonly id: number;
  readonly bytes: number;
  readonly sinceMs: number;
  /** Inodes that may still be held; the first one is known to be, if it was asked for. */
  inodes: readonly number[];
}

export interface RetirementPorts {
  /** Of these inodes, those that the kernel still holds. May stop at the first: only emptiness counts. */
  held(inodes: readonly number[]): Promise<readonly number[]>;
  /** Whether some process may still open files of it, because it began with it. */
  inUse(superseded: Superseded): boolean;
  /** Nobody may, and the kernel holds inodes of it still. */
  onHeld(superseded: Superseded): void;
  /** Takes it out of what is served; resolves when no request can see it any more. */
  withdraw(id: number): Promise<void>;
  /** No page of these is cached any more: nothing but the kernel's memory would still give them out. */
  dropPages(inodes: readonly number[]): Promise<void>;
  /** Overwrites and removes it. */
  wipe(id: number): Promise<void>;
  /** A sweep by the clock failed; the next one tries again. */
  onFailed(error: unknown): void;
  onRetired(superseded: Superseded, why: 'released' | 'expired' | 'crowded'): void;
  readonly nowMs: () => number;
  readonly retireAfterMs: number;
  /** More than these, and one goes: the oldest that is not held, else the oldest. */
  readonly lingeringMax: number;
}

const SWEEP_EVERY_MS = 250;
/** Asked for in one question: the answer must come well within its time limit. */
const ASKED_AT_ONCE = 4096;

export class Retirement {
  readonly #ports: RetirementPorts;
  readonly #lingering: Superseded[] = [];
  #running: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;

  constructor(ports: RetirementPorts) {
    this.#ports = ports;
  }

  /** Oldest first. */
  get lingering(): readonly Superseded[] {
    return this.#lingering;
  }

  add(superseded: Superseded): void {
    this.#lingering.push(superseded);
  }

  /** Sweeps four times a second from now on, while anything lingers. */
  start(): void {
    let sweeping = false;
    const sweep = async () => {
      if (sweeping || this.#lingering.length === 0) return;
      sweeping = true;
      await this.sweep().catch((error: unknown) => this.#ports.onFailed(error));
      sweeping = false;
    };
    this.#timer = setInterval(() => void sweep(), SWEEP_EVERY_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Lets go of what can go. One at a time; calling it more often does no harm. Throws what the ports throw. */
  sweep(): Promise<void> {
    const run = this.#running.catch(() => undefined).then(() => this.#sweep());
    this.#running = run.catch(() => undefined);
    return run;
  }

  async #sweep(): Promise<void> {
    const { nowMs, retireAfterMs, lingeringMax } = this.#ports;
    for (const superseded of [...this.#lingering]) {
      if (await this.#isReleased(superseded)) await this.#retire(superseded, 'released');
      else if (nowMs() - superseded.sinceMs >= retireAfterMs) await this.#retire(superseded, 'expired');
    }
    // Rather one that somebody may open more of than one that somebody has open.
    for (const mayBeHeld of [false, true]) {
      for (const superseded of [...this.#lingering]) {
        if (this.#lingering.length <= lingeringMax) return;
        if (mayBeHeld || (await this.#isForgotten(superseded))) await this.#retire(superseded, 'crowded');
      }
    }
  }

  async #isReleased(superseded: Superseded): Promise<boolean> {
    const { inUse, onHeld } = this.#ports;
    if (inUse(superseded)) return false;
    const isReleased = await this.#isForgotten(superseded);
    if (!isReleased) onHeld(superseded);
    return isReleased;
  }

  async #isForgotten(superseded: Superseded): Promise<boolean> {
    while (superseded.inodes.length > 0) {
      const asked = superseded.inodes.slice(0, ASKED_AT_ONCE);
      const held = await this.#ports.held(asked);
      superseded.inodes = [...held, ...superseded.inodes.slice(asked.length)];
      if (held.length > 0) return false;
    }
    return true;
  }

  async #retire(superseded: Superseded, why: Parameters<RetirementPorts['onRetired']>[1]): Promise<void> {
    await this.#ports.withdraw(superseded.id);
    // What is withdrawn can't be read into the cache again.
    if (superseded.inodes.length > 0) await this.#ports.dropPages(superseded.inodes);
    await this.#ports.wipe(superseded.id);
    this.#lingering.splice(this.#lingering.indexOf(superseded), 1);
    this.#ports.onRetired(superseded, why);
  }
}
