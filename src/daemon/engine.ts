/**
 * A mount that outlives its server: the kernel connection, the store and the processes around them. It knows generations
 * by number and never looks into one: what comes in is an image that another process wrote, and the server that is to
 * serve it says first whether it can.
 *
 * Invariants: the control file names only generations that are whole; what is live changes by one write; a generation is
 * overwritten only after the server has said that it no longer sees it; this process never waits on its own mount.
 */
import { randomBytes } from 'node:crypto';
import { fstatSync, readFileSync, readSync } from 'node:fs';
import { describeBug, MountError } from '../errors.ts';
import { openDevice } from '../fuse/device.ts';
import { negotiate, type Params } from '../fuse/kernel/init.ts';
import { type KernelMount, mountKernel } from '../fuse/kernel/mount.ts';
import { type ChangeList, decodeChanges, encodeOperations } from '../generation/changes.ts';
import { HEADER_BYTES, ROOT_INO } from '../generation/format.ts';
import { Generation, GenerationError } from '../generation/generation.ts';
import { changesBytesMax, LINGERING_IN_STORE_MAX } from '../limits.ts';
import { RamfsStore } from '../store/ramfs.ts';
import type { Status } from '../store/shared.ts';
import { closeQuietly, makePipe } from '../system/files.ts';
import type { ProcessUsers } from '../system/process-users.ts';
import type { Child } from './children.ts';
import { Helper, NoAnswer } from './helper.ts';
import type { Log } from './log.ts';
import { Retirement } from './retirement.ts';
import { Servers } from './servers.ts';

/** How often the mount is asked whether it answers. */
const PROBE_EVERY_MS = 1_000;
/** A server that leaves a request unanswered for so long is replaced. Under load a request takes milliseconds. */
/** Probes in a row that are answered with an error, before the mount is given up. */
const WRONG_ANSWERS_MAX = 3;
const PROBE_MS_MAX = 2_000;
/** The same, of a prober that starts meanwhile: its time is not the server's fault. */
const PROBE_MS_MAX_STARTING = 6_000;
/** Probes lost in a row before appearances are no longer believed. */
const PROBES_LOST_MAX = 3;
/** Requests taken while a probe was lost: its own, and one that shows that the server answers others. */
const REQUESTS_OF_THE_LIVING = 2;
const SWEEP_EVERY_MS = 250;
const NOTIFY_MS_MAX = 10_000;
/** At what a helper may end over, or a server hang in. */
const ATTEMPTS = 5;
/** Servers that end while they are shown a candidate, before it is taken for the reason. */
const CANDIDATE_DEATHS = 2;
const STAT_BLOCK_BYTES = 512;
/** Looking at a candidate: 100,000 nodes are checked in tens of milliseconds. */
const LOAD_MS_MAX = 10_000;
/** Telling the kernel of one changed name takes about 0.2 ms. */
const TELL_MS_MAX = 5_000;
const TELL_MS_EACH = 5;
/** Bytes of paths in one line to the prober, which base64 and the rest of it make half as much again. */
const PATH_BYTES_AT_ONCE = 64 * 1024;
const OPERATIONS_AT_ONCE = 1_024;

/** Inodes in one line to the notifier. */
const DROPPED_AT_ONCE = 4096;

export interface EngineOptions {
  /** As prepareMountpoint() returned it. */
  readonly mountpoint: string;
  /** What the mount table shows as the source. */
  readonly source: string;
  readonly cache: 'page' | 'none';
  readonly fastOpen: boolean;
  readonly resend: boolean;
  readonly retireAfterMs: number;
  readonly users: ProcessUsers;
  /** Files, directories and symlinks of a generation at the most. */
  readonly nodesMax: number;
  /** Whether modes and owners are the bundle's; else the server insists on root's alone. */
  readonly preserve: boolean;
}

/** What starts the processes; each call is one new process. */
export interface EnginePorts {
  readonly spawnServer: (fds: { fuse: number; store: number; dropPipe: number | undefined }) => Child;
  readonly spawnProber: (fds: { clone: number }) => Child;
  readonly spawnNotifier: (fds: { fuse: number; dropPipe: number | undefined }) => Child;
  readonly log: Log;
  readonly nowMs: () => number;
  /** The mount answered: for systemd's watchdog. */
  readonly onAlive: () => void;
  /** It answers with errors, again and again: the connection is gone, and no server brings it back. */
  readonly onLost: (error: MountError) => void;
}

