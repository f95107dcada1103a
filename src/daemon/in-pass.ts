/**
 * Superseded generations of which a process may be in the middle of opening files (vfs/consistency.ts). They stay for as
 * long. A name that was looked up in a pass stands for the old inode until somebody looks again, which may be never: once
 * the passes are over and the kernel still holds on to such an inode, we look.
 *
 * Invariants: what the server has not counted yet counts as in a pass, for CAP_MS, after which none goes on; each generation
 * is looked after once, unless that fails.
 */
import type { ChangeList } from '../generation/changes.ts';
import type { Status } from '../store/shared.ts';
import { CAP_MS } from '../vfs/consistency.ts';
import type { Superseded } from './retirement.ts';

export interface InPassPorts {
  /** 0: there are no passes. */
  readonly windowMs: number;
  /** What the server counted last; undefined before there was one. */
  passes(): Pick<Status, 'oldestPass' | 'passesLive'> | undefined;
  live(): number | undefined;
  /** Looks at the changed names, as a process that is in no pass. */
  look(changes: ChangeList): Promise<void>;
  /** It could not be looked; the next look() tries again. */
  onFailed(error: unknown): void;
  readonly nowMs: () => number;
}

export class InPass {
  readonly #ports: InPassPorts;
  /** What superseded each, as long as nobody has looked. */
  readonly #changes = new WeakMap<Superseded, ChangeList>();

  constructor(ports: InPassPorts) {
    this.#ports = ports;
  }

  /** `changes` has just gone live in its place. */
  add(superseded: Superseded, changes: ChangeList): void {
    if (this.#ports.windowMs > 0) this.#changes.set(superseded, changes);
  }

  /** Whether a pass may be in it. */
  mayOpenMore({ id, sinceMs }: Superseded): boolean {
    const { windowMs, passes, live, nowMs } = this.#ports;
    if (windowMs === 0 || nowMs() - sinceMs >= CAP_MS) return false;
    const { oldestPass = 0, passesLive } = passes() ?? {};
    return passesLive !== live() || (oldestPass !== 0 && oldestPass <= id);
  }

  /** To be called when no pass is in it any more. Returns at once. */
  look(superseded: Superseded): void {
    const { look, onFailed } = this.#ports;
    const changes = this.#changes.get(superseded);
    if (changes === undefined) return;
    this.#changes.delete(superseded);
    look(changes).catch((error: unknown) => {
      this.#changes.set(superseded, changes);
      onFailed(error);
    });
  }
}
