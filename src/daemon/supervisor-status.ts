/** How a mount of the kernel driver describes itself. Pure: what it is told, as the control protocol says it. */
import type {
  GenerationStatus,
  PartStatus,
  ProcessStatus,
  RemountResult,
  Status,
} from '../control/protocol.ts';
import type { ProcessUsers } from '../system/process-users.ts';
import type { NoticingState } from './agent-channel.ts';
import { checksStatus, joinChecks } from './check-findings.ts';
import { describeNoticing, describeState, iso } from './describe.ts';
import type { EngineStatus } from './engine-ports.ts';
import type { HooksStatus } from './hooks.ts';
import type { PartOptions } from './mount-options.ts';
import type { Part, RefreshedPart } from './part.ts';
import { prefixedFindings } from './part-paths.ts';
import type { Parts } from './parts.ts';
import type { Live } from './rotation-ports.ts';
import type { InStore, SupervisorOptions } from './supervisor-options.ts';

/** What a supervisor knows, some of it only after a while. */
export interface Described {
  readonly options: SupervisorOptions;
  /** Without symlinks, once it was looked at. */
  readonly mountpoint: string;
  readonly mounted: boolean;
  readonly startedMs: number;
  readonly users: ProcessUsers | undefined;
  readonly parts: Pick<Parts, 'all' | 'composed' | 'latest'>;
  readonly engine: EngineStatus | undefined;
  readonly agent: EngineStatus['processes'];
  /** Of each bundle, by its place. */
  noticing(part: number): NoticingState | undefined;
  readonly hooks: HooksStatus;
  readonly config: NonNullable<Status['config']> | undefined;
  /** Of a process; undefined: it has ended. */
  anonymousBytes(pid: number): number | undefined;
}

export function describeMount(described: Described): Status {
  const { options, mountpoint, startedMs, engine, parts } = described;
  const { instance, version, driverReason, cache, fastOpen, resend, memoryMax } = options;
  const { consistencyWindowMs } = options;
  return {
    instance,
    version,
    pid: process.pid,
    started: iso(startedMs),
    mountpoint,
    driver: 'kernel',
    driverReason,
    cache,
    fastOpen,
    consistency: consistencyWindowMs === 0 ? 'none' : 'process',
    ...(consistencyWindowMs === 0 ? {} : { consistencyWindowMs }),
    resend,
    negotiated: engine?.negotiated ?? null,
    live: describeLive(parts),
    lingering: (engine?.lingering ?? []).map(({ id, bytes, sinceMs }) => ({
      id,
      bytes,
      heldSince: iso(sinceMs),
    })),
    ...(options.parts[0]?.directory === undefined
      ? describeOne(described, parts.all[0] as Part)
      : describeSeveral(described)),
    config: described.config ?? null,
    processes: describeProcesses(described),
    ...(options.hooks.length === 0 ? {} : described.hooks),
    successorProblem: engine?.successorProblem ?? null,
    memory: { storeBytes: engine?.storeBytes ?? 0, maxBytes: memoryMax ?? null },
  };
}

/** What a status says of bundles. */
type OfBundles = Pick<
  Status,
  | 'name'
  | 'bundle'
  | 'state'
  | 'lastCheck'
  | 'error'
  | 'floor'
  | 'bundleCache'
  | 'parts'
  | 'warnings'
  | 'certificates'
  | 'kept'
> &
  ReturnType<typeof describeNoticing>;

function describeOne({ mounted, noticing }: Described, part: Part): OfBundles {
  const { options, floors, state, cache } = part;
  return {
    name: options.name,
    bundle: bundleOf([options]),
    ...describeState(mounted, state),
    floor: floors.describe(),
    bundleCache: cache?.describe() ?? null,
    ...describeNoticing(state, options.sources, noticing(0)),
    ...checksStatus(state.live?.generation.result, Date.now(), options.checks),
  };
}

/** The mount as a whole: what fails is named, and what comes first counts. Each part is told besides. */
function describeSeveral({ options, mounted, parts, noticing }: Described): OfBundles {
  const described = parts.all.map((part, i) => describePart(part, noticing(i)));
  const failing = described.find(({ error }) => error !== null);
  const { error = null, directory = '' } = failing ?? {};
  const earliest = <T>(values: readonly (T | null)[], at: (value: T) => string) =>
    values.flatMap((value) => (value === null ? [] : [value])).sort((a, b) => (at(a) < at(b) ? -1 : 1))[0] ??
    null;
  return {
    name: options.instance,
    bundle: bundleOf(options.parts),
    state: !mounted ? 'starting' : error === null ? 'live' : 'failing',
    error: error === null ? null : { ...error, message: `${directory}: ${error.message}` },
    lastCheck: described
      .map(({ lastCheck }) => lastCheck)
      .reduce((a, b) => ((a?.at ?? '') < (b?.at ?? '') ? b : a)),
    parts: described,
    nextCheck: earliest(
      described.map(({ nextCheck }) => nextCheck),
      (at) => at,
    ),
    nextAttempt: earliest(
      described.map(({ nextAttempt }) => nextAttempt),
      ({ at }) => at,
    ),
    queue: null,
    ...describeFindings(parts.all),
  };
}

