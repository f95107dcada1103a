/**
 * The production shape of a mount: root's process, which holds the kernel connection and the store and starts everything
 * else. It reads no bundle, speaks to no network and sees no plaintext: an unsealer opens bundles, an agent watches
 * sources and answers the control sockets, a server answers the kernel.
 *
 * Invariants: whatever ends it, nothing stays mounted and no plaintext stays in memory, but what systemd keeps for the supervisor
 * after it (handover.ts); a child that dies is started again;
 * what fails leaves what is live alone. This file is the order of things, from start to stop: how the mount comes about is in
 * mounted.ts, how a bundle is taken in taking.ts, how it goes live in engine.ts, when in rotation.ts, and what others can learn
 * and ask for in supervisor-control.ts.
 */
import { forgetRollback } from '../control/consent.ts';
import { makeSocketDirectory } from '../control/directory.ts';
import { describeBug, type MountError, SecretsfsError } from '../errors.ts';
import type { Activated } from '../hooks/changes.ts';
import { FileLane } from '../system/file-lane.ts';
import { trimMemory } from '../system/footprint.ts';
import type { OwnCgroup } from '../system/own-cgroup.ts';
import { type ProcessUsers, resolveProcessUsers } from '../system/process-users.ts';
import { BundleWatches } from './bundle-watches.ts';
import { composeInto } from './composing.ts';
import type { ConfigLive } from './config-live.ts';
import { type ControlSockets, openControlSockets } from './control-sockets.ts';
import type { Hooks } from './hooks.ts';
import { leaveSwap } from './leave-swap.ts';
import { Lifetime } from './lifetime.ts';
import { mountHooks } from './mount-hooks.ts';
import { Mounted } from './mounted.ts';
import { endOutside, unmountedOutside, watchMount } from './outside.ts';
import { Parts } from './parts.ts';
import { protectProcess } from './protect-process.ts';
import { HooksTold } from './resuming.ts';
import { SupervisorAgent } from './supervisor-agent.ts';
import { watchConfig } from './supervisor-config.ts';
import { type ControlledSupervisor, operationsOfSupervisor, snapshotOf } from './supervisor-control.ts';
import type { SupervisorOptions, SupervisorPorts } from './supervisor-options.ts';
import { bundleOf } from './supervisor-status.ts';
import { takeInStore } from './taking.ts';
import { Tally } from './tally.ts';
import { UnitNotices } from './unit-notices.ts';
import { Upgrading } from './upgrading.ts';

/** Mounts, serves until stop() or an unmount, wipes. */
export class Supervisor {
  #options: SupervisorOptions;
  readonly #ports: SupervisorPorts;
  readonly #controlled: ControlledSupervisor;
  readonly #mounted: Mounted;
  readonly #parts: Parts;
  readonly #hooks: Hooks;
  readonly #tally: Tally;
  readonly #notices: UnitNotices;
  readonly #life: Lifetime;
  readonly #upgrading: Upgrading;
  readonly #told = new HooksTold();
  readonly #watches: BundleWatches;
  #cgroup: OwnCgroup | undefined;
  #agent: SupervisorAgent | undefined;
  #sockets: ControlSockets | undefined;
  #isWaiting = false;
  #mountWatch: { close(): void } | undefined;
  #config: ConfigLive | undefined;

