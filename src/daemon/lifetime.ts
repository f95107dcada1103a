/**
 * Beginning and end of a mount, whichever driver serves it: when each happens, and who learns of it.
 *
 * Invariants: it ends once; an end waits for a beginning that is under way (started()); whoever waits for either is answered.
 */
import { MountError } from '../errors.ts';
import { deferred } from './deferred.ts';
import type { UnitNotices } from './unit-notices.ts';

export interface LifetimePorts {
  /** Returns when the mount serves. */
  begin(): Promise<void>;
  /** Unmounts and wipes, also what is half begun, and calls over(). Never throws. */
  end(): Promise<void>;
  readonly notices: Pick<UnitNotices, 'starting'>;
}

export class Lifetime {
  readonly #ports: LifetimePorts;
  readonly #ready = deferred();
  readonly #ending = deferred();
  readonly #ended = deferred();
  #starting: Promise<void> = Promise.resolve();
  #stopping: Promise<void> | undefined;

  constructor(ports: LifetimePorts) {
    this.#ports = ports;
  }

  /** Returns when it serves, or was stopped before it could. Throws what begin() throws, when nothing is left of it. */
  async start(): Promise<void> {
    const extending = this.#ports.notices.starting();
    this.#starting = this.#ports.begin().finally(() => extending.close());
    try {
      await this.#starting;
    } catch (error) {
      const wasStopped = this.isEnding;
      await this.stop();
      if (!wasStopped) throw error;
    }
  }

  /** May be called at any time, and again. Never throws. */
  stop(): Promise<void> {
    this.#stopping ??= this.#ports.end();
    this.#ending.resolve();
    return this.#stopping;
  }

  /** Ends it for a reason, which is what `ended` says then. Does nothing where it ends already. */
  async fail(why: MountError): Promise<void> {
    if (this.isEnding) return;
    this.#ended.reject(why);
    await this.stop();
  }

  get isEnding(): boolean {
    return this.#stopping !== undefined;
  }

  /** Resolves when it serves; rejects when it never will. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /** Resolves when its end begins, whoever ends it. */
  get ending(): Promise<void> {
    return this.#ending.promise;
  }

  /** Resolves when the mount is gone, whoever ended it. Rejects with why it could not be unmounted, or had to end. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Resolves when no beginning is under way any more. Never throws. */
  async started(): Promise<void> {
    await this.#starting.catch(() => undefined);
  }

  /** It serves. */
  serves(): void {
    this.#ready.resolve();
  }

  /** It is gone. Whoever waits for it learns that it will not come; whoever asked for the end, how it went. */
  over(failure: Error | undefined): void {
    this.#ready.reject(
      new MountError('mount-failed', 'cannot wait: the mount ended', { hint: 'its log says why' }),
    );
    if (failure !== undefined) this.#ended.reject(failure);
    else this.#ended.resolve();
  }
}
