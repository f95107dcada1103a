/**
 * A supervisor that takes the place of another: what it goes on with, what it leaves to the next, and with whom. systemd keeps the
 * descriptors in between (system/fd-store.ts); all else is in the store.
 *
 * Invariants: what can't be gone on with is unmounted and overwritten before anything else is mounted; a process that is told to
 * end leaves its mount only where systemd says that it starts another and holds all of the descriptors, from its first moment on.
 */
import { placeOf } from '../fuse/mountpoint.ts';
import {
  forgetDescriptors,
  isHandedDescriptors,
  keepDescriptor,
  receivedDescriptors,
} from '../system/fd-store.ts';
import type { ProcessUsers } from '../system/process-users.ts';
import { serviceState } from '../system/systemd-job.ts';
import type { Engine } from './engine.ts';
import { examine, type Handed, isUsable, NAMES, type Unusable } from './handed.ts';
import { encodeRecord, HANDOVER, type HandoverRecord, sameOf, whatDiffers } from './handover-record.ts';
import type { Log } from './log.ts';
import type { Ground } from './restored.ts';
import type { SupervisorOptions } from './supervisor-options.ts';

export interface HandoverPorts {
  readonly log: Log;
  readonly nowMs: () => number;
  /** Unmounts and wipes what is not gone on with, as the end of its own mount would. Never throws. */
  end(handed: Handed): Promise<void>;
}

/** Of system/, but for tests. */
export interface KeepingSystemd {
  /** There is something to receive. */
  isHanded(): boolean;
  received(): ReturnType<typeof receivedDescriptors>;
  keep(name: string, fd: number): Promise<boolean>;
  forget(name: string): Promise<boolean>;
  state(): ReturnType<typeof serviceState>;
}

const SYSTEMD: KeepingSystemd = {
  isHanded: () => isHandedDescriptors(process.env, process.pid),
  received: () => receivedDescriptors(process.env, process.pid),
  keep: keepDescriptor,
  forget: forgetDescriptors,
  state: serviceState,
};

type Kept = Omit<Ground, 'control'>;

export class Handover {
  readonly #ports: HandoverPorts;
  readonly #systemd: KeepingSystemd;
  /** systemd holds what another would go on with. */
  #isKept: boolean;

  constructor(ports: HandoverPorts, systemd: KeepingSystemd = SYSTEMD) {
    this.#ports = ports;
    this.#systemd = systemd;
    // Also before it was looked at: a restart then is for the next process to look.
    this.#isKept = systemd.isHanded();
  }

  /** What to go on with; undefined: there is nothing, and what there was is unmounted and gone. */
  async take(options: SupervisorOptions, users: ProcessUsers): Promise<Handed | undefined> {
    const received = this.#systemd.received();
    if (received.length === 0) return undefined;
    const { nowMs } = this.#ports;
    const handed = await examine(received, nowMs());
    if (!isUsable(handed)) return this.#discard(handed);
    const { record } = handed;
    const place = await placeOf(options.mountpoint).catch(() => options.mountpoint);
    const other = whatDiffers(record.same, sameOf(options, place, users));
    if (other !== undefined) return this.refuse(handed, `another ${other} is wanted`);
    return handed;
  }

  /** For who mounts nothing, or otherwise: what another left is unmounted and gone. Never throws. */
  async takeNothing(why: string): Promise<void> {
    const received = this.#systemd.received();
    if (received.length === 0) return;
    const handed = await examine(received, this.#ports.nowMs());
    if (isUsable(handed)) await this.refuse(handed, why);
    else await this.#discard(handed);
  }

  /** It is not gone on with after all. `engine`: that was to. */
  async refuse(handed: Handed, why: string, engine?: Pick<Engine, 'stop'>): Promise<undefined> {
    const { log, end } = this.#ports;
    this.#isKept = false;
    log.warn('not-resumed', { why });
    if (engine === undefined) await end(handed);
    else await engine.stop().catch(() => undefined);
    await this.forget();
  }

  /** It is mounted: from now on another may go on with it. Never throws: what can't be kept is as it is without systemd. */
  async keep({ fuseFd, store, mount }: Kept, same: HandoverRecord['same']): Promise<void> {
    store.notes.write(HANDOVER, encodeRecord(same, mount.identity));
    const fds = { fuse: fuseFd, store: store.directoryFd, view: mount.cloneFd };
    try {
      for (const [role, name] of Object.entries(NAMES)) {
        this.#isKept = await this.#systemd.keep(name, fds[role as keyof typeof fds]);
      }
    } catch (error) {
      this.#isKept = false;
      this.#ports.log.warn('notify-failed', { error: (error as Error).message });
    }
  }

  /** systemd starts another in the place of this process, and has what that needs: this one may just end. Never throws. */
  async isExpected(): Promise<boolean> {
    if (!this.#isKept) return false;
    const state = await this.#systemd.state();
    // It may be at its end by now.
    return this.#isKept && state?.job === 'restart' && state.descriptors >= Object.keys(NAMES).length;
  }

  /** The mount is at its end: systemd has nothing to keep of it. Never throws. */
  async forget(): Promise<void> {
    this.#isKept = false;
    for (const name of Object.values(NAMES)) await this.#systemd.forget(name).catch(() => false);
  }

  async #discard(unusable: Unusable): Promise<undefined> {
    this.#isKept = false;
    await endUnusable(unusable, this.#ports.log);
    await this.forget();
  }
}

/** Unmounts and wipes as far as it can be: what comes next is another store. Never throws; returns what failed. */
export async function endUnusable({ why, store, mount }: Unusable, log: Log): Promise<unknown[]> {
  const failures: unknown[] = [];
  const failed = (error: unknown) => void failures.push(error);
  log.warn('not-resumed', { why });
  await mount?.unmount().catch(failed);
  await store?.wipeAll().catch(failed);
  store?.close();
  mount?.close();
  return failures;
}
