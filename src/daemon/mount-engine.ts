/** The engine of a mount, as its options want it; and the end of one that another supervisor left, and that nobody wants. */
import { describeBug, MountError } from '../errors.ts';
import type { ProcessUsers } from '../system/process-users.ts';
import { Engine } from './engine.ts';
import type { EnginePorts } from './engine-ports.ts';
import type { Handed } from './handed.ts';
import type { Log } from './log.ts';
import { nodesMax } from './part-paths.ts';
import { type EngineProcessesOptions, engineProcesses } from './processes.ts';
import type { Restored } from './restored.ts';
import type { SupervisorOptions } from './supervisor-options.ts';

/** What of the options is the mount's own. */
type OfMount = Pick<
  SupervisorOptions,
  | 'fsname'
  | 'selinuxContext'
  | 'cache'
  | 'fastOpen'
  | 'resend'
  | 'preserve'
  | 'retireAfterMs'
  | 'consistencyWindowMs'
  | 'parts'
>;

/** `restored`: it is to go on with that; resume() is next. Throws as the engine does. */
export function mountEngine(
  options: OfMount,
  { mountpoint, users, rules, opens }: EngineProcessesOptions & { mountpoint: string; users: ProcessUsers },
  ports: Pick<EnginePorts, 'prove' | 'log' | 'nowMs' | 'onAlive' | 'onLost'>,
  restored?: Restored,
): Engine {
  const { cache, fastOpen, resend, preserve, retireAfterMs, consistencyWindowMs, parts } = options;
  return new Engine(
    {
      ...{ mountpoint, users, cache, fastOpen, resend, preserve, retireAfterMs, consistencyWindowMs },
      source: options.fsname,
      selinuxContext: options.selinuxContext,
      nodesMax: nodesMax(parts),
    },
    { ...engineProcesses(users, ports.log, { rules, opens }), ...ports },
    restored,
  );
}

/** Unmounts and wipes it, as its own supervisor would have. Never throws. */
export async function endHanded(
  { restored, record }: Handed,
  options: Pick<SupervisorOptions, 'retireAfterMs' | 'consistencyWindowMs'>,
  { log, nowMs }: { readonly log: Log; readonly nowMs: () => number },
): Promise<void> {
  const { same } = record;
  const users = { ...same.users, origin: 'as they were' };
  const { mountpoint } = same;
  const nothing = () => undefined;
  try {
    const engine = mountEngine(
      { ...options, ...same, selinuxContext: same.selinuxContext ?? undefined, parts: [] },
      { mountpoint, users, rules: { current: [] }, opens: { current: { rules: [], audit: false } } },
      { log, nowMs, onAlive: nothing, onLost: nothing },
      restored,
    );
    await engine.stop();
  } catch (error) {
    if (!(error instanceof MountError)) log.error('bug', { error: describeBug(error) });
  }
}
