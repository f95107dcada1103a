/**
 * The production shape of a mount: root's process, which holds the kernel connection and the store and starts everything
 * else. It reads no bundle, speaks to no network and sees no plaintext: an unsealer opens bundles, an agent watches
 * sources and answers the control sockets, a server answers the kernel.
 *
 * Whatever ends it, nothing stays mounted and no plaintext stays in memory. A child that dies is started again.
 */
import { makeSocketDirectory } from '../control/directory.ts';
import type { Changes, GenerationStatus, ProcessStatus, Status } from '../control/protocol.ts';
import type { Operations } from '../control/server.ts';
import { describeBug, MountError, quote, SecretsfsError } from '../errors.ts';
import { prepareMountpoint } from '../fuse/mountpoint.ts';
import { SERIAL_AHEAD_MS_MAX } from '../limits.ts';
import { swapExcluded } from '../system/cgroups.ts';
import { keepDescriptors } from '../system/files.ts';
import { loadNative } from '../system/native.ts';
import { notify } from '../system/notify.ts';
import { makeSwaplessCgroup, type OwnCgroup } from '../system/own-cgroup.ts';
import { type ProcessUsers, resolveProcessUsers } from '../system/process-users.ts';
import { realTimers } from '../system/timers.ts';
import type { AwsSettings } from './agent-channel.ts';
import { AgentKeeper } from './agent-keeper.ts';
import { type ControlSockets, openControlSockets } from './control-sockets.ts';
import { deferred } from './deferred.ts';
import { describeFailure, iso } from './describe.ts';
import { type Candidate, Engine } from './engine.ts';
import { watchIdentity } from './identity-watch.ts';
import { isS3Url } from './location.ts';
import { errorFields, type Log } from './log.ts';
import { protectFromOom } from './oom.ts';
import { engineProcesses, spawnAgent } from './processes.ts';
import { type Floor, type Live, type Opened, Rotation, type Taken, type TakeOptions } from './rotation.ts';
import type { OpenedResult } from './unsealer-channel.ts';
import { unsealInto } from './unsealing.ts';

const LOOK_FOR_MOUNT_EVERY_MS = 5_000;
/** A start that takes longer should be able to say what it waits for. */
const AGENT_AFTER_MS = 1_000;

export interface SupervisorOptions {
  /** As status shows it: absolute, or s3://…. */
  readonly bundle: string;
  readonly mountpoint: string;
  /** The name that the bundle must carry. */
  readonly name: string;
  /** What status, remount and unmount call this mount. */
  readonly instance: string;
  readonly acceptedKeys: readonly string[];
  /** Pairs that the bundle's context must have. */
  readonly context: Readonly<Record<string, string>>;
  readonly bytesMax: number;
  readonly filesMax: number;
  readonly preserve: boolean;
  readonly allowSwap: boolean;
  readonly statusGid: number | undefined;
  readonly runtimeDir: string;
  readonly version: string;
  /** Why this driver, in words. */
  readonly driverReason: string;
  readonly cache: 'page' | 'none';
  readonly fastOpen: boolean;
  readonly resend: boolean;
  readonly retireAfterMs: number;
  readonly memoryMax: number | undefined;
  readonly uidBase: number | undefined;
  readonly pollMs: number;
  readonly aws: AwsSettings;
}

export interface SupervisorPorts {
  readonly log: Log;
  readonly nowMs: () => number;
}

/** A generation in the store, with what its unsealer said of it. */
interface InStore {
  readonly candidate: Candidate;
  readonly result: OpenedResult;
}