  constructor(options: SupervisorOptions, ports: SupervisorPorts) {
    const { log, nowMs } = ports;
    this.#options = options;
    this.#ports = ports;
    this.#tally = new Tally(nowMs);
    this.#notices = new UnitNotices(log);
    this.#life = new Lifetime({
      begin: () => this.#start(),
      end: () => this.#stop(),
      notices: this.#notices,
    });
    this.#mounted = new Mounted({
      ...{ log, nowMs },
      options: () => this.#options,
      onAlive: () => this.#alive(),
      onLost: (why) => void this.#endBecause(why),
    });
    this.#hooks = mountHooks(options.hooks, ports, () => this.#agent?.keeper);
    const lane = new FileLane();
    this.#parts = new Parts(options, {
      ...ports,
      engine: () => this.#mounted.running,
      users: () => this.#mounted.users as ProcessUsers,
      lane,
      ...{ take: takeInStore, compose: composeInto },
      activate: (candidate, facts) => this.#mounted.activate(candidate, facts),
      activated: (activated) => this.#activated(activated),
      tally: this.#tally,
      onSettled: () => this.#agent?.tell(),
      waiting: (what) => this.#waiting(what),
    });
    this.#watches = new BundleWatches(lane, this.#parts);
    this.#upgrading = new Upgrading({
      engine: () => (this.#mounted.isMounted ? this.#mounted.running : undefined),
      restartAgent: () => this.#agent?.restart(),
      log,
    });
    this.#controlled = {
      ...{ startedMs: nowMs(), mounted: this.#mounted, parts: this.#parts, hooks: this.#hooks },
      ...{ tally: this.#tally, upgrading: this.#upgrading },
      options: () => this.#options,
      agent: () => this.#agent,
      config: () => this.#config?.status(),
      life: this.#life,
    };
  }

  /**
   * Returns when the mount serves its first generation, or was stopped before it could. After a failure nothing is
   * left of it.
   */
  start(): Promise<void> {
    return this.#life.start();
  }

  /** Resolves when its end begins, whoever ends it. */
  get ending(): Promise<void> {
    return this.#life.ending;
  }

  /** Resolves when the mount is gone, whoever ended it. Throws MountError where it could not be unmounted. */
  get ended(): Promise<void> {
    return this.#life.ended;
  }

  /** As SIGHUP asks for it, the config first: the failure, if there is one, is in the log. */
  async reload(): Promise<void> {
    // A start that is under way takes the newest.
    if (this.#mounted.engine === undefined) return;
    await this.#config?.lookNow();
    await this.#look(() => this.#parts.refresh());
  }

  /** What fails is in the log and in the status. */
  async #look(refresh: () => Promise<unknown>): Promise<void> {
    await refresh().catch((error: unknown) => {
      if (!(error instanceof SecretsfsError)) this.#ports.log.error('bug', { error: describeBug(error) });
    });
  }

  /**
   * As SIGUSR2 asks for it: replaces every process but this one by the program that is on disk now, one after the other.
   * Where that can't serve, it is in the log, and everything goes on as it was.
   */
  upgrade(): Promise<void> {
    return this.#upgrading.runLogged();
  }

  /** Unmounts, wipes, closes. May be called at any time, and again. Never throws: `ended` says how it went. */
  stop(): Promise<void> {
    return this.#life.stop();
  }

  /** Whether another process goes on with the mount once this one has ended, which it may then do at once. Never throws. */
  async leave(): Promise<boolean> {
    const life = this.#life;
    if (life.isEnding || !(await this.#mounted.hasSuccessor()) || life.isEnding) return false;
    this.#ports.log.info('handed-over');
    return true;
  }

  /** For a stop() that hangs, just before the process ends: the mount is gone and its readers get errors. Never throws. */
  abandon(): void {
    this.#mounted.engine?.abandon();
  }

  async #start(): Promise<void> {
    const { log } = this.#ports;
    const options = this.#options;
    const { parts, instance, runtimeDir, statusGid } = options;
    await protectProcess();
    const users = await resolveProcessUsers({ instance, uidBase: options.uidBase });
    const mountpoint = await this.#mounted.find(users);
    await this.#hooks.start(mountpoint);
    this.#mounted.useChecks(await this.#mounted.makeChecks(options));
    const onSwap = options.allowSwap ? () => log.warn('swap-allowed') : undefined;
    this.#cgroup = await leaveSwap(instance, onSwap);
    const directory = await makeSocketDirectory(runtimeDir, instance, 0);
    const sockets = openControlSockets(directory, statusGid);
    this.#sockets = sockets;
    // With the lock of the sockets, both are nobody else's.
    await Promise.all([forgetRollback(directory), this.#parts.load()]);
    log.info('starting', { bundle: bundleOf(parts), mountpoint, users: users.origin });
    const agent = this.#makeAgent(users, sockets);
    agent.startSoon();
    const isResumed = await this.#mounted.resume(this.#controlled, () => this.#life.isEnding);
    if (!isResumed) await this.#begin();
    this.#serve(mountpoint);
    agent.startNow();
    this.#config = this.#watchConfig();
    // Nothing was asked for the sources yet.
    if (isResumed) void this.#parts.hint();
  }

  /** The first generation, of what the sources have. */
  async #begin(): Promise<void> {
    this.#mounted.begin();
    await this.#parts.start();
    if (!this.#mounted.isMounted) throw new Error('a refresh succeeded without a mount');
  }

  /** From now on others may rely on it. */
  #serve(mountpoint: string): void {
    const { running } = this.#mounted;
    this.#watches.watch(this.#options.parts);
    this.#mountWatch = watchMount(
      () => running.isMounted(),
      this.#ports.endsByUmount,
      () => void this.#endBecause(unmountedOutside(mountpoint, this.#ports.endsByUmount)),
    );
    const serial = this.#parts.latest?.state.live?.serial;
    this.#ports.log.info('ready', { mountpoint, serial, files: this.#parts.files });
    this.#life.serves();
    trimMemory();
    this.#notices.ready(serial, mountpoint);
    running.settle();
  }

  #makeAgent(users: ProcessUsers, sockets: ControlSockets): SupervisorAgent {
    this.#agent = new SupervisorAgent({
      ...{ users, sockets, parts: this.#parts, log: this.#ports.log },
      options: () => this.#options,
      isEnding: () => this.#life.isEnding,
      operations: operationsOfSupervisor(this.#controlled),
      snapshot: () => snapshotOf(this.#controlled),
    });
    return this.#agent;
  }

  #watchConfig(): ConfigLive | undefined {
    if (this.#life.isEnding) return undefined;
    return watchConfig(this.#ports, {
      ...this.#controlled,
      commit: (options) => {
        this.#options = options;
      },
      watchAgain: () => {
        this.#watches.watch(this.#options.parts);
        this.#agent?.restart();
      },
      look: (anew) => void this.#look(() => this.#parts.refresh({ anew })),
    });
  }

  #activated(activated: Activated): void {
    this.#hooks.activated(activated);
    this.#notices.serves(activated.serial, this.#mounted.mountpoint);
  }

  /** The agent may not see what is root's alone. */
  #waiting(what: string): void {
    if (!this.#isWaiting) this.#watches.watch(this.#options.parts);
    this.#isWaiting = true;
    this.#notices.waits(what);
  }

  async #stop(): Promise<void> {
    const { log } = this.#ports;
    this.#notices.stopping();
    this.#mounted.stopChecks();
    const config = this.#config?.stop();
    // A start that is under way comes to its end first, quickly: its unsealer is ended here.
    const rotation = this.#parts.stop();
    await this.#life.started();
    await Promise.all([rotation, config]);
    this.#agent?.hold();
    this.#mountWatch?.close();
    this.#watches.close();
    await this.#hooks.stop();
    const { isMounted } = this.#mounted;
    if (isMounted) log.info('stopping');
    const failure = await this.#mounted.stop();
    if (isMounted) log.info('stopped');
    this.#sockets?.hide();
    this.#life.over(failure);
    // Answers that were settled just now still go out.
    await new Promise((resolve) => setImmediate(resolve));
    await this.#agent?.stop();
    this.#sockets?.close();
    await this.#cgroup?.remove();
  }

  #endBecause(why: MountError | undefined): Promise<void> {
    return endOutside(this.#life, this.#ports.log, this.#mounted.mountpoint, why);
  }

  /** The mount answered. */
  #alive(): void {
    this.#tally.answered();
    const { engine } = this.#mounted;
    if (engine !== undefined && !this.#life.isEnding) this.#told.look(engine, this.#hooks);
    this.#notices.alive();
  }
}
