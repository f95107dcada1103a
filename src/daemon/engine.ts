/**
 * A mount that outlives its server: the kernel connection, the store and the processes around them. It knows generations
 * by number and never looks into one: what comes in is an image that another process wrote, and the server that is to
 * serve it says first whether it can.
 *
 * Invariants: a generation is overwritten only after the server has said that it no longer sees it; one activation runs at
 * a time; this process never waits on its own mount. What the server is told: control-page.ts. Who is alive: liveness.ts,
 * servers.ts. What the kernel is told: telling.ts, retirement.ts,
 * in-pass.ts.
 */
import { describeBug, MountError } from '../errors.ts';
import { openDevice } from '../fuse/device.ts';
import { negotiate } from '../fuse/kernel/init.ts';
import { type KernelMount, mountKernel } from '../fuse/kernel/mount.ts';
import type { ChangeList } from '../generation/changes.ts';
import { ROOT_INO } from '../generation/format.ts';
import { LINGERING_IN_STORE_MAX } from '../limits.ts';
import { RamfsStore } from '../store/ramfs.ts';
import { closeQuietly, makePipe } from '../system/files.ts';
import { accept, type Candidate, closeCandidate, makeCandidate, refused } from './candidate.ts';
import { ControlPage } from './control-page.ts';
import { makeHelpers } from './engine-helpers.ts';
import type { EngineOptions, EnginePorts, EngineStatus } from './engine-ports.ts';
import { answersStatfs } from './first-answer.ts';
import { type Helper, NoAnswer } from './helper.ts';
import type { InPass } from './in-pass.ts';
import { Inodes } from './inodes.ts';
import type { KeptChanges } from './kept-changes.ts';
import { isStopped, Liveness, PROBE_MS_MAX } from './liveness.ts';
import { LOAD_MS_MAX, Offer } from './offer.ts';
import { PartImages } from './part-images.ts';
import { patiently } from './patience.ts';
import { type Ground, NAMES_TOLD, type Restored } from './restored.ts';
import type { Retirement, Superseded } from './retirement.ts';
import { Servers } from './servers.ts';
import { makeSuperseded } from './superseded.ts';
import { Telling } from './telling.ts';
import { Turns } from './turns.ts';

export class Engine {
  #options: EngineOptions;
  readonly #ports: EnginePorts;
  readonly #store: RamfsStore;
  /** Of a mount of several bundles. */
  readonly partImages: PartImages;
  readonly #page: ControlPage;
  readonly #fuseFd: number;
  /** From the server to the notifier: pages that are to be dropped again. */
  readonly #dropPipe: { readonly readFd: number; readonly writeFd: number } | undefined;
  readonly #servers: Servers;
  readonly #prober: Helper;
  readonly #teller: Helper;
  readonly #notifier: Helper;
  readonly #liveness: Liveness;
  readonly #offer: Offer;
  readonly #inodes: Inodes;
  readonly #telling: Telling;
  readonly #inPass: InPass;
  readonly #retirement: Retirement;
  readonly #changes: KeptChanges;
  #mount: KernelMount | undefined;
  #nextId: number;
  /** Candidates that are written, or about to go live. */
  readonly #candidates = new Set<number>();
  #live: number | undefined;
  /** Above every inode number that the kernel was told. */
  #nextIno: number;
  /** In memory, of what is live. */
  #liveBytes: number;
  #settling = false;
  readonly #activations = new Turns();
  readonly #replacements = new Turns();
  #stopping: Promise<void> | undefined;