function describePart(part: Part, noticing: NoticingState | undefined): PartStatus {
  const { options, floors, state, cache } = part;
  const {
    sources = [],
    nextCheck = null,
    nextAttempt = null,
    queue = null,
  } = describeNoticing(state, options.sources, noticing);
  const { lastCheck, error } = describeState(true, state);
  return {
    directory: part.name,
    name: options.name,
    bundle: bundleOf([options]),
    required: options.required,
    state: state.failure !== undefined ? 'failing' : state.live === undefined ? 'starting' : 'live',
    live: state.live === undefined ? null : describeStored(state.live, part.generation),
    floor: floors.describe(),
    bundleCache: cache?.describe() ?? null,
    ...{ lastCheck, error, sources, nextCheck, nextAttempt, queue },
  };
}

/** By the settings of each, and by whole paths. */
function describeFindings(parts: readonly Part[]): Pick<Status, 'warnings' | 'certificates' | 'kept'> {
  const all = parts.map(({ name, state, options }) => {
    const { live } = state;
    const found = live === undefined ? undefined : prefixedFindings(name, live.generation.result);
    return checksStatus(found, Date.now(), options.checks);
  });
  return joinChecks(all);
}

/** Of several, what came last, and the whole of what is served. */
function describeLive({ latest, composed }: Described['parts']): GenerationStatus | null {
  const live = latest?.state.live;
  if (latest === undefined || live === undefined) return null;
  const described = describeStored(live, latest.generation);
  if (composed === undefined) return described;
  const { id, written } = composed;
  return { ...described, id, files: written.files, bytes: written.contentBytes };
}

/** What a remount came to: of several, what it came to together. */
export function describeRefreshes(
  refreshed: readonly RefreshedPart[],
  parts: Described['parts'],
): RemountResult {
  const activated = refreshed.flatMap(({ refreshed: each }) => (each.outcome === 'activated' ? [each] : []));
  const changes = activated.flatMap((each) => each.changes ?? []);
  const [only] = refreshed;
  const one = refreshed.length === 1 ? only : undefined;
  const sum = (of: 'added' | 'changed' | 'removed') => changes.reduce((total, each) => total + each[of], 0);
  return {
    outcome: activated.length > 0 ? 'activated' : 'unchanged',
    generation:
      one === undefined
        ? (describeLive(parts) as GenerationStatus)
        : describeStored(one.refreshed.live, one.part.generation),
    changes:
      changes.length === 0
        ? null
        : {
            ...{ added: sum('added'), changed: sum('changed'), removed: sum('removed') },
            unchanged: changes.at(-1)?.unchanged ?? 0,
          },
  };
}

/** The first, as what all of them are shown as. */
export function bundleOf(parts: readonly Pick<PartOptions, 'sources'>[]): string {
  return parts[0]?.sources[0]?.bundle ?? '';
}

/** The supervisor first. */
export function describeProcesses(described: Described): ProcessStatus[] {
  const { startedMs, users, engine, agent } = described;
  const userOf: Readonly<Record<string, number | undefined>> = {
    server: users?.server.uid,
    successor: users?.server.uid,
    notifier: users?.server.uid,
    agent: users?.agent.uid,
  };
  const own = { role: 'supervisor', pid: process.pid, startedMs, restarts: 0 };
  return [own, ...(engine?.processes ?? []), ...agent].map((each) => ({
    role: each.role,
    pid: each.pid,
    user: `${userOf[each.role] ?? 0}`,
    started: iso(each.startedMs),
    restarts: each.restarts,
    anonymousBytes: described.anonymousBytes(each.pid) ?? null,
  }));
}

function describeStored(live: Live<InStore>, id: number): GenerationStatus {
  const { serial, created, revision, sha256, activatedMs } = live;
  const { result } = live.generation;
  return {
    id,
    serial,
    created,
    revision,
    sha256,
    activated: iso(activatedMs),
    uploaded: live.uploadedMs === undefined ? null : iso(live.uploadedMs),
    files: result.files,
    bytes: result.contentBytes,
    // Pages of the store can't be swapped.
    locked: true,
  };
}
