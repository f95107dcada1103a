/**
 * The production shape of a mount: root's process, which holds the kernel connection and the store and starts everything
 * else. It reads no bundle, speaks to no network and sees no plaintext: an unsealer opens bundles, an agent watches
 * sources and answers the control sockets, a server answers the kernel.
 *
 * Invariants: whatever ends it, nothing stays mounted and no plaintext stays in memory, but what systemd keeps for the supervisor
 * after it (handover.ts); a child that dies is started again;
 * what fails leaves what is live alone. This file is the order of things: how a bundle is taken is in taking.ts, how it
 * goes live in engine.ts, when in rotation.ts.
 */
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { forgetRollback, useRollback } from '../control/consent.ts';
import { makeSocketDirectory } from '../control/directory.ts';
import type { Operations } from '../control/server.ts';
import { describeBug, MountError, SecretsfsError } from '../errors.ts';
import { prepareMountpoint } from '../fuse/mountpoint.ts';
import type { ChangeList } from '../generation/changes.ts';
import type { Activated } from '../hooks/changes.ts';
import type { Snapshot } from '../metrics/snapshot.ts';
import type { OpensSettings } from '../opens/rules.ts';
import { FileLane } from '../system/file-lane.ts';
import { keepDescriptors } from '../system/files.ts';
import { staySmall, trimMemory } from '../system/footprint.ts';
import { loadNative } from '../system/native.ts';
import { notify } from '../system/notify.ts';
import type { OwnCgroup } from '../system/own-cgroup.ts';
import { anonymousBytes } from '../system/process-memory.ts';
import { type ProcessUsers, resolveProcessUsers } from '../system/process-users.ts';
import { AgentKeeper } from './agent-keeper.ts';
import { BundleWatches } from './bundle-watches.ts';
import type { Candidate } from './candidate.ts';
import { composeInto } from './composing.ts';
import { ConfigLive } from './config-live.ts';
import { type ControlSockets, openControlSockets } from './control-sockets.ts';
import { deferred } from './deferred.ts';
import type { Engine } from './engine.ts';
import type { ExecChecks } from './exec-checks.ts';
import type { Handed } from './handed.ts';
import { Handover } from './handover.ts';
import { sameOf } from './handover-record.ts';
import type { Hooks } from './hooks.ts';
import { leaveSwap } from './leave-swap.ts';
import { applyLive } from './live-settings.ts';
import { errorFields } from './log.ts';
import { mountChecks } from './mount-checks.ts';
import { endHanded, mountEngine } from './mount-engine.ts';
import { mountHooks } from './mount-hooks.ts';
import { protectFromOom } from './oom.ts';
import { operationsOf } from './operations.ts';
import { checkStillThere, connectionEnded, unmountedOutside, watchMount } from './outside.ts';
import { mountRules } from './part-paths.ts';
import { Parts } from './parts.ts';
import { spawnAgent } from './processes.ts';
import type { Restored } from './restored.ts';
import { HooksTold, resume } from './resuming.ts';
import { checkScripts } from './scripts.ts';
import { ServedRules } from './served-rules.ts';
import { extendStart } from './start-notices.ts';
import type { SupervisorOptions, SupervisorPorts } from './supervisor-options.ts';
import {
  bundleOf,
  type Described,
  describeMount,
  describeProcesses,
  describeRefreshes,
} from './supervisor-status.ts';
import { takeInStore } from './taking.ts';
import { Tally } from './tally.ts';
import { watchTasks } from './watch-tasks.ts';

/** A start that takes longer should be able to say what it waits for. */
const AGENT_AFTER_MS = 1_000;

