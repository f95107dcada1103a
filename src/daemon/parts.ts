/**
 * The bundles of a mount, each with its sources, keys, policy, serials and schedule: its own Rotation. One alone is all of the
 * mount; of several each has a directory, and generations are composed of what they have (composition.ts).
 *
 * Invariant: what fails of one leaves the others as they are; only the first generation waits for those that are required.
 */
import { ControlError, describeBug, SecretsfsError } from '../errors.ts';
import type { Activated } from '../hooks/changes.ts';
import { realTimers } from '../system/timers.ts';
import type { AgentTask } from './agent-channel.ts';
import { type Composed, Composition } from './composition.ts';
import { encodeFacts, type Facts, isAsBefore, liveOf } from './facts.ts';
import { isLocalFile } from './location.ts';
import { unknownPart } from './operations.ts';
import { named, type Part, type RefreshedPart } from './part.ts';
import { PartMaker } from './part-maker.ts';
import { mountRules, prefixedFindings } from './part-paths.ts';
import type { PartsPorts } from './parts-ports.ts';
import type { Looked, Opened, RefreshOptions } from './rotation-ports.ts';
import { StartWait } from './start-wait.ts';
import type { InStore, SupervisorOptions } from './supervisor-options.ts';
import { availableMemory } from './unsealing.ts';

/** How much later than those that are required the others may be, to be in the first generation. */
const OPTIONAL_MS_MAX = 5_000;

export class Parts {
  readonly all: readonly Part[];
  #options: SupervisorOptions;
  readonly #ports: PartsPorts;
  readonly #composition: Composition | undefined;
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
    const maker = new PartMaker({
      options: () => this.#options,
      ports,
      composition: this.#composition,
      startWait: this.#startWait,
      certificates: (part, opened) => this.#certificates(part, opened),
    });
    this.all = options.parts.map((part) => maker.make(part));
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