  /**
   * Opens the store and the device and starts the first server; nothing is mounted yet. With what is `restored`, which is this
   * engine's from now on, they are those: resume() is next. Throws MountError.
   */
  constructor(options: EngineOptions, ports: EnginePorts, restored?: Restored) {
    this.#options = options;
    this.#ports = ports;
    const { cache, fastOpen, resend, preserve } = options;
    const now = () => this.#options;
    const { log } = ports;
    this.#fuseFd = restored?.fuseFd ?? openDevice();
    const { uid, gid } = options.users.server;
    const store = restored?.store ?? RamfsStore.create({ serverUid: uid, serverGid: gid });
    this.#store = store;
    this.#mount = restored?.mount;
    this.#live = restored?.live;
    this.#liveBytes = restored?.liveBytes ?? 0;
    this.#nextId = restored?.nextId ?? 1;
    this.#nextIno = restored?.nextIno ?? ROOT_INO + 1;
    this.partImages = new PartImages(store, () => this.#nextId++);
    const policy = {
      ...{ cachePolicy: cache, fastOpen, resend, preserve },
      get consistencyWindowMs() {
        return now().consistencyWindowMs;
      },
    };
    const page = new ControlPage(store, policy, restored?.control);
    this.#page = page;
    const dropPipe = cache === 'none' ? makePipe() : undefined;
    this.#dropPipe = dropPipe;
    const helpers = makeHelpers({
      ports,
      clone: () => this.#mounted.cloneFd,
      fuseFd: this.#fuseFd,
      dropPipeFd: dropPipe?.readFd,
      isEnding: () => this.#stopping !== undefined,
      isMaking: () => this.#candidates.size > 0,
    });
    this.#prober = helpers.prober;
    this.#teller = helpers.teller;
    this.#notifier = helpers.notifier;
    this.#servers = new Servers({
      spawn: () =>
        ports.spawnServer({ fuse: this.#fuseFd, store: store.directoryFd, dropPipe: dropPipe?.writeFd }),
      recordedRequest: () => store.recordedRequest(),
      beforeGo: () => page.show({ handOver: false }),
      onDeath: () => this.#offer.serverDied(),
      log,
    });
    this.#liveness = new Liveness({
      prober: this.#prober,
      servers: this.#servers,
      requests: () => page.status?.requests ?? 0,
      isStopped,
      onAlive: () => {
        ports.onAlive();
        this.#settle();
      },
      onLost: ports.onLost,
      log,
    });
    this.#offer = new Offer(page, (timeoutMs) => this.#liveness.probe(timeoutMs));
    const inodes = new Inodes(this.#notifier);
    this.#inodes = inodes;
    const onTold = () => store.notes.write(NAMES_TOLD, `${this.#live}`);
    this.#telling = new Telling({ teller: this.#teller, inodes, token: page.token, log, onTold });
    if (restored?.owed !== undefined) this.#telling.owe(restored.owed);
    const superseded = makeSuperseded({
      options: now,
      ...{ ports, store, page, inodes, restored },
      offer: this.#offer,
      live: () => this.#live,
      look: (changes) => this.#activations.take(() => this.#telling.look(changes)),
      onFailed: (error) => this.#logBug(error),
    });
    this.#inPass = superseded.inPass;
    this.#retirement = superseded.retirement;
    this.#changes = superseded.changes;
    if (restored === undefined) this.#servers.prepare();
  }

