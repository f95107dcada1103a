/**
 * The bundles of a mount, each with its sources, keys, policy, serials and schedule: its own Rotation. One alone is all of the
 * mount; of several each has a directory, and generations are composed of what they have (composition.ts).
 *
 * Invariant: what fails of one leaves the others as they are; only the first generation waits for those that are required.
 */
import { ControlError, describeBug, SecretsfsError } from '../errors.ts';
import type { ChangeList } from '../generation/changes.ts';
import type { Activated } from '../hooks/changes.ts';
import { FileLane } from '../system/file-lane.ts';
import type { ProcessUsers } from '../system/process-users.ts';
import { realTimers } from '../system/timers.ts';
import type { AgentTask } from './agent-channel.ts';
import { BundleCache } from './bundle-cache.ts';
import { CachedStart } from './cached-start.ts';
import type { Candidate } from './candidate.ts';
import { logWarnings } from './check-findings.ts';
import type { composeInto } from './composing.ts';
import { type Composed, Composition } from './composition.ts';
import type { Engine } from './engine.ts';
import { encodeFacts, type Facts, isAsBefore, liveOf, partFacts } from './facts.ts';
import { FloorFile } from './floor.ts';
import { FloorDisk } from './floor-disk.ts';
import { isLocalFile } from './location.ts';
import type { Log } from './log.ts';
import { activatedBy } from './mount-hooks.ts';
import type { PartOptions } from './mount-options.ts';
import { unknownPart } from './operations.ts';
import { named, Part, partLog, type RefreshedPart, rotationSettings } from './part.ts';
import { mountRules, prefixedFindings } from './part-paths.ts';
import { retryTimes } from './retries.ts';
import { Rotation } from './rotation.ts';
import type { Looked, Opened, RefreshOptions, TakenFrom, TakeOptions } from './rotation-ports.ts';
import { StartWait } from './start-wait.ts';
import type { InStore, SupervisorOptions, SupervisorPorts } from './supervisor-options.ts';
import type { takeInStore } from './taking.ts';
import type { Tally } from './tally.ts';
import { UnsealTurn } from './unseal-turn.ts';
import { availableMemory } from './unsealing.ts';

/** How much later than those that are required the others may be, to be in the first generation. */
const OPTIONAL_MS_MAX = 5_000;

export interface PartsPorts extends SupervisorPorts {
  engine(): Engine;
  users(): ProcessUsers;
  readonly lane: FileLane;
  /** Fetches and opens into the store: takeInStore(). */
  readonly take: typeof takeInStore;
  /** Puts the trees of several together: composeInto(). */
  readonly compose: typeof composeInto;
  /** Counts what is looked for, and what is asked of AWS. */
  readonly tally: Pick<Tally, 'checked' | 'called'>;
  /** Makes it live; where it throws, the candidate is gone. `facts`: encodeFacts(). */
  activate(candidate: Candidate, facts: string): Promise<Pick<ChangeList, 'counts' | 'files'> | undefined>;
  /** It is. */
  activated(activated: Activated): void;
  /** What is known of sources may be something else. */
  onSettled(): void;
  /** The start waits for this, in one line. */
  waiting(what: string): void;
}

export class Parts {
  readonly all: readonly Part[];
  #options: SupervisorOptions;
  readonly #ports: PartsPorts;
  readonly #composition: Composition | undefined;
  readonly #turn = new UnsealTurn();
  readonly #disk = new FloorDisk();
  readonly #cacheLane = new FileLane();
  readonly #startWait: StartWait;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: SupervisorOptions, ports: PartsPorts) {
    this.#options = options;
    this.#ports = ports;
    const { log, nowMs, waiting } = ports;
    const clocks = { nowMs, timers: realTimers, random: Math.random };
    this.#startWait = new StartWait({ timeoutMs: options.startTimeoutMs, log, ...clocks, waiting });
    const named = options.parts.flatMap(({ directory, ...part }) =>
      directory === undefined ? [] : [{ directory, ...part }],
    );
    if (named.length > 0) {
      const { preserve } = options;
      const memoryMax = () => this.#options.memoryMax;
      this.#composition = new Composition({
        parts: named.map(({ directory, filesMax, bytesMax }) => ({ directory, filesMax, bytesMax })),
        optional: new Set(named.flatMap(({ directory, required }) => (required ? [] : [directory]))),
        rules: mountRules(named),
        ...{ preserve, memoryMax, log: ports.log, availableBytes: availableMemory },
        ...{ engine: ports.engine, compose: ports.compose },
        // Who sees all of it anyway.
        user: () => ports.users().server,
        activate: (candidate, written, facts) =>
          ports.activate(candidate, encodeFacts(facts, this.#options.parts, written)),
      });
    }
    this.all = options.parts.map((part) => this.#make(part));
  }