/** Mounts, serves until stop() or an unmount, wipes. */
export class Supervisor {
  #options: SupervisorOptions;
  readonly #ports: SupervisorPorts;
  readonly #startedMs: number;
  readonly #parts: Parts;
  readonly #hooks: Hooks;
  readonly #tally: Tally;
  readonly #rules: ServedRules;
  readonly #opens: { current: OpensSettings };
  readonly #handover: Handover;
  /** Not gone on with yet. */
  #handed: Handed | undefined;
  readonly #told = new HooksTold();
  readonly #lane = new FileLane();
  readonly #ready = deferred();
  readonly #ending = deferred();
  readonly #ended = deferred();
  #mountpoint: string;
  #users: ProcessUsers | undefined;
  #cgroup: OwnCgroup | undefined;
  #checks: ExecChecks | undefined;
  #engine: Engine | undefined;
  #agent: AgentKeeper | undefined;
  #sockets: ControlSockets | undefined;
  readonly #watches: BundleWatches;
  readonly #ownId = randomBytes(6).toString('hex');
  #mounted = false;
  #isWaiting = false;
  #mountWatch: { close(): void } | undefined;
  #config: ConfigLive | undefined;
  #agentTimer: NodeJS.Timeout | undefined;
  #starting: Promise<void> = Promise.resolve();
  #stopping: Promise<void> | undefined;
  #upgrading: Promise<readonly string[]> | undefined;

