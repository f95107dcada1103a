/** The hooks of a mount of the kernel driver: what they take of the machine, and what they are told of an activation. */
import type { ChangeList } from '../generation/changes.ts';
import type { Activated } from '../hooks/changes.ts';
import type { HookSettings } from '../hooks/settings.ts';
import { realTimers } from '../system/timers.ts';
import { NO_AGENT } from './agent-channel.ts';
import type { AgentKeeper } from './agent-keeper.ts';
import { Hooks } from './hooks.ts';
import { spawnHaproxyUpdater } from './processes.ts';
import type { Opened } from './rotation-ports.ts';
import type { InStore, SupervisorPorts } from './supervisor-options.ts';

/** `agent` is asked for with each probe: it comes late, and is replaced. */
export function mountHooks(
  settings: readonly HookSettings[],
  { log, nowMs }: SupervisorPorts,
  agent: () => AgentKeeper | undefined,
): Hooks {
  return new Hooks(settings, {
    ...{ log, nowMs, timers: realTimers, random: Math.random },
    spawnHaproxyUpdater: (user) => spawnHaproxyUpdater(user, log),
    probe: async (request) => (await agent()?.probe(request)) ?? NO_AGENT,
  });
}

/**
 * What went live. `changes`: undefined for the first generation of a mount, which is as late as the mount is: when it was
 * uploaded says nothing of how long it took to arrive.
 */
export function activatedBy(
  { generation: { candidate, result }, serial }: Opened<InStore>,
  changes: Pick<ChangeList, 'files'> | undefined,
): Activated {
  const first = changes === undefined;
  return {
    generation: candidate.id,
    serial,
    first,
    changed: changes?.files ?? [],
    certificates: result.certificates,
    uploaded: first ? null : result.uploaded,
  };
}