  /** Of the mount, where it has several bundles. */
  get composed(): Composed | undefined {
    return this.#composition?.live;
  }

  /** What went live last: it made the generation that is live. */
  get latest(): Part | undefined {
    const since = (part: Part) => part.state.live?.activatedMs ?? Number.NEGATIVE_INFINITY;
    const [latest] = [...this.all].sort((a, b) => since(b) - since(a));
    return latest?.state.live === undefined ? undefined : latest;
  }

  /** Of what is live. */
  get files(): number {
    return this.composed?.written.files ?? this.latest?.state.live?.generation.result.files ?? 0;
  }

  /** Reads the records of serials, and looks what is kept on the disk. Throws ConfigError. */
  async load(): Promise<void> {
    await Promise.all(this.all.flatMap(({ floors, cache }) => [floors.load(), cache?.load()]));
  }

  /** Returns when there is a first generation, of all that are required. Throws why there is none. */
  async start(): Promise<void> {
    const composition = this.#composition;
    if (composition === undefined) {
      await this.#first(this.all[0] as Part);
      return;
    }
    const required: Promise<unknown>[] = [];
    const others: Promise<unknown>[] = [];
    const runs = new Map<Part, Promise<unknown>>();
    // In turn: no other one keeps those waiting that are required.
    const isLater = ({ options }: Part) => Number(!options.required);
    for (const part of [...this.all].sort((a, b) => isLater(a) - isLater(b))) {
      const refreshed = part.options.required ? this.#first(part) : this.#begin(part);
      refreshed.catch((error: unknown) => this.#logBug(error));
      runs.set(part, refreshed);
      const there = Promise.race([composition.arrival(part.name), refreshed]);
      if (part.options.required) required.push(named(part, there));
      else others.push(there.catch(() => undefined));
    }
    await Promise.all(required);
    const late = new Promise((resolve) => {
      this.#timer = setTimeout(resolve, OPTIONAL_MS_MAX);
    });
    await Promise.race([Promise.all(others), late]);
    clearTimeout(this.#timer);
    const { id } = await composition.begin();
    // What they have is known, and on the disk.
    await Promise.all(
      [...runs].map(([part, run]) => (composition.has(part.name) ? run.catch(() => undefined) : undefined)),
    );
    const lives = this.all.flatMap(({ state }) => state.live ?? []);
    const serial = Math.max(0, ...lives.map((live) => live.serial));
    const certificates = this.#certificates();
    this.#ports.activated({ generation: id, serial, first: true, changed: [], certificates, uploaded: null });
  }

  /** Instead of start(): a generation is live, and this is what is known of it. Throws ConfigError. */
  async resume({ parts, written }: Facts, generation: number): Promise<void> {
    for (const part of this.all) {
      const facts = parts.find(({ directory }) => directory === (part.options.directory ?? null));
      if (facts === undefined) continue;
      part.generation = generation;
      const { judged, sources } = isAsBefore(facts, part.options);
      const source = sources ? (facts.source ?? undefined) : undefined;
      if (facts.source === null) part.cache?.served();
      await part.rotation.resume(liveOf(facts, generation), { source, isStale: !judged });
    }
    if (written !== null) this.#composition?.resume(parts, { id: generation, written, changes: undefined });
  }

  /** Certificates of what is live, for who is told of it. */
  get certificates(): Activated['certificates'] {
    return this.#certificates();
  }

  /** Looks for what has changed while nobody looked. Never throws. */
  async hint(): Promise<void> {
    await Promise.all(this.all.map(({ rotation }) => rotation.hint()));
  }

  /**
   * Fetches anew what all have, or the one that is named. Throws ControlError part-unknown and part-missing; and once all
   * came to an end, why the first of them failed.
   */
  async refresh(
    options: RefreshOptions & { readonly part?: string | undefined } = {},
  ): Promise<RefreshedPart[]> {
    const { part: wanted, ...how } = options;
    const chosen = wanted === undefined ? this.all : [this.#find(wanted)];
    if (how.allowRollback === true && chosen.length > 1) {
      throw new ControlError('part-missing', 'cannot roll back: this mount has several bundles', {
        hint: `name one: ${this.all.map(({ name }) => `INSTANCE/${name}`).join(', ')}`,
      });
    }
    const refreshed = chosen.map(async (part): Promise<RefreshedPart> => {
      return { part, refreshed: await named(part, part.rotation.refresh(how)) };
    });
    await Promise.allSettled(refreshed);
    return Promise.all(refreshed);
  }

  /** Runs `act` when no refresh of any is under way, and lets none begin before it has settled. */
  between(act: () => Promise<void>): Promise<void> {
    const outermost = this.all.reduce(
      (inner, { rotation }) =>
        () =>
          rotation.between(inner),
      act,
    );
    return outermost();
  }

  /** For between(): as many bundles, each in the directory that it has. */
  configure(next: SupervisorOptions): void {
    this.#options = next;
    next.parts.forEach((options, i) => {
      this.all[i]?.configure(options);
    });
  }

  /** Somebody looked at the sources of one. */
  noteLook(part: number, looks: readonly Looked[]): void {
    this.all[part]?.rotation.noteLook(looks);
  }

  /** Of each source of each, what need not be looked at again. */
  known(): AgentTask['parts'][number]['known'][] {
    return this.all.map(({ rotation }) => rotation.known().map((known) => known ?? null));
  }

  /** Ends what is under way and lets nothing start again; resolves when nothing runs. */
  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    this.#startWait.stop();
    const stopped = this.all.map(({ rotation }) => rotation.stop());
    this.#composition?.stop();
    await Promise.all(stopped);
    for (const { cache } of this.all) cache?.close();
  }

  #make(options: PartOptions): Part {
    const { log: all, nowMs, clockMs, tally } = this.#ports;
    const { directory, name, minSerial } = options;
    const { stateDir, cacheDir, maxStaleMs } = this.#options;
    const log = directory === undefined ? all : partLog(all, directory);
    // No name has a comma.
    const instance = [this.#options.instance, directory].filter((each) => each !== undefined).join();
    const owned = { instance, uid: 0, log, clockMs };
    const floors = new FloorFile({ directory: stateDir, disk: this.#disk, ...owned, name, minSerial });
    const cache =
      cacheDir === undefined
        ? undefined
        : new BundleCache({ directory: cacheDir, lane: this.#cacheLane, ...owned, maxStaleMs });
    const rotation = new Rotation<InStore>({
      ...{ log, nowMs, timers: realTimers, random: Math.random, floors },
      ...rotationSettings(options),
      onSettled: () => {
        this.#ports.onSettled();
        this.#startWait.wake();
      },
      isOptional: !options.required || this.#startWait.isPatient,
      checked: (outcome, code) => {
        tally.checked(outcome, code);
        if (outcome !== 'failed') cache?.confirmed();
      },
      take: (asked) => this.#take(part.options, log, asked, cache),
      activate: async (opened, from) => {
        const changes = await this.#activate(part, log, opened, from);
        const { result, isCached } = opened.generation;
        if (isCached !== true) cache?.keep(result.sha256);
        return changes;
      },
    });
    const cachedStart =
      cache &&
      new CachedStart({
        ...{ cache, log, nowMs, random: Math.random },
        retries: () => retryTimes(part.options),
        begin: () => rotation.begin((asked) => this.#takeCached(part.options, log, asked, cache)),
      });
    const part = new Part(options, floors, rotation, cache, cachedStart);
    return part;
  }

  /** Returns when it went live for the first time. Throws why it will not. */
  #first(part: Part): Promise<void> {
    const { rotation, options } = part;
    const { sources, unsealsPerMinute } = options;
    return this.#startWait.until({
      begin: () => this.#begin(part),
      isThere: () => rotation.state().live !== undefined,
      failure: () => rotation.state().failure?.error,
      asksOthers: unsealsPerMinute !== undefined || sources.some(({ bundle }) => !isLocalFile(bundle)),
      // It tries what failed by itself, and the agent tells it what is new.
      spreadMs: () => Number.POSITIVE_INFINITY,
    });
  }

  /** What a source has, or what is kept where none has anything. Throws why it is neither. */
  async #begin({ rotation, cachedStart }: Part): Promise<void> {
    try {
      await rotation.refresh();
    } catch (error) {
      if ((await cachedStart?.insteadOf(error)) !== true) throw error;
    }
  }

  #take(part: PartOptions, log: Log, asked: TakeOptions, cache: BundleCache | undefined) {
    // Settings and room are those of when it begins.
    return this.#turn.run(asked.signal, () => this.#takeNow(part, log, asked, cache?.receive()));
  }

  async #takeCached(part: PartOptions, log: Log, asked: TakeOptions, { file }: BundleCache) {
    const kept = { ...part, sources: [{ bundle: file, aws: part.aws }] };
    const taken = await this.#turn.run(asked.signal, () => this.#takeNow(kept, log, asked, undefined));
    if (taken.outcome !== 'opened') return taken;
    const generation = { ...taken.opened.generation, isCached: true };
    return { ...taken, opened: { ...taken.opened, generation, uploadedMs: undefined } };
  }

  async #takeNow(part: PartOptions, log: Log, asked: TakeOptions, keepFd: number | undefined) {
    const { clockMs, lane, users, tally, take } = this.#ports;
    const { preserve, memoryMax } = this.#options;
    const { directory } = part;
    const composition = this.#composition;
    const engine = this.#ports.engine();
    const place =
      composition === undefined || directory === undefined
        ? engine
        : {
            candidate: () => composition.candidate(directory),
            discard: (candidate: Candidate) => engine.discard(candidate),
            storeBytes: engine.storeBytes,
          };
    const options = { ...part, preserve, memoryMax };
    return take(
      {
        engine: place,
        options,
        user: users().unsealer,
        lane,
        log,
        clockMs,
        keepFd,
        onCalls: tally.called.bind(tally),
      },
      asked,
    );
  }

