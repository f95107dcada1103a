/**
 * Puts the bundles of a mount together, each with its record of serials, its cache on the disk and its rotation; fetches what
 * they are to have, one at a time, and hands it on: to the mount where a bundle is all of it, else to the composition.
 */
import type { Activated } from '../hooks/changes.ts';
import { FileLane } from '../system/file-lane.ts';
import { realTimers } from '../system/timers.ts';
import { BundleCache } from './bundle-cache.ts';
import { CachedStart } from './cached-start.ts';
import type { Candidate } from './candidate.ts';
import { logWarnings } from './check-findings.ts';
import type { Composition } from './composition.ts';
import { encodeFacts, partFacts } from './facts.ts';
import { FloorFile } from './floor.ts';
import { FloorDisk } from './floor-disk.ts';
import type { Log } from './log.ts';
import { activatedBy } from './mount-hooks.ts';
import type { PartOptions } from './mount-options.ts';
import { Part, partLog, rotationSettings } from './part.ts';
import { prefixedFindings } from './part-paths.ts';
import type { PartsPorts } from './parts-ports.ts';
import { retryTimes } from './retries.ts';
import { Rotation } from './rotation.ts';
import type { Opened, TakenFrom, TakeOptions } from './rotation-ports.ts';
import type { StartWait } from './start-wait.ts';
import type { InStore, SupervisorOptions } from './supervisor-options.ts';
import { UnsealTurn } from './unseal-turn.ts';

/** What is of all bundles. */
export interface PartSurroundings {
  /** Those of now. */
  options(): SupervisorOptions;
  readonly ports: PartsPorts;
  /** Where there are several. */
  readonly composition: Composition | undefined;
  readonly startWait: StartWait;
  /** Those of all bundles, by whole paths; `opened` is about to be what `part` has. */
  certificates(part: Part, opened: Opened<InStore>): Activated['certificates'];
}

export class PartMaker {
  readonly #surroundings: PartSurroundings;
  readonly #turn = new UnsealTurn();
  readonly #disk = new FloorDisk();
  readonly #cacheLane = new FileLane();

  constructor(surroundings: PartSurroundings) {
    this.#surroundings = surroundings;
  }

  make(options: PartOptions): Part {
    const { ports, startWait } = this.#surroundings;
    const { log: all, nowMs, clockMs, tally } = ports;
    const { directory, name, minSerial } = options;
    const { instance: mount, stateDir, cacheDir, maxStaleMs } = this.#surroundings.options();
    const log = directory === undefined ? all : partLog(all, directory);
    // No name has a comma.
    const instance = [mount, directory].filter((each) => each !== undefined).join();
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
        ports.onSettled();
        startWait.wake();
      },
      isOptional: !options.required || startWait.isPatient,
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
    const { ports, composition } = this.#surroundings;
    const { clockMs, lane, users, tally, take } = ports;
    const { preserve, memoryMax } = this.#surroundings.options();
    const { directory } = part;
    const engine = ports.engine();
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
    const { ports, composition } = this.#surroundings;
    const { activate, activated, nowMs } = ports;
    const facts = partFacts(part.options, opened, from, nowMs());
    const { candidate, result } = opened.generation;
    const { directory } = part.options;
    if (composition === undefined || directory === undefined) {
      const changes = await activate(
        candidate,
        encodeFacts([facts], this.#surroundings.options().parts, undefined),
      );
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
      const certificates = this.#surroundings.certificates(part, opened);
      activated({ ...activatedBy(opened, changes), generation: id, certificates });
    }
    return changes?.counts;
  }
}
