/** How a mount of the kernel driver describes itself. Pure: what it is told, as the control protocol says it. */
import type { GenerationStatus, ProcessStatus, Status } from '../control/protocol.ts';
import type { ProcessUsers } from '../system/process-users.ts';
import type { NoticingState } from './agent-channel.ts';
import { checksStatus } from './check-findings.ts';
import { describeNoticing, describeState, iso } from './describe.ts';
import type { EngineStatus } from './engine-ports.ts';
import type { HooksStatus } from './hooks.ts';
import type { Live, RotationState } from './rotation-ports.ts';
import type { InStore, SupervisorOptions } from './supervisor-options.ts';

/** What a supervisor knows, some of it only after a while. */
export interface Described {
  readonly options: SupervisorOptions;
  /** Without symlinks, once it was looked at. */
  readonly mountpoint: string;
  readonly mounted: boolean;
  readonly startedMs: number;
  readonly users: ProcessUsers | undefined;
  readonly rotation: RotationState<InStore>;
  readonly engine: EngineStatus | undefined;
  readonly agent: EngineStatus['processes'];
  readonly noticing: NoticingState | undefined;
  readonly floor: Status['floor'];
  readonly hooks: HooksStatus;
}

export function describeMount(described: Described): Status {
  const { options, mountpoint, mounted, startedMs, rotation, engine } = described;
  const { instance, name, sources, version, driverReason, cache, fastOpen, resend, memoryMax } = options;
  const { consistencyWindowMs } = options;
  return {
    instance,
    name,
    version,
    pid: process.pid,
    started: iso(startedMs),
    mountpoint,
    bundle: sources[0]?.bundle ?? '',
    driver: 'kernel',
    driverReason,
    cache,
    fastOpen,
    consistency: consistencyWindowMs === 0 ? 'none' : 'process',
    ...(consistencyWindowMs === 0 ? {} : { consistencyWindowMs }),
    resend,
    negotiated: engine?.negotiated ?? null,
    ...describeState(mounted, rotation),
    live: rotation.live === undefined ? null : describeStored(rotation.live),
    lingering: (engine?.lingering ?? []).map(({ id, bytes, sinceMs }) => ({
      id,
      bytes,
      heldSince: iso(sinceMs),
    })),
    floor: described.floor,
    ...describeNoticing(rotation, sources, described.noticing),
    ...checksStatus(rotation.live?.generation.result, Date.now(), options.checks),
    processes: describeProcesses(described),
    ...(options.hooks.length === 0 ? {} : described.hooks),
    successorProblem: engine?.successorProblem ?? null,
    memory: { storeBytes: engine?.storeBytes ?? 0, maxBytes: memoryMax ?? null },
  };
}

/** The supervisor first. */
export function describeProcesses({ startedMs, users, engine, agent }: Described): ProcessStatus[] {
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
  }));
}

export function describeStored(live: Live<InStore>): GenerationStatus {
  const { serial, created, revision, sha256, activatedMs } = live;
  const { candidate, result } = live.generation;
  return {
    id: candidate.id,
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
