/** What the control sockets and the metrics learn of a supervisor's mount, and what they can have it do. */
import path from 'node:path';
import { useRollback } from '../control/consent.ts';
import type { Operations } from '../control/server.ts';
import type { Snapshot } from '../metrics/snapshot.ts';
import { anonymousBytes } from '../system/process-memory.ts';
import type { Hooks } from './hooks.ts';
import type { Lifetime } from './lifetime.ts';
import type { Mounted } from './mounted.ts';
import { operationsOf } from './operations.ts';
import type { Parts } from './parts.ts';
import type { SupervisorAgent } from './supervisor-agent.ts';
import type { SupervisorOptions } from './supervisor-options.ts';
import { type Described, describeMount, describeProcesses, describeRefreshes } from './supervisor-status.ts';
import type { Tally } from './tally.ts';
import type { Upgrading } from './upgrading.ts';

export interface ControlledSupervisor {
  /** Those of now. */
  options(): SupervisorOptions;
  readonly startedMs: number;
  readonly mounted: Mounted;
  readonly parts: Parts;
  readonly hooks: Hooks;
  readonly tally: Tally;
  readonly upgrading: Pick<Upgrading, 'run'>;
  /** undefined: not yet. */
  agent(): SupervisorAgent | undefined;
  config(): Described['config'];
  readonly life: Lifetime;
}

/** To be made once the place of the mount is known. */
export function operationsOfSupervisor(supervisor: ControlledSupervisor): Operations {
  const { mounted, parts, hooks, upgrading, life } = supervisor;
  const { runtimeDir, instance } = supervisor.options();
  return operationsOf({
    ...{ ready: life.ready, ended: life.ended },
    stop: () => life.stop(),
    mountpoint: mounted.mountpoint,
    describe: () => describeMount(describedOf(supervisor)),
    useRollback: (part) => useRollback(path.join(runtimeDir, instance), 0, part),
    refresh: async (options) => describeRefreshes(await parts.refresh(options), parts),
    upgrade: async () => {
      const replaced = await upgrading.run();
      return { replaced: [...replaced], processes: describeProcesses(describedOf(supervisor)) };
    },
    hook: (name) => hooks.run(name),
    // A start that is under way is ended; it has nothing to lose.
    detach: async () => (mounted.isMounted ? mounted.running.detach() : undefined),
  });
}

export function snapshotOf(supervisor: ControlledSupervisor): Snapshot {
  const described = describedOf(supervisor);
  return { status: describeMount(described), totals: supervisor.tally.totals(described.engine?.served) };
}

function describedOf({
  options,
  startedMs,
  mounted,
  parts,
  hooks,
  agent,
  config,
}: ControlledSupervisor): Described {
  return {
    options: options(),
    mountpoint: mounted.mountpoint,
    mounted: mounted.isMounted,
    startedMs,
    users: mounted.users,
    parts,
    engine: mounted.engine?.status(),
    agent: agent()?.state ?? [],
    noticing: (part) => agent()?.noticing(part),
    hooks: hooks.status(),
    config: config(),
    anonymousBytes,
  };
}