export interface EngineStatus {
  readonly live: number | undefined;
  readonly lingering: readonly { readonly id: number; readonly bytes: number; readonly sinceMs: number }[];
  readonly storeBytes: number;
  readonly processes: readonly {
    readonly role: string;
    readonly pid: number;
    readonly startedMs: number;
    readonly restarts: number;
  }[];
  readonly requests: number;
}

/** A place for one generation, to be filled through its descriptors. */
export interface Candidate {
  readonly id: number;
  /** Read and write, for the image. */
  readonly imageFd: number;
  /** Write, for the list of changes. */
  readonly changesFd: number;
  /** Read, the image of what is live; undefined for the first. */
  readonly previousFd: number | undefined;
  /** The descriptors are gone. */
  closed: boolean;
}

export class Engine {
  readonly #options: EngineOptions;
  readonly #ports: EnginePorts;
  readonly #store: RamfsStore;
  readonly #fuseFd: number;
  readonly #servers: Servers;
  readonly #retirement: Retirement;
  readonly #token = randomBytes(16);
  #mount: KernelMount | undefined;
  #parameters: Params | undefined;
  #prober: Helper | undefined;
  #notifier: Helper | undefined;
  #dropPipe: { readonly readFd: number; readonly writeFd: number } | undefined;
  #nextId = 1;
  #live: number | undefined;
  #candidateId = 0;
  #candidateDeaths = 0;
  #handOver = false;
  #closed = false;
  /** What the kernel was not told yet, because the prober ended over it. */
  #untold: ChangeList | undefined;
  /** Above every inode number that the kernel was told. */
  #nextIno = 2;
  /** Of each generation that lives, its bytes in memory. */
  readonly #bytes = new Map<number, number>();
  /** Which start of the prober holds on to them. */
  #pinnedBy = -1;
  /** Superseded and no longer shown to the server. */
  #withdrawn: number | undefined;
  /** Of the control file, as it was written last. */
  #sequence = 0;
  #probesLost = 0;
  #wrongAnswers = 0;
  #isActivating = false;
  #watching = false;
  #timers: NodeJS.Timeout[] = [];
  #activating: Promise<unknown> = Promise.resolve();
  #stopping: Promise<void> | undefined;

