/**
 * The mount of a supervisor: its place, its engine, and how it comes about: begun, or gone on with where another supervisor left it.
 *
 * Invariants: there are a place and users from find() on, an engine from begin() or resume() on, and it is mounted from the first
 * activation, or from resume() on. What was handed over and is not gone on with is unmounted and wiped, at the latest by stop().
 */
import { MountError } from '../errors.ts';
import { REPLY_BYTES_MAX } from '../fuse/kernel/init.ts';
import { prepareMountpoint } from '../fuse/mountpoint.ts';
import type { ChangeList } from '../generation/changes.ts';
import type { OpensSettings } from '../opens/rules.ts';
import { checkLocking } from '../system/locking.ts';
import { loadNative } from '../system/native.ts';
import type { ProcessUsers } from '../system/process-users.ts';
import type { Candidate } from './candidate.ts';
import type { Engine } from './engine.ts';
import type { ExecChecks } from './exec-checks.ts';
import type { Handed } from './handed.ts';
import { Handover } from './handover.ts';
import { sameOf } from './handover-record.ts';
import { mountChecks } from './mount-checks.ts';
import { endHanded, mountEngine } from './mount-engine.ts';
import { checkStillThere, connectionEnded } from './outside.ts';
import { mountRules } from './part-paths.ts';
import type { Restored } from './restored.ts';
import { type ResumingPorts, resume } from './resuming.ts';
import { ServedRules } from './served-rules.ts';
import type { SupervisorOptions, SupervisorPorts } from './supervisor-options.ts';

export interface MountedPorts extends Pick<SupervisorPorts, 'log' | 'nowMs'> {
  /** Those of now. */
  options(): SupervisorOptions;
  /** It answered. */
  onAlive(): void;
  /** It is in the mount table still, and answers nobody. */
  onLost(why: MountError): void;
}

export class Mounted {
  /** By which the servers check owners and modes, and who may open what. */
  readonly rules: ServedRules;
  readonly opens: { current: OpensSettings };
  readonly #ports: MountedPorts;
  readonly #handover: Handover;
  /** Not gone on with yet. */
  #handed: Handed | undefined;
  #mountpoint: string;
  #users: ProcessUsers | undefined;
  #checks: ExecChecks | undefined;
  #engine: Engine | undefined;
  #isMounted = false;

  constructor(ports: MountedPorts) {
    const options = ports.options();
    this.#ports = ports;
    this.#mountpoint = options.mountpoint;
    this.rules = new ServedRules(mountRules(options.parts));
    this.opens = { current: options.opens };
    this.#handover = new Handover({ ...ports, end: (handed) => endHanded(handed, options, ports) });
  }

  /** Without symlinks, from find() on. */
  get mountpoint(): string {
    return this.#mountpoint;
  }

  get isMounted(): boolean {
    return this.#isMounted;
  }

  /** undefined before find(). */
  get users(): ProcessUsers | undefined {
    return this.#users;
  }

  get engine(): Engine | undefined {
    return this.#engine;
  }

  /** The engine, for who comes after begin() and resume(). */
  get running(): Engine {
    if (this.#engine === undefined) throw new Error('a bundle was taken before the store');
    return this.#engine;
  }

  /** What another supervisor left, or an empty directory. Returns the place. Throws MountError. */
  async find(users: ProcessUsers): Promise<string> {
    this.#handed = await this.#handover.take(this.#ports.options(), users);
    this.#mountpoint = this.#handed?.record.same.mountpoint ?? (await this.#prepare());
    this.#users = users;
    return this.#mountpoint;
  }

  /** Programs that check a candidate. Throws ConfigError. */
  makeChecks(options: SupervisorOptions): Promise<ExecChecks | undefined> {
    return mountChecks(options, this.#mountpoint, this.#known, this.#ports);
  }

  /** From now on these do. */
  useChecks(checks: ExecChecks | undefined): void {
    this.#checks = checks;
  }

  /** What the first activation mounts. */
  begin(): void {
    this.#engine = this.#makeEngine();
  }

  /**
   * Goes on with what another supervisor left. False where there is nothing, and where that does not answer any more: it is gone
   * then, and begin() is next. `isEnding`: nothing is to take its place.
   */
  async resume(ports: Omit<ResumingPorts, 'log'>, isEnding: () => boolean): Promise<boolean> {
    const handed = this.#handed;
    if (handed === undefined) return false;
    this.rules.resumed(handed.facts.rules);
    const engine = this.#makeEngine(handed.restored);
    this.#engine = engine;
    this.#handed = undefined;
    try {
      await resume(engine, handed, { ...ports, log: this.#ports.log });
      this.#isMounted = true;
      return true;
    } catch (error) {
      if (!(error instanceof MountError) || isEnding()) throw error;
      await this.#handover.refuse(handed, error.message, engine);
    }
    this.#engine = undefined;
    this.rules.activated();
    this.#mountpoint = await this.#prepare();
    return false;
  }

  /** Mounts it, the first time. `facts`: what the next supervisor must know of it. Throws what the engine throws, and MountError. */
  async activate(
    candidate: Candidate,
    facts: string,
  ): Promise<Pick<ChangeList, 'counts' | 'files'> | undefined> {
    if (!this.#isMounted) await checkStillThere(this.#mountpoint);
    const changes = await this.running.activate(candidate, facts);
    const { ground } = this.running;
    if (!this.#isMounted && ground !== undefined) {
      await this.#handover.keep(ground, sameOf(this.#ports.options(), this.#mountpoint, this.#known));
    }
    this.#isMounted = true;
    this.rules.activated();
    return changes;
  }

  /** Whether another process goes on with it once this one has ended. Never throws. */
  hasSuccessor(): Promise<boolean> {
    return this.#handover.isExpected();
  }

  /** Programs that check are ended: what waits for them is not to wait any longer. */
  stopChecks(): void {
    this.#checks?.stop();
  }

  /** Unmounts and wipes. Returns why it could not be unmounted. Never throws. */
  async stop(): Promise<Error | undefined> {
    if (this.#handed !== undefined) await this.#handover.refuse(this.#handed, 'it did not come to that');
    const failure = await this.#engine?.stop().catch((error: Error) => error);
    await this.#handover.forget();
    return failure instanceof Error ? failure : undefined;
  }

  get #known(): ProcessUsers {
    if (this.#users === undefined) throw new Error('its users are not known yet');
    return this.#users;
  }

  async #prepare(): Promise<string> {
    checkLocking(await loadNative(), REPLY_BYTES_MAX);
    const { path, cleared } = await prepareMountpoint(this.#ports.options().mountpoint);
    if (cleared.length > 0) this.#ports.log.warn('stale-mount-cleared', { mountpoint: path });
    return path;
  }

  #makeEngine(restored?: Restored): Engine {
    const { log, nowMs, onAlive, onLost, options } = this.#ports;
    const [mountpoint, users] = [this.#mountpoint, this.#known];
    return mountEngine(
      options(),
      { mountpoint, users, rules: this.rules, opens: this.opens },
      {
        prove: async (proposed) => this.#checks?.prove(proposed),
        ...{ log, nowMs, onAlive },
        onLost: () => onLost(connectionEnded(this.#mountpoint)),
      },
      restored,
    );
  }
}
