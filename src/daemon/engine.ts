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
import { negotiate } from '../fuse/kernel/init.ts';
import { type KernelMount, mountKernel } from '../fuse/kernel/mount.ts';
import type { ChangeList } from '../generation/changes.ts';
import { ROOT_INO } from '../generation/format.ts';
import { LINGERING_IN_STORE_MAX } from '../limits.ts';
import { closeQuietly } from '../system/files.ts';
import { accept, type Candidate, closeCandidate, makeCandidate, refused } from './candidate.ts';
import { type EngineParts, type EngineState, makeEngineParts } from './engine-parts.ts';
import type { EngineOptions, EnginePorts, EngineStatus } from './engine-ports.ts';
import { answersStatfs } from './first-answer.ts';
import { NoAnswer } from './helper.ts';
import { PROBE_MS_MAX } from './liveness.ts';
import { LOAD_MS_MAX } from './offer.ts';
import { PartImages } from './part-images.ts';
import { patiently } from './patience.ts';
import { type Ground, NAMES_TOLD, type Restored } from './restored.ts';
import type { Superseded } from './retirement.ts';
import { Turns } from './turns.ts';

export class Engine {
  #options: EngineOptions;
  readonly #ports: EnginePorts;
  readonly #parts: EngineParts;
  /** Of a mount of several bundles. */
  readonly partImages: PartImages;
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
    this.#mount = restored?.mount;
    this.#live = restored?.live;
    this.#liveBytes = restored?.liveBytes ?? 0;
    this.#nextId = restored?.nextId ?? 1;
    this.#nextIno = restored?.nextIno ?? ROOT_INO + 1;
    const state: EngineState = {
      options: () => this.#options,
      cloneFd: () => this.#mounted.cloneFd,
      isEnding: () => this.#stopping !== undefined,
      isMaking: () => this.#candidates.size > 0,
      live: () => this.#live,
      onAlive: () => {
        ports.onAlive();
        this.#settle();
      },
      look: (changes) => this.#activations.take(() => this.#parts.telling.look(changes)),
      onFailed: (error) => this.#logBug(error),
    };
    this.#parts = makeEngineParts(state, ports, restored);
    this.partImages = new PartImages(this.#parts.store, () => this.#nextId++);
    if (restored === undefined) this.#parts.servers.prepare();
  }