  /** Opens the store and the device and starts the first server; nothing is mounted yet. Throws MountError. */
  constructor(options: EngineOptions, ports: EnginePorts) {
    this.#options = options;
    this.#ports = ports;
    this.#fuseFd = openDevice();
    const { uid, gid } = options.users.server;
    this.#store = RamfsStore.create({ serverUid: uid, serverGid: gid });
    if (options.cache === 'none') this.#dropPipe = makePipe();
    this.#retirement = new Retirement({
      held: (inodes) => this.#held(inodes),
      withdraw: (id) => this.#withdraw(id),
      dropPages: async (inodes) => {
        for (let at = 0; at < inodes.length; at += DROPPED_AT_ONCE)
          await this.#notifier?.ask({ drop: inodes.slice(at, at + DROPPED_AT_ONCE) }, NOTIFY_MS_MAX);
      },
      wipe: (id) => this.#store.wipe(id),
      onRetired: ({ id }, why) => ports.log.info('retired', { generation: id, why }),
      nowMs: ports.nowMs,
      retireAfterMs: options.retireAfterMs,
      lingeringMax: LINGERING_IN_STORE_MAX,
    });
    this.#writeControl();
    this.#servers = new Servers({
      spawn: () =>
        ports.spawnServer({
          fuse: this.#fuseFd,
          store: this.#store.directoryFd,
          dropPipe: this.#dropPipe?.writeFd,
        }),
      recordedRequest: () => this.#store.recordedRequest(),
      beforeGo: () => {
        this.#handOver = false;
        this.#writeControl();
      },
      onDeath: () => {
        // It may be the candidate that it died of: a second time it is not shown to another one.
        if (this.#candidateId === 0) return;
        this.#candidateDeaths += 1;
        if (this.#candidateDeaths >= CANDIDATE_DEATHS) this.#candidateId = 0;
      },
      log: ports.log,
    });
    this.#servers.prepare();
  }

  /** Bytes of all generations and candidates. */
  get storeBytes(): number {
    return this.#store.bytes;
  }

  /** Room for the next generation. The caller closes its descriptors by activate(), or by discard(). */
  candidate(): Candidate {
    const id = this.#nextId++;
    // First what may fail without leaving anything.
    const previousFd = this.#live === undefined ? undefined : this.#store.openPrevious(this.#live);
    try {
      return { id, ...this.#store.createCandidate(id), previousFd, closed: false };
    } catch (error) {
      closeQuietly(previousFd);
      throw error;
    }
  }

  /** Overwrites and removes what was written so far. */
  async discard(candidate: Candidate): Promise<void> {
    closeCandidate(candidate);
    await this.#store.discard(candidate.id);
  }

  /**
   * Makes a complete candidate live; the first one is what mounts. Nobody may write to it any more. Throws MountError, and
   * what was live stays, where the server can't serve it. The candidate is gone then.
   */
  activate(candidate: Candidate): Promise<ChangeList['counts'] | undefined> {
    const run = this.#activating
      .catch(() => undefined)
      .then(() => {
        this.#isActivating = true;
        return this.#activate(candidate);
      })
      .finally(() => {
        this.#isActivating = false;
      });
    this.#activating = run;
    return run;
  }

  /** Replaces server and successor by the program that is on disk now. Throws MountError upgrade-refused. */
  async upgrade(): Promise<void> {
    // Not in the middle of telling the kernel of a new generation.
    await this.#activating.catch(() => undefined);
    await this.#servers.upgrade(async (isGone) => {
      this.#handOver = true;
      this.#writeControl();
      // Its next request is its last; this is one.
      await Promise.race([this.#probe().catch(() => undefined), isGone]);
      await Promise.race([isGone, new Promise((resolve) => setTimeout(resolve, PROBE_MS_MAX).unref())]);
    });
    this.#prober?.restart();
    this.#notifier?.restart();
  }

  async isMounted(): Promise<boolean> {
    return (await this.#mount?.isMounted()) ?? false;
  }

  status(): EngineStatus {
    const helpers = [
      { role: 'prober', helper: this.#prober },
      { role: 'notifier', helper: this.#notifier },
    ].flatMap(({ role, helper }) =>
      helper?.pid === undefined
        ? []
        : [{ role, pid: helper.pid, startedMs: helper.startedMs, restarts: helper.restarts }],
    );
    return {
      live: this.#live,
      lingering: this.#retirement.lingering.map(({ id, bytes, sinceMs }) => ({ id, bytes, sinceMs })),
      storeBytes: this.#store.bytes,
      processes: [
        ...this.#servers.states().map((state) => ({ ...state, restarts: this.#servers.restarts })),
        ...helpers,
      ],
      requests: this.#status()?.requests ?? 0,
    };
  }

  /** Out of the mount table. Throws MountError, and everything goes on as it was; else stop() is to follow. */
  async detach(): Promise<void> {
    await this.#mount?.unmount();
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
    // First what readers of this machine see, whatever else may hang.
    const failure: unknown = await this.detach().catch((error: unknown) => error);
    await this.#activating.catch(() => undefined);
    for (const timer of this.#timers) clearInterval(timer);
    const steps: (() => unknown)[] = [
      () => {
        this.#closed = true;
        this.#writeControl();
      },
      () => (this.#servers.pid === undefined ? undefined : this.#probe()),
      () => (this.#servers.pid === undefined ? undefined : this.#dropAllPages()),
      () => this.#prober?.stop(),
      () => this.#notifier?.stop(),
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
        if (!(error instanceof NoAnswer) && !(error instanceof MountError))
          this.#ports.log.error('bug', { error: describeBug(error) });
      }
    }
    if (failure !== undefined) throw failure;
  }

  async #dropAllPages(): Promise<void> {
    await this.#notifier?.ask({ drop: { from: ROOT_INO, to: this.#nextIno } }, NOTIFY_MS_MAX);
  }

  async #activate(candidate: Candidate): Promise<ChangeList['counts'] | undefined> {
    const { id } = candidate;
    const previous = this.#live;
    try {
      if (this.#closed || this.#stopping !== undefined)
        throw new MountError('mount-failed', 'cannot activate: the mount is stopping');
      const bytes = fstatSync(candidate.imageFd).blocks * STAT_BLOCK_BYTES;
      const changes = this.#readChanges(id);
      const nextIno = readNextIno(candidate.imageFd, this.#nextIno, this.#options.nodesMax);
      closeCandidate(candidate);
      if (!this.#store.publish(id)) throw refused('a process still writes to it');
      await this.#store.removeChanges(id);
      if (previous === undefined) {
        await this.#begin(id);
        this.#bytes.set(id, bytes);
        this.#nextIno = nextIno;
        return undefined;
      }
      await this.#makeRoom();
      await this.#offer(id);
      await this.#patiently(() => this.#tell());
      await this.#patiently(() => this.#pin(changes));
      this.#candidateId = 0;
      this.#live = id;
      this.#retirement.add({
        id: previous,
        bytes: this.#bytes.get(previous) ?? 0,
        sinceMs: this.#ports.nowMs(),
        inodes: changes.superseded,
      });
      this.#nextIno = nextIno;
      this.#writeControl();
      this.#servers.tellSuccessor();
      this.#bytes.delete(previous);
      this.#bytes.set(id, bytes);
      this.#untold = changes;
      await this.#patiently(() => this.#tell()).catch((error: unknown) => this.#couldNotTell(error));
      return changes.counts;
    } catch (error) {
      closeCandidate(candidate);
      if (this.#live !== id) {
        this.#candidateId = 0;
        this.#writeControl();
        await this.#store.wipe(id);
      }
      throw error;
    }
  }

  /** Generations may come faster than superseded ones are looked after. Throws MountError where none of them goes. */
  async #makeRoom(): Promise<void> {
    if (this.#retirement.lingering.length < LINGERING_IN_STORE_MAX) return;
    await this.#patiently(() => this.#retirement.sweep());
  }

  #readChanges(id: number): ChangeList {
    const { nodesMax } = this.#options;
    const bytes = this.#store.readChanges(id, changesBytesMax(nodesMax));
    if (bytes === undefined) throw refused('its list of changes is too long');
    try {
      return decodeChanges(bytes, nodesMax);
    } catch (cause) {
      if (!(cause instanceof GenerationError)) throw cause;
      throw refused(cause.message);
    }
  }

  /** The first generation: mount, tell the server to go, see that it answers. */
  async #begin(id: number): Promise<void> {
    const { mountpoint, source, resend } = this.#options;
    this.#live = id;
    try {
      const { mount, params } = await mountKernel({
        path: mountpoint,
        source,
        fuseFd: this.#fuseFd,
        negotiate: (request) => negotiate(request, { resend }),
      });
      this.#mount = mount;
      this.#parameters = params;
      const { cloneFd } = mount;
      const { log } = this.#ports;
      this.#prober = new Helper({
        spawn: () => this.#ports.spawnProber({ clone: cloneFd }),
        onEnd: (error) => log.warn('prober-died', error === undefined ? undefined : { error }),
      });
      this.#notifier = new Helper({
        spawn: () => this.#ports.spawnNotifier({ fuse: this.#fuseFd, dropPipe: this.#dropPipe?.readFd }),
        onEnd: (error) => log.warn('notifier-died', error === undefined ? undefined : { error }),
      });
      this.#prober.start();
      this.#writeControl();
      await this.#servers.go();
      await this.#patiently(() => this.#probe(LOAD_MS_MAX));
      if (this.#status()?.sequence !== this.#sequence) throw refused('the server could not load it');
      this.#notifier.start();
    } catch (error) {
      this.#live = undefined;
      throw error;
    }
    this.#timers = [
      setInterval(() => void this.#watch(), PROBE_EVERY_MS),
      setInterval(() => void this.#sweep(), SWEEP_EVERY_MS),
    ];
  }

  /** Shows the candidate to the server, which checks it and says so. */
  async #offer(id: number): Promise<void> {
    this.#candidateId = id;
    this.#candidateDeaths = 0;
    this.#writeControl();
    await this.#synced(LOAD_MS_MAX);
    const status = this.#status();
    if (status?.candidateLoaded === id) return;
    throw refused(
      this.#candidateId === 0
        ? 'servers ended over it'
        : (status?.refusedWhy ?? 'the server could not load it'),
    );
  }

  /** Resolves when the server has seen the control file as it is now. */
  async #synced(timeoutMs: number): Promise<void> {
    await this.#patiently(async () => {
      await this.#probe(timeoutMs);
      // A server that was told to go meanwhile begins with its own report.
      if (this.#status()?.sequence !== this.#sequence) throw new NoAnswer('late');
    });
  }

  /** Holds on to the changed names as they are, so that the kernel sees each of them replaced. */
  async #pin({ operations }: ChangeList): Promise<void> {
    const prober = this.#prober;
    if (prober === undefined) return;
    await prober.ask({ do: 'discard' }, PROBE_MS_MAX);
    for (const slice of slicesOf(operations)) {
      await prober.ask({ do: 'pin', operations: encodeOperations(slice).toString('base64') }, TELL_MS_MAX);
    }
    this.#pinnedBy = prober.restarts;
  }

  /** Tells the kernel of every changed name, and of what changed about directories. Repeating it does no harm. */
  async #tell(): Promise<void> {
    const changes = this.#untold;
    const prober = this.#prober;
    if (changes === undefined || prober === undefined) return;
    // One that was started since knows of nothing; and refuses, if it is started just now.
    prober.start();
    if (prober.restarts !== this.#pinnedBy) await this.#pin(changes);
    this.#pinnedBy = -1;
    const told = await prober.ask(
      { do: 'apply', token: this.#token.toString('hex'), count: changes.operations.length },
      TELL_MS_MAX + TELL_MS_EACH * changes.operations.length,
    );
    const failed = told['failed'];
    if (Array.isArray(failed) && failed.length > 0) this.#ports.log.warn('names-not-replaced', { failed });
    for (let at = 0; at < changes.directories.length; at += DROPPED_AT_ONCE) {
      const attributes = changes.directories.slice(at, at + DROPPED_AT_ONCE);
      await this.#notifier?.ask({ attributes }, NOTIFY_MS_MAX);
    }
    if (this.#untold === changes) this.#untold = undefined;
  }

  /** A helper that ended meanwhile is started again; what is asked of it can be asked twice. */
  async #patiently(act: () => Promise<void>): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await act();
      } catch (error) {
        if (!(error instanceof NoAnswer)) throw error;
        if (attempt === ATTEMPTS) {
          throw new MountError('mount-failed', 'cannot activate: the mount does not answer', {
            hint: 'it is tried again; the log says what happens to the server',
            cause: error,
          });
        }
      }
    }
  }

  #couldNotTell(error: unknown): void {
    if (!(error instanceof NoAnswer) && !(error instanceof MountError)) throw error;
    // The next probe tries again. Until then some names show the old content, each of them whole.
    this.#ports.log.warn('names-not-replaced', { error: error.message });
  }

  async #held(inodes: readonly number[]): Promise<readonly number[]> {
    const answer = await this.#notifier?.ask({ held: inodes }, NOTIFY_MS_MAX);
    const held = answer?.['held'];
    return Array.isArray(held) ? held.filter((ino): ino is number => inodes.includes(ino)) : inodes;
  }

  async #withdraw(id: number): Promise<void> {
    this.#withdrawn = id;
    this.#writeControl();
    await this.#synced(PROBE_MS_MAX);
  }

  async #probe(timeoutMs = PROBE_MS_MAX): Promise<void> {
    await this.#prober?.ask({ do: 'statfs' }, timeoutMs);
  }

  /** Once a second: does it answer? */
  async #watch(): Promise<void> {
    if (this.#watching) return;
    this.#watching = true;
    const pid = this.#servers.pid;
    const requests = this.#status()?.requests ?? 0;
    try {
      await this.#probe(this.#prober?.hasAnswered === false ? PROBE_MS_MAX_STARTING : PROBE_MS_MAX);
      this.#probesLost = 0;
      this.#wrongAnswers = 0;
      this.#ports.onAlive();
      if (this.#untold !== undefined && !this.#isActivating) await this.#tell();
    } catch (error) {
      if (this.#stopping !== undefined) return;
      if (!(error instanceof NoAnswer)) return this.#answeredWrongly(error);
      if (error.reason === 'ended') return;
      // One that took over meanwhile has its own time to answer.
      if (pid === undefined || pid !== this.#servers.pid) return;
      this.#lost(pid, (this.#status()?.requests ?? 0) - requests);
    } finally {
      this.#watching = false;
    }
  }

  /**
   * A probe had no answer: the server hangs, or the prober does. A healthy server is not to be killed for ever because of
   * the other. Where replacing the one that looks guilty does not help, both are replaced.
   */
  #lost(pid: number, requests: number): void {
    const { log } = this.#ports;
    const prober = this.#prober;
    this.#probesLost += 1;
    const serverAnswers = requests >= REQUESTS_OF_THE_LIVING && !isStopped(pid);
    const proberHangs = serverAnswers || (prober?.pid !== undefined && isStopped(prober.pid));
    if (proberHangs || this.#probesLost >= PROBES_LOST_MAX) {
      log.error('prober-hung', { pid: prober?.pid });
      prober?.kill();
    }
    if (!proberHangs || this.#probesLost >= PROBES_LOST_MAX) {
      log.error('server-hung', { pid });
      this.#servers.kill();
    }
  }

  /** The mount answers, and not as one that serves: the connection was aborted, or the server is wrong. */
  #answeredWrongly(error: unknown): void {
    if (!(error instanceof MountError)) {
      this.#ports.log.error('bug', { error: describeBug(error) });
      return;
    }
    this.#wrongAnswers += 1;
    if (this.#wrongAnswers < WRONG_ANSWERS_MAX) return;
    this.#wrongAnswers = 0;
    this.#ports.onLost(error);
  }

  async #sweep(): Promise<void> {
    if (this.#retirement.lingering.length === 0 || this.#stopping !== undefined) return;
    await this.#retirement.sweep().catch((error: unknown) => {
      if (error instanceof NoAnswer || error instanceof MountError) return;
      throw error;
    });
  }

  #writeControl(): void {
    const { cache, fastOpen, resend } = this.#options;
    const parameters = this.#parameters;
    this.#sequence = this.#store.writeControl({
      live: this.#live ?? 0,
      candidate: this.#candidateId,
      handOver: this.#handOver,
      closed: this.#closed,
      lingering: this.#retirement.lingering.map(({ id }) => id).filter((id) => id !== this.#withdrawn),
      fuseMinor: parameters?.minor ?? 0,
      flags: parameters?.flags ?? 0,
      flags2: parameters?.flags2 ?? 0,
      maxReadBytes: parameters?.maxReadBytes ?? 0,
      cachePolicy: cache,
      fastOpen,
      resend,
      token: this.#token,
      preserve: this.#options.preserve,
    });
  }

  #status(): Status | undefined {
    return this.#store.readStatus();
  }
}

