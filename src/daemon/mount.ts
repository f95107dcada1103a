/**
 * One mount in one process: source → rotation → generations in locked memory → the filesystem → fuse-native, with a
 * control socket beside it. Everything that is cheap to find wrong is looked at before the first fetch; whatever ends
 * it, nothing stays mounted and no plaintext stays in memory.
 */
import type { AwsAccess } from '../aws/access.ts';
import { forgetRollback } from '../control/consent.ts';
import { makeSocketDirectory } from '../control/directory.ts';
import type { Status } from '../control/protocol.ts';
import { type ControlServer, serveControl } from '../control/server.ts';
import { describeBug } from '../errors.ts';
import { checkDevice } from '../fuse/device.ts';
import { prepareMountpoint } from '../fuse/mountpoint.ts';
import { loadDriver, mountNative, type NativeMount } from '../fuse/native.ts';
import { bundleBytesMax, tarBytesMax } from '../limits.ts';
import type { Queue } from '../source/queue.ts';
import type { Source, Watch } from '../source/source.ts';
import { openMemoryStore } from '../store/memory.ts';
import { loadNative } from '../system/native.ts';
import { realTimers } from '../system/timers.ts';
import { Activation, type Held } from './activation.ts';
import type { NoticingState } from './agent-channel.ts';
import { logWarnings } from './check-findings.ts';
import { FloorFile } from './floor.ts';
import { Lifetime } from './lifetime.ts';
import { isLocalFile } from './location.ts';
import type { Log } from './log.ts';
import { MetricsEndpoints } from './metrics.ts';
import { operationsOfMount } from './mount-operations.ts';
import type { MountOptions } from './mount-options.ts';
import { describeNative } from './mount-status.ts';
import { openHere } from './open-here.ts';
import { checkStillThere, endOutside, unmountedOutside, watchMount } from './outside.ts';
import { retryTimes, sharedWaitMs } from './retries.ts';
import { Rotation } from './rotation.ts';
import { StartWait } from './start-wait.ts';
import { takeHere } from './take.ts';
import type { Tally } from './tally.ts';
import { UnitNotices } from './unit-notices.ts';
import { othersTurn } from './unseal.ts';
import { watchSources } from './watching.ts';

export interface MountPorts {
  /** As the options have them. */
  readonly sources: readonly Source[];
  /** undefined: there is none. */
  readonly openQueue: (() => Promise<Queue>) | undefined;
  /** For keys. Closed when the mount ends. */
  readonly aws: AwsAccess;
  closeSources(): void;
  /** Counts the calls of `aws` and of the sources. */
  readonly tally: Tally;
  readonly log: Log;
  readonly nowMs: () => number;
  readonly uid: number;
  readonly gid: number;
  /** It was mounted for a line of fstab: umount is how it ends. */
  readonly endsByUmount: boolean;
}

/** Mounts, serves until stop() or an unmount, wipes. */
export class Mount {
  readonly #options: MountOptions;
  readonly #ports: MountPorts;
  readonly #startedMs: number;
  readonly #rotation: Rotation<Held>;
  readonly #floors: FloorFile;
  readonly #tally: Tally;
  readonly #startWait: StartWait;
  readonly #notices: UnitNotices;
  readonly #life: Lifetime;
  #activation: Activation | undefined;
  /** Without symlinks, once it was looked at. */
  #mountpoint: string;
  #native: NativeMount | undefined;
  #control: ControlServer | undefined;
  #metrics: MetricsEndpoints | undefined;
  #watch: Watch | undefined;
  #noticing: NoticingState | undefined;
  #mountWatch: { close(): void } | undefined;