  /**
   * Goes on where another supervisor ended: returns when the mount answers again. Throws MountError where it does not; then stop()
   * is to follow.
   */
  async resume({ leftovers }: Restored): Promise<void> {
    await this.#servers.go();
    await patiently(() => this.#liveness.probe(LOAD_MS_MAX));
    if (!this.#page.isSeen) throw refused('the server could not load it');
    this.#watch();
    const clean = async () => {
      for (const id of leftovers) await this.#store.wipe(id);
      // What the server before had asked for may have been lost with the notifier.
      if (this.#dropPipe !== undefined) await this.#inodes.dropRange(ROOT_INO, this.#nextIno);
    };
    clean().catch((error: unknown) => this.#logBug(error));
  }

  /** What another one goes on with; undefined before it is mounted. All of it stays this one's. */
  get ground(): Omit<Ground, 'control'> | undefined {
    const [mount, fuseFd, store] = [this.#mount, this.#fuseFd, this.#store];
    return mount && { fuseFd, store, mount };
  }

  /** Bytes of all generations and candidates. */
  get storeBytes(): number {
    return this.#store.bytes;
  }

  /** Room for the next generation. The caller closes its descriptors by activate(), or by discard(). */
  candidate(): Candidate {
    const candidate = makeCandidate(this.#store, this.#nextId++, this.#live);
    this.#candidates.add(candidate.id);
    // They have begun by the time that they are needed.
    if (this.#live !== undefined) {
      this.#teller.start();
      this.#notifier.start();
    }
    return candidate;
  }

  /** Overwrites and removes what was written so far. */
  async discard(candidate: Candidate): Promise<void> {
    this.#candidates.delete(candidate.id);
    closeCandidate(candidate);
    await this.#store.discard(candidate.id);
  }

  /**
   * Makes a complete candidate live; the first one is what mounts. Nobody may write to it any more. Throws MountError, and
   * what was live stays, where the server can't serve it. The candidate is gone then. `facts`: of whoever asks, kept with it.
   */
  activate(candidate: Candidate, facts = ''): Promise<Pick<ChangeList, 'counts' | 'files'> | undefined> {
    return this.#activations
      .take(() => this.#activate(candidate, facts))
      .finally(() => this.#candidates.delete(candidate.id));
  }

  /**
   * Starts what no reader waits for, once the first generation is live and whoever waits for the mount was told: prober and
   * successor, each of which takes a CPU for a tenth of a second.
   */
  settle(): void {
    this.#servers.prepareNext();
    this.#prober.start();
  }

  /** Replaces every process by the program that is on disk now. Throws MountError upgrade-refused. */
  async upgrade(): Promise<void> {
    await this.replaceServers();
    this.#prober.restart();
    this.#teller.restart();
    this.#notifier.restart();
  }

  /** For what may change while it is mounted. Nothing here reaches the servers: replaceServers(). */
  configure(
    change: Partial<Pick<EngineOptions, 'retireAfterMs' | 'consistencyWindowMs' | 'nodesMax'>>,
  ): void {
    this.#options = { ...this.#options, ...change };
    this.#page.show({});
  }

  /** So that they go by what they are told when they start. Throws MountError upgrade-refused, and the old ones go on. */
  replaceServers(): Promise<void> {
    return this.#replacements.take(() => this.#replaceServers());
  }

  async isMounted(): Promise<boolean> {
    return (await this.#mount?.isMounted()) ?? false;
  }

  status(): EngineStatus {
    const { restarts } = this.#servers;
    return {
      live: this.#live,
      lingering: this.#retirement.lingering.map(({ id, bytes, sinceMs }) => ({ id, bytes, sinceMs })),
      storeBytes: this.#store.bytes,
      processes: [
        ...this.#servers.states().map((state) => ({ ...state, restarts })),
        ...this.#prober.states('prober'),
        ...this.#teller.states('teller'),
        ...this.#notifier.states('notifier'),
      ],
      successorProblem: this.#servers.successorProblem,
      served: this.#page.served,
      negotiated: this.#page.negotiated,
    };
  }

  /** Out of the mount table. Throws MountError, and everything goes on as it was; else stop() is to follow. */
  async detach(): Promise<void> {
    await this.#mount?.unmount();
  }

  /** For a process that is about to end without stop(): nobody is to find the mount, or wait for it. Never throws. */
  abandon(): void {
    this.#mount?.abandon();
  }

  /**
   * Ends everything: whatever a mount namespace that still holds the mount could read is taken away, answers, cached pages
   * and the store. Never throws but MountError, at its end, where the mount is still in the table. Calling it again waits
   * for the first.
   */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    if (this.#mount !== undefined) this.#notifier.start();
    // First what readers of this machine see, whatever else may hang.
    const failure: unknown = await this.detach().catch((error: unknown) => error);
    await this.#activations.settled();
    this.#liveness.stop();
    this.#retirement.stop();
    const isLive = this.#live !== undefined;
    const serves = isLive && this.#servers.pid !== undefined;
    const steps: (() => unknown)[] = [
      () => this.#page.show({ closed: true }),
      () => (serves ? this.#liveness.probe() : undefined),
      () => (isLive ? this.#inodes.dropRange(ROOT_INO, this.#nextIno) : undefined),
      () => this.#prober.stop(),
      () => this.#teller.stop(),
      () => this.#notifier.stop(),
      () => this.#mount?.close(),
      () => this.#servers.stop(),
      () => this.#store.wipeAll(),
      () => this.#store.close(),
      () => closeQuietly(this.#fuseFd, this.#dropPipe?.readFd, this.#dropPipe?.writeFd),
    ];
    for (const step of steps) {
      try {
        await step();
      } catch (error) {
        // The other steps matter all the more.
        this.#logBug(error);
      }
    }
    if (failure !== undefined) throw failure;
  }

  async #replaceServers(): Promise<void> {
    // Not in the middle of telling the kernel of a new generation.
    await this.#activations.settled();
    await this.#servers.upgrade(async (isGone) => {
      this.#page.show({ handOver: true });
      // Its next request is its last; this is one.
      await Promise.race([this.#liveness.probe().catch(() => undefined), isGone]);
      await Promise.race([isGone, new Promise((resolve) => setTimeout(resolve, PROBE_MS_MAX).unref())]);
    });
  }

  async #activate(
    candidate: Candidate,
    facts: string,
  ): Promise<Pick<ChangeList, 'counts' | 'files'> | undefined> {
    const { id } = candidate;
    const { nodesMax } = this.#options;
    const previous = this.#live;
    try {
      if (this.#stopping !== undefined)
        throw new MountError('mount-failed', 'cannot activate: the mount is stopping');
      const limits = { nextIno: this.#nextIno, nodesMax };
      const { bytes, changes, nextIno } = await accept(this.#store, candidate, limits);
      await this.#prove(id, changes);
      this.#store.notes.write(`facts-${id}`, facts);
      if (previous === undefined) await this.#begin(id);
      else await this.#follow(previous, id, changes);
      this.#nextIno = nextIno;
      this.#liveBytes = bytes;
      this.#changes.add(id);
      await this.#changes.settle(id, this.#retirement.lingering).catch((error) => this.#logBug(error));
      if (previous === undefined) return undefined;
      this.#servers.tellSuccessor();
      await this.#telling.tell(changes);
      return changes;
    } catch (error) {
      closeCandidate(candidate);
      if (this.#live !== id) {
        this.#page.show({ live: this.#live ?? 0, candidate: 0 });
        await this.#store.wipe(id);
      }
      throw error;
    }
  }

  /** Nobody can write to it any more: what is looked at is what goes live. */
  async #prove(id: number, { files }: ChangeList): Promise<void> {
    const { prove } = this.#ports;
    if (prove === undefined) return;
    const imageFd = this.#store.openPrevious(id);
    try {
      await prove({ id, imageFd, isFirst: this.#live === undefined, files });
    } finally {
      closeQuietly(imageFd);
    }
  }

  /** The first generation: mount, tell the server to go, see that it answers. */
  async #begin(id: number): Promise<void> {
    const { mountpoint, source, selinuxContext, resend } = this.#options;
    const { mount, params } = await mountKernel({
      path: mountpoint,
      source,
      selinuxContext,
      fuseFd: this.#fuseFd,
      negotiate: (request) => negotiate(request, { resend }),
    });
    this.#mount = mount;
    this.#page.parameters = params;
    this.#page.show({ live: id });
    await this.#servers.go();
    if (!(await answersStatfs(mountpoint, LOAD_MS_MAX)) || !this.#page.isSeen) {
      this.#prober.start();
      await patiently(() => this.#liveness.probe(LOAD_MS_MAX));
      if (!this.#page.isSeen) throw refused('the server could not load it');
    }
    this.#live = id;
    this.#store.notes.write(NAMES_TOLD, `${id}`);
    this.#watch();
  }

  /** It answers: from now on it is looked after. */
  #watch(): void {
    // Whoever writes into the pipe waits for a reader.
    if (this.#dropPipe !== undefined) this.#notifier.start();
    this.#liveness.start();
    this.#retirement.start();
  }

  /** Another one: the server looks at it, names are pinned, and from one request to the next it is the live one. */
  async #follow(previous: number, id: number, changes: ChangeList): Promise<void> {
    await this.#telling.settle();
    await this.#makeRoom();
    await this.#offer.make(id);
    await this.#telling.pin(changes);
    this.#store.markSuperseded(previous);
    this.#page.flip(id, previous);
    this.#live = id;
    const superseded: Superseded = {
      id: previous,
      bytes: this.#liveBytes,
      sinceMs: this.#ports.nowMs(),
      inodes: changes.superseded,
    };
    this.#inPass.add(superseded, changes);
    this.#retirement.add(superseded);
  }

  /** Generations may come faster than superseded ones are looked after. Throws MountError where none of them goes. */
  async #makeRoom(): Promise<void> {
    if (this.#retirement.lingering.length < LINGERING_IN_STORE_MAX) return;
    await patiently(() => this.#retirement.sweep());
  }

  /** What the kernel was not told because a helper ended over it. */
  #settle(): void {
    if (!this.#telling.owes || this.#settling || this.#stopping !== undefined) return;
    this.#settling = true;
    this.#activations
      .take(() => this.#telling.settle())
      // It is owed still: the next probe comes back here.
      .catch((error: unknown) => this.#logBug(error))
      .finally(() => {
        this.#settling = false;
      });
  }

  /** That nobody answers is no bug. */
  #logBug(error: unknown): void {
    if (error instanceof NoAnswer || error instanceof MountError) return;
    this.#ports.log.error('bug', { error: describeBug(error) });
  }

  get #mounted(): KernelMount {
    if (this.#mount === undefined) throw new Error('a process was started before the mount');
    return this.#mount;
  }
}