  constructor(options: SupervisorOptions, ports: SupervisorPorts) {
    this.#options = options;
    this.#ports = ports;
    this.#startedMs = ports.nowMs();
    this.#tally = new Tally(ports.nowMs);
    this.#mountpoint = options.mountpoint;
    this.#rules = new ServedRules(mountRules(options.parts));
    this.#opens = { current: options.opens };
    this.#handover = new Handover({ ...ports, end: (handed) => endHanded(handed, options, ports) });
    this.#hooks = mountHooks(options.hooks, ports, () => this.#agent);
    this.#parts = new Parts(options, {
      ...ports,
      engine: () => this.#running,
      users: () => this.#users as ProcessUsers,
      lane: this.#lane,
      ...{ take: takeInStore, compose: composeInto },
      activate: (candidate, facts) => this.#activate(candidate, facts),
      activated: (activated) => this.#activated(activated),
      tally: this.#tally,
      onSettled: () => this.#tellAgent(),
      waiting: (what) => this.#waiting(what),
    });
    this.#watches = new BundleWatches(this.#lane, this.#parts);
  }

  /**
   * Returns when the mount serves its first generation, or was stopped before it could. After a failure nothing is
   * left of it.
   */
  async start(): Promise<void> {
    const extending = extendStart((state) => this.#notify(state));
    this.#starting = this.#start().finally(() => extending.close());
    try {
      await this.#starting;
    } catch (error) {
      const wasStopped = this.#stopping !== undefined;
      await this.stop();
      if (!wasStopped) throw error;
    }
  }

  /** Resolves when its end begins, whoever ends it. */
  get ending(): Promise<void> {
    return this.#ending.promise;
  }

  /** Resolves when the mount is gone, whoever ended it. Throws MountError where it could not be unmounted. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** As SIGHUP asks for it, the config first: the failure, if there is one, is in the log. */
  async reload(): Promise<void> {
    // A start that is under way takes the newest.
    if (this.#engine === undefined) return;
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
  async upgrade(): Promise<void> {
    await this.#upgradeOnce().catch((error: unknown) => {
      if (!(error instanceof SecretsfsError)) throw error;
      this.#ports.log.error('upgrade-failed', errorFields(error));
    });
  }

  /** Unmounts, wipes, closes. May be called at any time, and again. Never throws: `ended` says how it went. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    this.#ending.resolve();
    return this.#stopping;
  }

  /** Whether another process goes on with the mount once this one has ended, which it may then do at once. Never throws. */
  async leave(): Promise<boolean> {
    const isFree = () => this.#stopping === undefined;
    if (!isFree() || !(await this.#handover.isExpected()) || !isFree()) return false;
    this.#ports.log.info('handed-over');
    return true;
  }

  /** For a stop() that hangs, just before the process ends: the mount is gone and its readers get errors. Never throws. */
  abandon(): void {
    this.#engine?.abandon();
  }

  async #start(): Promise<void> {
    const { log } = this.#ports;
    const options = this.#options;
    const { parts, instance, runtimeDir, statusGid } = options;
    const bundle = bundleOf(parts);
    staySmall();
    (await loadNative()).forbidDumps();
    protectFromOom();
    keepDescriptors();
    const users = await resolveProcessUsers({ instance, uidBase: options.uidBase });
    const handed = await this.#handover.take(options, users);
    this.#handed = handed;
    const mountpoint = handed?.record.same.mountpoint ?? (await this.#prepare());
    this.#mountpoint = mountpoint;
    this.#users = users;
    await this.#hooks.start(mountpoint);
    this.#checks = await this.#makeChecks(options);
    const onSwap = options.allowSwap ? () => log.warn('swap-allowed') : undefined;
    this.#cgroup = await leaveSwap(instance, onSwap);
    const directory = await makeSocketDirectory(runtimeDir, instance, 0);
    this.#sockets = openControlSockets(directory, statusGid);
    // With the lock of the sockets, both are nobody else's.
    await Promise.all([forgetRollback(directory), this.#parts.load()]);
    log.info('starting', { bundle, mountpoint, users: users.origin });
    this.#agentTimer = setTimeout(() => this.#startAgent(), AGENT_AFTER_MS);
    if (handed === undefined || !(await this.#resume(handed))) await this.#begin();
    this.#watches.watch(options.parts);
    this.#mountWatch = watchMount(
      () => this.#running.isMounted(),
      () => void this.#endBecause(unmountedOutside(mountpoint)),
    );
    const serial = this.#parts.latest?.state.live?.serial;
    log.info('ready', { mountpoint, serial, files: this.#parts.files });
    this.#ready.resolve();
    trimMemory();
    this.#notify(`READY=1\nSTATUS=serial ${serial} at ${mountpoint}`);
    this.#running.settle();
    this.#startAgent();
    this.#watchConfig();
    if (handed !== undefined) void this.#parts.hint();
  }

  async #prepare(): Promise<string> {
    const { path: mountpoint, cleared } = await prepareMountpoint(this.#options.mountpoint);
    if (cleared.length > 0) this.#ports.log.warn('stale-mount-cleared', { mountpoint });
    return mountpoint;
  }

  /** The first generation, of what the sources have. */
  async #begin(): Promise<void> {
    this.#engine = this.#makeEngine();
    await this.#parts.start();
    if (!this.#mounted) throw new Error('a refresh succeeded without a mount');
  }

  /** What another supervisor left. False where that does not answer any more: it is gone then. */
  async #resume(handed: Handed): Promise<boolean> {
    this.#rules.resumed(handed.facts.rules);
    const engine = this.#makeEngine(handed.restored);
    this.#engine = engine;
    this.#handed = undefined;
    try {
      const [parts, hooks, { log }] = [this.#parts, this.#hooks, this.#ports];
      await resume(engine, handed, { parts, hooks, log });
      this.#mounted = true;
      return true;
    } catch (error) {
      if (!(error instanceof MountError) || this.#stopping !== undefined) throw error;
      await this.#handover.refuse(handed, error.message, engine);
    }
    this.#engine = undefined;
    this.#rules.activated();
    this.#mountpoint = await this.#prepare();
    return false;
  }

  #makeEngine(restored?: Restored): Engine {
    const { log, nowMs } = this.#ports;
    const [mountpoint, users] = [this.#mountpoint, this.#users as ProcessUsers];
    return mountEngine(
      this.#options,
      { mountpoint, users, rules: this.#rules, opens: this.#opens },
      {
        prove: async (proposed) => this.#checks?.prove(proposed),
        ...{ log, nowMs },
        onAlive: () => this.#alive(),
        // It is in the mount table still, and answers nobody.
        onLost: () => void this.#endBecause(connectionEnded(this.#mountpoint)),
      },
      restored,
    );
  }

  #watchConfig(): void {
    const { config: source, log, nowMs } = this.#ports;
    if (source === undefined || this.#stopping !== undefined) return;
    const apply = (next: SupervisorOptions) => this.#apply(next);
    this.#config = new ConfigLive({ source, running: this.#options, apply, log, nowMs });
  }

  #apply(next: SupervisorOptions): Promise<void> {
    return applyLive(this.#options, next, {
      parts: this.#parts,
      hooks: this.#hooks,
      engine: this.#running,
      rules: this.#rules,
      opens: this.#opens,
      makeChecks: (options) => this.#makeChecks(options),
      commit: (options, checks) => {
        this.#options = options;
        if (checks !== undefined) this.#checks = checks.now;
      },
      watchAgain: () => {
        this.#watches.watch(this.#options.parts);
        this.#agent?.restart();
      },
      look: (anew) => void this.#look(() => this.#parts.refresh({ anew })),
    });
  }

  #makeChecks(options: SupervisorOptions): Promise<ExecChecks | undefined> {
    return mountChecks(options, this.#mountpoint, this.#users as ProcessUsers, this.#ports);
  }

  async #activate(
    candidate: Candidate,
    facts: string,
  ): Promise<Pick<ChangeList, 'counts' | 'files'> | undefined> {
    if (!this.#mounted) await checkStillThere(this.#mountpoint);
    const changes = await this.#running.activate(candidate, facts);
    const { ground } = this.#running;
    if (!this.#mounted && ground !== undefined) {
      const users = this.#users as ProcessUsers;
      await this.#handover.keep(ground, sameOf(this.#options, this.#mountpoint, users));
    }
    this.#mounted = true;
    this.#rules.activated();
    return changes;
  }

  #activated(activated: Activated): void {
    this.#hooks.activated(activated);
    this.#notify(`STATUS=serial ${activated.serial} at ${this.#mountpoint}`);
  }

  /** The agent may not see what is root's alone. */
  #waiting(what: string): void {
    if (!this.#isWaiting) this.#watches.watch(this.#options.parts);
    this.#isWaiting = true;
    this.#notify(`STATUS=waits: ${what}`);
  }

  #startAgent(): void {
    clearTimeout(this.#agentTimer);
    const { log } = this.#ports;
    const [users, sockets] = [this.#users, this.#sockets];
    if (this.#agent !== undefined || this.#stopping !== undefined) return;
    if (users === undefined || sockets === undefined) return;
    this.#agent = new AgentKeeper({
      spawn: () => spawnAgent(users.agent, sockets, log),
      task: (restarts) => ({
        parts: watchTasks(this.#options, this.#ownId, restarts),
        statusSocket: sockets.statusFd !== undefined,
        metrics: { ...this.#options.metrics, listen: this.#options.metrics.listen ?? null },
      }),
      onLooked: (looks, part) => this.#parts.noteLook(part, looks),
      operations: { ...this.#operations(), metrics: async () => this.#snapshot() },
      log,
    });
    this.#tellAgent();
  }

  #upgradeOnce(): Promise<readonly string[]> {
    this.#upgrading ??= this.#upgrade().finally(() => {
      this.#upgrading = undefined;
    });
    return this.#upgrading;
  }

  async #upgrade(): Promise<readonly string[]> {
    if (!this.#mounted)
      throw new MountError('upgrade-refused', 'cannot upgrade: nothing is mounted yet', {
        hint: 'secretsfs wait, then again',
      });
    const { log } = this.#ports;
    checkScripts();
    await this.#running.upgrade();
    // It carries the answer to whoever asked for this.
    setImmediate(() => this.#agent?.restart());
    log.info('upgraded');
    return ['server', 'successor', 'prober', 'teller', 'notifier', 'agent'];
  }

  async #stop(): Promise<void> {
    const { log } = this.#ports;
    this.#notify('STOPPING=1');
    this.#checks?.stop();
    const config = this.#config?.stop();
    // A start that is under way comes to its end first, quickly: its unsealer is ended here.
    const rotation = this.#parts.stop();
    await this.#starting.catch(() => undefined);
    await Promise.all([rotation, config]);
    clearTimeout(this.#agentTimer);
    this.#mountWatch?.close();
    this.#watches.close();
    await this.#hooks.stop();
    if (this.#mounted) log.info('stopping');
    if (this.#handed !== undefined) await this.#handover.refuse(this.#handed, 'it did not come to that');
    const failure = await this.#engine?.stop().catch((error: Error) => error);
    await this.#handover.forget();
    if (this.#mounted) log.info('stopped');
    this.#sockets?.hide();
    // Whoever waits for the mount learns that it will not come; whoever asked for the unmount, how it went.
    this.#ready.reject(
      new MountError('mount-failed', 'cannot wait: the mount ended', { hint: 'its log says why' }),
    );
    if (failure instanceof Error) this.#ended.reject(failure);
    else this.#ended.resolve();
    // Answers that were settled just now still go out.
    await new Promise((resolve) => setImmediate(resolve));
    await this.#agent?.stop();
    this.#sockets?.close();
    await this.#cgroup?.remove();
  }

  /** What need not be looked at again, so that a poll without news costs no unsealer. */
  #tellAgent(): void {
    this.#agent?.tell(this.#parts.known());
  }

  get #running(): Engine {
    if (this.#engine === undefined) throw new Error('a bundle was taken before the store');
    return this.#engine;
  }

  /** Somebody else ended it: not in order. */
  async #endBecause(why: MountError): Promise<void> {
    if (this.#stopping !== undefined) return;
    this.#ports.log.error('unmounted-from-outside', { mountpoint: this.#mountpoint });
    this.#ended.reject(why);
    await this.stop();
  }

  /** The mount answered. */
  #alive(): void {
    this.#tally.answered();
    if (this.#engine !== undefined && this.#stopping === undefined)
      this.#told.look(this.#engine, this.#hooks);
    if (process.env['WATCHDOG_USEC'] !== undefined) this.#notify('WATCHDOG=1');
  }

  /** systemd is told, where there is one; that it can't be is no reason to fail. */
  #notify(state: string): void {
    notify(state).catch((error: Error) => this.#ports.log.warn('notify-failed', { error: error.message }));
  }

  #operations(): Operations {
    const [ready, ended] = [this.#ready.promise, this.#ended.promise];
    const { runtimeDir, instance } = this.#options;
    return operationsOf({
      ready,
      ended,
      mountpoint: this.#mountpoint,
      describe: () => describeMount(this.#described()),
      useRollback: (part) => useRollback(path.join(runtimeDir, instance), 0, part),
      refresh: async (options) => describeRefreshes(await this.#parts.refresh(options), this.#parts),
      upgrade: async () => {
        const replaced = await this.#upgradeOnce();
        return { replaced: [...replaced], processes: describeProcesses(this.#described()) };
      },
      hook: (name) => this.#hooks.run(name),
      // A start that is under way is ended; it has nothing to lose.
      detach: async () => (this.#mounted ? this.#running.detach() : undefined),
      stop: () => this.stop(),
    });
  }

  #snapshot(): Snapshot {
    const described = this.#described();
    return { status: describeMount(described), totals: this.#tally.totals(described.engine?.served) };
  }

  #described(): Described {
    return {
      options: this.#options,
      mountpoint: this.#mountpoint,
      mounted: this.#mounted,
      startedMs: this.#startedMs,
      users: this.#users,
      parts: this.#parts,
      engine: this.#engine?.status(),
      agent: this.#agent?.state() ?? [],
      noticing: (part) => this.#agent?.noticing(part),
      hooks: this.#hooks.status(),
      config: this.#config?.status(),
      anonymousBytes,
    };
  }
}