/** By SIGSTOP, or by a debugger: proc_pid_stat(5). */
function isStopped(pid: number): boolean {
  try {
    return /\) [Tt] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}

/** As many operations as fit into a line; one always does. */
function* slicesOf(operations: ChangeList['operations']): Iterable<ChangeList['operations']> {
  let from = 0;
  let bytes = 0;
  for (let at = 0; at < operations.length; at++) {
    bytes += Buffer.byteLength(operations[at]?.path ?? '');
    const next = Buffer.byteLength(operations[at + 1]?.path ?? '');
    if (
      bytes + next <= PATH_BYTES_AT_ONCE &&
      at + 1 - from < OPERATIONS_AT_ONCE &&
      at + 1 < operations.length
    )
      continue;
    yield operations.slice(from, at + 1);
    from = at + 1;
    bytes = 0;
  }
}

/** Once: the numbers may be somebody else's descriptors later. */
function closeCandidate(candidate: Candidate): void {
  if (candidate.closed) return;
  candidate.closed = true;
  closeQuietly(candidate.imageFd, candidate.changesFd, candidate.previousFd);
}

/**
 * The first of the inode numbers that an image leaves free. It bounds what is dropped at the end, so it can neither go
 * back nor leap.
 */
function readNextIno(imageFd: number, before: number, nodesMax: number): number {
  const header = Buffer.alloc(HEADER_BYTES);
  readSync(imageFd, header, 0, header.length, 0);
  let nextIno: number;
  try {
    nextIno = Generation.nextIno(header);
  } catch (cause) {
    if (!(cause instanceof GenerationError)) throw cause;
    throw refused(cause.message);
  }
  if (nextIno < before || nextIno > before + nodesMax + 1) throw refused('its inode numbers do not follow');
  return nextIno;
}

function refused(why: string): MountError {
  return new MountError('generation-refused', `cannot activate the generation: ${why}`, {
    hint: 'what was live stays live; the log of the server says more',
  });
}