  async #activate(part: Part, log: Log, opened: Opened<InStore>, from: TakenFrom) {
    const { activate, activated, nowMs } = this.#ports;
    const facts = partFacts(part.options, opened, from, nowMs());
    const { candidate, result } = opened.generation;
    const { directory } = part.options;
    const composition = this.#composition;
    if (composition === undefined || directory === undefined) {
      const changes = await activate(candidate, encodeFacts([facts], this.#options.parts, undefined));
      part.generation = candidate.id;
      logWarnings(log, result);
      activated(activatedBy(opened, changes));
      return changes?.counts;
    }
    const { id, changes } = await composition.add(directory, { candidate, serial: opened.serial, facts });
    part.generation = id;
    logWarnings(log, prefixedFindings(directory, result));
    // The first is told once for all of them.
    if (changes !== undefined) {
      const certificates = this.#certificates(part, opened);
      activated({ ...activatedBy(opened, changes), generation: id, certificates });
    }
    return changes?.counts;
  }

  /** What all have, by whole paths: of one, what is opened and about to be what it has. */
  #certificates(part?: Part, opened?: Opened<InStore>): Activated['certificates'] {
    return this.all.flatMap((each) => {
      const live = each === part ? opened : each.state.live;
      return live === undefined ? [] : prefixedFindings(each.name, live.generation.result).certificates;
    });
  }

  #find(name: string): Part {
    const found = this.#composition === undefined ? undefined : this.all.find((part) => part.name === name);
    if (found !== undefined) return found;
    throw unknownPart(name, this.#composition === undefined ? [] : this.all.map((part) => part.name));
  }

  #logBug(error: unknown): void {
    if (error instanceof SecretsfsError || (error as Error).name === 'AbortError') return;
    this.#ports.log.error('bug', { error: describeBug(error) });
  }
}