  constructor(options: MountOptions, ports: MountPorts) {
    this.#options = options;
    this.#ports = ports;
    this.#startedMs = ports.nowMs();
    this.#tally = ports.tally;
    this.#mountpoint = options.mountpoint;
    this.#notices = new UnitNotices(ports.log);
    this.#life = new Lifetime({
      begin: () => this.#start(),
      end: () => this.#stop(),
      notices: this.#notices,
    });
    this.#floors = new FloorFile({
      directory: options.stateDir,
      instance: options.instance,
      name: options.name,
      minSerial: options.minSerial,
      uid: ports.uid,
      log: ports.log,
      clockMs: ports.nowMs,
    });
    this.#startWait = new StartWait({
      timeoutMs: options.startTimeoutMs,
      ...{ log: ports.log, nowMs: ports.nowMs, timers: realTimers, random: Math.random },
      waiting: (what) => this.#notices.waits(what),
    });
    this.#rotation = new Rotation<Held>({
      log: ports.log,
      nowMs: ports.nowMs,
      timers: realTimers,
      random: Math.random,
      floors: this.#floors,
      sources: options.sources.map(({ bundle }) => ({ isLocal: isLocalFile(bundle) })),
      unsealsPerMinute: options.unsealsPerMinute,
      retries: retryTimes(options),
      take: takeHere({
        sources: ports.sources,
        bytesMax: bundleBytesMax(tarBytesMax(options)),
        open: openHere(options, ports, () => this.#active),
      }),
      isOptional: this.#startWait.isPatient,
      onSettled: () => this.#startWait.wake(),
      checked: (outcome, code) => this.#tally.checked(outcome, code),
      activate: ({ generation }) => {
        const changes = this.#active.activate(generation);
        logWarnings(ports.log, generation.findings);
        this.#notices.serves(generation.generation.serial, this.#mountpoint);
        return changes;
      },
    });
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

  /** As SIGHUP asks for it: the failure, if there is one, is in the log. */
  async reload(): Promise<void> {
    await this.#rotation.refresh().catch(() => undefined);
  }

  /** There is one process, and it serves: what is on disk now takes over at the next start. */
  async upgrade(): Promise<void> {
    this.#ports.log.error('upgrade-failed', { error: 'the driver fuse-native serves from one process' });
  }

  /** Unmounts, wipes, closes. May be called at any time, and again. Never throws: `ended` says how it went. */
  stop(): Promise<void> {
    return this.#life.stop();
  }

  async #start(): Promise<void> {
    const { log, uid, gid, nowMs, sources, openQueue } = this.#ports;
    const bundle = this.#bundle;
    const { instance, runtimeDir, statusGid, allowSwap } = this.#options;
    const { preserve, checks, rules, filesMax, bytesMax } = this.#options;
    (await loadNative()).forbidDumps();
    await checkDevice();
    await loadDriver();
    const prepared = await prepareMountpoint(this.#options.mountpoint);
    const mountpoint = prepared.path;
    this.#mountpoint = mountpoint;
    if (prepared.cleared.length > 0) log.warn('stale-mount-cleared', { mountpoint });
    this.#activation = new Activation({
      store: await openMemoryStore({ allowSwap }),
      nowMs,
      ...{ preserve, checks, rules, filesMax, bytesMax },
      owner: { uid, gid },
      yield: othersTurn,
      onRetired: ({ id, serial }) => log.info('retired', { generation: id, serial }),
    });
    const directory = await makeSocketDirectory(runtimeDir, instance, uid);
    this.#control = await serveControl({
      directory,
      operations: operationsOfMount({
        ...{ options: this.#options, uid, mountpoint, rotation: this.#rotation, life: this.#life },
        status: () => this.status(),
        unmount: async () => this.#native?.unmount(),
      }),
      statusGid,
      onBug: (error) => log.error('bug', { error: describeBug(error) }),
    });
    this.#metrics = await this.#serveMetrics(directory);
    // With its socket, both are nobody else's.
    await Promise.all([forgetRollback(directory), this.#floors.load()]);
    log.info('starting', { bundle, mountpoint });
    await this.#startWait.until({
      begin: () => this.#rotation.refresh(),
      isThere: () => this.#rotation.state().live !== undefined,
      failure: () => this.#rotation.state().failure?.error,
      asksOthers: this.#options.unsealsPerMinute !== undefined || sources.some(({ polled }) => polled),
      spreadMs: (isFirst) => sharedWaitMs(retryTimes(this.#options).sharedMs, isFirst, Math.random),
    });
    const { live } = this.#rotation.state();
    if (live === undefined || this.#activation.vfs === undefined)
      throw new Error('a refresh succeeded without a generation');
    await checkStillThere(mountpoint);
    this.#native = await mountNative(mountpoint, this.#activation.vfs, {
      source: this.#options.fsname,
      onBug: (operation, error) => log.error('bug', { operation, error: describeBug(error) }),
    });
    this.#watch = watchSources(this.#options, {
      ...{ sources, openQueue },
      known: (source) => this.#rotation.known()[source],
      looked: (looks) => this.#rotation.noteLook(looks),
      state: (state) => {
        this.#noticing = state;
      },
      bug: (error) => log.error('bug', { error }),
    });
    const native = this.#native;
    this.#mountWatch = watchMount(
      () => native.isMounted(),
      this.#ports.endsByUmount,
      () =>
        void endOutside(this.#life, log, mountpoint, unmountedOutside(mountpoint, this.#ports.endsByUmount)),
    );
    log.info('ready', { mountpoint, serial: live.serial, files: live.generation.generation.files });
    this.#life.serves();
    this.#notices.ready(live.serial, mountpoint);
  }

  async #serveMetrics(directory: string): Promise<MetricsEndpoints> {
    const { metrics, statusGid } = this.#options;
    const { log } = this.#ports;
    const endpoints = new MetricsEndpoints(metrics, {
      snapshot: async () => ({ status: this.status(), totals: this.#tally.totals(this.#native?.counts) }),
      calls: () => [],
      onNotListening: (error) => log.warn('metrics-not-listening', { ...metrics.listen, error }),
      onNotLoaded: (error) => log.warn('metrics-not-listening', { error }),
    });
    await endpoints.startAt(directory, statusGid);
    return endpoints;
  }

  async #stop(): Promise<void> {
    const { log, aws, closeSources } = this.#ports;
    this.#notices.stopping();
    // A start that is under way comes to its end first, quickly: its fetch is ended here.
    this.#startWait.stop();
    const rotation = this.#rotation.stop();
    await this.#life.started();
    await rotation;
    const wasMounted = this.#native !== undefined;
    if (wasMounted) log.info('stopping');
    this.#mountWatch?.close();
    await this.#watch?.close();
    const failure = await this.#native?.unmount().catch((error: Error) => error);
    this.#activation?.wipe();
    aws.destroy();
    closeSources();
    if (wasMounted) log.info('stopped');
    this.#life.over(failure instanceof Error ? failure : undefined);
    await this.#metrics?.close();
    await this.#control?.close();
  }

  /** The first, as what all of them are shown as. */
  get #bundle(): string {
    return this.#options.sources[0]?.bundle ?? '';
  }

  get #active(): Activation {
    if (this.#activation === undefined) throw new Error('a bundle was opened before the store');
    return this.#activation;
  }

  status(): Status {
    return describeNative({
      options: this.#options,
      startedMs: this.#startedMs,
      mountpoint: this.#mountpoint,
      mounted: this.#native !== undefined,
      rotation: this.#rotation.state(),
      floor: this.#floors.describe(),
      lingering: this.#activation?.vfs?.lingering ?? [],
      noticing: this.#noticing,
    });
  }
}