  /**
   * Goes on where another supervisor ended: returns when the mount answers again. Throws MountError where it does not; then stop()
   * is to follow.
   */
  async resume({ leftovers }: Restored): Promise<void> {
    await this.#parts.servers.go();
    await patiently(() => this.#parts.liveness.probe(LOAD_MS_MAX));
    if (!this.#parts.page.isSeen) throw refused('the server could not load it');
    this.#watch();
    const clean = async () => {
      for (const id of leftovers) await this.#parts.store.wipe(id);
      // What the server before had asked for may have been lost with the notifier.
      if (this.#parts.dropPipe !== undefined) await this.#parts.inodes.dropRange(ROOT_INO, this.#nextIno);
    };
    clean().catch((error: unknown) => this.#logBug(error));
  }

  /** What another one goes on with; undefined before it is mounted. All of it stays this one's. */
  get ground(): Omit<Ground, 'control'> | undefined {
    const [mount, fuseFd, store] = [this.#mount, this.#parts.fuseFd, this.#parts.store];
    return mount && { fuseFd, store, mount };
  }

  /** Bytes of all generations and candidates. */
  get storeBytes(): number {
    return this.#parts.store.bytes;
  }

  /** Room for the next generation. The caller closes its descriptors by activate(), or by discard(). */
  candidate(): Candidate {
    const candidate = makeCandidate(this.#parts.store, this.#nextId++, this.#live);
    this.#candidates.add(candidate.id);
    // They have begun by the time that they are needed.
    if (this.#live !== undefined) {
      this.#parts.teller.start();
      this.#parts.notifier.start();
    }
    return candidate;
  }

  /** Overwrites and removes what was written so far. */
  async discard(candidate: Candidate): Promise<void> {
    this.#candidates.delete(candidate.id);
    closeCandidate(candidate);
    await this.#parts.store.discard(candidate.id);
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
    this.#parts.servers.prepareNext();
    this.#parts.prober.start();
  }

  /** Replaces every process by the program that is on disk now. Throws MountError upgrade-refused. */
  async upgrade(): Promise<void> {
    await this.replaceServers();
    this.#parts.prober.restart();
    this.#parts.teller.restart();
    this.#parts.notifier.restart();
  }

  /** For what may change while it is mounted. Nothing here reaches the servers: replaceServers(). */
  configure(
    change: Partial<Pick<EngineOptions, 'retireAfterMs' | 'consistencyWindowMs' | 'nodesMax'>>,
  ): void {
    this.#options = { ...this.#options, ...change };
    this.#parts.page.show({});
  }

  /** So that they go by what they are told when they start. Throws MountError upgrade-refused, and the old ones go on. */
  replaceServers(): Promise<void> {
    return this.#replacements.take(() => this.#replaceServers());
  }

  async isMounted(): Promise<boolean> {
    return (await this.#mount?.isMounted()) ?? false;
  }

  status(): EngineStatus {
    const { restarts } = this.#parts.servers;
    return {
      live: this.#live,
      lingering: this.#parts.retirement.lingering.map(({ id, bytes, sinceMs }) => ({ id, bytes, sinceMs })),
      storeBytes: this.#parts.store.bytes,
      processes: [
        ...this.#parts.servers.states().map((state) => ({ ...state, restarts })),
        ...this.#parts.prober.states('prober'),
        ...this.#parts.teller.states('teller'),
        ...this.#parts.notifier.states('notifier'),
      ],
      successorProblem: this.#parts.servers.successorProblem,
      served: this.#parts.page.served,
      negotiated: this.#parts.page.negotiated,
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
    if (this.#mount !== undefined) this.#parts.notifier.start();
    // First what readers of this machine see, whatever else may hang.
    const failure: unknown = await this.detach().catch((error: unknown) => error);
    await this.#activations.settled();
    this.#parts.liveness.stop();
    this.#parts.retirement.stop();
    const isLive = this.#live !== undefined;
    const serves = isLive && this.#parts.servers.pid !== undefined;
    const steps: (() => unknown)[] = [
      () => this.#parts.page.show({ closed: true }),
      () => (serves ? this.#parts.liveness.probe() : undefined),
      () => (isLive ? this.#parts.inodes.dropRange(ROOT_INO, this.#nextIno) : undefined),
      () => this.#parts.prober.stop(),
      () => this.#parts.teller.stop(),
      () => this.#parts.notifier.stop(),
      () => this.#mount?.close(),
      () => this.#parts.servers.stop(),
      () => this.#parts.store.wipeAll(),
      () => this.#parts.store.close(),
      () => closeQuietly(this.#parts.fuseFd, this.#parts.dropPipe?.readFd, this.#parts.dropPipe?.writeFd),
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
    await this.#parts.servers.upgrade(async (isGone) => {
      this.#parts.page.show({ handOver: true });
      // Its next request is its last; this is one.
      await Promise.race([this.#parts.liveness.probe().catch(() => undefined), isGone]);
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
      const { bytes, changes, nextIno } = await accept(this.#parts.store, candidate, limits);
      await this.#prove(id, changes);
      this.#parts.store.notes.write(`facts-${id}`, facts);
      if (previous === undefined) await this.#begin(id);
      else await this.#follow(previous, id, changes);
      this.#nextIno = nextIno;
      this.#liveBytes = bytes;
      this.#parts.changes.add(id);
      await this.#parts.changes
        .settle(id, this.#parts.retirement.lingering)
        .catch((error) => this.#logBug(error));
      if (previous === undefined) return undefined;
      this.#parts.servers.tellSuccessor();
      await this.#parts.telling.tell(changes);
      return changes;
    } catch (error) {
      closeCandidate(candidate);
      if (this.#live !== id) {
        this.#parts.page.show({ live: this.#live ?? 0, candidate: 0 });
        await this.#parts.store.wipe(id);
      }
      throw error;
    }
  }

  /** Nobody can write to it any more: what is looked at is what goes live. */
  async #prove(id: number, { files }: ChangeList): Promise<void> {
    const { prove } = this.#ports;
    if (prove === undefined) return;
    const imageFd = this.#parts.store.openPrevious(id);
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
      fuseFd: this.#parts.fuseFd,
      negotiate: (request) => negotiate(request, { resend }),
    });
    this.#mount = mount;
    this.#parts.page.parameters = params;
    this.#parts.page.show({ live: id });
    await this.#parts.servers.go();
    if (!(await answersStatfs(mountpoint, LOAD_MS_MAX)) || !this.#parts.page.isSeen) {
      this.#parts.prober.start();
      await patiently(() => this.#parts.liveness.probe(LOAD_MS_MAX));
      if (!this.#parts.page.isSeen) throw refused('the server could not load it');
    }
    this.#live = id;
    this.#parts.store.notes.write(NAMES_TOLD, `${id}`);
    this.#watch();
  }

  /** It answers: from now on it is looked after. */
  #watch(): void {
    // Whoever writes into the pipe waits for a reader.
    if (this.#parts.dropPipe !== undefined) this.#parts.notifier.start();
    this.#parts.liveness.start();
    this.#parts.retirement.start();
  }

  /** Another one: the server looks at it, names are pinned, and from one request to the next it is the live one. */
  async #follow(previous: number, id: number, changes: ChangeList): Promise<void> {
    await this.#parts.telling.settle();
    await this.#makeRoom();
    await this.#parts.offer.make(id);
    await this.#parts.telling.pin(changes);
    this.#parts.store.markSuperseded(previous);
    this.#parts.page.flip(id, previous);
    this.#live = id;
    const superseded: Superseded = {
      id: previous,
      bytes: this.#liveBytes,
      sinceMs: this.#ports.nowMs(),
      inodes: changes.superseded,
    };
    this.#parts.inPass.add(superseded, changes);
    this.#parts.retirement.add(superseded);
  }

  /** Generations may come faster than superseded ones are looked after. Throws MountError where none of them goes. */
  async #makeRoom(): Promise<void> {
    if (this.#parts.retirement.lingering.length < LINGERING_IN_STORE_MAX) return;
    await patiently(() => this.#parts.retirement.sweep());
  }

  /** What the kernel was not told because a helper ended over it. */
  #settle(): void {
    if (!this.#parts.telling.owes || this.#settling || this.#stopping !== undefined) return;
    this.#settling = true;
    this.#activations
      .take(() => this.#parts.telling.settle())
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
