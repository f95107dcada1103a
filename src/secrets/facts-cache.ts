/**
 * What `ls` found out before, and commands that write many know anyway, so that the next `ls` asks for the listing alone: by store, path, etag and time. A file of this
 * user in XDG_CACHE_HOME; no secret is in it, only what anybody sees who may read the store. It may be lost at any time: what
 * can't be read or written is done without.
 */
import { createHash } from 'node:crypto';
import { lstat, readFile } from 'node:fs/promises';
import path from 'node:path';
import { writeFileAtomically } from '../source/output.ts';
import { makeDirectory } from '../system/make-directory.ts';
import { type Facts, factsOf } from './facts.ts';
import type { StoredObject, Written } from './store.ts';

/** Of an object that a listing named. */
export interface Known {
  readonly facts: Facts;
  /** Where the store keeps versions. */
  readonly version: string | undefined;
}

/** The time of what we wrote is not known before it is listed. */
type Entry = readonly [etag: string, modifiedMs: number | null, version: string | null, facts: Facts];

/** Raised when Facts get another shape: what an older program wrote is not read. */
const FORMAT = 1;
/** About 100 MB: more than that takes longer to read than to find out. */
const ENTRIES_MAX = 200_000;

export class FactsCache {
  readonly #file: string | undefined;
  readonly #location: string;
  readonly #entries: Map<string, Entry>;
  #changed = false;

  private constructor(file: string | undefined, location: string, entries: Map<string, Entry>) {
    this.#file = file;
    this.#location = location;
    this.#entries = entries;
  }

  /** Of the store at `location`. Never throws; where nothing can be kept, nothing is. */
  static async open(env: NodeJS.ProcessEnv, location: string): Promise<FactsCache> {
    const directory = await ownDirectory(env).catch(() => undefined);
    if (directory === undefined) return new FactsCache(undefined, location, new Map());
    const name = createHash('sha256').update(location).digest('hex').slice(0, 32);
    const file = `${directory}/${name}.json`;
    return new FactsCache(file, location, parse(await readFile(file, 'utf8').catch(() => ''), location));
  }

  get({ path, etag, modifiedMs }: StoredObject): Known | undefined {
    const [knownEtag, knownMs, version, facts] = this.#entries.get(path) ?? [];
    if (facts === undefined || knownEtag !== etag) return undefined;
    if (knownMs !== null && knownMs !== modifiedMs) return undefined;
    return { facts, version: version ?? undefined };
  }

  set({ path, etag, modifiedMs }: StoredObject, { facts, version }: Known): void {
    const [knownEtag, knownMs] = this.#entries.get(path) ?? [];
    if (knownEtag === etag && knownMs === modifiedMs) return;
    this.#entries.set(path, [etag, modifiedMs, version ?? null, facts]);
    this.#changed = true;
  }

  /** What was just written: the whole of it. */
  add(path: string, bytes: Buffer, { etag, version }: Written): void {
    const facts = factsOf(bytes, bytes.length, path);
    if (facts === undefined) return;
    this.#entries.set(path, [etag, null, version ?? null, facts]);
    this.#changed = true;
  }

  /** Forgets all but these paths: for a listing of everything. */
  keepOnly(paths: ReadonlySet<string>): void {
    for (const path of this.#entries.keys()) {
      if (!paths.has(path)) this.#changed = this.#entries.delete(path);
    }
  }

  /** Never throws. */
  async save(): Promise<void> {
    if (this.#file === undefined || !this.#changed || this.#entries.size > ENTRIES_MAX) return;
    const entries = Object.fromEntries(this.#entries);
    const text = JSON.stringify({ format: FORMAT, location: this.#location, entries });
    await writeFileAtomically(this.#file, Buffer.from(text), { mode: 0o600, links: 'replace' }).catch(
      () => undefined,
    );
  }
}

/** Made where it is missing. undefined where there is no home, or it is another user's: of root with sudo, say. */
async function ownDirectory({ XDG_CACHE_HOME, HOME }: NodeJS.ProcessEnv): Promise<string | undefined> {
  const home = HOME && path.isAbsolute(HOME) ? `${HOME}/.cache` : undefined;
  const cache = XDG_CACHE_HOME && path.isAbsolute(XDG_CACHE_HOME) ? XDG_CACHE_HOME : home;
  if (cache === undefined) return undefined;
  const directory = `${cache}/secretsfs`;
  if (!(await isWayOurs(directory))) return undefined;
  await makeDirectory(directory);
  const stat = await lstat(directory);
  const isOurs = stat.isDirectory() && stat.uid === process.geteuid?.() && (stat.mode & 0o022) === 0;
  return isOurs ? directory : undefined;
}

/** Whether all that is there on the way is root's or ours: else its owner could lead us to make and write files elsewhere. */
async function isWayOurs(directory: string): Promise<boolean> {
  for (let at = path.dirname(directory); ; at = path.dirname(at)) {
    const there = await lstat(at).catch(() => undefined);
    if (there !== undefined && there.uid !== 0 && there.uid !== process.geteuid?.()) return false;
    if (at === '/') return true;
  }
}

function parse(text: string, location: string): Map<string, Entry> {
  try {
    const { format, location: of, entries } = JSON.parse(text) as Record<string, unknown>;
    if (format !== FORMAT || of !== location) return new Map();
    return new Map(Object.entries(entries as Record<string, unknown>).filter(isEntry));
  } catch {
    return new Map();
  }
}

function isEntry(pair: [string, unknown]): pair is [string, Entry] {
  const [etag, modifiedMs, version, facts] = pair[1] as Entry;
  const { format, plaintextBytes, keys, created, context, sealedFor } = facts;
  return (
    typeof etag === 'string' &&
    (modifiedMs === null || typeof modifiedMs === 'number') &&
    (version === null || typeof version === 'string') &&
    typeof format === 'string' &&
    ['number', 'undefined'].includes(typeof plaintextBytes) &&
    ['string', 'undefined'].includes(typeof created) &&
    ['string', 'undefined'].includes(typeof sealedFor) &&
    keys.every(({ providerId, keyName }) => typeof providerId === 'string' && typeof keyName === 'string') &&
    Object.values(context).every((value) => typeof value === 'string')
  );
}
