/** One of the bundles of a mount, and how it is named where several are spoken of. */
import { isDeepStrictEqual } from 'node:util';
import { SecretsfsError } from '../errors.ts';
import type { BundleCache } from './bundle-cache.ts';
import type { CachedStart } from './cached-start.ts';
import type { FloorFile } from './floor.ts';
import { isLocalFile } from './location.ts';
import type { Log } from './log.ts';
import type { PartOptions } from './mount-options.ts';
import { retryTimes } from './retries.ts';
import type { Rotation } from './rotation.ts';
import type { Refreshed, RotationSettings, RotationState } from './rotation-ports.ts';
import type { InStore } from './supervisor-options.ts';

/** What a refresh of several came to. */
export interface RefreshedPart {
  readonly part: Part;
  readonly refreshed: Refreshed<InStore>;
}

export class Part {
  #options: PartOptions;
  readonly floors: FloorFile;
  readonly rotation: Rotation<InStore>;
  /** What is kept of it on the disk, and a start from that. */
  readonly cache: BundleCache | undefined;
  readonly cachedStart: CachedStart | undefined;
  /** The generation that it went live in. */
  generation = 0;

  constructor(
    options: PartOptions,
    floors: FloorFile,
    rotation: Rotation<InStore>,
    cache: BundleCache | undefined,
    cachedStart: CachedStart | undefined,
  ) {
    this.#options = options;
    this.floors = floors;
    this.rotation = rotation;
    this.cache = cache;
    this.cachedStart = cachedStart;
  }

  get options(): PartOptions {
    return this.#options;
  }

  /** As logs and errors name it; '' where it is all of the mount. */
  get name(): string {
    return this.options.directory ?? '';
  }

  get state(): RotationState<InStore> {
    return this.rotation.state();
  }

  /** For Rotation.between(): from the next bundle on. The directory is the same. */
  configure(next: PartOptions): void {
    const otherSources = !isDeepStrictEqual(bundles(this.#options), bundles(next));
    this.#options = next;
    this.floors.configure(next);
    this.rotation.configure({ ...rotationSettings(next), otherSources });
  }
}

/** What a rotation is told of the options. */
export function rotationSettings(options: PartOptions): Omit<RotationSettings<InStore>, 'otherSources'> {
  const { unsealsPerMinute } = options;
  const sources = bundles(options).map((bundle) => ({ isLocal: isLocalFile(bundle) }));
  return { sources, unsealsPerMinute, retries: retryTimes(options) };
}

function bundles({ sources }: PartOptions): string[] {
  return sources.map(({ bundle }) => bundle);
}

/** A failure says whose it is. */
export async function named<T>(part: Part, act: Promise<T>): Promise<T> {
  try {
    return await act;
  } catch (error) {
    if (part.name === '' || !(error instanceof SecretsfsError)) throw error;
    const { code, message, hint } = error;
    throw new SecretsfsError(code, `${part.name}: ${message}`, { hint, cause: error });
  }
}

/** Every line says whose it is. */
export function partLog(log: Log, part: string): Log {
  return {
    info: (event, fields) => log.info(event, { part, ...fields }),
    warn: (event, fields) => log.warn(event, { part, ...fields }),
    error: (event, fields) => log.error(event, { part, ...fields }),
  };
}