/** Mounts, serves until stop() or an unmount, wipes. */
export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #ports: SupervisorPorts;
  readonly #startedMs: number;
  readonly #rotation: Rotation<InStore>;
  readonly #ready = deferred();
  readonly #ended = deferred();
  #mountpoint: string;
  #users: ProcessUsers | undefined;
  #cgroup: OwnCgroup | undefined;
  #engine: Engine | undefined;
  #agent: AgentKeeper | undefined;
  #sockets: ControlSockets | undefined;
  #watch: { close(): void } | undefined;
  #mounted = false;
  #lookForMount: NodeJS.Timeout | undefined;
  #agentTimer: NodeJS.Timeout | undefined;
  #starting: Promise<void> = Promise.resolve();
  #stopping: Promise<void> | undefined;
  #reloading: Promise<unknown> | undefined;
  #upgrading: Promise<readonly string[]> | undefined;

  constructor(options: SupervisorOptions, ports: SupervisorPorts) {
    this.#options = options;
    this.#ports = ports;
    this.#startedMs = ports.nowMs();
    this.#mountpoint = options.mountpoint;
    this.#rotation = new Rotation<InStore>({
      log: ports.log,
      nowMs: ports.nowMs,
      timers: realTimers,
      random: Math.random,
      take: (options) => this.#take(options),
      activate: (opened) => this.#activate(opened),
    });
  }

  /**
   * Returns when the mount serves its first generation, or was stopped before it could. After a failure nothing is
   * left of it.
   */
  async start(): Promise<void> {
    this.#starting = this.#start();
    try {
      await this.#starting;
    } catch (error) {
      const wasStopped = this.#stopping !== undefined;
      await this.stop();
      if (!wasStopped) throw error;
    }
  }

  /** Resolves when the mount is gone, whoever ended it. Throws MountError where it could not be unmounted. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** As SIGHUP asks for it: the failure, if there is one, is in the log. */
  async reload(): Promise<void> {
    // However often it is asked for: one that has not begun yet will do.
    this.#reloading ??= this.#refresh().finally(() => {
      this.#reloading = undefined;
    });
    await this.#reloading.catch((error: unknown) => {
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
    return this.#stopping;
  }

  async #start(): Promise<void> {
    const { log, nowMs } = this.#ports;
    const options = this.#options;
    const { bundle, instance, runtimeDir, statusGid } = options;
    (await loadNative()).forbidDumps();
    protectFromOom();
    keepDescriptors();
    const [prepared, users] = await Promise.all([
      prepareMountpoint(options.mountpoint),
      resolveProcessUsers({ instance, uidBase: options.uidBase }),
    ]);
    const mountpoint = prepared.path;
    this.#mountpoint = mountpoint;
    if (prepared.cleared.length > 0) log.warn('stale-mount-cleared', { mountpoint });
    this.#users = users;
    await this.#leaveSwap();
    this.#sockets = openControlSockets(await makeSocketDirectory(runtimeDir, instance, 0), statusGid);
    log.info('starting', { bundle, mountpoint, users: users.origin });
    const { cache, fastOpen, resend, retireAfterMs } = options;
    this.#engine = new Engine(
      {
        mountpoint,
        source: instance,
        ...{ cache, fastOpen, resend, retireAfterMs, users },
        nodesMax: options.filesMax + 1,
        preserve: options.preserve,
      },
      {
        ...engineProcesses(users),
        log,
        nowMs,
        onAlive: () => this.#alive(),
        onLost: () => void this.#lost(),
      },
    );
    this.#agentTimer = setTimeout(() => this.#startAgent(), AGENT_AFTER_MS);
    const { live } = await this.#rotation.refresh();
    if (!this.#mounted) throw new Error('a refresh succeeded without a mount');
    this.#startAgent();
    if (!isS3Url(bundle)) this.#watch = watchIdentity(bundle, () => void this.#hint());
    this.#lookForMount = setInterval(() => void this.#endIfUnmounted(), LOOK_FOR_MOUNT_EVERY_MS);
    log.info('ready', { mountpoint, serial: live.serial, files: live.generation.result.files });
    this.#ready.resolve();
    this.#notify(`READY=1\nSTATUS=serial ${live.serial} at ${mountpoint}`);
  }

  /** Every page of every process of this mount is kept out of swap, or the machine has none, or we do not start. */
  async #leaveSwap(): Promise<void> {
    if (await swapExcluded()) return;
    this.#cgroup = await makeSwaplessCgroup(this.#options.instance);
    if (this.#cgroup !== undefined) return;
    if (this.#options.allowSwap) return this.#ports.log.warn('swap-allowed');
    throw new MountError(
      'memory-swappable',
      'cannot keep memory out of swap: no control group of this process forbids it',
      {
        hint: 'run under systemd with MemorySwapMax=0 (cgroup v2), switch swap off, or pass --allow-swap',
      },
    );
  }

  async #take({ knownRevision, live, signal }: TakeOptions): Promise<Taken<InStore>> {
    const engine = this.#running;
    const candidate = engine.candidate();
    try {
      const result = await unsealInto({
        options: this.#options,
        user: (this.#users as ProcessUsers).unsealer,
        candidate,
        knownRevision,
        live: live === undefined ? undefined : { serial: live.serial, sha256: live.sha256 },
        heldBytes: engine.storeBytes,
        signal,
      });
      if (result.outcome === 'unchanged') {
        await engine.discard(candidate);
        return result;
      }
      const { revision, sha256, serial, created } = result;
      this.#checkSerial(serial, live);
      this.#ports.log.info('unsealed', { serial, revision, files: result.files, bytes: result.contentBytes });
      return {
        outcome: 'opened',
        revision,
        sha256,
        opened: { generation: { candidate, result }, serial, created },
      };
    } catch (error) {
      await engine.discard(candidate);
      throw error;
    }
  }

  async #activate({ generation: { candidate }, serial }: Opened<InStore>): Promise<Changes | undefined> {
    if (!this.#mounted) await this.#lookAgain();
    const changes = await this.#running.activate(candidate);
    this.#mounted = true;
    this.#notify(`STATUS=serial ${serial} at ${this.#mountpoint}`);
    return changes;
  }

  /** Unsealing took its time: somebody else may have mounted there meanwhile. */
  async #lookAgain(): Promise<void> {
    const again = await prepareMountpoint(this.#mountpoint);
    if (again.path === this.#mountpoint) return;
    throw new MountError(
      'mountpoint-invalid',
      `cannot mount on ${quote(this.#mountpoint)}: it was replaced meanwhile`,
      {
        hint: 'every directory above a mountpoint should belong to root',
      },
    );
  }

  #startAgent(): void {
    clearTimeout(this.#agentTimer);
    const { log } = this.#ports;
    const [users, sockets] = [this.#users, this.#sockets];
    if (this.#agent !== undefined || this.#stopping !== undefined) return;
    if (users === undefined || sockets === undefined) return;
    const { bundle, pollMs, aws } = this.#options;
    this.#agent = new AgentKeeper({
      spawn: () => spawnAgent(users.agent, sockets),
      task: { location: bundle, pollMs, aws, statusSocket: sockets.statusFd !== undefined },
      onChanged: () => void this.#hint(),
      onUnchanged: (revision) => this.#rotation.noteUnchanged(revision),
      operations: this.#operations(),
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
    if (!this.#mounted) throw new MountError('upgrade-refused', 'cannot upgrade: nothing is mounted yet');
    const { log } = this.#ports;
    await this.#running.upgrade();
    // It carries the answer to whoever asked for this.
    setImmediate(() => this.#agent?.restart());
    log.info('upgraded');
    return ['server', 'successor', 'prober', 'notifier', 'agent'];
  }

  async #stop(): Promise<void> {
    const { log } = this.#ports;
    this.#notify('STOPPING=1');
    // A start that is under way comes to its end first, quickly: its unsealer is ended here.
    const rotation = this.#rotation.stop();
    await this.#starting.catch(() => undefined);
    await rotation;
    clearTimeout(this.#agentTimer);
    clearInterval(this.#lookForMount);
    this.#watch?.close();
    if (this.#mounted) log.info('stopping');
    const failure = await this.#engine?.stop().catch((error: Error) => error);
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

  async #refresh() {
    try {
      return await this.#rotation.refresh();
    } finally {
      this.#tellAgent();
    }
  }

  async #hint(): Promise<void> {
    await this.#rotation.hint();
    this.#tellAgent();
  }

  /** What need not be looked at again, so that a poll without news costs no unsealer. */
  #tellAgent(): void {
    const { knownRevision } = this.#rotation;
    if (knownRevision !== undefined) this.#agent?.tell(knownRevision);
  }

  /** The numbers by which the next bundle will be measured are not the unsealer's to choose. */
  #checkSerial(serial: number, live: Floor | undefined): void {
    const latest = this.#ports.nowMs() + SERIAL_AHEAD_MS_MAX;
    if (serial <= latest && (live === undefined || serial >= live.serial)) return;
    throw new MountError('unsealer-failed', `cannot open the bundle: the unsealer says serial ${serial}`, {
      hint: 'a bundle of that serial is refused: the unsealer did not do its work, look at its lines in the log',
    });
  }

  get #running(): Engine {
    if (this.#engine === undefined) throw new Error('a bundle was taken before the store');
    return this.#engine;
  }

  /** It is in the mount table still, and answers nobody. */
  async #lost(): Promise<void> {
    if (this.#stopping !== undefined) return;
    const mountpoint = this.#mountpoint;
    this.#ports.log.error('unmounted-from-outside', { mountpoint });
    this.#ended.reject(
      new MountError('mount-failed', `cannot go on: the connection of ${quote(mountpoint)} was ended`, {
        hint: 'umount -f does that; secretsfs unmount ends a mount for good',
      }),
    );
    await this.stop();
  }

  async #endIfUnmounted(): Promise<void> {
    // That it can't be told (no descriptor left, say) is not that it is so.
    const isMounted = await this.#engine?.isMounted().catch(() => true);
    if (isMounted !== false || this.#stopping !== undefined) return;
    const mountpoint = this.#mountpoint;
    this.#ports.log.error('unmounted-from-outside', { mountpoint });
    // Not in order, so not with success: systemd is to bring it back.
    const why = `cannot go on: somebody else unmounted ${quote(mountpoint)}`;
    this.#ended.reject(
      new MountError('mount-failed', why, { hint: 'secretsfs unmount ends a mount for good' }),
    );
    await this.stop();
  }

  /** The mount answered. */
  #alive(): void {
    if (process.env['WATCHDOG_USEC'] !== undefined) this.#notify('WATCHDOG=1');
  }

  /** systemd is told, where there is one; that it can't be is no reason to fail. */
  #notify(state: string): void {
    notify(state).catch((error: Error) => this.#ports.log.warn('notify-failed', { error: error.message }));
  }

  #operations(): Operations {
    return {
      status: async () => this.status(),
      wait: async () => {
        await this.#ready.promise;
        return this.status();
      },
      remount: async () => {
        await this.#ready.promise;
        const result = await this.#refresh();
        const changes = result.outcome === 'activated' ? (result.changes ?? null) : null;
        return { outcome: result.outcome, generation: describeGeneration(result.live), changes };
      },
      upgrade: async () => {
        const replaced = await this.#upgradeOnce();
        return { replaced: [...replaced], processes: this.#processes() };
      },
      unmount: async () => {
        // One that fails leaves everything as it was: serving, watching and answering.
        // A start that is under way is ended; it has nothing to lose.
        if (this.#mounted) await this.#engine?.detach();
        void this.stop();
        await this.#ended.promise;
        return { mountpoint: this.#mountpoint };
      },
    };
  }

  #processes(): ProcessStatus[] {
    const users = this.#users;
    const userOf: Readonly<Record<string, number | undefined>> = {
      server: users?.server.uid,
      successor: users?.server.uid,
      notifier: users?.server.uid,
      agent: users?.agent.uid,
    };
    const children = [...(this.#engine?.status().processes ?? []), ...(this.#agent?.state() ?? [])];
    const own = { role: 'supervisor', pid: process.pid, startedMs: this.#startedMs, restarts: 0 };
    return [own, ...children].map(({ role, pid, startedMs, restarts }) => {
      return { role, pid, user: `${userOf[role] ?? 0}`, started: iso(startedMs), restarts };
    });
  }

  status(): Status {
    const { instance, name, bundle, version, driverReason, cache, fastOpen, resend } = this.#options;
    const { live, lastCheck, failure } = this.#rotation.state();
    const engine = this.#engine?.status();
    return {
      instance,
      name,
      version,
      pid: process.pid,
      started: iso(this.#startedMs),
      mountpoint: this.#mountpoint,
      bundle,
      driver: 'kernel',
      driverReason,
      cache,
      fastOpen,
      resend,
      state: !this.#mounted ? 'starting' : failure === undefined ? 'live' : 'failing',
      live: live === undefined ? null : describeGeneration(live),
      lingering: (engine?.lingering ?? []).map(({ id, bytes, sinceMs }) => ({
        id,
        bytes,
        since: iso(sinceMs),
      })),
      lastCheck: lastCheck === undefined ? null : { at: iso(lastCheck.atMs), outcome: lastCheck.outcome },
      error: failure === undefined ? null : describeFailure(failure),
      processes: this.#processes(),
      memory: { storeBytes: engine?.storeBytes ?? 0, maxBytes: this.#options.memoryMax ?? null },
    };
  }
}

function describeGeneration(live: Live<InStore>): GenerationStatus {
  const { serial, created, revision, sha256, activatedMs } = live;
  const { candidate, result } = live.generation;
  return {
    id: candidate.id,
    serial,
    created,
    revision,
    sha256,
    activated: iso(activatedMs),
    files: result.files,
    bytes: result.contentBytes,
    // Pages of the store can't be swapped.
    locked: true,
  };
}
